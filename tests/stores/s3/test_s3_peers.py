"""What S3 stores of other servers were seen to do wrong, each as a test, on a real server."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import boto3
import pytest
from s3_faults import FaultyGateway
from s3_places import LEAST
from s3_steps import Client, objects, patch, settle, unfinished

from vectus.errors import Overtaken, StoreError, StoreUnavailable
from vectus.protocol.upload import Stage, Upload
from vectus.stores.s3.naming import MARK
from vectus.stores.s3.place import Place
from vectus.stores.s3.sightings import Sightings
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import ID, Held, bytes_of, give, pattern, plan

DATA = pattern(6 * LEAST + 1000)
WHOLE = Upload(ID, length=len(DATA))


def other(place: Place):
    """Return somebody else's client."""
    return boto3.client("s3", endpoint_url=place.endpoint, region_name=place.region)


@pytest.mark.parametrize("failing", range(1, 7))
async def test_one_part_of_several_fails_for_good(
    store: S3Store, gateway: FaultyGateway, failing: int
) -> None:
    """Of parts sent at once one fails: what follows it does not count, though S3 has it; the next
    request writes over it, and the object is what was sent."""
    await store.create(WHOLE)
    gateway.fault = lambda operation, sent: (
        "before" if operation == "upload_part" and sent["PartNumber"] == failing else None
    )
    with pytest.raises(StoreUnavailable):
        await patch(store, ID, DATA)
    upload = await store.load(ID)
    assert upload.offset == (failing - 1) * LEAST

    gateway.heal()
    client = Client(store, DATA)
    await client.run()
    assert client.offsets[0] == upload.offset
    assert await bytes_of(store, ID) == DATA


async def test_parts_may_be_acknowledged_in_any_order(
    store: S3Store, gateway: FaultyGateway
) -> None:
    """The first part of four at once comes last: nothing counts before it, everything after."""
    first, others = threading.Event(), threading.Semaphore(0)

    def hold(operation: str, sent: dict[str, object]) -> None:
        if operation == "upload_part":
            if sent["PartNumber"] == 1:
                assert first.wait(20)
            else:
                others.release()

    gateway.on_call = hold
    await store.create(WHOLE)
    async with store.append(WHOLE, plan(0, len(DATA))) as sink:
        await give(sink, DATA[: 4 * LEAST])
        for _ in range(3):
            assert await asyncio.to_thread(others.acquire, timeout=20)
        assert (await store.load(ID)).offset == 0
        first.set()
        await sink.commit(replace(WHOLE, offset=4 * LEAST))

    assert (await store.load(ID)).offset == 4 * LEAST


async def test_a_long_request_commits_as_it_goes(store: S3Store, place: Place) -> None:
    """Kill -9 in the middle of a request costs at most what was on its way."""
    await store.create(WHOLE)
    async with store.append(WHOLE, plan(0, len(DATA))) as sink:
        await give(sink, DATA[: 5 * LEAST])
        other_process = S3Store(place)
        async with asyncio.timeout(20):
            while (await other_process.load(ID)).offset < 5 * LEAST:  # noqa: ASYNC110 - of S3
                await asyncio.sleep(0.01)
        await other_process.aclose()


@pytest.mark.parametrize("nth", range(1, 12))
async def test_a_tail_is_never_lost(store: S3Store, gateway: FaultyGateway, nth: int) -> None:
    """Whatever fails of the request that puts a tail into a part, its bytes still count."""
    await store.create(WHOLE)
    await patch(store, ID, DATA[:1000])
    gateway.fail_nth("after", nth)
    try:
        await patch(store, ID, DATA[1000 : 2 * LEAST + 500])
    except StoreError:
        gateway.heal()
    gateway.heal()

    assert (await store.load(ID)).offset >= 1000
    await Client(store, DATA).run()
    assert await bytes_of(store, ID) == DATA


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_completion_that_fails_is_driven_on(
    store: S3Store, gateway: FaultyGateway, place: Place, when: str
) -> None:
    """CompleteMultipartUpload fails, or its answer is lost: the upload is complete and not
    finished, also for other nodes, until the object exists; and then once."""
    await store.create(WHOLE)
    gateway.fail_once("complete_multipart_upload", when)
    with pytest.raises(StoreUnavailable):
        await patch(store, ID, DATA)
    node = S3Store(place)
    found = await node.load(ID)
    assert found.stage is Stage.FINISHING
    gateway.fail_once("complete_multipart_upload", "before")
    if when == "before":
        assert ID not in objects(gateway, place)
        with pytest.raises(StoreUnavailable):
            await settle(store, ID)
        assert (await node.load(ID)).stage is Stage.FINISHING

    assert (await settle(node, ID)).finished
    assert await bytes_of(node, ID) == DATA
    assert "abort_multipart_upload" not in gateway.calls
    await node.remove(ID)
    assert objects(gateway, place) == {}
    await node.aclose()


