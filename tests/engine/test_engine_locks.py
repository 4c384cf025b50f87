"""One upload and many who want it: the newest wins, and nobody loses bytes or waits for ever."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from vectus.errors import LockUnavailable
from vectus.events import BeforeFinish, Created, Finished, Received
from vectus.locks.memory import MemoryLocker
from vectus.protocol import rules
from vectus.protocol.exchange import Ending
from vectus.protocol.policy import Policy
from vectus.testing.fakes import Pause, ScriptedBody
from world import id_of, soon


def hanging(*pieces: bytes) -> tuple[ScriptedBody, Pause]:
    """A body that hangs after some pieces."""
    pause = Pause()
    return ScriptedBody(*pieces, pause), pause


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
async def test_c36_the_newest_request_wins(world, method):
    """C36, T24: a hanging PATCH makes room for a newcomer; it says where it got to."""
    id = await world.create(10)
    body, pause = hanging(b"hello")
    holder = world.begin(world.patch(id, 0, body, content_length=10))
    await soon(pause.reached.wait())
    reply = await world.ask(method, id, b" you" if method == "PATCH" else None, upload_offset=5)
    displaced = await soon(holder)

    assert reply.status in (200, 204)
    assert (displaced.status, displaced.header("Upload-Offset")) == (423, "5")
    assert displaced.header("Retry-After") == "1"
    assert body.ended is Ending.WANTED
    if method == "PATCH":
        assert await world.data(id) == b"hello you"
    if method == "DELETE":
        assert not await world.exists(id)


async def test_a_hanging_creation_is_displaced_too(world):
    """C36: a POST whose body hangs makes room as well, and has its Location."""
    body, pause = hanging(b"he")
    fields = {"upload_length": 5, "transfer_encoding": "chunked"}
    holder = world.begin(world.ask("POST", "", body, **fields))
    await soon(pause.reached.wait())
    (created,) = [u async for u in world.inner.scan()]
    assert await world.offset(created.id) == 2
    displaced = await soon(holder)

    assert displaced.status == 423
    assert displaced.header("Location") == f"/files/{created.id}"
    assert displaced.header("Upload-Offset") == "2"


async def test_a_small_creation_that_hangs_is_nowhere(world):
    """C36: before a small body has come whole there is no upload, and so nothing to wait for."""
    body, pause = hanging(b"he")
    creating = world.begin(world.ask("POST", "", body, upload_length=5, content_length=5))
    await soon(pause.reached.wait())
    assert [u async for u in world.inner.scan()] == []
    pause.resume()
    reply = await soon(creating)

    assert (reply.status, reply.header("Upload-Offset")) == (201, "2")
    assert await world.offset(id_of(reply)) == 2


@pytest.mark.parametrize(("method", "status"), [("HEAD", 423), ("PATCH", 423), ("DELETE", 423)])
async def test_d3_a_lock_that_cannot_be_had(build, method, status):
    """D3, C46: after the time-out it is 423 with Retry-After, without an offset."""
    world = build(lock_timeout=0.01)
    id = await world.create(5)
    async with world.locker.hold(id):
        reply = await world.ask(method, id, b"x", upload_offset=0)

    assert (reply.status, reply.header("Retry-After")) == (status, "1")
    assert reply.header("Upload-Offset") is None
    assert (await world.patch(id, 0, b"hello")).status == 204


class Away(MemoryLocker):
    """A locker whose back end is away."""

    away = True

    def hold(self, *args: object, **options: object):
        """Hold, or fail."""
        if self.away:
            raise LockUnavailable("nobody is there")
        return super().hold(*args, **options)


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 423), ("PATCH", 503), ("DELETE", 503), ("POST", 503)]
)
async def test_d3_locks_that_are_away(build, method, status):
    """D3: HEAD keeps its client with 423, the others are 503; both say when to come back."""
    world = build(Away())
    reply = await world.ask(method, "" if method == "POST" else "a", upload_length=5)
    if method == "PATCH":
        reply = await world.patch("a", 0, b"x")

    assert (reply.status, reply.header("Retry-After")) == (status, "5")


@pytest.mark.parametrize("data", [None, b"", b"he", b"hello"])
async def test_a_new_upload_that_is_settled_at_once_needs_no_lock(build, data):
    """Nobody knows its id, nobody is to be told, and no sweep has anything to do for it."""
    world = build(Away(), listening=False)
    id = id_of(await world.ask("POST", "", data, upload_length=5))
    record = await world.record(id)

    assert world.store.calls == ["create"]
    assert not rules.unsettled(record)
    assert (record.offset, record.finished) == (len(data or b""), data == b"hello")
    assert await world.data(id) == (data or b"")


@pytest.mark.parametrize("kind", [Created, Received, BeforeFinish, Finished])
async def test_a_new_upload_that_somebody_is_told_of_is_locked(build, kind):
    """Listeners run under the upload's lock, those of a creation too."""
    world = build(Away(), listening=False)
    world.announcer.add(kind, world.recorder)
    assert (await world.ask("POST", "", b"hello", upload_length=5)).status == 503
    world.locker.away = False
    assert (await world.ask("POST", "", b"hello", upload_length=5)).status == 201

    assert world.recorder.names == [kind.__name__]


