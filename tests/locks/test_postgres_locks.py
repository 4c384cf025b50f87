"""What is particular to locks in PostgreSQL: one session, and what may become of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from typing import Any

import psycopg
import pytest
from pauses import again_if_paused

from backends import Postgres
from server import Port
from vectus.errors import ConfigurationError, LockUnavailable
from vectus.locks import postgres, remote
from vectus.locks.postgres import PostgresLocker
from vectus.testing.lockers import Holder

ID = "0123456789abcdef"
LIMIT = 30.0
SOON = 15.0
"""Seconds: less than the time after which a lease ends by itself, see ``unhurried``."""


@pytest.fixture
async def locker(shared_postgres: Postgres) -> AsyncIterator[PostgresLocker]:
    """A locker."""
    locker = PostgresLocker(shared_postgres.url)
    yield locker
    await locker.aclose()


@pytest.fixture
async def other(shared_postgres: Postgres) -> AsyncIterator[PostgresLocker]:
    """Another one."""
    locker = PostgresLocker(shared_postgres.url)
    yield locker
    await locker.aclose()


def backend(locker: PostgresLocker) -> int:
    """Return the server's process for a locker."""
    session: Any = locker._line._session
    return int(session._backend)


async def test_one_session(locker: PostgresLocker, shared_postgres: Postgres) -> None:
    """All locks of a process are one session's, and it takes none of them twice."""
    holders = [Holder(locker, f"upload-{n}", patient=None) for n in range(40)]
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        for holder in holders:
            group.create_task(holder.run())
        for holder in holders:
            await holder.held.wait()
        # Others', of processes that tests have killed, may not have ended yet.
        count = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = %s"
        assert await ask(shared_postgres, count, backend(locker)) == [(40,)]
        for holder in holders:
            holder.leave()
    assert await ask(shared_postgres, count, backend(locker)) == [(0,)]


async def ask(server: Postgres, query: str, *arguments: object) -> list[Any]:
    """Ask the server something."""
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as own:
        return await (await own.execute(query, arguments or None)).fetchall()


async def test_the_session_is_ended(
    locker: PostgresLocker, other: PostgresLocker, shared_postgres: Postgres
) -> None:
    """With its session all leases of a process are lost, at once, and others can have the locks;
    the process goes on with a new session."""
    events = [asyncio.Event() for _ in range(3)]
    async with (
        locker.hold("upload-0", on_lost=events[0].set) as first,
        locker.hold("upload-1", on_lost=events[1].set) as second,
    ):
        begun = remote.now()
        await ask(shared_postgres, "SELECT pg_terminate_backend(%s)", backend(locker))
        async with asyncio.timeout(LIMIT):
            await events[0].wait()
            await events[1].wait()
        assert remote.now() - begun < SOON
        assert first.lost
        assert second.lost
        async with other.hold("upload-0", patience=LIMIT) as later:
            assert later.fence > first.fence
    async with locker.hold("upload-0", on_lost=events[2].set) as again:
        assert again.fence > later.fence
    assert not events[2].is_set()