async def test_a_completed_upload_is_never_aborted(store: S3Store, gateway: FaultyGateway) -> None:
    """Not even when it is removed before anybody knew that it was completed: there are servers that
    would delete what is left of other objects."""
    await store.create(WHOLE)
    gateway.fail_once("complete_multipart_upload", "after")
    with pytest.raises(StoreUnavailable):
        await patch(store, ID, DATA)
    await store.remove(ID)

    assert "abort_multipart_upload" not in gateway.calls


@pytest.mark.parametrize("far", [2 * LEAST, 3 * LEAST + 7, len(DATA)])
async def test_a_multipart_upload_that_was_taken_away_is_gone(
    store: S3Store, gateway: FaultyGateway, place: Place, far: int
) -> None:
    """An operator aborts it: the upload has failed for good and is never complete, and what is left
    can be removed."""
    await store.create(WHOLE)
    await patch(store, ID, DATA[:far], finish=False)
    kept = (await store._threads.run(store._vault.find, ID)).state
    client = other(place)
    client.abort_multipart_upload(
        Bucket=place.bucket, Key=f"{place.prefix}/{ID}", UploadId=kept.multipart
    )
    node = S3Store(place)
    for _ in range(2):
        found = await node.load(ID)
        assert (found.stage, found.finished) == (Stage.GONE, False)
    await node.remove(ID)
    assert objects(gateway, place) == {}
    await node.aclose()
    client.close()


async def test_one_taken_away_under_way_is_gone(store: S3Store, place: Place) -> None:
    """It is aborted while a request sends parts: the request fails, and then the upload is gone."""
    await store.create(WHOLE)
    await patch(store, ID, DATA[:LEAST])
    multipart = (await store._threads.run(store._vault.find, ID)).state.multipart
    client = other(place)
    client.abort_multipart_upload(
        Bucket=place.bucket, Key=f"{place.prefix}/{ID}", UploadId=multipart
    )
    with pytest.raises(StoreUnavailable):
        await patch(store, ID, DATA[LEAST:])
    assert (await store.load(ID)).stage is Stage.GONE
    client.close()


@pytest.mark.timeout(300)
async def test_a_lifecycle_rule_takes_uploads_away(store: S3Store, place: Place) -> None:
    """A rule that aborts unfinished multipart uploads really fires: the upload is gone, not
    complete."""
    client = other(place)
    await store.create(WHOLE)
    await patch(store, ID, DATA[: 2 * LEAST])
    rule = {
        "ID": "ours",
        "Status": "Enabled",
        "Filter": {"Prefix": f"{place.prefix}/"},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
    }
    client.put_bucket_lifecycle_configuration(
        Bucket=place.bucket, LifecycleConfiguration={"Rules": [rule]}
    )
    node = S3Store(place)
    try:
        async with asyncio.timeout(200):
            while (found := await node.load(ID)).stage is not Stage.GONE:
                assert found.offset == 2 * LEAST
                await asyncio.sleep(0.5)
    finally:
        client.delete_bucket_lifecycle(Bucket=place.bucket)
    assert not found.finished
    await node.aclose()
    client.close()


