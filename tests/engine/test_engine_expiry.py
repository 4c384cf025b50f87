"""Expiry, sentence by sentence of D7, and the sweeper that drives everything on."""

from __future__ import annotations

import asyncio
import logging
from email.utils import parsedate_to_datetime

import pytest

from vectus.engine.sweep import Sweeper
from vectus.errors import StoreUnavailable
from vectus.events import BeforeFinish, Expired, Rejected
from vectus.protocol.exchange import Ending
from vectus.protocol.policy import Feature, Policy
from vectus.protocol.upload import Role, Stage, Upload
from vectus.stores.memory import MemoryStore
from vectus.testing.fakes import Pause, ScriptedBody
from world import LIMIT, soon

HOUR = Policy(expire_after=3600.0)
BOTH = Policy(expire_after=3600.0, expire_finished=60.0)


def expires(reply) -> float:
    """When an upload expires, as a reply says."""
    return parsedate_to_datetime(reply.header("Upload-Expires")).timestamp()


async def swept(world, id: str) -> bool:
    """Sweep, and say whether an upload is gone."""
    await world.sweeper.scan()
    return not await world.exists(id)


# --- When -----------------------------------------------------------------------------------------


async def test_t49_the_last_byte_counts(build):
    """T47-T49, T52, C17, D7: the time counts from creation, then from the last accepted byte, and
    POST, PATCH and HEAD tell it."""
    world = build(policy=HOUR)
    created = await world.ask("POST", upload_length=10)
    assert expires(created) == world.clock.now + 3600
    id = created.header("Location").rpartition("/")[2]
    world.clock.advance(600)
    assert expires(await world.ask("HEAD", id)) == world.clock.now + 3000
    assert expires(await world.patch(id, 0, b"he")) == world.clock.now + 3600
    world.clock.advance(600)
    for reply in (await world.patch(id, 2), await world.patch(id, 0, b"x")):
        assert expires(reply) == world.clock.now + 3000
    body = ScriptedBody(b"x", ending=Ending.GONE)
    assert expires(await world.patch(id, 2, body, content_length=3)) == world.clock.now + 3600


async def test_t50_resuming_what_has_expired(build):
    """T50, T51, C17: 410 for everything, before the sweeper comes; a new upload works."""
    world = build(policy=HOUR)
    id = await world.create(5)
    await world.patch(id, 0, b"he")
    world.clock.advance(3601)
    body = ScriptedBody(b"llo")

    assert (await world.ask("HEAD", id)).status == 410
    assert (await world.patch(id, 2, body, content_length=3)).status == 410
    assert not body.poured
    assert (await world.ask("GET", id)).status == 410
    assert (await world.ask("DELETE", id)).status == 410
    assert await world.create(5)


async def test_t47_the_sweeper_removes_it(build):
    """T47: what has expired is removed, and that is told; nothing else is touched."""
    world = build(policy=HOUR)
    old = await world.create(5)
    world.clock.advance(1800)
    young = await world.create(5)
    done = await world.done()
    world.clock.advance(1801)
    assert await swept(world, old)

    assert await world.exists(young)
    assert await world.exists(done)
    assert [u.id for u in world.recorder.uploads(Expired)] == [old]
    assert world.recorder.events[-1].request is None
    assert (await world.ask("HEAD", old)).status == 404


async def test_d7_never(build):
    """D7: without an expiry nothing expires, nor says so, not even what was promised less."""
    promised = build(policy=HOUR)
    id = await promised.create(5)
    features = frozenset(Feature) - {Feature.EXPIRATION}
    world = build(restart=promised, policy=Policy(features, expire_after=None))
    world.clock.advance(10**6)

    assert not await swept(world, id)
    reply = await world.ask("HEAD", id)
    assert (reply.status, reply.header("Upload-Expires")) == (200, None)
    assert (await world.patch(id, 0, b"hello")).status == 204


# --- What -----------------------------------------------------------------------------------------


async def test_d7_finished_uploads_live_for_ever(build):
    """D7: plain finished uploads and finals expire only if that is asked for, and say nothing."""
    world = build(policy=HOUR)
    done, final = await world.done(), await world.final(await world.partial(b"a"))
    assert (await world.ask("HEAD", done)).header("Upload-Expires") is None
    world.clock.advance(10**6)

    assert not await swept(world, done)
    assert not await swept(world, final)
    assert await world.data(done) == b"hello"


async def test_d7_expire_finished(build):
    """D7: if it is asked for, they live that long from their finish."""
    world = build(policy=BOTH)
    done, final = await world.done(), await world.final(await world.partial(b"a"))
    world.clock.advance(59)
    assert not await swept(world, done)
    world.clock.advance(1)
    assert (await world.ask("GET", done)).status == 410

    assert await swept(world, done)
    assert await swept(world, final)


async def test_d7_a_partial_expires_complete_or_not(build):
    """D7: a partial expires like an unfinished upload, also with all its bytes, and says when."""
    world = build(policy=HOUR)
    complete, some = await world.partial(b"ab"), await world.partial(b"a", length=2)
    assert expires(await world.ask("HEAD", complete)) == world.clock.now + 3600
    world.clock.advance(3601)

    assert await swept(world, complete)
    assert await swept(world, some)


