"""Joins that end another way: a partial that is not finished, not complete or not there any more,
a lock that was lost, a record that somebody else has changed meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from vectus.contracts import Lease
from vectus.errors import Overtaken, StoreUnavailable, UploadNotFound
from vectus.locks.file import FileLocker
from vectus.locks.memory import MemoryLocker
from vectus.protocol.policy import Policy
from vectus.protocol.upload import Role, Stage, Upload
from vectus.testing.fakes import Pause
from world import LIMIT, World, id_of, soon

DROP = Policy(drop_partials=True)
BOTH = pytest.mark.parametrize("policy", [Policy(), DROP], ids=["kept", "dropped"])


async def unfinished(world: World, data: bytes) -> str:
    """Make a partial that is complete, and not recorded as finished."""
    id = f"unfinished-{data.decode()}".ljust(32, "0")
    await world.put(Upload(id, role=Role.PARTIAL, length=len(data), created=world.clock()), data)
    assert (await world.record(id)).stage is Stage.FINISHING
    return id


async def joining(world: World, *parts: str, length: int) -> str:
    """Make a final upload whose joining is recorded, and nothing else done."""
    record = Upload("f" * 32, role=Role.FINAL, length=length, parts=parts, joining=True)
    await world.put(record)
    return record.id


async def stage(world: World, id: str) -> Stage:
    """Return the stage of an upload."""
    return (await world.record(id)).stage


# --- Partials that are not finished ---------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("recorded", [False, True])
async def test_d2_a_partial_is_finished_before_it_is_used(build, policy, recorded):
    """D2: a store may have work to do when an upload is finished, so that comes first; then the
    tombstone, then the join."""
    world = build(policy=policy)
    part = await unfinished(world, b"abc")
    if recorded:
        id = await joining(world, part, length=3)
        assert await world.offset(id) == 3
    else:
        id = await world.final(part)
    record = await world.record(part)

    assert record.finished
    assert record.taken_by == (id if policy.drop_partials else None)
    assert await world.data(id) == b"abc"


@BOTH
async def test_d2_a_partial_that_cannot_be_finished_now(build, policy):
    """D2, D3: while that fails there is no tombstone, HEAD is 423, and it is tried again."""
    world = build(policy=policy)
    part = await unfinished(world, b"abc")
    id = await joining(world, part, length=3)
    world.store.before("save", StoreUnavailable("x"))
    assert (await world.ask("HEAD", id)).status == 423
    assert (await world.record(part)).taken_by is None
    assert id in world.progress.owed
    await world.progress.sweep_owed()

    await world.until_finished(id)
    assert await world.data(id) == b"abc"


@BOTH
@pytest.mark.parametrize("nth", range(5))
@pytest.mark.parametrize("when", ["before", "after"])
async def test_d2_a_kill_between_finishing_and_taking_over(build, policy, when, nth):
    """D8: whichever record is the last that a process writes, the next one ends the join."""
    world = build(policy=policy)
    a, b = await unfinished(world, b"abc"), await unfinished(world, b"de")
    id = await joining(world, a, b, a, length=8)
    passed = Pause()
    passed.resume()
    getattr(world.store, when)("save", *[passed] * nth, OSError("died"))
    await world.ask("HEAD", id)
    await world.progress.aclose()
    again = build(restart=world)
    await again.sweeper.scan()

    await again.until_finished(id)
    assert await again.data(id) == b"abcdeabc"


@BOTH
async def test_d8_others_that_wait_for_it_hear_of_it(build, policy):
    """D8: a partial that is finished for one final upload is finished for all that name it; nobody
    has to ask for them."""
    world = build(policy=policy)
    part = await unfinished(world, b"abc")
    other = Upload("e" * 32, role=Role.FINAL, parts=(part,), created=world.clock())
    await world.put(other)
    id = await joining(world, part, length=3)
    await world.ask("HEAD", id)

    async def settled() -> bool:
        return (await world.record(other.id)).closed

    await world.settle(settled)
    assert (await world.record(id)).finished
    assert (await world.record(other.id)).finished is not policy.drop_partials


@BOTH
async def test_d8_an_expired_partial_that_is_waited_for_is_joined(build, policy):
    """D7: while a final upload names it, its time is not counted, unfinished or not."""
    world = build(policy=replace(policy, expire_after=10.0))
    part = await unfinished(world, b"abc")
    await world.change(part, expires=world.clock() + 10)
    id = await joining(world, part, length=3)
    world.clock.advance(100)

    assert await world.offset(id) == 3


# --- Partials that are not what they were ---------------------------------------------------------


@BOTH
async def test_d8_a_partial_that_is_not_complete_any_more_is_waited_for(build, policy):
    """Nothing is made up: what a store lost of a partial is missing. The final upload waits again,
    can be removed and expires like any other that waits, and nothing is a tombstone that lacks
    bytes."""
    world = build(policy=policy)
    a, b = await unfinished(world, b"abc"), f"{'b' * 32}"
    await world.put(Upload(b, role=Role.PARTIAL, length=2, created=world.clock()), b"d")
    id = await joining(world, a, b, length=5)
    reply = await world.ask("HEAD", id)
    assert (reply.status, reply.header("Upload-Offset")) == (200, None)
    record = await world.record(id)
    assert (record.stage, record.expires is None) == (Stage.AWAITING, False)
    assert (await world.record(b)).taken_by is None
    assert (await world.patch(b, 1, b"e")).status == 204

    await world.until_finished(id)
    assert await world.data(id) == b"abcde"


@BOTH
async def test_d8_a_pinned_partial_that_failed_fails_its_final(build, policy):
    """D8: a partial that can never be finished makes its final upload 410, at once and for good."""
    world = build(policy=policy)
    a, b = await unfinished(world, b"abc"), await unfinished(world, b"de")
    id = await joining(world, a, b, length=5)
    await world.change(b, failed="Its parts are gone.")

    assert (await world.ask("HEAD", id)).status == 410
    assert await stage(world, id) is Stage.GONE
    assert (await world.record(b)).taken_by is None


async def test_d8_that_a_partial_failed_is_looked_at_twice(build):
    """What a store says while somebody else finishes a partial is no reason to give up: 410 is for
    good, so the partial's lock is taken first."""
    world = build()
    part = await unfinished(world, b"abc")
    id = await joining(world, part, length=3)
    await world.change(part, failed="It seems so.")
    seen = Pause()
    passed = Pause()
    passed.resume()
    world.store.after("load", *[passed] * 2, seen)  # the final, twice; the partial
    drive = world.begin(world.progress.drive(id, LIMIT))
    await soon(seen.reached.wait())
    await world.change(part, failed=None)
    seen.resume()
    await soon(drive)

    assert await world.data(id) == b"abc"


