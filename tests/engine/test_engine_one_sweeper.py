"""Of all processes that share a store whose scans cost money, one scans for all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from backends import Backend, postgres_server, redis_server  # noqa: F401 - fixtures
from vectus import Uploads
from vectus.contracts import Lease, Limits, Locker
from vectus.engine.announce import Announcer
from vectus.engine.engine import Engine
from vectus.engine.sweep import Sweeper
from vectus.errors import LockHeld, LockUnavailable, StoreUnavailable
from vectus.locks.file import FileLocker
from vectus.locks.memory import MemoryLocker
from vectus.locks.postgres import PostgresLocker
from vectus.locks.redis import RedisLocker
from vectus.protocol.policy import Policy
from vectus.protocol.upload import Upload
from vectus.stores.memory import MemoryStore
from vectus.testing.fakes import ManualClock
from vectus.testing.stores import Held
from world import LIMIT, soon

NAME = "sweeping-0123456789abcdef"

Make = Callable[..., "Process"]


class Process:
    """A server of several on one store, with locks of its own that know of the others'.

    Args:
        store: the store.
        locker: the locks.
        name: under which lock one scans for all.
    """

    def __init__(self, store: Counted, locker: Locker, name: str | None = NAME) -> None:
        self.store = store
        self.locker = locker
        progress = Engine(store, locker, Policy(), Announcer(), clock=ManualClock()).progress
        self.progress = progress
        self.sweeper = Sweeper(
            store, progress, locker=locker, scanned_as=name, retry_every=0.001, scan_every=0.01
        )
        self._running: asyncio.Task[None] | None = None

    def start(self) -> Process:
        """Begin to sweep."""
        self._running = asyncio.get_running_loop().create_task(self.sweeper.run())
        return self

    async def stop(self) -> None:
        """End it, as an application does."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await soon(running)


class Counted(MemoryStore):
    """A store that counts scans."""

    def __init__(self) -> None:
        super().__init__()
        self.scans = 0
        self.ended = 0
        self.fails = 0
        self.between: Callable[[], None] = lambda: None

    async def scan(self) -> AsyncIterator[Upload]:
        """Count, and do what a test wants after each upload."""
        self.scans += 1
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("not now")
        async for upload in super().scan():
            yield upload
            self.between()
        self.ended += 1

    async def until(self, count: int) -> None:
        """Wait for so many scans."""

        async def reached() -> None:
            while self.scans < count:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)

        await soon(reached())


class Fickle:
    """Locks that are lost, or cannot be had, when a test says so."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.held = 0
        self.asked: list[tuple[str, bool, float]] = []
        self.lease = Held(1)

    @asynccontextmanager
    async def hold(
        self,
        id: str,
        on_wanted: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        *,
        ask: bool = True,
        patience: float = 20.0,
    ) -> AsyncIterator[Lease]:
        """Hold, or say why not."""
        self.asked.append((id, ask, patience))
        if self.trouble is not None:
            raise self.trouble
        self.held += 1
        self.lease = Held(self.held)
        yield self.lease

    async def aclose(self) -> None:
        """Do nothing."""


@pytest.fixture
def store() -> Counted:
    """What all processes share."""
    return Counted()


@pytest.fixture
async def make(store: Counted) -> AsyncIterator[Make]:
    """Make processes; they are stopped in the end."""
    made: list[Process] = []

    def one(locker: Locker, name: str | None = NAME) -> Process:
        made.append(Process(store, locker, name))
        return made[-1]

    yield one
    for each in made:
        await each.stop()
        await each.progress.aclose()
        await each.locker.aclose()


def lockers(kind: str, folder: Path) -> Iterator[Locker]:
    """Yield lockers of as many processes."""
    shared = MemoryLocker()
    while True:
        yield shared if kind == "memory" else FileLocker(folder)


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_one_scans_for_all(make: Make, store: Counted, tmp_path: Path, kind: str) -> None:
    """Each process looks at its start, which is what finishes what its predecessor left (D2); then
    one goes on, and another does when that one ends."""
    locks = lockers(kind, tmp_path)
    processes = [make(next(locks)).start() for _ in range(5)]
    await store.until(9)  # five, and some more by the one
    sweeping = [each for each in processes if each.sweeper.scans_for_all]
    assert len(sweeping) == 1
    await sweeping[0].stop()
    before = store.scans
    await store.until(before + 2)

    others = [each for each in processes if each.sweeper.scans_for_all]
    assert len(others) == 1
    assert others != sweeping


async def test_stores_do_not_get_into_each_others_way(make: Make, store: Counted) -> None:
    """Different stores may have their locks in one place."""
    locker = MemoryLocker()
    processes = [make(locker, name).start() for name in (NAME, NAME.replace("0", "1"))]
    await store.until(6)

    assert all(each.sweeper.scans_for_all for each in processes)


async def test_where_nothing_is_said_each_scans(make: Make, store: Counted) -> None:
    """A store that has no name for it, be it that nobody shares it, needs no lock."""
    locker = Fickle()
    make(locker, None).start()
    await store.until(4)

    assert locker.asked == []


async def test_the_holder_is_never_disturbed(make: Make, store: Counted) -> None:
    """A process only tries: it neither asks for the lock nor waits for it."""
    locker = Fickle()
    make(locker).start()
    await store.until(3)

    assert locker.asked == [(NAME, False, 0)]


@pytest.mark.parametrize(
    "trouble", [LockHeld(NAME), LockUnavailable("gone fishing"), ValueError("a fault of ours")]
)
async def test_without_the_lock_it_tries_again(
    make: Make, store: Counted, trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever keeps a process from the lock, it serves, tries again what failed in it, and scans
    as soon as it has the lock."""
    locker = Fickle()
    locker.trouble = trouble
    process = make(locker)
    process.progress.owed.add("missing")
    with caplog.at_level(logging.ERROR, "vectus"):
        process.start()
        while len(locker.asked) < 3:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
    assert store.scans == 1
    assert process.progress.owed == set()
    assert bool(caplog.records) is isinstance(trouble, ValueError)
    locker.trouble = None
    await store.until(3)

    assert locker.held == 1