async def test_d7_but_not_while_a_final_waits_for_it(build):
    """D7: a partial that an unjoined final upload names lives on, for every request, and can be
    filled; once the final upload is joined its time counts."""
    world = build(policy=HOUR)
    a, b = await world.partial(b"a"), await world.partial(b"b", length=2)
    world.clock.advance(1800)
    id = await world.final(a, b)
    world.clock.advance(1801)
    assert not await swept(world, a)
    assert not await swept(world, b)
    assert expires(await world.ask("HEAD", a)) > world.clock.now
    assert await world.offset(b) == 1
    assert (await world.ask("GET", b)).status == 409
    assert (await world.patch(b, 1, b"c")).status == 204
    await world.until_finished(id)

    assert await world.data(id) == b"abc"
    assert (await world.ask("HEAD", a)).status == 410
    assert await swept(world, a)


async def test_d8_a_final_whose_partial_expired(build):
    """D8: where nothing kept a partial, its final upload is 410, and expires itself."""
    world = build(policy=HOUR)
    a, b = await world.partial(b"a"), await world.partial(length=1)
    id = await world.final(a, b)
    await world.inner.remove(b)
    assert (await world.ask("HEAD", id)).status == 410
    world.clock.advance(3601)

    assert await swept(world, id)


async def test_d7_an_unjoined_final_expires_like_what_it_waits_for(build):
    """D7: a final upload whose partials never come is dropped, and then they are."""
    world = build(policy=HOUR)
    part = await world.partial(length=1)
    id = await world.final(part)
    world.clock.advance(3601)
    assert (await world.ask("HEAD", id)).status == 410

    assert await swept(world, id)
    assert await swept(world, part)


async def test_what_was_told_to_be_gone_stays_so(build):
    """D7: a partial's end does not bring back a final upload whose time was over."""
    world = build(policy=HOUR)
    part = await world.partial(length=1)
    world.clock.advance(10)
    id = await world.final(part)
    world.clock.advance(3600)
    assert (await world.ask("HEAD", id)).status == 410
    assert (await world.patch(part, 0, b"a")).status == 204
    await world.progress.drive(id, LIMIT)

    assert (await world.ask("HEAD", id)).status == 410
    assert await swept(world, id)


async def test_d7_a_join_is_not_cut_by_the_clock(build):
    """Nothing is lost: what is being joined waits for no client, so its time is not counted."""
    world = build(policy=Policy(expire_after=3600.0, drop_partials=True), join_timeout=0.01)
    part = await world.partial(b"abc")
    pause = Pause()
    world.store.before("join", pause)
    id = await world.final(part)
    await soon(pause.reached.wait())
    world.clock.advance(10**6)
    assert not await swept(world, id)
    assert (await world.ask("HEAD", id)).status == 200
    pause.resume()
    await world.until_finished(id)

    assert await world.data(id) == b"abc"


async def test_d8_a_tombstone_goes_without_a_word(build):
    """D8: the record of a partial that was used up is removed in its time; nobody is told."""
    world = build(policy=Policy(expire_after=3600.0, drop_partials=True))
    part = await world.partial(b"abc")
    id = await world.final(part)
    world.clock.advance(3601)
    assert await swept(world, part)

    assert world.recorder.uploads(Expired) == []
    assert await world.data(id) == b"abc"


async def test_d7_tusds_records_have_no_time(build):
    """D7: a record of tusd's expires once we have appended to it, and not before."""
    world = build(policy=HOUR)
    await world.put(Upload("t" * 32, length=5), b"he")
    world.clock.advance(10**6)
    assert not await swept(world, "t" * 32)
    assert (await world.ask("HEAD", "t" * 32)).header("Upload-Expires") is None
    await world.patch("t" * 32, 2, b"l")
    world.clock.advance(3601)

    assert await swept(world, "t" * 32)


async def test_what_waits_for_a_verdict_expires_too(build):
    """D7: an upload that is refused at its end until its time is over is gone, not finished."""
    world = build(policy=HOUR)
    world.recorder.failures[BeforeFinish] = Rejected(422)
    id = await world.create(5)
    await world.patch(id, 0, b"hello")
    world.clock.advance(3601)
    world.recorder.failures.clear()
    assert (await world.ask("HEAD", id)).status == 410
    assert (await world.patch(id, 5)).status == 410
    assert not (await world.record(id)).finished

    assert await swept(world, id)


async def test_a_finish_is_told_before_it_expires(build):
    """Finished: if its telling was cut short, that comes before its end."""
    world = build(policy=BOTH)
    id = await world.create(5)
    world.store.after("save", OSError("died"))
    await world.patch(id, 0, b"hello")
    world.clock.advance(61)
    await world.sweeper.scan()
    await world.settle(lambda: _announced(world, id))

    assert world.recorder.names.count("Finished") == 1
    assert await swept(world, id)


async def _announced(world, id: str) -> bool:
    return (await world.record(id)).announced


# --- How ------------------------------------------------------------------------------------------


