"""Joins in S3 that do not go as they should: partials without an object, partials that vanish, and
a kill at any call. Whatever happens a final upload has all its bytes, or says for good that it
never will."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from s3_faults import FaultyGateway
from s3_joining import LEAST, LIMIT, SMALL, CopyingS3, Door
from s3_memory import MemoryS3

from vectus.protocol.policy import Policy
from vectus.protocol.upload import Role, Stage, Upload
from vectus.stores.s3 import walk
from vectus.stores.s3.client import Missing
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import give, pattern, plan
from world import World, id_of

DROP = Policy(drop_partials=True)

SIZES = {"little": 100, "parts": 2 * LEAST, "more parts": 2 * LEAST + 700}
"""How long partials are that have a tail, or parts."""


@pytest.fixture(autouse=True)
def short_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody knows of is swept at once."""
    monkeypatch.setattr(walk, "OLD", -60.0)


@pytest.fixture
def server() -> CopyingS3:
    """A server that several nodes may use."""
    return CopyingS3(conditional=True)


@pytest.fixture
def door(server: CopyingS3) -> Door:
    """The way there."""
    return Door(server)


def world_at(door: Door, policy: Policy, **options: object) -> World:
    """Return an engine on a store there."""
    return World(S3Store(SMALL, door), policy=policy, listening=False, **options)


async def unfinished_partial(world: World, door: Door, data: bytes) -> str:
    """Send a partial all of whose bytes are acknowledged, and of which no object was made."""
    id = await world.create(len(data), upload_concat="partial")
    door.fails = lambda operation, key: (
        operation == "complete_multipart_upload" or (operation == "put_object" and key.endswith(id))
    )
    assert (await world.patch(id, 0, data)).status == 503
    door.fails = lambda *_: False
    if not (await world.record(id)).complete:  # a small one is recorded with its object, or not
        await leave_unfinished(world, id, data)
    record = await world.record(id)
    assert (record.stage, record.offset) == (Stage.FINISHING, len(data))
    return id


async def leave_unfinished(world: World, id: str, data: bytes) -> None:
    """Append bytes as a process does that is killed before it makes the object."""
    upload = await world.record(id)
    async with world.inner.append(upload, plan(upload.offset)) as sink:
        await give(sink, data[upload.offset :])
        await sink.commit(replace(upload, offset=len(data)))


async def until_settled(world: World, id: str) -> Upload:
    """Do what clients and the sweeper do, until a final upload is finished or failed."""

    async def closed() -> bool:
        with suppress(asyncio.TimeoutError):
            await world.ask("HEAD", id)
        await world.sweeper.scan()
        await world.progress.sweep_owed()
        return (await world.record(id)).closed

    await asyncio.wait_for(world.settle(closed), LIMIT)
    return await world.record(id)


def left(server: MemoryS3) -> list[str]:
    """Return the names of everything there is, but for the prefix."""
    return sorted(key.removeprefix("uploads/") for key in server.objects)


# --- A partial that has no object yet -------------------------------------------------------------


