"""A network lock and the kernel's for each upload, and which locks go with which store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends import Postgres, Redis
from vectus.app import Uploads
from vectus.errors import ConfigurationError, LockHeld
from vectus.locks.file import FileLocker
from vectus.locks.memory import MemoryLocker
from vectus.locks.postgres import PostgresLocker
from vectus.locks.redis import RedisLocker
from vectus.locks.together import BothLocker
from vectus.stores.file import FileStore
from vectus.stores.memory import MemoryStore
from vectus.stores.reach import ManyMachines, OneMachine
from vectus.testing.lockers import Holder, is_free
from vectus.wiring import open_locker, open_store

ID = "0123456789abcdef"
LIMIT = 30.0


class Ahead(MemoryLocker):
    """Locks whose holders can be told that they have lost them."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[object] = []

    def hold(self, id, on_wanted=None, on_lost=None, **how):
        self.lost.append(on_lost)
        return super().hold(id, on_wanted, on_lost, **how)


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[FileLocker]:
    """The kernel's locks."""
    locker = FileLocker(tmp_path / "locks")
    yield locker
    await locker.aclose()


async def test_the_kernel_s_lock_is_held_too(files: FileLocker, tmp_path: Path) -> None:
    """Whoever holds the network's lock has the kernel's, and neither once he has left."""
    far = MemoryLocker()
    both = BothLocker(far, FileLocker(tmp_path / "locks"))
    async with both.hold(ID):
        assert [await is_free(far, ID), await is_free(files, ID)] == [False, False]
    assert [await is_free(far, ID), await is_free(files, ID)] == [True, True]
    await both.aclose()


async def test_somebody_has_the_kernel_s_lock(files: FileLocker) -> None:
    """Who has the kernel's lock only, having lost the network's, is asked for it and waited for;
    in vain the network's is let go of."""
    far = MemoryLocker()
    both, holder = BothLocker(far, files), Holder(files, ID, patient=None)
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        group.create_task(holder.run())
        await holder.held.wait()
        with pytest.raises(LockHeld):
            async with both.hold(ID, patience=0.2):
                pytest.fail("Two hold one lock.")
        assert holder.asked
        assert await is_free(far, ID)
        holder.leave()
        async with both.hold(ID, patience=LIMIT):
            pass


async def test_the_lease_is_the_network_s(files: FileLocker) -> None:
    """The fence is the one that all machines share, and what is lost is the network's lock."""
    far = Ahead()
    async with far.hold(ID) as lease:
        fence = lease.fence
    both = BothLocker(far, files)
    async with both.hold(ID, on_lost=fail) as lease:
        assert fence < lease.fence == far._line._holders[ID][1].fence
        assert far.lost == [None, fail]
        lease.retire()
        assert not lease.lost


def fail() -> None:
    """Be somebody to tell."""


@pytest.mark.parametrize(
    ("place", "locks", "kind"),
    [
        ("{}", "redis://localhost:1", BothLocker),
        ("{}", "rediss://localhost:1", BothLocker),
        ("{}", "postgresql://localhost:1", BothLocker),
        ("{}", None, FileLocker),
        ("memory://", None, MemoryLocker),
    ],
)
async def test_which_locks(tmp_path: Path, place: str, locks: str | None, kind: type) -> None:
    """A directory has the kernel's locks, and those elsewhere besides; they may be away as yet."""
    locker = open_locker(place.format(tmp_path), locks)
    assert type(locker) is kind
    await locker.aclose()


@pytest.mark.parametrize(
    ("locks", "reach"), [(None, OneMachine), ("redis://localhost:1", ManyMachines)]
)
async def test_a_store_knows_who_uses_it(tmp_path: Path, locks: str | None, reach: type) -> None:
    """With locks elsewhere a directory is used as by several machines."""
    store = open_store(tmp_path, locks=locks)
    assert isinstance(store, FileStore)
    assert type(store._folder.reach) is reach
    await store.aclose()


@pytest.mark.parametrize(
    ("locks", "words"),
    [
        ("gopher://hole", "no locks for gopher://"),
        ("localhost:6379", "named by a URL"),
        ("", "named by a URL"),
    ],
)
def test_what_is_no_place_of_locks(tmp_path: Path, locks: str, words: str) -> None:
    """Nothing is opened, and the hint says what could be written instead."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        open_locker(tmp_path, locks)
    assert "redis://" in caught.value.hint


async def test_locks_of_an_application(tmp_path: Path) -> None:
    """``Uploads`` takes a URL of locks, with a place or with a store object; not both a URL and a
    locker."""
    application = Uploads(tmp_path, locks="redis://localhost:1")
    assert type(application.locker) is BothLocker
    assert type(Uploads(MemoryStore(), locks="redis://localhost:1").locker) is RedisLocker
    assert type(Uploads(MemoryStore(), locks="postgres://localhost:1").locker) is PostgresLocker
    with pytest.raises(ConfigurationError, match="two kinds of locks"):
        Uploads(tmp_path, locks="redis://localhost:1", locker=MemoryLocker())
    with pytest.raises(ConfigurationError, match="no locks elsewhere"):
        Uploads("memory://", locks="redis://localhost:1")
    async with application:
        pass


async def test_both_over_real_servers(
    open_redis: str, shared_postgres: Postgres, shared_redis: Redis, tmp_path: Path
) -> None:
    """A store opened with either kind of locks keeps other machines out."""
    for url in (open_redis, shared_postgres.url):
        first, second = open_locker(tmp_path / "a", url), open_locker(tmp_path / "b", url)
        async with first.hold(ID):
            assert not await is_free(second, ID)
        assert await is_free(second, ID)
        await first.aclose()
        await second.aclose()