@pytest.mark.parametrize(
    "fields", [{"content_length": 1 << 20}, {"transfer_encoding": "chunked"}], ids=["long", "any"]
)
async def test_a_new_upload_that_grows_is_locked(build, fields):
    """Invariant 3: while bytes come that are stored already, the lock is held."""
    world = build(Away(), listening=False)
    reply = await world.ask("POST", "", ScriptedBody(b"hello"), upload_length=1 << 20, **fields)

    assert (reply.status, reply.header("Location")) == (503, None)


class Losing(MemoryLocker):
    """A locker that loses a lease when told."""

    def hold(self, id, on_wanted=None, on_lost=None, **options):
        """Hold, and remember whom to tell."""
        self.lose = on_lost
        return super().hold(id, on_wanted, on_lost, **options)


async def test_a_lost_lease_ends_the_body_at_once(build):
    """Invariant 3: who has lost the lock stops and says that it was overtaken."""
    locker = Losing()
    world = build(locker)
    id = await world.create(10)
    body, pause = hanging(b"hello")
    holder = world.begin(world.patch(id, 0, body, transfer_encoding="chunked"))
    await soon(pause.reached.wait())
    locker.lose()
    reply = await soon(holder)

    assert (reply.status, body.ended) == (423, Ending.LOST)
    assert await world.data(id) == b""


async def test_who_was_overtaken_writes_nothing(world):
    """Fences: a writer whose lock somebody else had meanwhile cannot commit."""
    id = await world.create(10)
    pause = Pause()
    body = ScriptedBody(b"hello", pause)
    holder = world.begin(world.patch(id, 0, body, transfer_encoding="chunked"))
    await soon(pause.reached.wait())
    await world.change(id, fence=2**62)
    pause.resume()
    reply = await soon(holder)

    assert reply.status == 423
    assert reply.header("Upload-Offset") is None
    assert not (await world.record(id)).finished


async def test_a_newcomer_waits_for_a_listener(world):
    """The lock covers the verdict: a HEAD during BeforeFinish waits and sees the finish."""
    id = await world.create(5)
    pause = Pause()
    world.announcer.add(BeforeFinish, lambda _: pause.wait())
    holder = world.begin(world.patch(id, 0, b"hello"))
    await soon(pause.reached.wait())
    newcomer = world.begin(world.ask("HEAD", id))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not newcomer.done()
    pause.resume()

    assert (await soon(holder)).status == 204
    assert (await soon(newcomer)).header("Upload-Offset") == "5"


class Noting(MemoryLocker):
    """A locker that notes which leases were retired."""

    def __init__(self) -> None:
        super().__init__()
        self.retired: list[str] = []

    @asynccontextmanager
    async def hold(self, id, *args, **options):
        """Hold, and have the lease note its end."""
        async with super().hold(id, *args, **options) as lease:
            retire = lease.retire
            noted = SimpleNamespace(
                fence=lease.fence,
                lost=False,
                retire=lambda: (self.retired.append(id), retire()),
            )
            yield noted


async def test_locks_that_nobody_needs_are_retired(build):
    """What is finished, removed or was never there leaves no lock behind; what goes on keeps it."""
    locker = Noting()
    world = build(locker, policy=Policy(expire_after=60.0))
    going, removed = await world.create(5), await world.create(5)
    await world.patch(going, 0, b"he")
    assert locker.retired == []
    await world.ask("HEAD", "missing")
    await world.ask("DELETE", removed)
    finished = await world.done()
    assert locker.retired == ["missing", removed, finished]
    world.clock.advance(61)
    await world.sweeper.scan()

    assert locker.retired[3:] == [going]


async def test_many_at_once_lose_nothing(world):
    """C36: ten who append at the same offset: one is taken, nine are told the truth."""
    id = await world.create(5)
    replies = await soon(
        asyncio.gather(*(world.patch(id, 0, bytes([65 + i]) * 5) for i in range(10)))
    )
    statuses = sorted(reply.status for reply in replies)

    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 409, 423}
    assert len(set(await world.data(id))) == 1
    assert world.recorder.names.count("Finished") == 1