@BOTH
async def test_d8_bytes_that_vanish_under_way_fail_their_final(build, policy):
    """D8: what a store finds gone when it joins makes it 410; what was taken over is freed, and the
    rest can be removed."""
    world = build(policy=policy)
    a, b = await world.partial(b"abc"), await world.partial(b"de")
    world.store.before("join", UploadNotFound(b))
    id = id_of(await world.ask("POST", upload_concat=f"final;{a} {b}"))

    assert (await world.ask("HEAD", id)).status == 410
    assert not world.progress.owed
    assert "join" not in world.store.calls[-1:]
    status = (await world.ask("DELETE", a)).status
    assert status == (410 if policy.drop_partials else 204)
    assert ("bury" in world.store.calls) is policy.drop_partials


async def test_d8_a_final_that_failed_expires(build):
    """D7: its time counts from then, as there is nothing more to wait for."""
    world = build(policy=Policy(expire_after=10.0))
    a = await world.partial(b"abc")
    world.store.before("join", UploadNotFound(a))
    id = id_of(await world.ask("POST", upload_concat=f"final;{a}"))
    world.clock.advance(11)
    await world.sweeper.scan()

    assert not await world.exists(id)


async def test_a_final_that_vanishes_under_way_is_no_failure(build):
    """A final upload that was removed while it was joined has come to its end."""
    world = build()
    part = await world.partial(b"abc")
    id = await joining(world, part, length=3)
    pause = Pause()
    world.store.before("join", pause)
    drive = world.begin(world.progress.drive(id, LIMIT))
    await soon(pause.reached.wait())
    await world.inner.remove(id)
    world.store.before("load", UploadNotFound(id))
    pause.resume()
    await soon(drive)

    assert not world.progress.owed
    assert not await world.exists(id)


@BOTH
async def test_a_partial_that_vanishes_while_it_is_finished(build, policy):
    """It is tried again at once, and found to be gone then, not forgotten."""
    world = build(policy=policy)
    part = await unfinished(world, b"abc")
    id = await joining(world, part, length=3)
    world.store.before("save", UploadNotFound(part))
    assert (await world.ask("HEAD", id)).status == 423
    assert id in world.progress.owed
    await world.inner.remove(part)
    await world.progress.sweep_owed()

    async def failed() -> bool:
        return (await world.record(id)).failed is not None

    await world.settle(failed)


async def test_a_final_that_lost_its_partials_frees_its_own_only(build):
    """What another final upload has taken over is not freed by one that failed."""
    world = build(policy=DROP)
    a, b = await world.partial(b"abc"), await world.partial(b"de")
    await world.change(b, taken_by="e" * 32)
    id = await joining(world, a, b, length=5)
    world.store.before("join", UploadNotFound(b))
    await world.ask("HEAD", id)

    assert await stage(world, id) is Stage.GONE
    assert world.store.calls.count("bury") == 1


# --- Records that somebody else has changed -------------------------------------------------------


async def test_a_final_that_was_finished_elsewhere_stays_so(build):
    """A node that looks for partials which another one has joined, and freed, does not say that
    they are gone."""
    world = build()
    a = await world.partial(b"abc")
    pause = Pause()
    world.store.before("join", pause)
    creating = world.begin(world.ask("POST", upload_concat=f"final;{a}"))
    await soon(pause.reached.wait())
    (id,) = await world.inner.finals(a)
    final = await world.record(id)
    await world.inner.join(final, [await world.record(a)], take_over=False)
    final = replace(final, offset=3, joining=False)
    await world.inner.save(final)
    await world.inner.save(replace(final, finished=True))
    await world.inner.remove(a)
    pause.resume()
    await soon(creating)

    assert (await world.record(id)).finished
    assert await world.data(id) == b"abc"