async def test_d7_the_sweeper_asks_nobody(build):
    """D7: an upload somebody works on is left alone, and its holder is not disturbed."""
    world = build(policy=HOUR)
    id = await world.create(5)
    world.clock.advance(3601)
    wanted = []
    async with world.locker.hold(id, lambda: wanted.append(1)):
        assert not await swept(world, id)

    assert wanted == []
    assert await swept(world, id)


async def test_d7_the_sweeper_looks_again_under_the_lock(build):
    """D7: what got a byte between the scan and the lock lives on."""
    world = build(policy=HOUR)
    id = await world.create(5)
    old = await world.record(id)
    await world.change(id, expires=world.clock.now + 7200)
    world.clock.advance(3601)
    await world.progress.sweep(old)

    assert await world.exists(id)


async def test_the_sweeper_comes_too_late(build):
    """What was removed between the scan and the lock is no failure."""
    world = build(policy=HOUR)
    id = await world.create(5)
    old = await world.record(id)
    world.clock.advance(3601)
    await world.inner.remove(id)
    await world.progress.sweep(old)

    assert "Expired" not in world.recorder.names


async def test_one_broken_upload_keeps_no_other(build, caplog):
    """What fails on one upload is logged, and the round goes on."""
    world = build(policy=HOUR)
    ids = [await world.create(5) for _ in range(3)]
    world.clock.advance(3601)
    world.store.before("remove", OSError("one of them"))
    with caplog.at_level(logging.ERROR, "vectus"):
        await world.sweeper.scan()

    assert sum([await world.exists(id) for id in ids]) == 1
    assert "one of them" in caplog.text


async def test_a_scan_that_fails_is_tried_again(world, caplog):
    """A store that is away for a round is asked again in the next one."""
    world.store.before("scan", StoreUnavailable("gone fishing"))
    with caplog.at_level(logging.ERROR, "vectus"):
        await world.sweeper.scan()

    assert "gone fishing" in caplog.text


async def test_the_sweeper_runs_until_it_is_cancelled(build):
    """It scans at its start and now and then, and tries again what failed in between."""
    world = build(policy=HOUR)
    id = await world.create(5)
    world.recorder.failures[BeforeFinish] = Rejected(422)
    await world.patch(id, 0, b"hello")
    expiring = await world.create(5)
    running = world.begin(world.sweeper.run())
    world.recorder.failures.clear()
    await world.until_finished(id)
    world.clock.advance(3601)
    await world.settle(lambda: _gone_now(world, expiring))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def _gone_now(world, id: str) -> bool:
    return not await world.exists(id)


async def test_a_store_that_cannot_be_scanned_is_left_alone(world):
    """Scanning is an ability a store need not have."""

    class Plain:
        """Nothing at all."""

    await Sweeper(Plain(), world.progress).scan()


async def test_the_sweeper_leaves_alone_what_is_settled(world):
    """A scan starts nothing for uploads that wait for their clients, or for nothing."""
    await world.create(5)
    await world.done()
    world.store.calls.clear()
    await world.sweeper.scan()

    assert world.store.calls == ["scan"]


async def test_background_work_waits_for_no_one_at_the_end(build):
    """Closing ends what is under way; it goes on at the next start."""
    world = build(join_timeout=0.01)
    part = await world.partial(b"a")
    pause = Pause()
    world.store.before("join", pause)
    id = await world.final(part)
    await soon(pause.reached.wait())
    await soon(world.progress.aclose())

    assert (await world.record(id)).stage is Stage.JOINING


async def test_a_file_of_tusds_that_is_complete_is_finished(build, tmp_path):
    """D2: a complete record of tusd's is a finished upload, and fires nothing."""
    world = build()
    if isinstance(world.inner, MemoryStore):
        return
    info = (
        '{"ID":"abc","Size":5,"SizeIsDeferred":false,"Offset":0,"MetaData":{"filename":"a.txt"},'
        '"IsPartial":false,"IsFinal":false,"PartialUploads":null,'
        f'"Storage":{{"Type":"filestore","Path":"{world.place}/abc"}}}}'
    )
    (world.place / "abc").write_bytes(b"hello")
    (world.place / "abc.info").write_text(info)
    await world.sweeper.scan()
    reply = await world.ask("HEAD", "abc")

    assert (reply.status, reply.header("Upload-Offset")) == (200, "5")
    assert reply.header("Upload-Metadata") == "filename YS50eHQ="
    assert {"BeforeFinish", "Finished"} & set(world.recorder.names) == set()
    assert (await world.record("abc")).role is Role.PLAIN


async def test_a_file_of_tusds_is_gone_on_with(build):
    """D2: what tusd began is finished here, and that is told once."""
    world = build()
    if isinstance(world.inner, MemoryStore):
        return
    info = '{"ID":"abc","Size":5,"MetaData":{},"Storage":{"Type":"filestore","Path":"abc"}}'
    (world.place / "abc").write_bytes(b"he")
    (world.place / "abc.info").write_text(info)
    assert await world.offset("abc") == 2
    assert (await world.patch("abc", 2, b"llo")).status == 204

    assert await world.data("abc") == b"hello"
    assert world.recorder.names.count("Finished") == 1