async def test_a_lease_that_is_lost_ends_the_scan(make: Make, store: Counted) -> None:
    """Somebody else may have begun; then it is tried for the lock again."""
    for n in range(3):
        await store.create(Upload(f"upload-{n}", length=5))
    locker = Fickle()
    process = make(locker).start()
    await store.until(1)

    def lose() -> None:
        locker.lease.lost = True
        store.between = lambda: None

    store.between = lose
    await store.until(3)
    assert store.ended == store.scans - 1 or store.ended == store.scans - 2
    await process.stop()

    assert locker.held == 2


async def test_a_lease_that_is_lost_between_two_scans(make: Make, store: Counted) -> None:
    """Nothing is scanned under it any more."""
    locker = Fickle()
    process = make(locker).start()
    await store.until(3)
    first, locker.trouble = locker.lease, LockHeld(NAME)
    first.lost = True
    while len(locker.asked) < 3:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.001)

    scans = store.scans
    await asyncio.sleep(0.03)
    assert store.scans == scans
    assert not process.sweeper.scans_for_all


async def test_a_scan_that_fails_keeps_the_lock(make: Make, store: Counted) -> None:
    """A store that is away for a while is scanned again in the next period."""
    locker = Fickle()
    store.fails = 3
    make(locker).start()
    await store.until(6)

    assert locker.held == 1


async def test_stopping_lets_the_lock_go(make: Make, store: Counted, tmp_path: Path) -> None:
    """A process that ends leaves no lock and no lock file behind."""
    process = make(FileLocker(tmp_path)).start()
    await store.until(3)
    assert (tmp_path / NAME).exists()
    await process.stop()
    assert not (tmp_path / NAME).exists()


REMOTE = {"redis": lambda url: RedisLocker(url, ttl=1.0), "postgres": PostgresLocker}


@pytest.mark.parametrize("kind", REMOTE)
async def test_one_scans_for_all_machines(
    make: Make, store: Counted, kind: str, request: pytest.FixtureRequest
) -> None:
    """Locks that a server keeps are lost when it dies: then nobody scans; when it is back, one
    does, be it the same or another. What stops meanwhile stops at once."""
    server: Backend = request.getfixturevalue(f"{kind}_server")
    processes = [make(REMOTE[kind](server.url)).start() for _ in range(3)]
    await until(lambda: sweeping(processes) == 1)
    await store.until(store.scans + 3)
    await asyncio.to_thread(server.kill)
    await until(lambda: sweeping(processes) == 0)
    async with asyncio.timeout(10):
        await processes.pop().stop()
    scans = store.scans
    await asyncio.to_thread(server.start)
    await until(lambda: sweeping(processes) == 1)
    await store.until(scans + 3)

    assert sweeping(processes) == 1


def sweeping(processes: Sequence[Process]) -> int:
    """Return how many scan for all."""
    return sum(each.sweeper.scans_for_all for each in processes)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what must happen."""
    async with asyncio.timeout(LIMIT):
        while not holds():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


class Dear(Counted):
    """A store whose scans cost money."""

    def limits(self) -> Limits:
        """Scan it often, for a test."""
        return Limits(scan_every=0.01, scanned_as=NAME)


async def test_an_application_shares_its_scans() -> None:
    """The name comes from the store, the lock from the application's locker."""
    store, locker = Dear(), MemoryLocker()
    held = locker.hold(NAME, ask=False, patience=0)
    async with held, Uploads(store, locker=locker):
        await asyncio.sleep(0.05)
        assert store.scans == 1
    async with Uploads(store, locker=locker):
        await store.until(4)
        with pytest.raises(LockHeld):
            async with _tried(locker):
                pass
    async with _tried(locker):
        pass


def _tried(locker: Locker) -> AbstractAsyncContextManager[Lease]:
    return locker.hold(NAME, ask=False, patience=0)


async def test_an_application_starts_and_stops_without_its_locks() -> None:
    """Redis may be away when a server starts, and when it stops."""
    locker = Fickle()
    locker.trouble = LockUnavailable("gone fishing")
    store = Dear()
    async with asyncio.timeout(10), Uploads(store, locker=locker):
        while len(locker.asked) < 2:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
    assert store.scans == 1