async def test_a_final_that_was_joined_elsewhere_is_not_pinned_again(build):
    """The same, of a node that stood still before it recorded that it joins."""
    world = build()
    a = await world.partial(b"abc")
    pause = Pause()
    world.store.before("reserve", pause)
    creating = world.begin(world.ask("POST", upload_concat=f"final;{a}"))
    await soon(pause.reached.wait())
    (id,) = await world.inner.finals(a)
    final = await world.record(id)
    await world.inner.join(final, [await world.record(a)], take_over=False)
    final = replace(final, length=3, offset=3, joining=False)
    await world.inner.save(final)
    await world.inner.save(replace(final, finished=True))
    pause.resume()
    await soon(creating)

    assert "join" not in world.store.calls
    assert (await world.record(id)).finished


# --- Locks that are lost --------------------------------------------------------------------------


class Lossy(MemoryLocker):
    """A locker some of whose leases are lost.

    Args:
        lost: the beginning of the names whose locks are, from when it says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost: tuple[str, ...] = ()

    @asynccontextmanager
    async def hold(self, id: str, *args: object, **options: object) -> AsyncIterator[Lease]:
        """Hold a lock that may be lost."""
        async with super().hold(id, *args, **options) as lease:
            yield Lost(self, id, lease)


class Lost:
    """A lease of such a locker."""

    def __init__(self, locker: Lossy, id: str, inner: Lease) -> None:
        self._locker = locker
        self._id = id
        self.fence = inner.fence
        self.retire = inner.retire

    @property
    def lost(self) -> bool:
        """Whether it is one of those."""
        return self._id.startswith(self._locker.lost or "?")


async def test_d5_a_store_is_told_of_the_joins_lock(build, tmp_path: Path):
    """D5: a join stops once its lock is lost; that is somebody else at work, no failure, and it is
    looked at again."""
    world = build(locker=(locker := Lossy()))
    part = await world.partial(b"abc")
    id = await joining(world, part, length=3)
    pause = Pause()
    world.store.before("join", pause)
    drive = world.begin(world.progress.drive(id, LIMIT))
    await soon(pause.reached.wait())
    locker.lost = ("joining-",)
    pause.resume()
    await soon(drive)

    assert id in world.progress.owed
    assert await stage(world, id) is Stage.JOINING
    locker.lost = ()
    await world.progress.sweep_owed()
    await world.until_finished(id)
    assert await world.data(id) == b"abc"


async def test_d5_whoever_lost_the_joins_lock_gives_nothing_up(build):
    """D5: a partial that is gone may have been freed by whoever has joined it since."""
    world = build(locker=(locker := Lossy()))
    part = await world.partial(b"abc")
    id = await joining(world, part, length=3)
    pause = Pause()
    world.store.before("join", pause)
    drive = world.begin(world.progress.drive(id, LIMIT))
    await soon(pause.reached.wait())
    locker.lost = ("joining-",)
    await world.inner.remove(part)
    pause.resume()
    await soon(drive)

    assert await stage(world, id) is Stage.JOINING
    assert id in world.progress.owed


async def test_d5_whoever_lost_a_partials_lock_pins_nothing(build):
    """D5: that no other final upload uses a partial up holds as long as its lock does."""
    world = build(policy=DROP, locker=(locker := Lossy()))
    part = await world.partial(b"abc")
    pause = Pause()
    world.store.before("reserve", pause)
    creating = world.begin(world.ask("POST", upload_concat=f"final;{part}"))
    await soon(pause.reached.wait())
    locker.lost = (part,)
    pause.resume()
    id = id_of(await soon(creating))

    assert await stage(world, id) is Stage.AWAITING
    assert id in world.progress.owed
    locker.lost = ()
    assert await world.offset(id) == 3


async def test_a_store_whose_join_was_overtaken_fails_nobody(build):
    """What a store says of a lock that was lost is somebody else at work; POST is answered."""
    world = build()
    part = await world.partial(b"abc")
    world.store.before("join", Overtaken("x"))
    id = await world.final(part)

    assert await stage(world, id) is Stage.JOINING
    assert id in world.progress.owed
    assert await world.offset(id) == 3


async def test_d6_no_lock_file_stays_of_a_join(build, tmp_path: Path):
    """D6: locks of partials that are finished are cleaned up, by a join as well."""
    locks = tmp_path / "locks"
    for policy in (Policy(), DROP):
        world = build(policy=policy, locker=FileLocker(locks))
        a, b = await world.partial(b"abc"), await unfinished(world, b"de")
        id = await world.final(a, b)
        assert await world.data(id) == b"abcde"
        await world.inner.remove(b)

    assert [path.name for path in locks.rglob("*") if path.is_file()] == []
