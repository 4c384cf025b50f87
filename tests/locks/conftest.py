"""What the lockers' tests share: both event loops, and processes that hold locks."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop
from opening import opened

from backends import (  # noqa: F401
    Redis,
    postgres_server,
    redis_server,
    redis_url,
    shared_postgres,
    shared_redis,
)
from server_fixtures import port, serve, store  # noqa: F401
from vectus.locks import postgres
from vectus.locks.file import FileLocker

DRIVER = Path(__file__).parent / "lock_driver.py"
NODE_DRIVER = Path(__file__).parent / "node_driver.py"
LIMIT = 30.0

Loops = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Loops:
    """Run every test here on both event loops (on one of them, before pytest-asyncio 1.4), and with
    tasks that start eagerly where Python has them."""
    eager = {"eager": eager_loop} if sys.version_info >= (3, 12) else {}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop, **eager}


def eager_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop whose tasks start before ``create_task`` returns."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


class Peer:
    """Another process that holds locks, as ``lock_driver.py`` says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self, patience: float = LIMIT) -> str:
        """Return the next line it prints, empty at its end."""
        assert self.process.stdout is not None
        async with asyncio.timeout(patience):
            return (await self.process.stdout.readline()).decode().strip()

    async def end(self) -> int:
        """Wait for its end and return its exit code."""
        async with asyncio.timeout(LIMIT):
            return await self.process.wait()

    def stop(self) -> None:
        """Have it stand still, and wait until all of it does."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def tell(self, line: str) -> None:
        """Give it a line to read."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")


Start = Callable[..., Awaitable[Peer]]


@pytest.fixture
async def run_driver() -> AsyncIterator[Start]:
    """Start drivers on this test's kind of event loop, given what else they are told. They are
    killed after the test."""
    started: list[Peer] = []
    loop = "uvloop" if isinstance(asyncio.get_running_loop(), uvloop.Loop) else "asyncio"

    async def start(driver: Path, *arguments: object) -> Peer:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(driver),
            loop,
            *map(str, arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        started.append(Peer(process))
        return started[-1]

    yield start
    for peer in started:
        with suppress(ProcessLookupError):
            peer.process.kill()
    for peer in started:
        assert peer.process.stdin is not None
        peer.process.stdin.close()  # with their input its children end as well
        async with asyncio.timeout(LIMIT):
            await peer.process.communicate()


@pytest.fixture
def start_peer(run_driver: Start, tmp_path: Path) -> Start:
    """Start processes that lock files in the folder ``locks``, given a mode of the driver and its
    arguments."""
    return lambda mode, *arguments: run_driver(DRIVER, mode, tmp_path / "locks", *arguments)


@pytest.fixture
def start_node(run_driver: Start) -> Start:
    """Start processes that lock elsewhere, given the URL, a mode of their driver and its
    arguments."""
    return lambda url, mode, *arguments: run_driver(NODE_DRIVER, url, mode, *arguments)


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[FileLocker]:
    """A locker in the folder ``locks``, which is not there yet."""
    locker = FileLocker(tmp_path / "locks")
    yield locker
    await locker.aclose()


@pytest.fixture
async def more_files(tmp_path: Path) -> AsyncIterator[FileLocker]:
    """Another locker in the same folder."""
    locker = FileLocker(tmp_path / "locks")
    yield locker
    await locker.aclose()


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL may be as slow as a busy machine makes it, for all who do not say otherwise."""
    monkeypatch.setattr(postgres, "PATIENCE", LIMIT)
    monkeypatch.setattr(postgres, "LASTING", 2 * LIMIT)
    monkeypatch.setitem(postgres.OURS, "connect_timeout", int(LIMIT))


@pytest.fixture(scope="session")
def open_redis(shared_redis: Redis) -> str:  # noqa: F811
    """Where a Redis is that runs for long enough to give out locks at once."""
    asyncio.run(opened(shared_redis.url))
    return shared_redis.url


@pytest.fixture(scope="session")
def lasting_redis(open_redis: str) -> str:
    """The same, whose locks are not lost where a busy machine has no time for their holders."""
    return f"{open_redis}?ttl=30"
