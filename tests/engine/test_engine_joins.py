"""Joining: finals are what their partials make them, nothing is lost, and no request is needed."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import product

import pytest

from vectus.errors import StoreFull, StoreUnavailable
from vectus.events import BeforeFinish, Rejected
from vectus.protocol.policy import Feature, Policy
from vectus.protocol.upload import Role, Stage, Upload
from vectus.testing.fakes import Pause, ScriptedBody
from world import LIMIT, id_of, soon

DROP = Policy(drop_partials=True)


# --- Joined at once -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["ab", "ba", "aab", "aba"])
@pytest.mark.parametrize("policy", [Policy(), DROP])
async def test_t69_the_order_listed(build, order, policy):
    """T69, T74: joined in the order of the list; one may come twice, dropped or kept."""
    world = build(policy=policy)
    parts = {"a": await world.partial(b"one "), "b": await world.partial(b"two")}
    id = await world.final(*(parts[name] for name in order))
    data = {"a": b"one ", "b": b"two"}

    assert await world.data(id) == b"".join(data[name] for name in order)
    reply = await world.ask("HEAD", id)
    assert reply.header("Upload-Offset") == reply.header("Upload-Length")


async def test_t65_t66_a_join_is_a_finish(world):
    """T66: the final upload's finish is asked for and told, once; the partials' are not."""
    id = await world.final(await world.partial(b"a"), await world.partial(b"b"))

    assert world.recorder.names.count("BeforeFinish") == 1
    assert world.recorder.names.count("Finished") == 1
    assert (await world.record(id)).stage is Stage.FINISHED


async def test_t67_partials_without_bytes(world):
    """T67: empty partials make an empty final upload, which is finished."""
    empty = await world.partial(b"")
    id = await world.final(empty, empty)

    assert await world.offset(id) == 0
    assert (await world.record(id)).finished


async def test_c27_partials_stay(world):
    """C27, T74: they can be used again, and removing them harms no final upload."""
    part = await world.partial(b"abc")
    first, second = await world.final(part), await world.final(part, part)
    assert (await world.ask("DELETE", part)).status == 204

    assert (await world.data(first), await world.data(second)) == (b"abc", b"abcabc")
    assert await world.offset(first) == 3


# --- Joined later ---------------------------------------------------------------------------------


async def test_d8_the_last_partial_drives_the_join(world):
    """T72, T78, C21, D8: the final upload waits without an offset, with its length when it can be
    told, and is joined as soon as the last partial is complete; nobody has to ask."""
    a, b = await world.partial(b"one "), await world.partial(length=3)
    deferred = await world.create(upload_concat="partial")
    id = await world.final(a, b, deferred)
    reply = await world.ask("HEAD", id)
    assert (reply.status, reply.header("Upload-Offset")) == (200, None)
    assert reply.header("Upload-Length") is None
    assert reply.header("Upload-Defer-Length") is None
    await world.patch(deferred, 0, b"!", upload_length=1)
    assert (await world.ask("HEAD", id)).header("Upload-Length") == "8"
    assert (await world.patch(b, 0, b"two")).status == 204

    await world.until_finished(id)
    assert await world.data(id) == b"one two!"


async def test_d8_partials_that_finish_at_once(world):
    """D8: whichever partial is the last, the join is not missed."""
    for _ in range(5):
        parts = [await world.partial(length=2) for _ in range(4)]
        id = await world.final(*parts)
        await asyncio.gather(*(world.patch(part, 0, b"xy") for part in parts))
        await world.settle(partial(joined_or_owed, world, id))
        await world.progress.sweep_owed()
        await world.until_finished(id)
        assert await world.data(id) == b"xy" * 4


async def joined_or_owed(world, id: str) -> bool:
    """Whether a final upload is joined, or will be tried again."""
    return (await world.record(id)).finished or id in world.progress.owed


async def test_d8_a_partial_that_finishes_while_a_drive_ends(world):
    """D8: a drive that has seen a partial unfinished is not the last word: the partial's finish
    meanwhile is remembered."""
    a, b = await world.partial(b"a"), await world.partial(length=1)
    id = await world.final(a, b)
    seen = Pause()
    passed = Pause()
    passed.resume()
    world.store.after("load", passed, passed, passed, seen)  # the final, twice; a; b
    drive = world.begin(world.progress.drive(id, LIMIT))
    await soon(seen.reached.wait())
    assert (await world.patch(b, 0, b"b")).status == 204
    seen.resume()
    await soon(drive)

    await world.until_finished(id)


async def test_d8_a_partial_cannot_slip_away(world):
    """D8: whoever would remove a partial while its joining is decided waits; then it is pinned."""
    a, b = await world.partial(b"a"), await world.partial(b"b")
    pause = Pause()
    world.store.before("reserve", pause)
    creating = world.begin(world.ask("POST", upload_concat=f"final;{a} {b}"))
    await soon(pause.reached.wait())
    joining = Pause()
    world.store.before("join", joining)
    deleting = world.begin(world.ask("DELETE", a))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not deleting.done()
    pause.resume()
    await soon(joining.reached.wait())
    assert (await soon(deleting)).status == 423
    joining.resume()
    reply = await soon(creating)

    assert await world.data(id_of(reply)) == b"ab"


async def test_d8_somebody_else_drives(world):
    """D8: while another process drives a final upload, this one tries again later."""
    a, b = await world.partial(b"a"), await world.partial(length=1)
    id = await world.final(a, b)
    async with world.locker.hold(f"joining-{id}"):
        await world.patch(b, 0, b"b")
        await world.settle(lambda: joined_or_owed(world, id))
        assert not (await world.record(id)).finished
    await world.progress.sweep_owed()

    await world.until_finished(id)


async def test_d8_a_restart_before_the_join(world, build):
    """D8: the scan of the next process joins what is complete."""
    a, b = await world.partial(b"a"), await world.partial(length=1)
    id = await world.final(a, b)
    await world.progress.aclose()
    world.store.before("finals", OSError("died"))
    await world.patch(b, 0, b"b")
    again = build(restart=world)
    await again.sweeper.scan()

    await again.until_finished(id)
    assert await again.data(id) == b"ab"


@pytest.mark.parametrize(
    ("policy", "call"),
    [*product([Policy(), DROP], ["reserve", "join", "save"]), (DROP, "bury")],
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_d8_a_restart_in_the_middle(build, policy, call, when):
    """D8: wherever a join dies, the next process brings it to its end, with the right bytes."""
    world = build(policy=policy, join_timeout=0.01)
    a, b = await world.partial(b"one "), await world.partial(b"two")
    pause = Pause()
    getattr(world.store, when)(call, pause)
    reply = await world.ask("POST", upload_concat=f"final;{a} {b} {a}")
    id = id_of(reply)
    await soon(pause.reached.wait())
    await world.progress.aclose()
    again = build(restart=world)
    await again.sweeper.scan()

    await again.until_finished(id)
    await again.settle(lambda: told(world, again))
    assert await again.data(id) == b"one twoone "
    assert again.recorder.names.count("Finished") + world.recorder.names.count("Finished") == 1


async def told(*worlds) -> bool:
    """Whether somebody was told of a finish."""
    return any("Finished" in world.recorder.names for world in worlds)


async def test_d8_a_long_join_goes_on(build):
    """D8: longer than the time-out: 201 at once; the final upload has no offset, its partials are
    pinned, HEAD and everything else work meanwhile, and in the end it is joined."""
    world = build(join_timeout=0.01)
    part = await world.partial(b"abc")
    pause = Pause()
    world.store.before("join", pause)
    id = await world.final(part, part)
    await soon(pause.reached.wait())
    reply = await world.ask("HEAD", id)
    assert (reply.status, reply.header("Upload-Offset")) == (200, None)
    assert reply.header("Upload-Length") == "6"
    for id_, status in ((part, 423), (id, 423)):
        deleted = await world.ask("DELETE", id_)
        assert (deleted.status, deleted.header("Retry-After")) == (status, "5")
    assert (await world.ask("GET", id)).status == 409
    assert (await world.patch(id, 0, b"x")).status == 403
    assert await world.offset(part) == 3
    pause.resume()

    await world.until_finished(id)
    assert (await world.ask("DELETE", part)).status == 204
    assert await world.data(id) == b"abcabc"


# --- Never joined ---------------------------------------------------------------------------------


async def test_d8_a_partial_that_was_removed(world):
    """D8: a final upload one of whose partials is gone is 410, and says why, for good."""
    a, b = await world.partial(b"a"), await world.partial(length=1)
    id = await world.final(a, b)
    assert (await world.ask("DELETE", b)).status == 204
    for method in ("HEAD", "GET"):
        assert (await world.ask(method, id)).status == 410
    assert b"partial upload" in (await world.ask("GET", id)).body
    assert (await world.record(id)).stage is Stage.GONE
    assert (await world.ask("DELETE", a)).status == 204


async def test_d8_a_sum_that_grows_above_the_cap(build):
    """D8, C28: the cap is 413 at POST, and makes the final upload 410 if it shows later."""
    world = build(policy=Policy(max_size=5))
    a, b = await world.partial(b"abc"), await world.create(upload_concat="partial")
    assert (await world.ask("POST", upload_concat=f"final;{a} {a}")).status == 413
    id = await world.final(a, b)
    await world.patch(b, 0, b"abc", upload_length=3)

    assert (await world.ask("HEAD", id)).status == 410


async def test_a_partial_that_vanishes_while_it_is_pinned(build):
    """Nothing is made up: if somebody takes a pinned partial away behind our back, the final upload
    is gone; it is never joined without it."""
    world = build(join_timeout=0.01)
    a, b = await world.partial(b"one "), await world.partial(b"two")
    pause = Pause()
    world.store.after("save", pause)
    id = await world.final(a, b)
    await soon(pause.reached.wait())
    await world.inner.remove(b)
    pause.resume()
    await world.settle(lambda: left(world, id, Stage.JOINING))

    assert (await world.record(id)).stage is Stage.GONE
    assert (await world.ask("HEAD", id)).status == 410


async def test_a_final_given_up_while_it_is_joined(world):
    """What was recorded as gone meanwhile is not brought back by the end of a join."""
    part = await world.partial(b"a")
    pause = Pause()
    world.store.after("join", pause)
    creating = world.begin(world.ask("POST", upload_concat=f"final;{part}"))
    await soon(pause.reached.wait())
    (id,) = await world.inner.finals(part)
    await world.change(id, failed="It was given up.", joining=False)
    pause.resume()
    await soon(creating)

    assert (await world.ask("HEAD", id)).status == 410


async def left(world, id: str, stage: Stage) -> bool:
    """Whether an upload has left a stage."""
    return (await world.record(id)).stage is not stage


@pytest.mark.parametrize("error", [StoreFull(), OSError("x"), StoreUnavailable("x")])
async def test_d3_head_of_a_final_whose_join_fails(world, error):
    """D3: a completion that still fails is 423 on HEAD, so that the client keeps its URL."""
    a, b = await world.partial(b"a"), await world.partial(length=1)
    id = await world.final(a, b)
    world.store.before("reserve", error, error)
    await world.patch(b, 0, b"b")
    await world.settle(lambda: owed(world, id))
    reply = await world.ask("HEAD", id)

    assert (reply.status, reply.header("Retry-After")) == (423, "1")
    assert (await world.ask("HEAD", id)).header("Upload-Offset") == "2"


async def owed(world, id: str) -> bool:
    """Whether an upload will be tried again."""
    return id in world.progress.owed


async def test_a_veto_of_a_joined_upload(world):
    """BeforeFinish: the joined bytes wait for a verdict; POST says where, HEAD is 423."""
    part = await world.partial(b"a")
    world.recorder.failures[BeforeFinish] = Rejected(422, "A virus.")
    reply = await world.ask("POST", upload_concat=f"final;{part}")
    id = id_of(reply)
    assert reply.status == 422
    assert (await world.ask("HEAD", id)).status == 423
    world.recorder.failures.clear()

    assert await world.offset(id) == 1


async def test_d8_no_room_for_the_join(world):
    """D8: without space the POST is 507 and leaves nothing; the partials are as before."""
    part = await world.partial(b"a")
    world.store.before("reserve", StoreFull())
    reply = await world.ask("POST", upload_concat=f"final;{part}")

    assert (reply.status, reply.header("Location")) == (507, None)
    assert [u.id async for u in world.inner.scan()] == [part]
    assert (await world.ask("DELETE", part)).status == 204


async def test_d8_no_room_after_all(world):
    """D8: once the join is recorded it is 201, and tried again until there is room."""
    part = await world.partial(b"a")
    world.store.before("join", StoreFull())
    id = await world.final(part)
    assert (await world.record(id)).stage is Stage.JOINING
    await world.progress.sweep_owed()

    await world.until_finished(id)


async def test_a_withdrawal_that_fails_says_where_the_upload_is(world):
    """Every answer after an upload exists says where it is, this one too."""
    part = await world.partial(b"a")
    world.store.before("reserve", StoreFull())
    world.store.before("remove", OSError("x"))
    reply = await world.ask("POST", upload_concat=f"final;{part}")

    assert reply.status == 503
    assert await world.exists(id_of(reply))


@pytest.mark.parametrize("call", ["join", "save"])
async def test_a_join_that_fails_at_post(world, call):
    """Design 8: the answer is an error, with the Location of what will be joined later."""
    part = await world.partial(b"a")
    world.store.before(call, OSError("x"))
    reply = await world.ask("POST", upload_concat=f"final;{part}")
    assert reply.status == 503
    await world.progress.sweep_owed()

    await world.until_finished(id_of(reply))


async def test_a_final_that_is_removed_before_it_is_joined(world):
    """A waiting final upload can be removed, and nothing comes of its partials' end."""
    a, b = await world.partial(b"a"), await world.partial(length=1)
    id = await world.final(a, b)
    assert (await world.ask("DELETE", id)).status == 204
    assert (await world.patch(b, 0, b"b")).status == 204
    await world.progress.drive(id, LIMIT)

    assert not await world.exists(id)


