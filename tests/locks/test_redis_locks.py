"""What is particular to locks in Redis: what is in there, and what Redis may do to them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from typing import Any

import pytest
import redis.asyncio as aio
from opening import opened
from pauses import again_if_paused

from backends import Redis
from server import Port
from vectus.contracts import Lease
from vectus.errors import ConfigurationError, LockHeld, LockUnavailable
from vectus.locks import remote
from vectus.locks.redis import RedisLocker
from vectus.testing.lockers import Holder, is_free

Start = Callable[..., Awaitable[Any]]

ID = "0123456789abcdef"
LIMIT = 30.0
TTL = 2.0
LASTING = 30.0
"""Seconds that locks last where their end does not matter: no pause of a machine is so long."""

SOON = 10.0
"""Seconds: less than such a lock has left, and time enough for a busy machine."""

FENCE, ERA = "{vectus}:fence", "{vectus}:era"


class Lost:
    """Notes that, and when, a lease was lost."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.at = 0.0

    def __call__(self) -> None:
        self.at = remote.now()
        self.event.set()

    async def wait(self) -> float:
        """Return when it was lost."""
        async with asyncio.timeout(LIMIT):
            await self.event.wait()
        return self.at


@pytest.fixture
async def locker(open_redis: str) -> AsyncIterator[RedisLocker]:
    """A locker whose locks last for a shorter time than usual."""
    locker = RedisLocker(open_redis, ttl=TTL)
    yield locker
    await locker.aclose()


@pytest.fixture
async def other(open_redis: str) -> AsyncIterator[RedisLocker]:
    """Another one."""
    locker = RedisLocker(open_redis, ttl=TTL)
    yield locker
    await locker.aclose()


@pytest.fixture
async def client(open_redis: str) -> AsyncIterator[aio.Redis]:
    """A look at what is in Redis."""
    client = aio.Redis.from_url(open_redis, decode_responses=True)
    yield client
    await client.aclose()


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A Redis of the test's own, whose clock and data it may spoil."""
    with Redis() as server:
        yield server


@asynccontextmanager
async def held(locker: RedisLocker, id: str = ID, **how: Any) -> AsyncIterator[Lease]:
    """Hold a lock that can be had, though the machine be too busy for some tries."""
    async with asyncio.timeout(LIMIT):
        while True:
            claim = locker.hold(id, **how)
            try:
                lease = await claim.__aenter__()
                break
            except LockUnavailable:
                await asyncio.sleep(0.05)
    try:
        yield lease
    finally:
        await claim.__aexit__(None, None, None)


@again_if_paused(0.3)
async def test_renewed(locker: RedisLocker, other: RedisLocker) -> None:
    """A lock is held for as long as its holder likes, many of them in one process as well."""
    lost = Lost()
    holders = [Holder(locker, f"upload-{n}", patient=None) for n in range(60)]
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        for holder in holders:
            group.create_task(holder.run())
        async with locker.hold(ID, on_lost=lost) as lease:
            with pytest.raises(LockHeld):
                async with other.hold(ID, ask=False, patience=TTL * 1.5):
                    pytest.fail("Two hold one lock.")
            assert not lease.lost
            assert not await is_free(other, "upload-0")
            assert not await is_free(other, "upload-59")
        for holder in holders:
            holder.leave()
    assert not lost.event.is_set()


async def test_nothing_is_left(open_redis: str, client: aio.Redis) -> None:
    """Of an upload nothing stays in Redis, and there is one subscription for a process."""
    locker, id = RedisLocker(open_redis, ttl=LASTING), "nobody-else-has-it"
    before = set(await client.keys("*"))  # killed holders of other tests among them
    async with locker.hold(id):
        assert await client.exists("{vectus}:lock:" + id)
        with pytest.raises(LockHeld):
            async with locker.hold(id, patience=0.1):
                pytest.fail("Two hold one lock.")
    assert set(await client.keys("*")) - before <= {FENCE, ERA}
    await locker.aclose()


async def test_fences_follow_the_counter_and_the_time(own_redis: Redis) -> None:
    """A fence is above the last one where the clock was put back, and about the time, in
    microseconds, where the last one was forgotten; and above what this process has seen."""
    await opened(own_redis.url)
    client = aio.Redis.from_url(own_redis.url)
    locker, fences = RedisLocker(own_redis.url, ttl=LASTING), []
    ahead = 8_000_000_000_000_000
    for before in (None, ahead, 0):
        if before is not None:
            await client.set(FENCE, before)
        async with locker.hold(ID) as lease:
            fences.append(lease.fence)
    assert 1_700_000_000_000_000 < fences[0] < ahead
    assert fences[1:] == [ahead + 1, ahead + 2]
    await client.delete(FENCE)
    fresh = RedisLocker(own_redis.url, ttl=LASTING)
    async with fresh.hold(ID) as lease:
        assert fences[0] < lease.fence < ahead
    for closable in (locker, fresh, client):
        await closable.aclose()


async def test_a_server_that_was_just_started() -> None:
    """A server that has come up empty gives out nothing until every lease of an earlier one is
    over, and then to whoever waits."""
    begun = remote.now()
    with Redis() as server:
        await opens_in_time(server, begun)


