"""Locks kept elsewhere, among real processes: killed, stopped, forked and racing ones."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from pauses import TRIES, again_if_paused

from backends import Postgres, Redis
from vectus.errors import LockHeld
from vectus.locks import remote
from vectus.locks.postgres import PostgresLocker
from vectus.locks.redis import RedisLocker

Start = Callable[..., Awaitable[Any]]
Locker = RedisLocker | PostgresLocker

ID = "0123456789abcdef"
LIMIT = 30.0
SHORT = "?ttl=2"
SOON = 10.0
"""Seconds: less than any lock of a dead holder has left, and time enough for a busy machine."""

AT_ONCE = 1.0
"""Seconds that a machine may take which has others to attend to, most of the times."""


@pytest.fixture(params=["redis", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Where the locks are, on each kind of server."""
    if request.param == "redis":
        return str(request.getfixturevalue("lasting_redis"))
    return str(request.getfixturevalue("shared_postgres").url)


def open_locker(url: str) -> Locker:
    """Open a locker like those of the other processes."""
    return PostgresLocker(url) if url.startswith("postgresql") else RedisLocker(url)


@pytest.fixture
async def locker(url: str) -> AsyncIterator[Locker]:
    """A locker of this process."""
    locker = open_locker(url)
    yield locker
    await locker.aclose()


async def test_takeover(start_node: Start, url: str, locker: Locker) -> None:
    """A holder in another process is asked, and its lock is had well within a second."""
    now = asyncio.get_running_loop().time
    peer = await start_node(url, "polite", ID)
    assert await peer.line() == "held"
    waited = []

    for _ in range(9):
        wanted = asyncio.Event()
        begun = now()
        async with asyncio.timeout(LIMIT), locker.hold(ID, wanted.set, patience=LIMIT):
            waited.append(now() - begun)
            assert await peer.line() == "left"
            peer.tell("again")
            await wanted.wait()
        assert await peer.line() == "held"
    assert sorted(waited)[4] < AT_ONCE  # the machine may be busy once


