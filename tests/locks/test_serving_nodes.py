"""Several ``vectus serve`` on one directory, as several machines would be: locks elsewhere."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from opening import opened
from pauses import again_if_paused

from backends import Postgres, Redis
from server import Port, Server, Wire, until

Serve = Callable[..., Server]

SOON = 10.0
"""Seconds within which a newcomer has the upload: less than a lock has left that nobody lets go,
and time enough for a busy machine."""

AT_ONCE = 0.5
"""The same, most of the times."""


@pytest.fixture
def redis() -> Iterator[tuple[Redis, str]]:
    """A Redis that can be reached over TCP, and its URL."""
    with (
        closing(Port()) as port,
        Redis("--port", str(port.number), "--bind", "127.0.0.1") as server,
    ):
        url = f"redis://127.0.0.1:{port.number}/0"
        asyncio.run(opened(url))
        yield server, url


@pytest.fixture(params=["redis", "postgres"])
def locks(request: pytest.FixtureRequest) -> str:
    """A URL of locks."""
    if request.param == "redis":
        return f"{request.getfixturevalue('redis')[1]}?ttl=30"
    server: Postgres = request.getfixturevalue("shared_postgres")
    return server.url


def hang(server: Server, wire: Wire, path: str, offset: int, rest: bytes, sent: int) -> None:
    """Send a part of a PATCH, have it arrive, and send no more."""
    wire.patch(path, offset, len(rest))
    wire.send(rest[:sent])
    until(lambda: server.size(path) == offset + sent, "the arrival of what was sent")


def test_takeover_across_nodes(serve: Serve, locks: str) -> None:
    """A hanging PATCH on one server is taken over by the other in under a second, with all that had
    arrived, by HEAD and by PATCH; the displaced one hears 423 with its Upload-Offset (D3)."""
    nodes = [serve("--locks", locks), serve("--locks", locks)]
    data = random.randbytes(200_000)
    path, offset = nodes[0].create(len(data)), 0
    took = []
    for round_ in range(10):
        mine, theirs = nodes[round_ % 2], nodes[1 - round_ % 2]
        with mine.connect() as holder:
            hang(mine, holder, path, offset, data[offset:], 10_000)
            offset += 10_000
            began = time.monotonic()
            assert theirs.offset(path) == offset
            took.append(time.monotonic() - began)
            told = holder.answer()
            assert (told.status, told.offset) == (423, offset), told
    assert sorted(took)[5] < AT_ONCE, took
    assert max(took) < SOON, took
    assert nodes[1].patch(path, offset, data[offset:]).status == 204
    assert nodes[0].get(path) == data


def test_a_node_is_killed(serve: Serve, locks: str) -> None:
    """An upload whose server was killed goes on at the other one at once, with every byte that had
    arrived."""
    dead, alive = serve("--locks", locks), serve("--locks", locks)
    data = random.randbytes(100_000)
    path = dead.create(len(data))
    alive.offset(path)
    with dead.connect() as holder:
        hang(dead, holder, path, 0, data, 50_000)
        dead.kill()
        began = time.monotonic()
        assert alive.offset(path) == 50_000
        assert time.monotonic() - began < SOON
    assert alive.patch(path, 50_000, data[50_000:]).status == 204
    assert alive.get(path) == data


@pytest.mark.timeout(150)
def test_redis_is_away(serve: Serve, redis: tuple[Redis, str]) -> None:
    """With Redis gone an upload under way stops and can be resumed; HEAD hears 423 without an
    offset, PATCH and DELETE 503, all with Retry-After (D3); back and empty, all goes on."""
    server, locks = redis
    nodes = [serve("--locks", locks), serve("--locks", locks)]
    data = random.randbytes(100_000)
    path = nodes[0].create(len(data))
    nodes[0].offset(path)
    with nodes[0].connect() as holder:
        hang(nodes[0], holder, path, 0, data, 50_000)
        server.kill()
        assert holder.answer().status == 423
    for node in nodes:
        answers = [node.ask("HEAD", path), node.patch(path, 0, b"x"), node.ask("DELETE", path)]
        assert [answer.status for answer in answers] == [423, 503, 503]
        assert all("retry-after" in answer.headers for answer in answers)
        assert not any("upload-offset" in answer.headers for answer in answers)
    server.start()
    until(lambda: nodes[1].ask("HEAD", path).status == 200, "Redis being used again", 45)
    assert nodes[0].offset(path) == 50_000
    assert nodes[1].patch(path, 50_000, data[50_000:]).status == 204
    assert nodes[0].get(path) == data


@again_if_paused(0.5)
def test_a_node_stands_still(serve: Serve, redis: tuple[Redis, str]) -> None:
    """The upload of a process that stands still for longer than its lock in Redis lasts goes to
    nobody, as the kernel's lock is held; when it goes on it writes nothing more, and the other node
    goes on with all that had arrived before."""
    locks = f"{redis[1]}?ttl=2"
    still, other = serve("--locks", locks), serve("--locks", locks, "--lock-timeout", "3s")
    data = random.randbytes(100_000)
    path = still.create(len(data))
    until(lambda: other.ask("HEAD", path).status == 200, "Redis giving out locks")
    with still.connect() as holder:
        hang(still, holder, path, 0, data, 50_000)
        still.program.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, still.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            holder.send(b"late" * 5_000)
            refused = other.ask("HEAD", path)
            assert refused.status == 423
            assert "upload-offset" not in refused.headers
        finally:
            still.program.process.send_signal(signal.SIGCONT)
        assert holder.answer().status == 423
    assert other.offset(path) == 50_000
    assert other.patch(path, 50_000, data[50_000:]).status == 204
    assert still.get(path) == data
