"""Bodies that are poured directly: what ends them, and what that leaves of the connection."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from wires import (
    LIMIT,
    Client,
    Recorder,
    Running,
    count_during,
    patiently,
    text,
    until,
)

from vectus.asgi import FrontEnd
from vectus.contracts import Body
from vectus.direct import buffers
from vectus.protocol.exchange import Ending
from vectus.protocol.messages import Head, Reply

Serve = Callable[..., Running]

MIB = 1024 * 1024

CHUNKED = b"PATCH /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def patch(length: int | str, body: bytes = b"", fields: bytes = b"", path: bytes = b"/a") -> bytes:
    """Word a PATCH."""
    head = b"PATCH %b HTTP/1.1\r\nHost: h\r\nContent-Length: %b\r\n%b\r\n"
    return head % (path, str(length).encode(), fields) + body


@pytest.mark.parametrize("length", [0, 10, 100_000, 3 * MIB])
def test_requests_follow_each_other(running: Running, recorder: Recorder, length: int) -> None:
    """Bodies and heads in one stream of bytes are told apart, wherever the reads fall."""
    data = [os.urandom(length) for _ in range(3)]
    stream = b"".join(patch(length, each) + b"HEAD /b HTTP/1.1\r\nHost: h\r\n\r\n" for each in data)
    with running.connect() as client:
        client.send(stream)
        for _ in data:
            assert client.answer()[2] == b"%d COMPLETE" % length
            assert client.answer("HEAD")[0] == 200
    assert [bytes(d) for d in recorder.data[::2]] == data


def test_bytes_may_come_one_by_one(plain: Running, recorder: Recorder) -> None:
    """A stream cut anywhere means the same."""
    stream = patch(5, b"hello", b"Expect: x\r\n") + patch(3, b"you")
    with plain.connect() as client:
        for i in range(len(stream)):
            client.send(stream[i : i + 1])
        assert client.answer()[2] == b"5 COMPLETE"
        assert client.answer()[2] == b"3 COMPLETE"
    assert recorder.data == [b"hello", b"you"]


@pytest.mark.parametrize("leave", [Client.__exit__, Client.reset], ids=["fin", "reset"])
@pytest.mark.parametrize("length", [1, 40_000])
def test_what_came_before_the_client_left_is_given(
    running: Running, recorder: Recorder, leave: Callable[[Client], None], length: int
) -> None:
    """C34: also when it has left before anybody asks for the bytes."""
    poured = threading.Event()

    async def late(head: Head, body: Body) -> Reply:
        await asyncio.get_running_loop().run_in_executor(None, poured.wait, LIMIT)
        return await recorder.pour(head, body)

    recorder.act = late
    data = os.urandom(length)
    with running.connect() as client:
        client.send(patch(length + 1, data))
        recorder.wait(recorder.began)
        # The server has read it all before it learns of the end, which may overtake it.
        until(lambda: recorder.bodies[0].size == length)  # type: ignore[attr-defined]
        leave(client)
    until(lambda: all(c.departed for c in running.connections))  # type: ignore[union-attr]
    poured.set()
    recorder.wait()
    assert recorder.data == [data]
    assert recorder.endings == [Ending.GONE]


def test_a_half_closed_client_gets_its_answer(plain: Running, recorder: Recorder) -> None:
    """C34: who ends only its own direction hears what became of the bytes."""
    with plain.connect() as client:
        client.send(patch(100, b"abc"))
        recorder.wait(recorder.began)
        client.sock.shutdown(1)
        status, headers, body = client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"3 GONE")
        assert client.ended() == b""


def test_a_whole_request_may_be_half_closed(plain: Running, recorder: Recorder) -> None:
    """The end of what a client sends is no reason to leave it without an answer."""
    with plain.connect() as client:
        client.send(patch(3, b"abc"))
        client.sock.shutdown(1)
        assert client.answer()[2] == b"3 COMPLETE"
        assert client.ended() == b""


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_body_that_stalls_is_ended(
    serve: Serve, recorder: Recorder, loop_name: str, *, chunked: bool
) -> None:
    """D11: after a time without a byte it ends ``STALLED``; bytes begin the time anew."""

    def trial(limit: float) -> None:
        running = serve(FrontEnd(recorder), loop=loop_name, limits={"body_timeout": limit})
        with running.connect() as client:
            client.send(CHUNKED + b"1\r\na\r\n" if chunked else patch(100, b"a"))
            for _ in range(4):
                time.sleep(limit / 2)
                client.send(b"1\r\nb\r\n" if chunked else b"b")
            assert client.answer()[2] == b"5 STALLED"

    patiently(trial, 0.4, 6)


@pytest.mark.parametrize("reason", [Ending.WANTED, Ending.LOST])
def test_a_waiting_body_is_stopped_at_once(
    running: Running, recorder: Recorder, reason: Ending
) -> None:
    """Whoever waits for the network leaves when it is told to; the first reason counts."""
    with running.connect() as client:
        client.send(patch(100, b"abc"))
        recorder.wait(recorder.began)
        until(lambda: recorder.data == [b"abc"])
        call(running, recorder.bodies[0].stop, reason)
        call(running, recorder.bodies[0].stop, Ending.FULL)
        assert client.answer()[2] == b"3 " + reason.name.encode()


def call(running: Running, function: Callable[..., object], *args: object) -> None:
    """Call a function on the server's loop."""
    assert running.server.loop is not None
    running.server.loop.call_soon_threadsafe(function, *args)


