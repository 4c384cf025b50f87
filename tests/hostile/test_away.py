"""What is away for a while: the holder of a lock that is frozen, the directory of the uploads.

Clients are told to try again, in the words that do not cost them their upload (D3), and once it is
back everything goes on.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from server import Server, until

Serve = Callable[..., Server]


def test_frozen_holder(serve: Serve) -> None:
    """While the process that holds an upload's lock is stopped, the lock is not broken: HEAD, PATCH
    and DELETE hear 423 with Retry-After and no Upload-Offset; when it runs again it lets go, and
    nothing that it received is lost (D3, D6)."""
    data = random.randbytes(100_000)
    frozen, server = serve(), serve("--lock-timeout", "500ms")
    path = frozen.create(len(data))
    with frozen.connect() as wire:
        wire.patch(path, 0, len(data))
        wire.send(data[:50_000])
        until(lambda: frozen.size(path) == 50_000, "the arrival of what was sent")
        os.kill(frozen.pid, signal.SIGSTOP)
        try:
            answers = [
                server.ask("HEAD", path),
                server.patch(path, 50_000, data[50_000:]),
                server.ask("DELETE", path),
            ]
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        assert [answer.status for answer in answers] == [423] * 3
        assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
        assert not any("upload-offset" in answer.headers for answer in answers)
        assert wire.answer().status == 423
    assert server.offset(path) == 50_000
    assert server.patch(path, 50_000, data[50_000:]).status == 204
    assert frozen.get(path) == data


@contextmanager
def away(server: Server, place: str) -> Iterator[None]:
    """Take the directory away; with nothing in its place, or an empty folder, as it is when a
    file system is not mounted."""
    aside = server.store.with_name("away")
    server.store.rename(aside)
    if place == "empty":
        server.store.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(server.store, ignore_errors=True)
        aside.rename(server.store)


@pytest.mark.parametrize("place", ["missing", "empty"])
def test_directory_away(place: str, serve: Serve) -> None:
    """While the directory is away no upload is said to be unknown; once it is back they all go on
    (D3)."""
    server = serve()
    path, done = server.create(1000), server.create(5)
    assert server.patch(path, 0, bytes(500)).status == 204
    assert server.patch(done, 0, b"hello").status == 204
    with away(server, place):
        head = server.ask("HEAD", path)
        others = [
            server.patch(path, 500, bytes(500)),
            server.ask("DELETE", path),
            server.ask("GET", done),
        ]
    assert (head.status, "upload-offset" in head.headers) == (423, False)
    assert [answer.status for answer in others] == [503] * 3
    assert all(int(answer.headers["retry-after"]) > 0 for answer in (head, *others))
    assert server.offset(path) == 500
    assert server.patch(path, 500, bytes(500)).status == 204
    assert server.get(path) == bytes(1000)
    assert server.get(done) == b"hello"


@pytest.mark.parametrize("place", ["missing", "empty"])
def test_nothing_is_created_elsewhere(place: str, serve: Serve) -> None:
    """While the directory is away nothing is created in its place: such an upload would be unknown
    once the directory is back (D3)."""
    server = serve()
    with away(server, place):
        answer = server.ask("POST", "/files/", upload_length=5)
        left = [each.name for each in server.store.glob("[!.]*")]
    assert answer.status == 503, answer
    assert not left