async def test_what_others_keep_is_left_alone(
    store: S3Store, gateway: FaultyGateway, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other people's multipart uploads and objects survive every sweep and removal, under other
    prefixes and under ours."""
    monkeypatch.setattr("vectus.stores.s3.walk.OLD", -60.0)
    client = other(place)
    keys = [
        f"{place.prefix}-other/{ID}",
        f"{place.prefix}/deeper/{ID}",
        f"{place.prefix}/{ID}2",
        f"{place.prefix}/{ID}.zip",
    ]
    begun = [
        client.create_multipart_upload(Bucket=place.bucket, Key=key)["UploadId"] for key in keys
    ]
    for key in (f"{place.prefix}-other/{ID}.info", f"{place.prefix}/deeper/x.part"):
        client.put_object(Bucket=place.bucket, Key=key, Body=b"mine")
    await store.create(WHOLE)
    await patch(store, ID, DATA[: 2 * LEAST])
    assert [upload.id async for upload in store.scan()] == [ID]
    await store.remove(ID)
    assert [upload.id async for upload in store.scan()] == []

    for key, multipart in zip(keys, begun, strict=True):
        client.list_parts(Bucket=place.bucket, Key=key, UploadId=multipart)
        client.abort_multipart_upload(Bucket=place.bucket, Key=key, UploadId=multipart)
    for key in (f"{place.prefix}-other/{ID}.info", f"{place.prefix}/deeper/x.part"):
        assert client.get_object(Bucket=place.bucket, Key=key)["ContentLength"] == 4
        client.delete_object(Bucket=place.bucket, Key=key)
    client.close()


async def test_a_tail_that_was_taken_away_is_told(
    store: S3Store, gateway: FaultyGateway, place: Place
) -> None:
    """An operator deletes or changes a tail: nothing wrong is built on it, the upload goes on from
    what is there."""
    await store.create(WHOLE)
    await patch(store, ID, DATA[: LEAST + 100])
    client = other(place)
    client.put_object(Bucket=place.bucket, Key=f"{place.prefix}/{ID}.part", Body=b"x" * 100)
    with pytest.raises(StoreUnavailable):
        await patch(store, ID, DATA[LEAST + 100 :])
    assert (await store.load(ID)).offset == LEAST
    await patch(store, ID, DATA[LEAST : LEAST + 100])
    client.delete_object(Bucket=place.bucket, Key=f"{place.prefix}/{ID}.part")
    with pytest.raises(StoreUnavailable):
        await patch(store, ID, DATA[LEAST + 100 :])

    await Client(store, DATA).run()
    assert await bytes_of(store, ID) == DATA
    client.close()


async def test_parts_that_are_not_ours_make_no_object(store: S3Store, place: Place) -> None:
    """Somebody overwrites a part: there is no object, and what comes from that part on is sent
    again."""
    await store.create(WHOLE)
    await patch(store, ID, DATA[: 3 * LEAST])
    multipart = (await store._threads.run(store._vault.find, ID)).state.multipart
    client = other(place)
    client.upload_part(
        Bucket=place.bucket,
        Key=f"{place.prefix}/{ID}",
        UploadId=multipart,
        PartNumber=2,
        Body=b"x" * LEAST,
    )
    with pytest.raises(StoreUnavailable):
        await patch(store, ID, DATA[3 * LEAST :])
    assert store._vault.objects.size(WHOLE) is None
    assert (await store.load(ID)).offset == LEAST

    await Client(store, DATA).run()
    assert await bytes_of(store, ID) == DATA
    client.close()


async def test_an_overtaken_writer_changes_nothing(store: S3Store, place: Place) -> None:
    """A holder sleeps past its lock's time; another node goes on and finishes; it wakes up, and
    whatever it still sends changes nothing."""
    await store.create(WHOLE)
    asleep = S3Store(place)
    before = await asleep.load(ID)
    stack = asleep.append(before, plan(0, len(DATA)))
    sink = await stack.__aenter__()
    await give(sink, DATA[: LEAST // 2])
    now = replace(await store.load(ID), fence=5)
    async with store.append(now, plan(0, len(DATA))) as later:
        await give(later, DATA[: 2 * LEAST + 50])
        await later.commit(replace(now, offset=2 * LEAST + 50))

    async def go_on() -> None:
        await give(sink, DATA[LEAST // 2 : 3 * LEAST])  # it may find out here, or at its end
        await sink.commit(replace(before, offset=3 * LEAST))

    with pytest.raises(Overtaken):
        await go_on()
    await stack.__aexit__(None, None, None)

    assert await store.load(ID) == replace(WHOLE, offset=2 * LEAST + 50, fence=5)
    await Client(store, DATA).run()
    assert await bytes_of(store, ID) == DATA
    await asleep.aclose()


async def test_two_writers_without_a_fence(store: S3Store, place: Place) -> None:
    """Even where nobody has written a later fence, a writer sees that another one has been at
    work, and stops."""
    await store.create(WHOLE)
    second = S3Store(place)
    async with store.append(await store.load(ID), plan(0, len(DATA))) as sink:
        await give(sink, DATA[:100])
        await patch(second, ID, DATA[:300])
        with pytest.raises(Overtaken):
            await sink.commit(replace(WHOLE, offset=100))

    assert (await store.load(ID)).offset == 300
    await second.aclose()


async def test_calls_are_few(store: S3Store, gateway: FaultyGateway) -> None:
    """S3's calls cost money and time: create at most 2, HEAD 2, a small PATCH 4, with a tail 5;
    whichever node it comes to."""
    counted: dict[str, int] = {}

    async def count(what: str, step) -> None:
        before = gateway.calls.total()
        await step
        counted[what] = gateway.calls.total() - before

    async def small(at: int, size: int) -> None:
        upload = await store.recall(ID)
        async with store.append(upload, plan(at), Held(upload.fence)) as sink:
            await give(sink, DATA[at : at + size])
            done = at + size == upload.length
            await sink.commit(replace(upload, offset=at + size, finished=done, announced=done))

    await count("create", store.create(WHOLE))
    await count("head", store.load(ID))
    await count("first bytes", small(0, 100))
    await count("more bytes", small(100, 100))
    await patch(store, ID, DATA[200 : 2 * LEAST])
    await count("head of parts", store.load(ID))
    for what, at in (("bytes at a part's end", 0), ("more bytes after parts", 100)):
        store._vault.sightings = Sightings()  # as at a node that has not seen the upload
        await count(what, small(2 * LEAST + at, 100))
    begun = Upload("begun", length=100, offset=7)
    await count("create with bytes", store.create(begun, DATA[:7]))
    whole = Upload("whole", length=7, offset=7, finished=True)
    await count("create finished", store.create(whole, DATA[:7]))
    await store.remove(ID)
    await store.create(replace(WHOLE, length=500))
    await count("tiny", small(0, 500))

    assert counted == {
        "create": 1,
        "head": 1,
        "first bytes": 4,
        "more bytes": 5,
        "head of parts": 2,
        "bytes at a part's end": 4,
        "more bytes after parts": 5,
        "create with bytes": 2,
        "create finished": 2,
        "tiny": 4,
    }


async def test_tiny_uploads_have_no_parts(
    store: S3Store, gateway: FaultyGateway, place: Place
) -> None:
    """What fits into one part is put as one object, also when it is empty, or exactly a part."""
    for size in (0, 1, LEAST - 1, LEAST):
        await store.create(replace(WHOLE, length=size))
        await patch(store, ID, DATA[:size])
        assert await bytes_of(store, ID) == DATA[:size]
        assert objects(gateway, place).keys() == {ID, ID + ".info"}
        await store.remove(ID)

    assert "create_multipart_upload" not in gateway.calls


async def test_the_object_is_what_its_metadata_say(store: S3Store, place: Place) -> None:
    """Content type and name go with the object, of one part and of many."""
    client = other(place)
    metadata = "filename w6kgIg==,filetype aW1hZ2UvcG5n"
    for size in (10, len(DATA)):
        await store.create(replace(WHOLE, length=size, metadata=metadata))
        await patch(store, ID, DATA[:size])
        head = client.head_object(Bucket=place.bucket, Key=f"{place.prefix}/{ID}")
        assert head["ContentType"] == "image/png"
        assert head["ContentDisposition"] == "attachment; filename*=UTF-8''%C3%A9%20%22"
        await store.remove(ID)
    client.close()


async def test_many_parts_are_a_record_like_any_other(store: S3Store) -> None:
    """An upload of dozens of parts is recorded, completed and read like one of three."""
    data = pattern(40 * LEAST + 3)
    await store.create(replace(WHOLE, length=len(data)))
    await Client(store, data, [LEAST * n + 17 * n for n in range(1, 36, 7)]).run()

    assert await bytes_of(store, ID) == data


async def test_orphans_are_swept(
    store: S3Store, gateway: FaultyGateway, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A multipart upload whose beginning was never answered is aborted after an hour, not before,
    and the one that the record names never."""
    await store.create(WHOLE)
    gateway.fail_once("create_multipart_upload", "after")
    with pytest.raises(StoreUnavailable):
        await patch(store, ID, DATA[: 2 * LEAST])
    gateway.heal()
    await patch(store, ID, DATA[: 2 * LEAST])
    assert len(unfinished(gateway, place)) == 2
    assert [upload.offset async for upload in store.scan()] == [2 * LEAST]
    assert len(unfinished(gateway, place)) == 2
    monkeypatch.setattr("vectus.stores.s3.walk.OLD", -60.0)
    assert [upload.offset async for upload in store.scan()] == [2 * LEAST]
    assert len(unfinished(gateway, place)) == 1

    await Client(store, DATA).run()
    assert await bytes_of(store, ID) == DATA


async def test_objects_are_kept_as_the_url_says(place: Place) -> None:
    """Storage class, encryption, ACL and tags go with the object, of one part and of many."""
    told = replace(place, storage_class="STANDARD", acl="public-read", tags="a=1&b=two")
    store, client = S3Store(told), other(place)
    for size in (10, len(DATA)):
        await store.create(replace(WHOLE, length=size))
        await patch(store, ID, DATA[:size])
        if size < LEAST:  # this RGW forgets the tags of a multipart upload
            tags = client.get_object_tagging(Bucket=place.bucket, Key=f"{place.prefix}/{ID}")
            assert tags["TagSet"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "two"}]
        grants = client.get_object_acl(Bucket=place.bucket, Key=f"{place.prefix}/{ID}")["Grants"]
        assert {grant["Grantee"]["Type"] for grant in grants} == {"CanonicalUser", "Group"}
        await store.remove(ID)
    await store.aclose()
    client.close()


