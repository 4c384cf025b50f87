"""Lockers whose locks are kept by a server elsewhere, under the published suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends import Postgres
from vectus.contracts import Locker
from vectus.locks.file import FileLocker
from vectus.locks.postgres import PostgresLocker
from vectus.locks.redis import RedisLocker
from vectus.locks.together import BothLocker
from vectus.testing.lockers import LockerSuite


async def connected(locker: Locker) -> Locker:
    """Connect a locker: what the suite waits for is not the connection."""
    async with locker.hold("0"):
        return locker


async def closed(locker: RedisLocker | PostgresLocker) -> None:
    """Close a locker, which must have forgotten everybody, and leave nothing running."""
    await locker.aclose()
    assert locker._line._lanes == {}
    assert len(asyncio.all_tasks()) == 1


class TestRedisLocker(LockerSuite):
    """Locks in Redis, by two lockers that know nothing of each other."""

    @pytest.fixture
    async def locker(self, lasting_redis: str) -> AsyncIterator[Locker]:
        locker = RedisLocker(lasting_redis)
        yield await connected(locker)
        await closed(locker)

    @pytest.fixture
    async def other(self, lasting_redis: str) -> AsyncIterator[Locker]:
        locker = RedisLocker(lasting_redis)
        yield await connected(locker)
        await locker.aclose()


class TestPostgresLocker(LockerSuite):
    """Locks in PostgreSQL, by two lockers that know nothing of each other."""

    @pytest.fixture
    async def locker(self, shared_postgres: Postgres) -> AsyncIterator[Locker]:
        locker = PostgresLocker(shared_postgres.url)
        yield await connected(locker)
        await closed(locker)

    @pytest.fixture
    async def other(self, shared_postgres: Postgres) -> AsyncIterator[Locker]:
        locker = PostgresLocker(shared_postgres.url)
        yield await connected(locker)
        await locker.aclose()


class TestBothLocker(LockerSuite):
    """Locks in Redis and in files at once, on two machines that share the directory."""

    @pytest.fixture
    async def locker(self, lasting_redis: str, tmp_path: Path) -> AsyncIterator[Locker]:
        locker = BothLocker(RedisLocker(lasting_redis), FileLocker(tmp_path / "locks"))
        yield await connected(locker)
        await locker.aclose()

    @pytest.fixture
    async def other(self, lasting_redis: str, tmp_path: Path) -> AsyncIterator[Locker]:
        locker = BothLocker(RedisLocker(lasting_redis), FileLocker(tmp_path / "locks"))
        yield await connected(locker)
        await locker.aclose()