async def test_a_final_that_is_removed_while_it_is_about_to_be_joined(world):
    """A DELETE that comes between the look at the partials and the record wins."""
    part = await world.partial(b"a")
    pause = Pause()
    world.store.before("reserve", pause)
    creating = world.begin(world.ask("POST", upload_concat=f"final;{part}"))
    await soon(pause.reached.wait())
    (final,) = await world.inner.finals(part)
    assert (await world.ask("DELETE", final)).status == 204
    pause.resume()
    await soon(creating)

    assert not await world.exists(final)
    assert await world.data(part) == b"a"


# --- Partials used up -----------------------------------------------------------------------------


async def test_d8_dropped_partials_are_gone(build):
    """D8: they are 410, their bytes are freed, and the same POST again has the same Location."""
    world = build(policy=DROP)
    a, b = await world.partial(b"one "), await world.partial(b"two")
    id = await world.final(a, b)
    again = await world.ask("POST", upload_concat=f"final;{a} {b}")

    assert (again.status, id_of(again)) == (201, id)
    assert (await world.ask("HEAD", a)).status == 410
    assert (await world.ask("POST", upload_concat=f"final;{b} {a}")).status == 400
    assert (await world.record(a)).taken_by == id
    assert await world.data(id) == b"one two"
    assert world.recorder.names.count("BeforeCreate") == 3