async def test_tails_without_records_are_swept(
    store: S3Store, gateway: FaultyGateway, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A creation that was killed leaves its first bytes: they go after an hour, not before. Those
    of an upload that is there stay."""
    client = other(place)
    await store.create(replace(WHOLE, offset=7), DATA[:7])
    tail = {"Key": f"{place.prefix}/killed.part", "Body": b"first"}
    client.put_object(Bucket=place.bucket, Metadata={MARK: "killed"}, **tail)
    for left in ({"killed.part"}, set()):
        assert [upload.id async for upload in store.scan()] == [ID]
        assert objects(gateway, place).keys() == {ID + ".info", ID + ".part"} | left
        monkeypatch.setattr("vectus.stores.s3.walk.OLD", -60.0)
    client.close()


async def test_conditions_are_made_use_of(place: Place) -> None:
    """RGW knows entity tags without their quotes only: with conditional puts an upload is what was
    sent, and a writer whose record was changed under it changes nothing."""
    store = S3Store(replace(place, conditional_put=True))
    await Client(store, DATA, [100, 3000, LEAST + 5, 3 * LEAST]).run()
    assert await bytes_of(store, ID) == DATA
    await store.remove(ID)

    await store.create(WHOLE)
    async with store.append(await store.load(ID), plan(0, len(DATA))) as sink:
        await give(sink, DATA[:100])
        await patch(S3Store(store.place), ID, DATA[:300])
        with pytest.raises(Overtaken):
            await sink.commit(replace(WHOLE, offset=100))
    assert (await store.load(ID)).offset == 300
    await store.aclose()