def test_a_body_stopped_before_it_is_poured_gives_nothing(
    running: Running, recorder: Recorder
) -> None:
    """Nor is its client asked for the bytes."""

    async def stopped(head: Head, body: Body) -> Reply:
        body.stop(Ending.WANTED)
        return await recorder.pour(head, body)

    recorder.act = stopped
    with running.connect() as client:
        client.send(patch(5, b"", b"Expect: 100-continue\r\n"))
        status, headers, body = client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"0 WANTED")


def test_take_may_stop_its_own_body(running: Running, recorder: Recorder) -> None:
    """An overrun is seen by whoever takes the bytes."""

    async def full(head: Head, body: Body) -> Reply:
        taken = 0

        def take(piece: memoryview) -> None:
            nonlocal taken
            taken += len(piece)
            body.stop(Ending.OVERRUN)

        ending = await body.pour(take)
        return text(f"{taken > 0} {ending.name}")

    recorder.act = full
    with running.connect() as client:
        client.send(patch(10 * MIB, b"x" * 100))
        assert client.answer()[2] == b"True OVERRUN"


class Slow:
    """A ``take`` that is done with nothing before it is told to be."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.views: list[memoryview] = []
        self.waiting: asyncio.Future[None] | None = None
        self.given = threading.Semaphore(0)
        self.ending: Ending | None = None

    def take(self, piece: memoryview) -> asyncio.Future[None]:
        assert self.waiting is None or self.waiting.done(), "two pieces at once"
        self.views.append(piece)
        self.pieces.append(bytes(piece))
        self.waiting = asyncio.get_running_loop().create_future()
        self.given.release()
        return self.waiting

    def let_go(self) -> None:
        """Be done with the piece, which must be as it was given."""
        assert self.waiting is not None
        if not self.waiting.done():
            same = bytes(self.views[-1]) == self.pieces[-1]
            if same:
                self.waiting.set_result(None)
            else:
                self.waiting.set_exception(AssertionError("the piece has changed"))

    async def pour(self, head: Head, body: Body) -> Reply:
        self.ending = await body.pour(self.take)
        return text(f"{sum(map(len, self.pieces))} {self.ending.name}")


def test_a_stop_waits_for_the_piece_under_way(running: Running, recorder: Recorder) -> None:
    """A write in a thread cannot be stopped: ``pour`` returns when it is done, and not before."""
    slow = Slow()
    recorder.act = slow.pour
    with running.connect() as client:
        client.send(patch(10 * MIB, b"x" * 100_000))
        recorder.wait(slow.given)
        call(running, recorder.bodies[0].stop, Ending.LOST)
        client.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.answer()
        client.sock.settimeout(LIMIT)
        call(running, slow.let_go)
        assert client.answer()[2] == b"%d LOST" % len(slow.pieces[0])
    assert len(slow.pieces) == 1


@pytest.mark.parametrize(
    ("reason", "told"), [(Ending.LOST, Ending.LOST), (Ending.WANTED, Ending.COMPLETE)]
)
def test_a_stop_while_the_last_piece_is_under_way(
    running: Running, recorder: Recorder, reason: Ending, told: Ending
) -> None:
    """D5: what is all here is complete, however wanted; but a lost lock means that another may
    have written meanwhile, so nothing of it may be acknowledged."""
    slow = Slow()
    recorder.act = slow.pour
    with running.connect() as client:
        client.send(patch(5, b"hello"))
        recorder.wait(slow.given)
        call(running, recorder.bodies[0].stop, reason)
        call(running, slow.let_go)
        assert client.answer()[2] == f"5 {told.name}".encode()


def test_a_slow_taker_is_not_idle(serve: Serve, recorder: Recorder) -> None:
    """The time a write takes is not the client's: it does not stall meanwhile."""
    slow = Slow()
    recorder.act = slow.pour
    running = serve(FrontEnd(recorder), limits={"body_timeout": 0.2})
    with running.connect() as client:
        client.send(patch(2, b"a"))
        recorder.wait(slow.given)
        time.sleep(0.5)
        client.send(b"b")
        until(lambda: recorder.bodies[0].left == 0)  # type: ignore[attr-defined]
        call(running, slow.let_go)
        recorder.wait(slow.given)
        call(running, slow.let_go)
        assert client.answer()[2] == b"2 COMPLETE"


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_at_most_one_buffer_is_read_ahead(
    running: Running, recorder: Recorder, *, chunked: bool
) -> None:
    """A slow disk holds the client back, and its pieces stay as they were given."""
    slow = Slow()
    recorder.act = slow.pour
    data = os.urandom(4 * MIB)
    body = b"".join(b"10000\r\n%b\r\n" % data[i : i + 65536] for i in range(0, len(data), 65536))
    head = patch(len(data))
    if chunked:
        head = CHUNKED
    with running.connect() as client:
        stream = head + (body + b"0\r\n\r\n" if chunked else data)
        sender = threading.Thread(target=client.send, args=(stream,))
        sender.start()
        while slow.ending is None:
            if slow.given.acquire(timeout=0.1):
                call(running, slow.let_go)
        sender.join(LIMIT)
        assert client.answer()[2] == b"%d COMPLETE" % len(data)
    assert b"".join(slow.pieces) == data
    assert max(map(len, slow.pieces)) <= 2 * buffers.SIZE