async def test_d8_the_same_again_while_tombstones_are_written(build):
    """D8: a repeated POST finds the final upload as soon as one of its partials tells of it."""
    world = build(policy=DROP, join_timeout=0.01)
    a, b = await world.partial(b"one "), await world.partial(b"two")
    pause = Pause()
    world.store.before("join", pause)
    id = await world.final(a, b)
    await soon(pause.reached.wait())
    await world.change(b, taken_by=None)
    again = await world.ask("POST", upload_concat=f"final;{a} {b}")
    pause.resume()

    assert (again.status, id_of(again)) == (201, id)


async def test_d8_a_partial_is_given_to_one_final_only(build):
    """D8: two finals want the same partial for themselves: one gets it, the other is gone; never
    does one of them have other bytes than its partials'."""
    world = build(policy=DROP, join_timeout=0.01)
    a, b = await world.partial(b"one "), await world.partial(b"two")
    pause = Pause()
    world.store.after("save", pause)  # the joining is recorded, no tombstone is written
    first = await world.final(a, b)
    await soon(pause.reached.wait())
    second = id_of(await world.ask("POST", upload_concat=f"final;{b} {a}"))
    pause.resume()
    await world.until_finished(first)
    await world.progress.sweep_owed()
    await world.progress.drive(second, LIMIT)

    assert await world.data(first) == b"one two"
    assert (await world.ask("HEAD", second)).status == 410