async def test_a_waiter_is_woken(url: str, locker: Locker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for long is told when the lock is let go, and need not find out by trying."""
    monkeypatch.setattr(remote, "PAUSES", ())
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 1e6)
    async with asyncio.timeout(LIMIT), aclosing(open_locker(url)) as holding:
        for _ in range(3):
            wanted = asyncio.Event()  # of an upload that no killed holder has left
            async with holding.hold("woken", wanted.set):
                claim: Any = locker.hold("woken", patience=1e6)
                waiting = asyncio.ensure_future(claim.__aenter__())
                await wanted.wait()
                while claim._alarm._ringing is None:  # noqa: ASYNC110 - until it sleeps
                    await asyncio.sleep(0.001)
            await waiting
            await claim.__aexit__(None, None, None)


async def test_a_killed_holder(start_node: Start, url: str, locker: Locker) -> None:
    """The lock of a killed process is had in less than its time, and its fence counts."""
    peer = await start_node(url, "stubborn", ID)
    fence = int((await peer.line()).removeprefix("held "))
    peer.process.kill()
    assert await peer.end() == -signal.SIGKILL

    now = asyncio.get_running_loop().time
    begun = now()
    async with asyncio.timeout(LIMIT), locker.hold(ID, patience=LIMIT) as lease:
        assert lease.fence > fence
        assert now() - begun < SOON


async def test_killed_while_others_wait(start_node: Start, url: str, locker: Locker) -> None:
    """Whoever waits for a process that is killed has its lock soon, asking or not."""
    for ask in (True, False):
        peer = await start_node(url, "stubborn", ID)
        await peer.line()
        claim = locker.hold(ID, ask=ask)
        waiting = asyncio.ensure_future(claim.__aenter__())
        if ask:
            assert await peer.line() == "wanted"
        await asyncio.sleep(0.1)
        assert not waiting.done()

        peer.process.kill()
        await asyncio.wait_for(waiting, SOON)
        await claim.__aexit__(None, None, None)


@pytest.mark.timeout(240)
async def test_hammered(start_node: Start, url: str, tmp_path: Path) -> None:
    """Processes with many tasks that fight for one lock never hold it together, and its fences
    rise all the time."""
    peers = await hammering(start_node, url, 6, tmp_path)
    await rounds(tmp_path, 150)

    counts = await outcomes(peers)
    assert counts.pop("turns") > 150
    del counts["paused"]
    assert set(counts.values()) == {0}


async def hammering(start_node: Start, url: str, tasks: int, scratch: Path) -> list[Any]:
    """Start three processes, each with so many tasks."""
    peers = [await start_node(url, "hammer", ID, tasks, scratch) for _ in range(3)]
    assert [await peer.line() for peer in peers] == ["begun"] * 3
    return peers


async def outcomes(peers: list[Any]) -> dict[str, int]:
    """End hammering processes, and add up what they say."""
    counts: dict[str, int] = {}
    for peer in peers:
        peer.tell("enough")
    for peer in peers:
        for name, count in re.findall(r"(\w+)=(\d+)", await peer.line(2 * LIMIT)):
            counts[name] = counts.get(name, 0) + int(count)
    return counts


@again_if_paused(0.3)
async def test_a_stopped_holder_in_redis(start_node: Start, open_redis: str) -> None:
    """A stopped process loses its lock when its time is over, to nobody before; when it goes on,
    it can see that before it writes, though what it would write is there first."""
    async with aclosing(RedisLocker(f"{open_redis}{SHORT}")) as locker:
        peer = await start_node(f"{open_redis}{SHORT}", "careful", ID)
        fence = int((await peer.line()).removeprefix("held "))
        peer.tell("piece")
        assert await peer.line() == "wrote"
        peer.stop()

        with pytest.raises(LockHeld):
            async with locker.hold(ID, patience=0.7):
                pytest.fail("Two hold one lock.")
        async with asyncio.timeout(LIMIT), locker.hold(ID, patience=LIMIT) as lease:
            assert lease.fence > fence
            peer.tell("piece")
            peer.process.send_signal(signal.SIGCONT)
            assert sorted([await peer.line(), await peer.line()]) == ["refused", "told"]


async def test_a_stopped_holder_in_postgres(start_node: Start, shared_postgres: Postgres) -> None:
    """A stopped process keeps its lock in PostgreSQL, which sees its machine alive; who wants it
    gives up in time, and is heard when the process goes on."""
    locker = PostgresLocker(shared_postgres.url)
    peer = await start_node(shared_postgres.url, "polite", ID)
    assert await peer.line() == "held"
    peer.stop()

    for patience in (0, 0.8):
        with pytest.raises(LockHeld):
            async with locker.hold(ID, patience=patience):
                pytest.fail("Two hold one lock.")

    peer.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(LIMIT), locker.hold(ID, patience=LIMIT):
        assert await peer.line() == "left"
    await locker.aclose()


async def test_a_fork(start_node: Start, url: str, locker: Locker) -> None:
    """A forked child does not hold, release or answer for its parent's lock, can use the parent's
    locker as its own, and does not keep the parent's lock after the parent's death."""
    parent = await start_node(url, "fork", ID)
    assert await parent.line() == "child is kept out"
    assert (await parent.line()).startswith("child ")
    for id, answer in ((ID, "wanted"), ("other", "child wanted")):
        with pytest.raises(LockHeld):
            async with locker.hold(id, patience=0):
                pytest.fail("Two hold one lock.")
        assert await parent.line() == answer

    parent.process.kill()  # and the child lives on
    async with asyncio.timeout(SOON), locker.hold(ID):
        pass
    with pytest.raises(LockHeld):
        async with locker.hold("other", ask=False, patience=0):
            pytest.fail("The child did not live on.")


async def test_nobody_closes(start_node: Start, url: str, locker: Locker) -> None:
    """A process that ends without closing its locker ends all the same, and has let go."""
    peer = await start_node(url, "forgetful", ID)
    assert await peer.line() == "ending"
    assert await peer.end() == 0
    async with asyncio.timeout(SOON), locker.hold(ID):
        pass


async def test_one_loop_after_another(url: str) -> None:
    """One locker serves one event loop after another, and not two at once."""
    locker = open_locker(url)

    async def use() -> None:
        async with locker.hold(ID):
            pass
        await locker.aclose()

    for _ in range(2):
        await asyncio.to_thread(asyncio.run, use())
    async with locker.hold(ID):
        with pytest.raises(RuntimeError, match="one event loop at a time"):
            await asyncio.to_thread(asyncio.run, use())
    await locker.aclose()


@pytest.mark.timeout(240)
async def test_redis_killed_under_load(start_node: Start, tmp_path: Path) -> None:
    """Redis killed, and back without anything it knew, twice: holders are out at once, nobody gets
    a lock while an old one may last, fences rise, and all goes on. Told again where one of them
    stood still: he may have lost a lock in the middle of it."""
    for number in range(TRIES):
        scratch = tmp_path / f"{number}"
        scratch.mkdir()
        with Redis() as server:
            peers = await hammering(start_node, f"{server.url}{SHORT}", 4, scratch)
            await rounds(scratch, 5)
            for _ in range(2):
                server.kill()
                server.start()
                await rounds(scratch, 5)
            counts = await outcomes(peers)
        if not counts["paused"]:
            break
    assert (counts["overlaps"], counts["falls"]) == (0, 0)
    assert counts["away"] > 0


async def rounds(scratch: Path, number: int) -> None:
    """Wait for so many turns of those who hammer."""
    seen = set()
    async with asyncio.timeout(3 * LIMIT):
        while len(seen) <= number:
            if (scratch / "fence").exists():
                seen.add((scratch / "fence").read_text())
            await asyncio.sleep(0.002)


@pytest.mark.timeout(240)
async def test_sessions_ended_under_load(
    start_node: Start, postgres_server: Postgres, tmp_path: Path
) -> None:
    """Sessions of PostgreSQL that are ended one after the other: the server gives a lock away a
    moment before its holder can know, so that two may have it for this moment (fences are for
    that), and no longer; all go on with new sessions."""
    import psycopg

    ended = 0
    peers = await hammering(start_node, postgres_server.url, 4, tmp_path)
    await rounds(tmp_path, 5)
    async with await psycopg.AsyncConnection.connect(postgres_server.url, autocommit=True) as own:
        for _ in range(12):
            cursor = await own.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'vectus locks' ORDER BY random() LIMIT 2"
            )
            ended += cursor.rowcount
            await rounds(tmp_path, 3)

    counts = await outcomes(peers)
    assert counts["doubles"] == 0
    # Whoever is overlapped had his session ended; he may leave before he hears of it.
    assert max(counts["falls"], counts["overlaps"]) <= ended
    assert counts["lost"] + counts["away"] > 0


@pytest.mark.timeout(240)
async def test_postgres_killed_under_load(
    start_node: Start, postgres_server: Postgres, tmp_path: Path
) -> None:
    """PostgreSQL killed and started again: the same."""
    peers = await hammering(start_node, postgres_server.url, 4, tmp_path)
    await rounds(tmp_path, 5)
    postgres_server.kill()
    postgres_server.start()
    await rounds(tmp_path, 5)

    counts = await outcomes(peers)
    assert counts["doubles"] == 0
    # Its processes do not end in one moment: each but the last may give the lock away.
    assert max(counts["falls"], counts["overlaps"]) < len(peers)
    assert counts["away"] > 0
