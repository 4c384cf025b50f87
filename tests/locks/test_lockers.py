"""Our lockers under the published suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from vectus.contracts import Locker
from vectus.locks.file import FileLocker
from vectus.locks.memory import MemoryLocker
from vectus.testing.lockers import LIMIT, Holder, LockerSuite, wait_in_vain


async def woken(locker: Locker) -> None:
    """Fail unless a waiter has the lock within a few rounds of the event loop of its release."""
    holder, waiter = Holder(locker, patient=None), Holder(locker)
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        group.create_task(holder.run())
        await holder.held.wait()
        group.create_task(waiter.run())
        await wait_in_vain(locker)
        holder.leave()
        for _ in range(5):
            await asyncio.sleep(0)
        assert waiter.held.is_set()
        waiter.leave()


class TestMemoryLocker(LockerSuite):
    """Locks in memory."""

    @pytest.fixture
    async def locker(self) -> AsyncIterator[Locker]:
        locker = MemoryLocker()
        yield locker
        await locker.aclose()
        assert (locker._line._holders, locker._line._waiters) == ({}, {})

    async def test_woken_at_once(self, locker: Locker) -> None:
        """A waiter does not sleep on when the lock is let go."""
        await woken(locker)


class TestFileLocker(LockerSuite):
    """Locks in files, by two lockers that know nothing of each other."""

    @pytest.fixture
    async def locker(self, tmp_path: Path) -> AsyncIterator[Locker]:
        locker = FileLocker(tmp_path / "locks")
        yield locker
        await locker.aclose()
        assert (locker._line._holders, locker._line._waiters) == ({}, {})

    @pytest.fixture
    async def other(self, tmp_path: Path) -> AsyncIterator[Locker]:
        locker = FileLocker(str(tmp_path / "locks"))
        yield locker
        await locker.aclose()

    async def test_woken_at_once(self, locker: Locker) -> None:
        """A waiter in the holder's process does not sleep on when the lock is let go."""
        await woken(locker)
