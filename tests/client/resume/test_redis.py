"""The Redis store: claims that end on their own, servers that go away, and redis-py itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio

from programs import Program
from vectus.client.contracts import Claim, Entry
from vectus.client.resume import RedisResume, redis as module
from vectus.errors import ConfigurationError

ENTRY = Entry("https://host/files/1", 1000, 1795430000.5, {"part": "1"})


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which claims are renewed."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of our own, to look behind the store."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def store(redis_url: str, prefix: str) -> Iterator[RedisResume]:
    """The store."""
    store = RedisResume(redis_url, prefix)
    yield store
    store.close()


def renew(claim: Claim) -> bool:
    """Renew a claim, and return what is known once Redis has been asked."""
    claim.renew()
    for thread in threading.enumerate():
        if thread.name == module.ASKING:
            thread.join(20)
    return claim.renew()


def claim_key(prefix: str) -> str:
    return f"{prefix}claim:film"


def test_entries_are_forgotten(store: RedisResume, client: redis.Redis, prefix: str) -> None:
    """An entry nobody asks for any more goes after thirty days, unless told otherwise."""
    store.set("film", ENTRY)
    assert 29 * 86400 < client.ttl(f"{prefix}entry:film") <= 30 * 86400

    RedisResume(client, prefix, ttl=None).set("film", ENTRY)
    assert client.ttl(f"{prefix}entry:film") == -1
    RedisResume(client, prefix, ttl=500).set("film", ENTRY)
    assert 0 < client.ttl(f"{prefix}entry:film") <= 500


def test_a_client_of_yours(redis_url: str, prefix: str) -> None:
    """A client that is given is used as it is, one that decodes as well, and not closed."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        store = RedisResume(client, prefix)
        store.set("film", ENTRY)
        with store.claim("film") as claim, store.claim("film") as second:
            assert (claim is None, second) == (False, None)
        store.close()

        assert store.get("film") == ENTRY


def test_what_is_not_an_entry(store: RedisResume, client: redis.Redis, prefix: str) -> None:
    """What somebody else has put in an entry's place counts as nothing."""
    for raw in (b"no json", b"\xff", b"[]", b'{"url": null}'):
        client.set(f"{prefix}entry:film", raw)
        assert store.get("film") is None

    store.set("film", ENTRY)
    assert store.get("film") == ENTRY


def test_a_claim_ends_on_its_own(client: redis.Redis, prefix: str) -> None:
    """A claim whose holder is dead lapses after its time."""
    store = RedisResume(client, prefix, claim_ttl=60.5)
    with store.claim("film"):
        assert 0 < client.pttl(claim_key(prefix)) <= 60_500


