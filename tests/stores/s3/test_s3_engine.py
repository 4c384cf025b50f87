"""What clients see of a server whose uploads are in a bucket, on a real S3 server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

import boto3
import pytest
from s3_faults import FaultyGateway
from s3_places import LEAST
from s3_steps import notes_are_gone, objects, unfinished

from server import until
from vectus.events import BeforeFinish, Finished
from vectus.protocol.exchange import Ending
from vectus.protocol.policy import Policy
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store
from vectus.testing.fakes import Pause, ScriptedBody
from vectus.testing.stores import pattern
from world import World

DATA = pattern(3 * LEAST + 1000)


@pytest.fixture
async def world(store: S3Store):
    """An engine over it."""
    world = World(store)
    yield world
    await world.progress.aclose()
    await world.locker.aclose()


def finishes(world: World) -> int:
    """Return how often it was told that an upload is finished."""
    return len([event for event in world.recorder.events if isinstance(event, Finished)])


async def told(world: World) -> int:
    """The same, to be waited for."""
    return finishes(world)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("listening", [False, True])
async def test_a_completion_that_fails(
    store: S3Store, gateway: FaultyGateway, when: str, *, listening: bool
) -> None:
    """D2, D3: the last PATCH is 503, HEAD is 423 without an offset while it still fails, and then
    204-like: the object is there, and Finished was told once."""
    world = World(store, listening=listening)
    if not listening:
        world.announcer.add(Finished, world.recorder)
    id = await world.create(len(DATA))
    gateway.fault = lambda operation, _: when if operation.startswith("complete") else None
    assert (await world.patch(id, 0, DATA)).status == 503
    if when == "before":
        reply = await world.ask("HEAD", id)
        assert (reply.status, reply.header("Upload-Offset")) == (423, None)
        assert finishes(world) == 0
    gateway.heal()

    assert await world.offset(id) == len(DATA)
    assert await world.data(id) == DATA
    await world.settle(lambda: told(world))
    assert finishes(world) == 1
    await world.progress.aclose()


async def test_the_sweeper_drives_a_completion_on(store: S3Store, gateway: FaultyGateway) -> None:
    """D2: nobody asks again, and the object is made all the same."""
    world = World(store)
    id = await world.create(len(DATA))
    gateway.fail_once("complete_multipart_upload", "before")
    assert (await world.patch(id, 0, DATA)).status == 503
    await world.sweeper.scan()
    await world.until_finished(id)

    assert await world.data(id) == DATA
    await world.progress.aclose()


async def test_a_veto_leaves_no_object(
    store: S3Store, gateway: FaultyGateway, place: Place
) -> None:
    """Until BeforeFinish has agreed there is no object that anybody could see."""
    world = World(store)
    seen: list[set[str]] = []
    world.announcer.add(BeforeFinish, lambda _: seen.append(set(objects(gateway, place))))
    for data in (DATA, b"tiny"):
        id = await world.create(len(data))
        assert (await world.patch(id, 0, data)).status == 204
        assert id not in seen[-1]
        assert objects(gateway, place)[id] == data
    await world.progress.aclose()


async def test_what_was_taken_away_is_410(world: World, place: Place, gateway) -> None:
    """An aborted multipart upload is gone for HEAD and PATCH alike."""
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[: 2 * LEAST])).status == 204
    client = boto3.client("s3", endpoint_url=place.endpoint, region_name=place.region)
    for upload in client.list_multipart_uploads(Bucket=place.bucket, Prefix=f"{place.prefix}/")[
        "Uploads"
    ]:
        client.abort_multipart_upload(
            Bucket=place.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
        )

    assert (await world.ask("HEAD", id)).status == 410
    assert (await world.patch(id, 2 * LEAST, DATA[2 * LEAST :])).status == 410
    client.close()


async def test_a_wrong_checksum_counts_nothing(world: World) -> None:
    """Parts of a body that does not match do not count, however many S3 has of them."""
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[:100])).status == 204
    right = base64.b64encode(hashlib.sha1(DATA[100:]).digest()).decode()
    wrong = DATA[100:][::-1]
    reply = await world.patch(id, 100, wrong, upload_checksum=f"sha1 {right}")
    assert reply.status == 460
    assert await world.offset(id) == 100
    reply = await world.patch(id, 100, DATA[100:], upload_checksum=f"sha1 {right}")

    assert reply.status == 204
    assert await world.data(id) == DATA


async def test_s3_is_away(world: World, gateway: FaultyGateway) -> None:
    """D3: nobody loses an upload because S3 cannot be reached; all goes on when it is back."""
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[: LEAST + 5])).status == 204
    gateway.fault = lambda *_: "before"
    assert (await world.ask("HEAD", id)).status == 423
    assert (await world.patch(id, LEAST + 5, DATA[LEAST + 5 :])).status == 503
    assert (await world.ask("POST", upload_length=5)).status == 503
    gateway.heal()

    assert await world.offset(id) == LEAST + 5
    assert (await world.patch(id, LEAST + 5, DATA[LEAST + 5 :])).status == 204
    assert await world.data(id) == DATA


async def test_a_length_that_comes_later(world: World) -> None:
    """Deferred lengths, declared with the last bytes or after them."""
    for size in (0, 100, 2 * LEAST, len(DATA)):
        data = DATA[:size]
        id = await world.create(None)
        if data:
            assert (await world.patch(id, 0, data)).status == 204
        assert (await world.patch(id, size, b"", upload_length=size)).status == 204
        assert await world.data(id) == data
        assert (await world.ask("GET", id)).status == 200


async def test_partials_are_joined(world: World, gateway: FaultyGateway, place: Place) -> None:
    """Concatenation, of partials that are finished before it and after it."""
    early = await world.partial(DATA)
    late = await world.create(LEAST, upload_concat="partial")
    final = await world.final(f"/files/{early}", f"/files/{late}", f"/files/{early}")
    assert (await world.ask("GET", final)).status == 409
    assert (await world.patch(late, 0, DATA[:LEAST])).status == 204
    await world.until_finished(final)

    await world.settle(lambda: notes_are_gone(gateway, place))
    assert objects(gateway, place)[final] == DATA + DATA[:LEAST] + DATA
    assert unfinished(gateway, place) == []


@pytest.mark.parametrize("far", [0, 100, LEAST, 2 * LEAST + 100, len(DATA)])
async def test_nothing_is_left_of_what_is_removed(
    world: World, gateway: FaultyGateway, place: Place, far: int
) -> None:
    """DELETE frees object, parts, tail and record, at every stage."""
    id = await world.create(len(DATA))
    if far:
        assert (await world.patch(id, 0, DATA[:far])).status == 204
    assert (await world.ask("DELETE", id)).status == 204

    assert objects(gateway, place) == {}
    assert unfinished(gateway, place) == []
    assert (await world.ask("HEAD", id)).status == 404


async def test_what_has_expired_is_swept(
    store: S3Store, gateway: FaultyGateway, place: Place
) -> None:
    """D7: an unfinished upload goes by our own record, a finished one stays."""
    world = World(store, policy=Policy(expire_after=60.0))
    done = await world.done(DATA)
    begun = await world.create(len(DATA))
    assert (await world.patch(begun, 0, DATA[: LEAST + 9])).status == 204
    await world.sweeper.scan()
    assert len(objects(gateway, place)) == 4
    world.clock.advance(100)
    await world.sweeper.scan()

    assert objects(gateway, place).keys() == {done, done + ".info"}
    assert unfinished(gateway, place) == []
    await world.progress.aclose()


async def test_a_lost_lock_stops_what_is_on_its_way(store: S3Store, gateway: FaultyGateway) -> None:
    """D5: whoever loses its lock stops sending parts, and nothing of its request is recorded."""
    world = World(store)
    id = await world.create(len(DATA))
    going, loop = asyncio.Event(), asyncio.get_running_loop()

    def hold(operation: str, sent: dict[str, Any]) -> None:
        if operation == "upload_part":
            loop.call_soon_threadsafe(going.set)
            until(lambda: sent["Body"]._spool.stopped, "the part's being stopped")

    gateway.on_call = hold
    body = ScriptedBody(DATA[: LEAST + 5], Pause())
    request = world.begin(world.patch(id, 0, body, content_length=len(DATA)))
    await asyncio.wait_for(going.wait(), 20)
    body.stop(Ending.LOST)
    reply = await request

    gateway.on_call = lambda *_: None
    assert reply.status == 423
    assert await world.offset(id) == 0
    assert (await world.patch(id, 0, DATA)).status == 204
    assert await world.data(id) == DATA
    await world.progress.aclose()


async def test_a_download_of_a_range(world: World) -> None:
    """GET gives the bytes that are asked for."""
    id = await world.done(DATA)
    reply = await world.ask("GET", id, range="bytes=100-70000")
    assert reply.status == 206
    assert reply.content is not None
    blocks = [block async for block in reply.content.blocks()]
    await reply.content.aclose()

    assert b"".join(blocks) == DATA[100:70001]