@pytest.mark.parametrize("policy", [Policy(), DROP], ids=["kept", "dropped"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
async def test_a_partial_without_an_object_is_finished_first(door, server, policy, size):
    """D2, D8: bytes that were acknowledged are joined, also where their object could not be made;
    whether the partial is used up by it or not."""
    world = world_at(door, policy)
    data = [pattern(size, 1), pattern(LEAST + 3, 2)]
    first = await unfinished_partial(world, door, data[0])
    final = await world.final(first, await world.partial(data[1]))
    upload = await until_settled(world, final)

    assert upload.failed is None
    assert await world.data(final) == b"".join(data)
    assert (await world.record(first)).finished
    assert not server.multiparts
    if policy.drop_partials:
        assert (await world.ask("HEAD", first)).status == 410
        assert first not in left(server)
    await world.aclose()


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
async def test_a_tombstone_without_an_object_is_joined(door, server, size):
    """A tombstone that an earlier version wrote before there was an object costs no bytes."""
    world = world_at(door, DROP)
    data = [pattern(size, 1), pattern(LEAST + 3, 2)]
    parts = [await unfinished_partial(world, door, data[0]), await world.partial(data[1])]
    final = await put_joining(world, parts, sum(map(len, data)))
    for part in parts:
        await world.change(part, taken_by=final)
    upload = await until_settled(world, final)

    assert upload.failed is None
    assert await world.data(final) == b"".join(data)
    assert not server.multiparts
    await world.aclose()


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
async def test_a_tombstone_whose_bytes_are_gone_fails_its_final(door, server, size):
    """D8: if they have been taken away since, nobody can send them again, so it is 410."""
    world = world_at(door, DROP)
    data = [pattern(size, 1), pattern(LEAST + 3, 2)]
    parts = [await unfinished_partial(world, door, data[0]), await world.partial(data[1])]
    final = await put_joining(world, parts, sum(map(len, data)))
    await world.change(parts[0], taken_by=final)
    server.multiparts.clear()
    server.objects.pop(f"uploads/{parts[0]}.part", None)
    await until_settled(world, final)

    assert (await world.ask("HEAD", final)).status == 410
    assert not server.multiparts
    await world.aclose()


async def put_joining(world: World, parts: list[str], length: int) -> str:
    """Make a final upload whose joining is recorded, behind the engine's back."""
    record = Upload("f" * 32, role=Role.FINAL, length=length, parts=tuple(parts), joining=True)
    await world.inner.create(record)
    return record.id


@pytest.mark.parametrize("policy", [Policy(), DROP], ids=["kept", "dropped"])
async def test_a_partial_that_lost_its_tail_is_not_joined(door, server, policy):
    """Nothing is made up: a partial that has fewer bytes than it had is waited for, and nothing
    shorter is joined. Its client can send the rest again."""
    world = world_at(door, policy)
    data = [pattern(100, 1), pattern(LEAST + 3, 2)]
    parts = [await unfinished_partial(world, door, data[0]), await world.partial(data[1])]
    final = await put_joining(world, parts, sum(map(len, data)))
    del server.objects[f"uploads/{parts[0]}.part"]
    for _ in range(3):
        await world.ask("HEAD", final)
        await world.sweeper.scan()
        await world.progress.sweep_owed()
    reply = await world.ask("HEAD", final)
    assert (reply.status, reply.header("Upload-Offset")) == (200, None)
    assert await world.offset(parts[0]) == 0
    assert final not in left(server)
    assert (await world.patch(parts[0], 0, data[0])).status == 204
    await until_settled(world, final)

    assert await world.data(final) == b"".join(data)
    await world.aclose()


@pytest.mark.parametrize("policy", [Policy(), DROP], ids=["kept", "dropped"])
async def test_a_partial_whose_parts_are_gone_fails_its_final(door, server, policy):
    """D8: what a lifecycle rule takes of a partial after the join was recorded makes it 410."""
    world = world_at(door, policy)
    data = [pattern(2 * LEAST, 1), pattern(LEAST + 3, 2)]
    parts = [await unfinished_partial(world, door, data[0]), await world.partial(data[1])]
    final = await put_joining(world, parts, sum(map(len, data)))
    server.multiparts.clear()
    upload = await until_settled(world, final)

    assert upload.failed is not None
    assert (await world.ask("HEAD", final)).status == 410
    await world.aclose()


# --- A partial that vanished ----------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Policy(), DROP], ids=["kept", "dropped"])
@pytest.mark.parametrize("size", [1000, 3 * LEAST])
async def test_a_final_whose_partial_vanished_is_gone(door, server, policy, size):
    """D8: an object that somebody took away makes the final upload 410, once and for all; its
    other partials are free again, and nothing of the join stays open."""
    world = world_at(door, policy)
    parts = [await world.partial(pattern(size, seed)) for seed in (1, 2)]
    del server.objects[f"uploads/{parts[0]}"]
    reply = await world.ask("POST", upload_concat=f"final;{parts[0]} {parts[1]}")
    final = id_of(reply)

    assert (await world.ask("HEAD", final)).status == 410
    assert "partial upload" in ((await world.record(final)).failed or "")
    assert not server.multiparts
    assert not world.progress.owed
    deleted = {(await world.ask("DELETE", part)).status for part in parts}
    if policy.drop_partials:
        assert deleted == {410}
        assert parts[1] not in left(server)
    else:
        assert deleted == {204}
    await world.aclose()


async def test_a_final_that_is_gone_expires(door, server):
    """D7: what is left of it goes with its time, as of everything unfinished."""
    world = world_at(door, Policy(expire_after=60.0))
    part = await world.partial(pattern(1000, 1))
    del server.objects[f"uploads/{part}"]
    final = id_of(await world.ask("POST", upload_concat=f"final;{part}"))
    assert (await world.record(final)).stage is Stage.GONE
    world.clock.advance(100.0)
    await world.sweeper.scan()

    assert left(server) == []
    await world.aclose()


async def test_what_an_earlier_join_began_goes_as_well(door, server):
    """A join that was killed left a multipart upload; when it turns out that a partial has vanished
    that is dropped, and only then the final upload given up."""
    world = world_at(door, Policy())
    parts = [await world.partial(pattern(3 * LEAST, seed)) for seed in (1, 2)]
    door.fails = lambda operation, _: operation == "complete_multipart_upload"
    final = id_of(await world.ask("POST", upload_concat=f"final;{parts[0]} {parts[1]}"))
    assert server.multiparts
    del server.objects[f"uploads/{parts[0]}"]
    door.fails = lambda operation, _: operation == "abort_multipart_upload"
    assert (await world.ask("HEAD", final)).status == 423
    door.fails = lambda *_: False
    await until_settled(world, final)

    assert (await world.ask("HEAD", final)).status == 410
    assert not server.multiparts
    await world.aclose()


async def test_what_a_final_that_failed_left_open_is_swept(door, server):
    """Where a partial's record is gone the store is not even asked to join; what an earlier join
    had begun is an orphan then."""
    world = world_at(door, Policy())
    parts = [await world.partial(pattern(3 * LEAST, seed)) for seed in (1, 2)]
    door.fails = lambda operation, _: operation == "complete_multipart_upload"
    final = id_of(await world.ask("POST", upload_concat=f"final;{parts[0]} {parts[1]}"))
    door.fails = lambda *_: False
    await world.inner.remove(parts[1])
    await until_settled(world, final)
    await world.sweeper.scan()

    assert (await world.ask("HEAD", final)).status == 410
    assert not server.multiparts
    await world.aclose()


async def test_a_multipart_that_is_taken_away_under_way_is_begun_anew(door, server):
    """What a lifecycle rule aborts of a join is no partial that vanished."""
    world = world_at(door, Policy())
    part = await world.partial(data := pattern(3 * LEAST, 1))

    def take_away(operation: str, _: str) -> bool:
        if operation == "complete_multipart_upload":
            server.multiparts.clear()
            door.fails = lambda *_: False
        return False

    door.fails = take_away
    final = id_of(await world.ask("POST", upload_concat=f"final;{part}"))
    await until_settled(world, final)

    assert await world.data(final) == data
    await world.aclose()


async def test_a_miss_that_a_second_look_does_not_confirm_is_none(door, server):
    """410 is for good, so a server that only once says that there is no such object is asked again
    before it is believed."""
    world = world_at(door, Policy())
    part = await world.partial(data := pattern(1000, 1))
    missed = []

    def miss_once(operation: str, key: str) -> bool:
        if operation == "get_object" and key.endswith(part) and not missed:
            missed.append(key)
            raise Missing(key)
        return False

    door.fails = miss_once
    final = id_of(await world.ask("POST", upload_concat=f"final;{part} {part}"))
    await until_settled(world, final)

    assert missed
    assert await world.data(final) == data * 2
    await world.aclose()


# --- A kill at any call ---------------------------------------------------------------------------


@pytest.mark.parametrize("answers_last", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("policy", [Policy(), DROP], ids=["kept", "dropped"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
async def test_a_kill_at_any_call_loses_nothing(size, policy, answers_last):
    """D2, D8: wherever the process dies from the POST on, before a call or before its answer, the
    next one joins all bytes, and nothing is left over."""
    data = [pattern(size, 1), pattern(LEAST + 3, 2)]
    for nth in range(1, 200):
        server = CopyingS3(conditional=True)
        door = Door(server)
        world = world_at(door, policy)
        first = await unfinished_partial(world, door, data[0])
        second = await world.partial(data[1])
        final = await put_joining(world, [first, second], sum(map(len, data)))
        door.log.clear()
        door.shut_at, door.answers_last = nth, answers_last
        await world.ask("HEAD", final)
        await world.progress.aclose()
        died = len(door.log) >= nth
        again = world_at(Door(server), policy)
        upload = await until_settled(again, final)
        assert upload.failed is None, nth
        assert await again.data(final) == b"".join(data), nth
        await again.sweeper.scan()
        assert not server.multiparts, nth
        assert {".joins/" + final} & set(left(server)) == set(), nth
        await world.aclose()
        await again.aclose()
        if not died:
            break
    else:
        pytest.fail("it never came to an end")


# --- The real thing -------------------------------------------------------------------------------


async def test_a_partial_without_an_object_at_rgw(store, gateway: FaultyGateway):
    """D2, D8, at a real server: a partial whose completion failed once is used up whole."""
    least = store.place.part_size
    data = [pattern(least + 1000, 1), pattern(least + 3, 2)]
    world = World(store, policy=DROP, listening=False)
    first = await world.create(len(data[0]), upload_concat="partial")
    second = await world.partial(data[1])
    gateway.fail_once("complete_multipart_upload", "before")
    assert (await world.patch(first, 0, data[0])).status == 503
    gateway.heal()
    final = await world.final(first, second)
    await until_settled(world, final)

    assert await world.data(final) == b"".join(data)
    assert (await world.ask("HEAD", first)).status == 410
    await world.progress.aclose()


async def test_a_final_whose_partial_vanished_at_rgw(store, gateway: FaultyGateway):
    """D8, at a real server: 410, and no multipart upload stays."""
    world = World(store, listening=False)
    parts = [await world.partial(pattern(3 * store.place.part_size, seed)) for seed in (1, 2)]
    gateway.call("delete_object", Key=f"{store.place.folder}{parts[0]}")
    final = id_of(await world.ask("POST", upload_concat=f"final;{parts[0]} {parts[1]}"))

    assert (await world.ask("HEAD", final)).status == 410
    assert (await world.ask("DELETE", parts[1])).status == 204
    listed = gateway.call("list_multipart_uploads", Prefix=store.place.folder)
    assert not listed.get("Uploads")
    await world.progress.aclose()