def trickle(client: Client, piece: bytes, times: int) -> None:
    """Send a piece at a time."""
    for _ in range(times):
        client.send(piece)


@pytest.mark.parametrize("framing", [b"Content-Length: 50000000", b"Transfer-Encoding: chunked"])
def test_a_slow_disk_holds_the_client_back(
    running: Running, recorder: Recorder, framing: bytes
) -> None:
    """However small the pieces are in which its bytes come."""
    slow = Slow()
    recorder.act = slow.pour
    piece = b"2706\r\n%b\r\n" % os.urandom(9990)
    with running.connect() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(b"PATCH /a HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % framing + piece)
        recorder.wait(slow.given)
        client.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            trickle(client, piece, 5000)
        body: Any = recorder.bodies[0]
        assert body.size <= 640 * 1024
        assert body._pour._filled <= buffers.SIZE
    call(running, slow.let_go)
    while slow.ending is None:
        if slow.given.acquire(timeout=0.1):
            call(running, slow.let_go)
    assert slow.ending is Ending.GONE


def test_slow_uploads_keep_their_own_bytes(
    running: Running, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A buffer belongs to its write until that is done, also when there are no more buffers."""
    monkeypatch.setattr(buffers, "MOST", 2)
    slows: dict[str, Slow] = {}

    async def pour(head: Head, body: Body) -> Reply:
        slow = slows[head.uri] = Slow()
        return await slow.pour(head, body)

    recorder.act = pour
    data = {f"/u{i}": os.urandom(2 * MIB + i) for i in range(6)}
    answers: dict[str, bytes] = {}

    def upload(path: str) -> None:
        with running.connect() as client:
            client.send(patch(len(data[path]), data[path], path=path.encode()))
            answers[path] = client.answer()[2]

    threads = [threading.Thread(target=upload, args=(path,)) for path in data]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + LIMIT
    while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
        time.sleep(0.001)
        for slow in list(slows.values()):
            if slow.waiting is not None:
                call(running, slow.let_go)
    for path, expected in data.items():
        assert answers[path] == b"%d COMPLETE" % len(expected)
        assert b"".join(slows[path].pieces) == expected


def test_a_failed_write_comes_out_of_the_pour(running: Running, recorder: Recorder) -> None:
    """Whether it fails at once or later; the connection is none the worse."""
    failures = [False, True]

    async def fail(head: Head, body: Body) -> Reply:
        later = failures.pop()

        async def write() -> None:
            await asyncio.sleep(0)
            raise OSError("later")

        def take(piece: memoryview) -> object:
            if later:
                return write()
            raise OSError("at once")

        try:
            await body.pour(take)  # type: ignore[arg-type]
        except OSError as error:
            return text(str(error), 507)
        return text("it did not fail")

    recorder.act = fail
    with running.connect() as client:
        for expected in (b"later", b"at once"):
            client.send(patch(200_000, b"x" * 200_000))
            status, _, body = client.answer()
            assert (status, body) == (507, expected)


def test_a_cancelled_pour_gives_nothing_more(running: Running, recorder: Recorder) -> None:
    """Cancellation stops the body; it goes through once the piece under way is done with."""
    slow = Slow()
    cancelling = threading.Event()

    async def cancel(head: Head, body: Body) -> Reply:
        task = asyncio.ensure_future(body.pour(slow.take))
        while not slow.pieces:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        cancelling.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return text("cancelled")

    recorder.act = cancel
    with running.connect() as client:
        client.send(patch(3 * MIB, b"x" * 100_000))
        assert cancelling.wait(LIMIT)
        assert not recorder.done.acquire(timeout=0.1)
        call(running, slow.let_go)
        assert client.answer()[2] == b"cancelled"
    with running.connect() as client:
        recorder.act = recorder.pour
        client.send(patch(MIB, b"y" * MIB))
        assert client.answer()[2] == b"%d COMPLETE" % MIB
    assert len(slow.pieces) == 1


def test_trailers_are_the_declared_ones(running: Running, recorder: Recorder) -> None:
    """D10: exposed once the body is complete, and never among the head's fields."""
    seen = []

    async def look(head: Head, body: Body) -> Reply:
        seen.append(list(body.trailers))
        reply = await recorder.pour(head, body)
        seen.append(list(body.trailers))
        assert head.trailers
        return reply

    recorder.act = look
    head = b"PATCH /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: Sum, b\r\n\r\n"
    with running.connect() as client:
        client.send(head + b"2\r\nhi\r\n")
        recorder.wait(recorder.began)
        client.send(b"0\r\nsum: abc \r\nUpload-Offset: 7\r\nB: \xe4\r\n\r\n")
        assert client.answer()[2] == b"2 COMPLETE"
    assert seen == [[], [("sum", "abc"), ("b", "\xe4")]]
    assert not {"sum", "b", "upload-offset"} & set(dict(recorder.heads[0].headers))


def test_an_upload_does_not_hold_up_other_requests(running: Running, recorder: Recorder) -> None:
    """An unrelated request is answered while bodies come in at full speed."""
    request = patch(64 * MIB, b"x" * (64 * MIB))
    with running.connect() as busy, running.connect() as other:

        def ask() -> None:
            other.send(b"HEAD /b HTTP/1.1\r\nHost: h\r\n\r\n")
            other.answer("HEAD")

        def during_a_body() -> int:
            count = count_during(threading.Thread(target=busy.send, args=(request,)), ask)
            assert busy.answer()[2] == b"%d COMPLETE" % (64 * MIB)
            return count

        # Where a machine is so busy that the body is through first, it is sent again.
        until(lambda: during_a_body() >= 3, "three answers during one body")


def test_many_idle_bodies_cost_little(plain: Running, recorder: Recorder) -> None:
    """Half-sent bodies that wait share one buffer: none has one of its own."""
    clients = [plain.connect() for _ in range(50)]
    try:
        for client in clients:
            client.send(patch(10 * MIB, b"x" * 70_000))
        for _ in clients:
            recorder.wait(recorder.began)
        until(lambda: [len(data) for data in recorder.data] == [70_000] * 50)
        shared = buffers.buffers_of(plain.server.loop)  # type: ignore[arg-type]
        assert shared._made - len(shared._free) <= 2
    finally:
        for client in clients:
            client.__exit__()
    for _ in clients:
        recorder.wait()