async def test_a_server_that_took_over(own_redis: Redis) -> None:
    """A server that has another's data, but has been up for long, waits as well: the other one's
    last leases may not be in there."""
    await opened(own_redis.url)
    client = aio.Redis.from_url(own_redis.url)
    await client.set(ERA, "0123456789abcdef 17")
    await client.aclose()
    await opens_in_time(own_redis, remote.now())


async def opens_in_time(server: Redis, begun: float) -> None:
    """Get a lock, neither at once nor never, but after so long as leases last."""
    locker = RedisLocker(server.url, ttl=TTL)
    async with asyncio.timeout(LIMIT):
        try:
            at_once = await is_free(locker, ID)
        except LockUnavailable:  # a busy machine
            at_once = False
        assert not at_once or remote.now() - begun > TTL * 0.8
        async with held(locker):
            assert remote.now() - begun > TTL * 0.8
    await locker.aclose()


async def test_redis_is_gone(own_redis: Redis) -> None:
    """With Redis gone, leases are lost at once, a lock cannot be had, in next to no time, and all
    goes on when it is back."""
    await opened(own_redis.url)
    locker, lost = RedisLocker(own_redis.url, ttl=LASTING), Lost()
    async with locker.hold(ID, on_lost=lost) as lease:
        begun = remote.now()
        own_redis.kill()
        assert await lost.wait() - begun < SOON
        assert lease.lost
    took = []
    for _ in range(3):
        begun = remote.now()
        with pytest.raises(LockUnavailable, match="cannot be reached"):
            async with locker.hold(ID):
                pytest.fail("Redis is gone.")
        took.append(remote.now() - begun)
    assert min(took) < 3  # the machine may have been busy
    own_redis.start()
    await opened(own_redis.url)
    async with held(locker) as again:
        assert again.fence > lease.fence
    await locker.aclose()


async def wait_until_back(locker: RedisLocker) -> None:
    """Try until a lock can be had."""
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                async with locker.hold(ID):
                    return
            except LockUnavailable:
                await asyncio.sleep(0.05)


async def test_redis_is_a_replica_now(own_redis: Redis) -> None:
    """Connections may outlive that another server took over, and the one that they lead to writes
    nothing any more. Whoever looks for it anew finds the other one."""
    place = own_redis.folder / "place"
    place.symlink_to(own_redis.folder / "socket")
    await opened(own_redis.url)
    lost = Lost()
    with Redis() as other:
        await opened(other.url)
        async with (
            aclosing(aio.Redis.from_url(own_redis.url)) as client,
            aclosing(RedisLocker(f"unix://{place}", ttl=LASTING)) as locker,
        ):
            async with held(locker, on_lost=lost):
                await client.replicaof("127.0.0.1", 1)
                place.unlink()
                place.symlink_to(other.folder / "socket")
                with pytest.raises(LockUnavailable):
                    async with locker.hold("another"):
                        pytest.fail("Nothing can be written.")
                assert lost.event.is_set()
            await wait_until_back(locker)


async def test_redis_stands_still(own_redis: Redis) -> None:
    """A Redis that does not answer costs a holder its lease before its time there is over, keeps
    no newcomer waiting for long, and is used again when it answers."""
    await opened(own_redis.url)
    locker, lost = RedisLocker(own_redis.url, ttl=TTL), Lost()
    async with held(locker, on_lost=lost) as lease:
        stopped = remote.now()
        os.kill(own_redis.pid, signal.SIGSTOP)
        await lost.wait()
        grant: Any = lease
        assert grant._grant._until - stopped < TTL  # when it looked at the clock is its own affair
        assert lease.lost
        with pytest.raises(LockUnavailable):
            async with locker.hold("another"):
                pytest.fail("Redis does not answer.")
        os.kill(own_redis.pid, signal.SIGCONT)
    await wait_until_back(locker)
    await locker.aclose()


async def test_the_subscription_is_cut(own_redis: Redis) -> None:
    """A process that cannot be heard of any more gives its leases up: others take it for dead."""
    await opened(own_redis.url)
    client = aio.Redis.from_url(own_redis.url)
    locker, other = (RedisLocker(own_redis.url, ttl=LASTING) for _ in range(2))
    lost = Lost()
    async with other.hold("another"):
        pass
    async with asyncio.timeout(LIMIT), locker.hold(ID, on_lost=lost) as lease:
        begun = remote.now()
        await client.client_kill_filter(_type="pubsub")
        assert await lost.wait() - begun < SOON
        assert lease.lost
        async with held(other):  # it may not have noticed as yet that it is deaf, too
            assert remote.now() - begun < SOON
    for closable in (locker, other, client):
        await closable.aclose()


