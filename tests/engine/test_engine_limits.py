"""A store's own limits: how long it keeps what is unfinished, and how much it takes. They hold
beside the options, are told to clients, and nothing is accepted beyond them."""

from __future__ import annotations

from dataclasses import replace
from email.utils import parsedate_to_datetime

import httpx2
import pytest

from vectus import Uploads
from vectus.contracts import Limited, Limits
from vectus.events import Expired
from vectus.locks.memory import MemoryLocker
from vectus.protocol.policy import Feature, Policy
from vectus.stores.memory import MemoryStore
from vectus.testing.fakes import ManualClock, ScriptedBody

BOUND = Policy(expire_after=3600.0, kept_for=5400.0)
NEVER = Policy(expire_after=None, kept_for=5400.0)
SMALL = Policy(capacity=100, capacity_deferred=10)


def expires(reply) -> float | None:
    """When an upload expires, as a reply says."""
    value = reply.header("Upload-Expires")
    return value and parsedate_to_datetime(value).timestamp()


# --- How long -------------------------------------------------------------------------------------


async def test_an_upload_ends_before_its_store_drops_it(build) -> None:
    """Every byte prolongs its time, but not beyond the bound, which counts from its creation; HEAD
    and PATCH say so, and then it is gone."""
    world = build(policy=BOUND)
    id, end = await world.create(10), world.clock.now + 5400
    world.clock.advance(1000)
    assert expires(await world.patch(id, 0, b"he")) == world.clock.now + 3600
    world.clock.advance(2000)
    assert expires(await world.patch(id, 2, b"l")) == end
    assert expires(await world.ask("HEAD", id)) == end
    assert (await world.record(id)).expires == end
    world.clock.advance(2399)
    assert expires(await world.patch(id, 3, b"l")) == end
    world.clock.advance(1)

    body = ScriptedBody(b"x")
    assert (await world.patch(id, 4, body, content_length=1)).status == 410
    assert not body.poured
    assert (await world.ask("HEAD", id)).status == 410
    await world.sweeper.scan()
    assert (await world.ask("HEAD", id)).status == 404
    assert [upload.id for upload in world.recorder.uploads(Expired)] == [id]


async def test_never_is_not_longer_than_the_store(build) -> None:
    """Where uploads never expire by the options, the bound holds all the same, and is told."""
    world = build(policy=NEVER)
    id, end = await world.create(10), world.clock.now + 5400
    assert expires(await world.ask("HEAD", id)) == end
    world.clock.advance(5399)
    assert expires(await world.patch(id, 0, b"he")) == end
    world.clock.advance(1)

    assert (await world.ask("HEAD", id)).status == 410


@pytest.mark.parametrize(("policy", "status"), [(BOUND, 410), (NEVER, 200)])
async def test_what_is_finished_is_kept(build, policy, status) -> None:
    """What was finished in time is the store's for good: a finished partial has the time that the
    options say, and no other."""
    world = build(policy=policy)
    done, partial = await world.done(b"hello"), await world.partial(b"a")
    told = expires(await world.ask("HEAD", partial))
    assert told == (world.clock.now + 3600 if policy is BOUND else None)
    world.clock.advance(3599)
    assert (await world.ask("HEAD", partial)).status == 200
    world.clock.advance(10**6)

    assert (await world.ask("HEAD", partial)).status == status
    assert (await world.ask("HEAD", done)).status == 200
    assert await world.data(done) == b"hello"


async def test_what_a_final_upload_waits_for(build) -> None:
    """D7 spares the partials of a final upload that waits: those that are complete, but not those
    of which the store has dropped the bytes."""
    world = build(policy=replace(BOUND, expire_after=5400.0))
    complete, begun = await world.partial(b"a"), await world.create(5, upload_concat="partial")
    world.clock.advance(1)
    await world.final(complete, begun)
    world.clock.advance(5399)

    assert (await world.ask("HEAD", complete)).status == 200
    assert (await world.ask("HEAD", begun)).status == 410
    assert (await world.patch(begun, 0, b"hello")).status == 410


async def test_promises_of_before_are_cut(build) -> None:
    """A rule that was made later, or shortened, holds for uploads that had been promised more; one
    whose record does not say when it began is let alone."""
    before = build(policy=Policy(expire_after=10**6))
    id, unknown = await before.create(10), await before.create(10)
    await before.change(unknown, created=0.0)
    end = before.clock.now + 5400
    world = build(restart=before, policy=replace(BOUND, expire_after=10**6))

    assert expires(await world.ask("HEAD", id)) == end
    assert expires(await world.ask("HEAD", unknown)) == before.clock.now + 10**6
    world.clock.advance(5400)
    assert (await world.ask("HEAD", id)).status == 410
    assert (await world.ask("HEAD", unknown)).status == 200