def test_no_thread_to_renew_a_claim(
    store: RedisResume, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started the claim is asked for later, and the upload goes on."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with store.claim("film") as claim:
        assert claim is not None
        clock.now += 11
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            assert claim.renew()
        clock.now += 11
        assert renew(claim)
        clock.now += 11
        assert claim.renew()


def test_a_claim_is_renewed(client: redis.Redis, prefix: str, clock: Clock) -> None:
    """Renewing asks Redis once in a third of the claim's time, however often it is called."""
    store = RedisResume(client, prefix, claim_ttl=300)
    with store.claim("film") as claim:
        assert claim is not None
        client.pexpire(claim_key(prefix), 100_000)
        for _ in range(99):
            clock.now += 1
            assert renew(claim)
        assert client.pttl(claim_key(prefix)) <= 100_000
        clock.now += 1
        assert renew(claim)
        assert client.pttl(claim_key(prefix)) > 200_000

        client.pexpire(claim_key(prefix), 100_000)
        assert renew(claim)
        assert client.pttl(claim_key(prefix)) <= 100_000


def test_a_claim_that_lapsed(client: redis.Redis, prefix: str, clock: Clock) -> None:
    """A claim that lapsed unnoticed is taken again when it is renewed, if it is free."""
    store = RedisResume(client, prefix)
    with store.claim("film") as claim:
        assert claim is not None
        client.delete(claim_key(prefix))
        clock.now += 11
        assert renew(claim)
        with store.claim("film") as second:
            assert second is None

    assert not client.exists(claim_key(prefix))


def test_a_claim_that_was_lost(client: redis.Redis, prefix: str, clock: Clock) -> None:
    """A claim that somebody else has by now is told as lost, stays theirs, and may come back."""
    store = RedisResume(client, prefix)
    with store.claim("film") as claim:
        assert claim is not None
        client.set(claim_key(prefix), "somebody else's")
        clock.now += 11
        assert [renew(claim), claim.renew()] == [False, False]

    assert client.get(claim_key(prefix)) == b"somebody else's"
    client.delete(claim_key(prefix))
    with store.claim("film") as claim:
        assert claim is not None
        client.set(claim_key(prefix), "somebody else's")
        clock.now += 11
        assert not renew(claim)
        client.delete(claim_key(prefix))
        clock.now += 11
        assert renew(claim)


def test_a_lost_answer(client: redis.Redis, prefix: str) -> None:
    """A claim that Redis gave, and whose answer was lost, is ours when it is asked for again."""
    lease = module._Lease(client, claim_key(prefix).encode(), 30)

    assert [lease.keep(), lease.keep()] == [True, True]
    lease.drop()


def test_nobody_waits(
    client: redis.Redis, prefix: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Redis does not answer, renewing returns at once, asks no more, and believes the claim
    lapsed after its time; after its release nobody takes it again."""
    answered, asked = threading.Event(), list[float]()
    really = module._Lease.keep

    def keep(lease: module._Lease) -> bool:
        asked.append(clock.now)
        answered.wait(20)
        return really(lease)

    store = RedisResume(client, prefix)
    with store.claim("film") as claim:
        assert claim is not None
        monkeypatch.setattr(module._Lease, "keep", keep)
        told = []
        for _ in range(4):
            clock.now += 11
            told.append(claim.renew())
        answered.set()
        assert told == [True, True, False, False]
        renew(claim)
        assert len(asked) == 1
        clock.now += 11
        assert renew(claim)

    claim._keep(clock.now)
    assert not client.exists(claim_key(prefix))


def test_redis_goes_away(redis_url: str, prefix: str, clock: Clock) -> None:
    """A server that goes away raises what redis-py raises; a claim survives it for its time."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    with tempfile.TemporaryDirectory() as name:
        argv = [program, "--port", "0", "--unixsocket", f"{name}/socket", "--save", ""]
        with Program(argv, r"[Rr]eady to accept connections", Path(name)) as server:
            server.wait_until_ready(30)
            store = RedisResume(f"unix://{name}/socket", prefix)
            with store.claim("film") as claim:
                assert claim is not None
                server.stop()
                for seconds, ours in ((11, True), (11, True), (11, False), (11, False)):
                    clock.now += seconds
                    assert renew(claim) is ours

        for act in (lambda: store.get("film"), lambda: store.set("film", ENTRY)):
            with pytest.raises(redis.RedisError):
                act()
        with pytest.raises(redis.RedisError), store.claim("film"):
            pytest.fail("Claimed nowhere.")
        store.close()


@pytest.mark.parametrize("url", ["film", "http://host", "redis://:secret/x@host:port"])
def test_no_url(url: str) -> None:
    """What is no URL of a server is told with a hint, and no password is quoted."""
    with pytest.raises(ConfigurationError, match="redis://localhost") as caught:
        RedisResume(url)

    assert "secret" not in str(caught.value)


async def test_an_asyncio_client(redis_url: str) -> None:
    """A client of the other kind is refused at once, with a hint."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        with pytest.raises(ConfigurationError, match="blocking one"):
            RedisResume(client)  # type: ignore[arg-type]


def test_without_the_library() -> None:
    """Without redis-py everything else works, and the hint says what to install."""
    program = (
        "import sys\n"
        "sys.modules['redis'] = None\n"
        "from vectus.client.resume import *\n"
        "try: RedisResume('redis://localhost')\n"
        "except Exception as error: print(error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "Install it: pip install 'vectus[redis]'."


def test_it_is_not_loaded_in_vain() -> None:
    """Neither redis-py nor SQLite is loaded by who uses another store."""
    program = (
        "import sys\n"
        "from vectus.client.resume import FileResume, MemoryResume\n"
        "print({'redis', 'sqlite3'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "set()"