async def test_a_subscription_that_brings_nothing(
    open_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscription that is open, but dead, is found out: what is told there is not heard."""
    locker = RedisLocker(open_redis, ttl=1.0)
    async with held(locker):
        session: Any = locker._line._session
        monkeypatch.setattr(session, "_hear", lambda _: None)
    async with asyncio.timeout(LIMIT):
        while session.alive:  # a lease that a busy machine costs proves nothing
            lost = Lost()
            async with held(locker, on_lost=lost):
                if session.alive:
                    await lost.wait()
    async with held(locker):
        assert locker._line._session is not session
    await locker.aclose()


async def test_an_answer_is_lost(open_redis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that Redis gave, though nobody heard of it, is given back when somebody asks."""
    locker, other = (RedisLocker(open_redis, ttl=LASTING) for _ in range(2))
    async with locker.hold("another"), locker.hold(ID):
        session: Any = locker._line._session
    script = session._take_script

    async def deaf(**how: Any) -> None:
        await script(**how)
        raise aio.RedisError("on purpose")

    for whoever in (other, locker):
        monkeypatch.setattr(session, "_take_script", deaf)
        with pytest.raises(LockUnavailable, match="on purpose"):
            async with locker.hold(ID):
                pytest.fail("It cannot know that it has it.")
        monkeypatch.setattr(session, "_take_script", script)
        async with asyncio.timeout(SOON), whoever.hold(ID):
            pass
    for each in (locker, other):
        await each.aclose()


async def test_the_token_is_gone(locker: RedisLocker, client: aio.Redis) -> None:
    """A holder whose lock is no more, or another's, stops at its next renewal, and does not touch
    the other's."""
    for token in (None, "0123456789abcdef:another"):
        lost = Lost()
        async with held(locker, on_lost=lost):
            key = "{vectus}:lock:" + ID
            await (client.delete(key) if token is None else client.set(key, token, px=20_000))
            await lost.wait()
        assert await client.get(key) == token
        await client.delete(key)


async def test_a_failing_on_lost(own_redis: Redis) -> None:
    """What a holder's ``on_lost`` raises does not keep the others from being told."""
    await opened(own_redis.url)
    failed, lost = asyncio.Event(), Lost()
    asyncio.get_running_loop().set_exception_handler(lambda *_: failed.set())

    def fail() -> None:
        raise RuntimeError("on purpose")

    locker = RedisLocker(own_redis.url, ttl=LASTING)
    async with (
        locker.hold("first", on_lost=fail),
        locker.hold("second", on_lost=lost),
        locker.hold("third"),
    ):
        own_redis.kill()
        await lost.wait()
    assert failed.is_set()
    await locker.aclose()


async def test_a_cluster(start_node: Start) -> None:
    """All keys are in one place of a cluster. There, who listens where is not known, so a dead
    holder's lock ends with its time."""
    with closing(Port()) as port, closing(Port()) as bus:
        flags = ("--port", str(port.number), "--cluster-port", str(bus.number))
        with Redis(*flags, "--cluster-enabled", "yes") as server:
            client = aio.Redis.from_url(server.url)
            await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            locker = RedisLocker(server.url, ttl=TTL)
            await wait_until_back(locker)
            peer = await start_node(f"{server.url}?ttl=2", "stubborn", ID)
            await peer.line()
            begun = remote.now()
            left = await client.pttl("{vectus}:lock:" + ID) / 1000
            peer.process.kill()
            async with held(locker):
                assert remote.now() - begun > left - 0.1
            await locker.aclose()
            await client.aclose()


@pytest.mark.parametrize("id", ["", ".", "a/b", "a\n", "a b", "ü", "x" * 129])
async def test_what_cannot_be_an_id(locker: RedisLocker, id: str) -> None:
    """D13: what does not match the grammar of ids never reaches the server."""
    with pytest.raises(ValueError, match="cannot be the id"):
        locker.hold(id)


async def test_how_long_a_lock_lasts(open_redis: str, client: aio.Redis) -> None:
    """The URL can say so, beside what else it says; 6 s otherwise."""
    for query, seconds in (("", 6), ("?ttl=2", 2), ("?db=0&ttl=1.5&socket_timeout=3", 1.5)):
        locker = RedisLocker(open_redis + query)
        begun = remote.now()
        async with held(locker):
            left = await client.pttl(f"{{vectus}}:lock:{ID}")
        await locker.aclose()
        elapsed = (remote.now() - begun) * 1000
        assert seconds * 1000 - elapsed - 10 < left <= seconds * 1000


@pytest.mark.parametrize("ttl", ["", "soon", "0", "-6", "nan", "inf", "0.5", "86400"])
def test_how_long_a_lock_cannot_last(ttl: str) -> None:
    """What is no number of seconds, too few or too many is refused."""
    with pytest.raises(ConfigurationError, match="cannot last"):
        RedisLocker(f"redis://:secret@host/0?ttl={ttl}")


@pytest.mark.parametrize("url", ["redis://:secret@host:port/0", "redis://host?secret=1", "secret"])
def test_what_is_no_url(url: str) -> None:
    """What is no URL of a Redis is refused, and not quoted: there may be a password in it."""
    with pytest.raises(ConfigurationError, match="no URL of a Redis") as caught:
        RedisLocker(url)
    assert "secret" not in str(caught.value)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without redis-py one sentence says what to install."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'vectus\[redis\]'"):
        RedisLocker("redis://localhost")