# --- How much -------------------------------------------------------------------------------------


async def test_what_the_store_cannot_hold_is_refused_at_once(build) -> None:
    """413 to a POST and a PATCH whose head says that they go beyond it, before a byte is read; what
    holds is announced, and where less holds for deferred lengths, on the uploads it is about."""
    world = build(policy=SMALL)
    assert (await world.ask("OPTIONS")).header("Tus-Max-Size") == "100"
    assert (await world.ask("POST", upload_length=101)).status == 413
    body = ScriptedBody(b"x" * 11)
    refused = await world.ask("POST", "", body, content_length=11, upload_defer_length=1)
    assert (refused.status, body.poured) == (413, False)

    created = await world.ask("POST", upload_defer_length=1)
    id = created.header("Location").rpartition("/")[2]
    assert created.header("Tus-Max-Size") == "10"
    assert (await world.ask("HEAD", id)).header("Tus-Max-Size") == "10"
    assert (await world.patch(id, 0, b"x" * 11)).status == 413
    assert (await world.patch(id, 0, b"x", upload_length=11)).status == 413
    assert (await world.patch(id, 0, b"x" * 9, upload_length=10)).status == 204
    assert (await world.ask("HEAD", id)).header("Tus-Max-Size") is None

    known = await world.ask("POST", upload_length=100)
    assert (known.status, known.header("Tus-Max-Size")) == (201, None)


async def test_the_option_holds_where_it_is_less(build) -> None:
    """--max-size and the store's limit: the smaller one, on every path."""
    world = build(policy=replace(SMALL, max_size=8))
    assert (await world.ask("OPTIONS")).header("Tus-Max-Size") == "8"
    created = await world.ask("POST", upload_defer_length=1)
    id = created.header("Location").rpartition("/")[2]

    assert created.header("Tus-Max-Size") is None
    assert (await world.patch(id, 0, b"x" * 9)).status == 413
    assert (await world.ask("POST", upload_length=9)).status == 413


async def test_a_stream_without_an_end_keeps_what_fits(build) -> None:
    """Of a body whose head does not say how long it is the store takes what it can; the limit makes
    it nothing that could be taken back."""
    world = build(policy=SMALL)
    id = await world.create()
    body = ScriptedBody(b"hello")
    reply = await world.patch(id, 0, body, transfer_encoding="chunked")

    assert reply.status == 204
    assert await world.offset(id) == 5


async def test_a_final_upload_that_is_too_large(build) -> None:
    """The sum of the partials is within the limit too: at POST, or when it is known."""
    world = build(policy=SMALL)
    whole = await world.partial(b"x" * 60)
    refused = await world.ask("POST", upload_concat=f"final;{whole} {whole}")

    assert refused.status == 413


# --- From the store to the server -----------------------------------------------------------------


class Narrow(MemoryStore):
    """A store that has limits."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def limits(self) -> Limits:
        """Return them."""
        return self._limits


@pytest.mark.parametrize("expire_after", ["7d", "never"])
async def test_an_application_asks_its_store(expire_after: str) -> None:
    """What the store says holds from the first request on, and makes expiration announced."""
    store, clock = Narrow(Limits(100, 10, 60.0)), ManualClock()
    app = Uploads(store, locker=MemoryLocker(), expire_after=expire_after, clock=clock)
    assert isinstance(store, Limited)
    assert (app.policy.capacity, app.policy.capacity_deferred) == (100, 10)
    assert Feature.EXPIRATION in app.policy.features
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://example.org") as http:
        asked = {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}
        created = await http.post("/", headers=asked)

    assert expires_at(created) == clock.now + 60


def expires_at(answer: httpx2.Response) -> float:
    """When an upload expires, as an answer says."""
    return parsedate_to_datetime(answer.headers["Upload-Expires"]).timestamp()


def test_a_store_without_limits_has_none() -> None:
    """Nothing changes for stores that know of no limit."""
    app = Uploads(MemoryStore(), locker=MemoryLocker(), expire_after="never")

    assert (app.policy.largest, app.policy.largest_deferred, app.policy.kept_for) == (None,) * 3
    assert Feature.EXPIRATION not in app.policy.features