async def test_the_server_stands_still(
    locker: PostgresLocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that does not answer costs its holders their leases soon, and is given up."""
    monkeypatch.setattr(postgres, "BEAT", 0.2)
    event = asyncio.Event()
    async with locker.hold(ID, on_lost=event.set):
        process, begun = backend(locker), remote.now()
        with monkeypatch.context() as patch, suppress(ProcessLookupError):  # a busy machine
            patch.setattr(postgres, "PATIENCE", 0.5)
            os.kill(process, signal.SIGSTOP)
            try:
                async with asyncio.timeout(LIMIT):
                    await event.wait()
                assert remote.now() - begun < SOON
            finally:
                os.kill(process, signal.SIGCONT)
    async with locker.hold(ID):
        assert backend(locker) != process


async def test_a_lease_ends_without_an_answer(
    locker: PostgresLocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease is over some seconds after the server was last heard of, whatever else is tried."""
    async with locker.hold("another"):  # it is connected
        pass
    monkeypatch.setattr(postgres, "BEAT", 1e6)
    monkeypatch.setattr(postgres, "LASTING", 0.5)
    event, begun = asyncio.Event(), remote.now()
    while not event.is_set():
        with suppress(LockUnavailable):  # a busy machine
            async with asyncio.timeout(LIMIT), locker.hold(ID, on_lost=event.set) as lease:
                await event.wait()
                assert lease.lost
                assert remote.now() - begun >= 0.5


@again_if_paused(0.3)
async def test_a_lease_lasts_with_answers(
    locker: PostgresLocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the server answers, a lease lasts."""
    monkeypatch.setattr(postgres, "BEAT", 0.1)
    monkeypatch.setattr(postgres, "LASTING", 1.0)
    async with locker.hold(ID) as lease:
        await asyncio.sleep(1.5)
        assert not lease.lost


async def test_postgres_is_gone(postgres_server: Postgres) -> None:
    """With PostgreSQL gone a lock cannot be had, in next to no time, and can be when it is back."""
    locker, event = PostgresLocker(postgres_server.url), asyncio.Event()
    async with locker.hold(ID, on_lost=event.set) as lease:
        postgres_server.kill()
        async with asyncio.timeout(LIMIT):
            await event.wait()
    took = []
    for _ in range(3):
        begun = remote.now()
        with pytest.raises(LockUnavailable):
            async with locker.hold(ID):
                pytest.fail("PostgreSQL is gone.")
        took.append(remote.now() - begun)
    assert min(took) < 3  # the machine may have been busy
    postgres_server.start()
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                async with locker.hold(ID) as again:
                    assert again.fence > lease.fence
                    break
            except LockUnavailable:
                await asyncio.sleep(0.05)
    await locker.aclose()


async def test_a_pooler_stands_between(locker: PostgresLocker) -> None:
    """An answer of another server process than before ends the session: behind a pooler in
    transaction mode no lock would hold."""
    async with locker.hold("another"):
        session: Any = locker._line._session
    session._backend += 1
    with pytest.raises(LockUnavailable, match="pooler in transaction mode"):
        async with locker.hold(ID):
            pytest.fail("This lock is nobody's.")
    async with locker.hold(ID):
        pass


async def test_how_soon_a_dead_machine_is_found_out() -> None:
    """Over TCP both ends look after each other, the holder's sooner than the server's."""
    with (
        closing(Port()) as port,
        Postgres("listen_addresses=127.0.0.1", f"port={port.number}") as server,
    ):
        locker = PostgresLocker(f"postgresql://vectus@127.0.0.1:{port.number}/postgres")
        async with locker.hold(ID):
            session: Any = locker._line._session
            found = await session._ask(
                "SELECT current_setting('tcp_keepalives_idle'),"
                " current_setting('tcp_keepalives_count'), current_setting('tcp_user_timeout'),"
                " pg_backend_pid()"
            )
            assert found[:2] == ("5", "5")
            ours = session._connection.info.get_parameters()
        await locker.aclose()
        assert server.url
    assert ours["tcp_user_timeout"] == "5000"
    assert ours["keepalives_idle"] == "2"


async def test_the_server_s_clock_is_put_back(locker: PostgresLocker) -> None:
    """A process remembers the highest fence it has seen."""
    locker._line.fence = 8_000_000_000_000_000
    async with locker.hold(ID) as lease:
        assert lease.fence == 8_000_000_000_000_001


@pytest.mark.parametrize("url", ["postgresql://user:secret@[host/", "postgresql://h/?secret=1"])
def test_what_is_no_url(url: str) -> None:
    """What is no URL of PostgreSQL is refused, and not quoted: there may be a password in it."""
    with pytest.raises(ConfigurationError, match="no URL of a PostgreSQL") as caught:
        PostgresLocker(url)
    assert "secret" not in str(caught.value)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg one sentence says what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'vectus\[postgres\]'"):
        PostgresLocker("postgresql://localhost")
