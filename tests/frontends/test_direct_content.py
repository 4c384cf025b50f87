"""Content on its way out of our protocol class: ``sendfile`` on plain sockets, blocks under TLS."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

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
from vectus.direct import outgoing
from vectus.protocol.messages import Head, Reply

Serve = Callable[..., Running]

MIB = 1024 * 1024
GET = b"GET /file HTTP/1.1\r\nHost: h\r\n\r\n"


class File:
    """Content of a file, from a position on."""

    def __init__(self, path: Path, start: int = 0, promised: int | None = None) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        self.start = start
        size = os.fstat(self.descriptor).st_size - start
        self.length = size if promised is None else promised
        self.closed = threading.Event()

    def file(self) -> tuple[int, int]:
        return self.descriptor, self.start

    async def blocks(self) -> AsyncIterator[bytes]:
        position = self.start
        while block := os.pread(self.descriptor, 256 * 1024, position):
            position += len(block)
            yield block

    async def aclose(self) -> None:
        if not self.closed.is_set():
            os.close(self.descriptor)
            self.closed.set()


class Library:
    """A handler that answers GET with a file, and counts descriptors that it left open."""

    def __init__(self, path: Path, recorder: Recorder) -> None:
        self.path = path
        self.start = 0
        self.promised: int | None = None
        self.given: list[File] = []
        self.recorder = recorder
        recorder.act = self.answer

    async def answer(self, head: Head, body: Body) -> Reply:
        if head.uri != "/file":
            return text("small")
        file = File(self.path, self.start, self.promised)
        self.given.append(file)
        return Reply(200, (("Content-Length", str(file.length)),), content=file)

    def all_closed(self) -> bool:
        return all(file.closed.wait(LIMIT) for file in self.given)


@pytest.fixture
def data() -> bytes:
    return os.urandom(20 * MIB + 7)


@pytest.fixture
def library(tmp_path: Path, data: bytes, recorder: Recorder) -> Library:
    path = tmp_path / "file"
    path.write_bytes(data)
    return Library(path, recorder)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.mark.parametrize("start", [0, 1, 20 * MIB + 6, 20 * MIB + 7])
def test_a_file_is_sent_from_where_it_is_asked_for(
    running: Running, library: Library, data: bytes, start: int
) -> None:
    """Every byte, and the connection is used again."""
    library.start = start
    with running.connect() as client:
        for _ in range(2):
            client.send(GET + GET.replace(b"/file", b"/other"))
            assert client.answer()[2] == data[start:]
            assert client.answer()[2] == b"small"
    assert library.all_closed()


def test_head_sends_no_content(running: Running, library: Library, data: bytes) -> None:
    """The fields are those of GET, and the content is closed."""
    with running.connect() as client:
        client.send(b"HEAD /file HTTP/1.1\r\nHost: h\r\n\r\n" + GET.replace(b"/file", b"/other"))
        assert client.answer("HEAD")[1]["content-length"] == str(len(data))
        assert client.answer()[2] == b"small"
    assert library.all_closed()


def test_a_cold_file_is_sent_by_a_thread(
    plain: Running, library: Library, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk has to be waited for, the loop does not wait."""
    monkeypatch.setattr(outgoing, "_is_cold", lambda _, position: position % 2 == 0)
    with plain.connect() as client:
        client.send(GET)
        assert client.answer()[2] == data
    assert library.all_closed()


@pytest.mark.platform("linux")
def test_what_is_in_memory_is_not_cold(library: Library) -> None:
    """The page cache is asked, and says so at once."""
    file = File(library.path)
    assert file.file()[0] > 0
    os.pread(file.descriptor, MIB, 0)
    assert not outgoing._is_cold(file.descriptor, 0)
    os.close(file.descriptor)


@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
def test_a_client_that_leaves_frees_everything(
    running: Running, library: Library, monkeypatch: pytest.MonkeyPatch, *, cold: bool
) -> None:
    """In the middle of a file: the content, the duplicate of the socket, the connection."""
    monkeypatch.setattr(outgoing, "_is_cold", lambda *_: cold)
    before = descriptors()
    for _ in range(5):
        with running.connect() as client:
            client.send(GET)
            client.sock.recv(100)
            client.reset()
    until(lambda: len(library.given) == 5 and not running.connections, "the end of all five")
    assert library.all_closed()
    until(lambda: descriptors() <= before, "the closing of what was open")


def test_a_client_that_reads_nothing_is_cut_off(
    serve: Serve, library: Library, recorder: Recorder, loop_name: str
) -> None:
    """After a while without a byte taken, by ``sendfile`` and by blocks."""
    running = serve(FrontEnd(recorder), loop=loop_name, limits={"send_timeout": 0.3})
    with running.connect() as client:
        client.send(GET)
        recorder.wait()
        assert library.all_closed()
        until(lambda: not running.connections)


def test_a_slow_reader_is_served(
    serve: Serve, library: Library, recorder: Recorder, data: bytes
) -> None:
    """As long as it takes something now and then."""

    def trial(limit: float) -> None:
        running = serve(FrontEnd(recorder), limits={"send_timeout": limit})
        received = bytearray()
        with running.connect() as client:
            client.sock.setsockopt(1, 8, 65536)
            client.send(GET)
            while len(received) < len(data):
                piece = client.sock.recv(4 * MIB)
                assert piece
                received += piece
                time.sleep(limit / 100)  # twice the limit in all
        assert received.endswith(data)

    patiently(trial, 0.5, 3, 10)


def test_a_file_that_shrank_ends_the_connection(
    running: Running, library: Library, data: bytes
) -> None:
    """What was promised cannot be sent: the client must not take what came for all."""
    library.promised = len(data) + 1
    with running.connect() as client:
        client.send(GET)
        with pytest.raises((AssertionError, ConnectionError)):
            client.answer()
    assert library.all_closed()


def test_a_shutdown_lets_a_file_be_sent(
    serve: Serve, library: Library, recorder: Recorder, data: bytes
) -> None:
    """What is being answered is answered whole."""
    running = serve(FrontEnd(recorder))
    with running.connect() as client:
        client.send(GET)
        client.more()
        stopper = threading.Thread(target=running.stop)
        stopper.start()
        assert client.answer()[2] == data
        assert client.ended() == b""
        stopper.join(LIMIT)
        assert not stopper.is_alive()


def test_a_file_does_not_hold_up_other_requests(running: Running, library: Library) -> None:
    """The loop has its turn after every step: during one file several others are answered."""
    length = 128 * MIB
    os.truncate(library.path, length)

    def read(client: Client) -> None:
        left = length
        while left > 0 and (piece := client.sock.recv(MIB)):
            left -= len(piece)

    with running.connect() as busy, running.connect() as other:

        def ask() -> None:
            other.send(GET.replace(b"/file", b"/other"))
            other.answer()

        def during_a_file() -> int:
            busy.send(GET)
            return count_during(threading.Thread(target=read, args=(busy,)), ask)

        # Where a machine is so busy that the file is through first, it is asked for again.
        until(lambda: during_a_file() >= 3, "three answers during one file")