async def test_d8_a_partial_is_promised_to_one_final_only(build):
    """D8: the same, where the first one's process died before it wrote any tombstone."""
    world = build(policy=DROP)
    a, b = await world.partial(b"one "), await world.partial(b"two")
    world.store.after("save", OSError("died"))
    first = id_of(await world.ask("POST", upload_concat=f"final;{a} {b}"))
    again = build(restart=world)
    second = id_of(await again.ask("POST", upload_concat=f"final;{b} {a}"))
    assert (await again.record(second)).stage is Stage.AWAITING
    await again.sweeper.scan()
    await again.until_finished(first)

    assert await again.data(first) == b"one two"
    assert (await again.ask("HEAD", second)).status == 410


async def test_a_partial_being_dropped_is_untouchable(build):
    """D8: until the bytes are the final upload's, the partial is pinned."""
    world = build(policy=DROP, join_timeout=0.01)
    part = await world.partial(b"abc")
    pause = Pause()
    world.store.before("join", pause)
    id = await world.final(part)
    await soon(pause.reached.wait())
    assert (await world.ask("DELETE", part)).status == 423
    pause.resume()
    await world.until_finished(id)

    assert (await world.ask("DELETE", part)).status == 410


# --- Without joins --------------------------------------------------------------------------------


async def test_partials_without_final(build):
    """Where concatenation is off, partials and finals are refused."""
    world = build(policy=Policy(features=frozenset(Feature) - {Feature.CONCATENATION}))

    for concat in ("partial", "final;a"):
        reply = await world.ask("POST", upload_length=None, upload_concat=concat)
        assert reply.status == 400


async def test_a_slow_partial_keeps_nobody_waiting(world):
    """D8: a final upload can be asked about while its partials are being received."""
    a, b = await world.partial(b"a"), await world.partial(length=2)
    id = await world.final(a, b)
    pause = Pause()
    slow = world.begin(world.patch(b, 0, ScriptedBody(b"b", pause), content_length=2))
    await soon(pause.reached.wait())
    assert (await world.ask("HEAD", id)).status == 200
    assert not world.progress._drives  # it does not wait for the lock of b
    async with world.locker.hold(a, patience=0):
        pass
    assert not slow.done()
    pause.resume()
    await soon(slow)


async def test_a_foreign_final_is_finished(world):
    """What tusd joined is finished, and fires nothing."""
    record = Upload(
        "f" * 32, role=Role.FINAL, length=1, parts=("a",), finished=True, announced=True
    )
    await world.put(record, b"x")

    assert await world.offset(record.id) == 1
    assert "Finished" not in world.recorder.names
