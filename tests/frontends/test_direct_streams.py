"""The same requests, however their bytes are cut and however slowly they are taken."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings, strategies as st

from vectus.asgi import FrontEnd
from vectus.contracts import Body
from vectus.direct import DirectProtocol
from vectus.direct.buffers import Buffers
from vectus.direct.deadline import Deadline
from vectus.direct.outgoing import send_content
from vectus.direct.writer import Writer
from vectus.protocol.messages import Head, Reply

LIMIT = 20.0


class Wire(asyncio.Transport):
    """A transport whose other side sends a stream in pieces, as long as it is read."""

    def __init__(self, protocol: DirectProtocol, stream: bytes, cuts: list[int]) -> None:
        super().__init__()
        self.protocol = protocol
        self.stream = stream
        self.cuts = cuts
        self.written = b""
        self.reading = True
        self.closed = False

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.close()

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def read(self) -> None:
        """Let one piece come, no longer than the room for it."""
        room = self.protocol.get_buffer(-1)
        assert len(room) > 0
        cut = self.cuts.pop() if self.cuts else len(self.stream)
        piece = self.stream[: max(1, min(cut, len(room)))]
        self.stream = self.stream[len(piece) :]
        room[: len(piece)] = piece
        self.protocol.buffer_updated(len(piece))


async def play(
    stream: bytes, cuts: list[int], count: int, *, rude: bool
) -> tuple[list[Any], bytes]:
    """Send a stream to the protocol class; return what the handler saw, and what came back.

    A rude one does not heed that reading is paused, as TLS may not at once.
    """
    seen: list[Any] = []

    async def handler(head: Head, body: Body) -> Reply:
        digest = hashlib.sha256()

        async def later(piece: memoryview) -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            digest.update(piece)

        def take(piece: memoryview) -> Any:
            if "slow" in head.headers:
                return later(piece)
            digest.update(piece)
            return None

        if "unread" in head.headers:
            seen.append(head.uri)
        else:
            ending = await body.pour(take)
            seen.append((head.uri, ending.name, digest.hexdigest(), list(body.trailers)))
        return Reply(204)

    state = SimpleNamespace(connections=set(), tasks=set(), default_headers=[], total_requests=0)
    config = SimpleNamespace(
        loaded=True,
        loaded_app=FrontEnd(handler),
        asgi_version="3.0",
        root_path="",
        limit_concurrency=None,
        timeout_keep_alive=LIMIT,
        ws_protocol_class=None,
    )
    protocol = DirectProtocol(config, state, {})  # type: ignore[arg-type]
    wire = Wire(protocol, stream, cuts)
    protocol.connection_made(wire)
    async with asyncio.timeout(LIMIT):
        while not wire.closed and (wire.stream or state.total_requests < count):
            if (rude or wire.reading) and wire.stream:
                wire.read()
            await asyncio.sleep(0)
    wire.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not state.connections
    return seen, wire.written


def request(number: int, length: int, chunk: int, fields: str) -> tuple[bytes, Any]:
    """Word a request, and what a handler must see of it."""
    data = hashlib.shake_128(bytes([number])).digest(length)
    seen: Any = (f"/{number}", "COMPLETE", hashlib.sha256(data).hexdigest(), [])
    if "Unread" in fields:
        seen = f"/{number}"
    head = f"PUT /{number} HTTP/1.1\r\nHost: h\r\n{fields}"
    if not chunk:
        return f"{head}Content-Length: {length}\r\n\r\n".encode() + data, seen
    pieces = [data[i : i + chunk] for i in range(0, length, chunk)]
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + body + b"0\r\n\r\n", seen


requests = st.tuples(
    st.one_of(st.integers(0, 20), st.integers(60_000, 70_000), st.integers(500_000, 1_100_000)),
    st.sampled_from([0, 0, 30_000, 100_000]),
    st.sampled_from(["", "", "Slow: 1\r\n", "Unread: 1\r\n", "Expect: 100-continue\r\n"]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(requests, min_size=1, max_size=5),
    st.lists(st.one_of(st.integers(1, 200), st.integers(1, 700_000)), max_size=40),
    st.booleans(),
)
def test_requests_mean_the_same_however_they_come(
    wanted: list[tuple[int, int, str]],
    cuts: list[int],
    rude: bool,  # noqa: FBT001
) -> None:
    """Bytes are cut anywhere, bodies taken fast, slowly or not at all: each request is seen whole
    and answered once, unless one whose rest is not worth reading ended the connection."""
    worded = [request(number, *each) for number, each in enumerate(wanted)]
    stream = b"".join(data for data, _ in worded)

    async def run() -> tuple[list[Any], bytes]:
        return await play(stream, list(cuts), len(worded), rude=rude)

    seen, written = asyncio.run(run())
    expected = [each for _, each in worded]
    answers = written.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"").count(b"HTTP/1.1 204")
    assert answers == len(seen)
    assert seen == expected[: len(seen)]
    assert "Unread" in str(wanted) or len(seen) == len(expected)


def test_a_released_buffer_does_not_become_the_shared_one() -> None:
    """The shared one may be in use while another body gives its buffer back."""
    buffers = Buffers()
    held = buffers.claim()
    assert held is not None
    shared = buffers.top()
    buffers.release(held)
    assert buffers.top() is shared
    assert buffers.claim() is shared
    assert buffers.claim() is held


async def test_content_never_goes_to_another_client(tmp_path: Any) -> None:
    """When the connection is lost while the head is flushed, its descriptor's number may be given
    to another one: content must not be sent there."""
    path = tmp_path / "secret"
    path.write_bytes(b"secret" * 1000)
    mine, peer = socket.socketpair()
    number = mine.fileno()  # in our hands, whatever other threads open meanwhile
    loop = asyncio.get_running_loop()

    class Lost(asyncio.Transport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return mine if name == "socket" else None

    class Flushing(Writer):
        async def flush(self, data: bytes) -> None:
            mine.detach()
            os.dup2(other.fileno(), number)
            self.lose()

    class Content:
        length = 6000

        def file(self) -> tuple[int, int]:
            return file, 0

        async def blocks(self) -> AsyncIterator[bytes]:
            yield b""

        async def aclose(self) -> None:
            return None

    other, stranger = socket.socketpair()
    stranger.setblocking(False)
    file = os.open(path, os.O_RDONLY)
    try:
        writer = Flushing(loop, Lost(), Deadline(loop), 1)
        assert not await send_content(writer, b"", Content())
        try:
            assert stranger.recv(10) == b"never"
        except BlockingIOError:
            pass
    finally:
        os.close(file)
        os.close(number)
        for each in (peer, other, stranger):
            each.close()
