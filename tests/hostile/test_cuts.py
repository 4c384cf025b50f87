"""Connections that end in every wrong way: what arrived is kept, and nobody else notices."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from server import OCTETS, Server, Wire, until

Serve = Callable[..., Server]

UPGRADE = (
    b"GET /files/x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

DATA = random.Random(1).randbytes(400_000)


def finish(server: Server, path: str, data: bytes) -> None:
    """Resume an upload, and compare what became of it."""
    offset = server.offset(path)
    assert server.stored(path)[:offset] == data[:offset]
    assert server.patch(path, offset, data[offset:]).status == 204
    assert server.get(path) == data


def test_half_closed(server: Server) -> None:
    """A client that says in the middle of a body that it sends no more gets an answer, 400, and its
    bytes are kept (C34, T25)."""
    path = server.create(len(DATA))
    with server.connect() as wire:
        wire.patch(path, 0, len(DATA))
        wire.send(DATA[:123_456])
        wire.half_close()
        assert wire.answer().status == 400
        assert wire.ended()
    assert server.offset(path) == 123_456
    finish(server, path, DATA)


def test_closed(server: Server) -> None:
    """Of a connection that is closed in the middle of a body every byte is kept (T25)."""
    path = server.create(len(DATA))
    with server.connect() as wire:
        wire.patch(path, 0, len(DATA))
        wire.send(DATA[:123_456])
    until(lambda: server.size(path) == 123_456, "the arrival of what was sent")
    assert server.offset(path) == 123_456
    finish(server, path, DATA)


def test_reset(server: Server) -> None:
    """Of a connection that is reset in the middle of a body every byte is kept that the server has
    taken in (T25)."""
    path = server.create(len(DATA))
    with server.connect() as wire:
        wire.patch(path, 0, len(DATA))
        wire.send(DATA[:200_000])
        until(lambda: server.size(path) == 200_000, "the arrival of what was sent")
        wire.send(DATA[200_000:300_000])
        wire.reset()
    assert 200_000 <= server.offset(path) <= 300_000
    finish(server, path, DATA)


def test_small_body_and_gone(server: Server) -> None:
    """The bytes of a client that is gone before the server looks are kept as well: those that came
    in one packet with the head."""
    for ending in (Wire.close, Wire.reset, Wire.half_close):
        path = server.create(len(DATA))
        with server.connect() as wire:
            head = (
                f"PATCH {path} HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
            )
            head += f"Content-Type: {OCTETS}\r\nContent-Length: {len(DATA)}\r\n\r\n"
            wire.send(head.encode() + DATA[:5000])
            if ending is Wire.reset:  # it may overtake the bytes in the kernel
                until(lambda path=path: server.size(path) == 5000, "the arrival of what was sent")
            ending(wire)
            until(lambda path=path: server.size(path) == 5000, "the arrival of what was sent")
            assert server.offset(path) == 5000


def patch(path: str) -> str:
    """Word most of a PATCH's head."""
    head = f"PATCH {path} HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\n"
    return f"{head}Upload-Offset: 0\r\nContent-Type: {OCTETS}\r\n"


def misbehave(server: Server, path: str, rng: random.Random) -> None:
    """Do one of many things that no client should do, and cut the connection."""
    head = patch(path)
    requests = (
        b"",
        b"\r\n",
        b"GET",
        head[: rng.randrange(len(head))].encode(),
        head.encode() + b"Content-Length: 900000\r\n\r\n" + DATA[: rng.randrange(300_000)],
        head.encode() + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n" + DATA[:5000],
        head.encode() + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        head.encode() + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n",
        b"HEAD /files/nothing HTTP/1.1\r\n\r\n" * 20,
        bytes(rng.randbytes(1000)),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(300),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        UPGRADE,
    )
    with server.connect() as wire, suppress(OSError):
        wire.send(rng.choice(requests))
        if rng.random() < 0.5:
            wire.reset()


def test_nobody_else_notices(server: Server) -> None:
    """While connection after connection is cut in every wrong way, a neighbour's upload goes on
    and ends exact, in the same process (a cut connection kills no server)."""
    pid, rng = server.pid, random.Random(random.getrandbits(32))
    victim = server.create(10**6)
    path = server.create(len(DATA))
    with server.connect() as wire:
        wire.patch(path, 0, len(DATA))
        for at in range(0, len(DATA), 4000):
            misbehave(server, victim, rng)
            wire.send(DATA[at : at + 4000])
        assert wire.answer().status == 204
    assert server.get(path) == DATA
    assert server.alive
    assert server.pid == pid
    assert "Traceback" not in server.output


def test_download_cut(server: Server) -> None:
    """Clients that go away in the middle of a download harm nobody, and leave nothing open."""
    data = DATA * 20
    path = server.create(len(data))
    assert server.patch(path, 0, data).status == 204
    for ending in (Wire.close, Wire.reset) * 5:
        with server.connect() as wire:
            wire.head("GET", path)
            assert wire.socket.recv(1000)
            ending(wire)
    assert server.get(path) == data
    assert "Traceback" not in server.output


@pytest.mark.platform("linux")
def test_nothing_stays_open(server: Server) -> None:
    """After many broken requests the process has no more files open than before."""
    rng = random.Random(random.getrandbits(32))
    path = server.create(10**6)
    server.offset(path)
    before = descriptors(server)
    for _ in range(60):
        misbehave(server, path, rng)
    server.offset(path)
    until(lambda: descriptors(server) <= before, "the closing of what is open")


def descriptors(server: Server) -> int:
    """How many files the process has open."""
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def test_slow_head(server: Server) -> None:
    """A client that sends its head letter by letter is cut off after some ten seconds, and others
    are served meanwhile (D11)."""
    path = server.create(10)
    stop = threading.Event()
    with server.connect() as wire:

        def trickle() -> None:
            with suppress(OSError):
                wire.send(b"GET / HTTP/1.1\r\n")
                while not stop.wait(0.5):
                    wire.send(b"X-A: b\r\n")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert server.offset(path) == 0
            assert wire.ended()
        finally:
            stop.set()
            thread.join()
    assert server.offset(path) == 0
