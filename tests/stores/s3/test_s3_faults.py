"""Every call to S3 fails once, before it is made or after it was obeyed; then all goes on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from s3_faults import FaultyGateway, When
from s3_places import LEAST, make_place
from s3_steps import Client, objects, unfinished

from vectus.errors import StoreError, UploadNotFound
from vectus.protocol.upload import Role, Upload
from vectus.stores.s3 import walk
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import ID, bytes_of, pattern, plan

KIB = 1 << 10


@dataclass(frozen=True)
class Story:
    """An upload's life: how much, where its requests end, and how they are."""

    size: int
    cuts: tuple[int, ...] = ()
    options: dict[str, bool] = field(default_factory=dict)
    deferred: bool = False


STORIES = {
    "empty": Story(0),
    "tiny": Story(1000),
    "tiny in two": Story(1000, (400,)),
    "tails": Story(80 * KIB, (10 * KIB, 40 * KIB, 70 * KIB)),
    "parts": Story(4 * LEAST + 5, (2 * LEAST + 7,)),
    "exact parts": Story(3 * LEAST, (2 * LEAST,)),
    "checksummed": Story(3 * LEAST + 9, (LEAST + 9,), {"revocable": True}),
    "with a say": Story(2 * LEAST + 9, (LEAST + 9,), {"finish": False}),
    "tiny with a say": Story(900, (), {"finish": False}),
    "deferred": Story(2 * LEAST + 9, (LEAST + 9,), deferred=True),
}


@pytest.fixture(autouse=True)
def short_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody knows of is swept at once."""
    monkeypatch.setattr(walk, "OLD", -60.0)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("story", STORIES)
async def test_any_call_may_fail(rgw: str, story: str, when: When) -> None:
    """Whichever call fails, the upload goes on where it says it is, which is never further back
    than it said before; what comes out is what was sent, and nothing is left of it afterwards."""
    told, calls, n = STORIES[story], 1, 0
    data = pattern(told.size)
    place = replace(make_place(rgw), smallest=LEAST, part_size=LEAST, spool=64 * LEAST)
    gateway = FaultyGateway(place)
    while n < calls:
        n += 1
        store = S3Store(place, gateway)
        gateway.log.clear()
        gateway.fail_nth(when, n)
        client = Client(store, data, told.cuts, **told.options)
        await client.run(deferred=told.deferred)
        calls = len(gateway.log)
        happened = f"call {n} of {calls}, {gateway.log[n - 1 : n]}: {client.failures}"
        gateway.heal()

        assert client.offsets == sorted(client.offsets), happened
        assert await bytes_of(store, ID) == data, happened
        async for _ in store.scan():
            pass
        assert unfinished(gateway, place) == [], happened
        assert objects(gateway, place).keys() == {ID, ID + ".info"}, happened
        await store.remove(ID)
        assert objects(gateway, place) == {}, happened
        await store.aclose()
    gateway.close()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("far", [0, 100, LEAST + 5, 3 * LEAST])
async def test_any_call_of_a_removal_may_fail(rgw: str, when: When, far: int) -> None:
    """A removal that failed is repeated, and then nothing is left; what is finished stays whole or
    is gone."""
    place = replace(make_place(rgw), smallest=LEAST, part_size=LEAST, spool=64 * LEAST)
    gateway = FaultyGateway(place)
    calls, n = 1, 0
    while n < calls:
        n += 1
        store = S3Store(place, gateway)
        await store.create(Upload(ID, length=3 * LEAST))
        async with store.append(await store.load(ID), plan(0)) as sink:
            if far:
                await sink.write(memoryview(pattern(far)))
            done = far == 3 * LEAST
            await sink.commit(Upload(ID, length=3 * LEAST, offset=far, finished=done))
        gateway.log.clear()
        gateway.fail_nth(when, n)
        while ID in {name.partition(".")[0] for name in objects(gateway, place)}:
            try:
                await store.remove(ID)
            except UploadNotFound:
                break
            except StoreError:
                continue
        calls = len(gateway.log)
        gateway.heal()

        assert objects(gateway, place) == {}
        assert unfinished(gateway, place) == []
        await store.aclose()
    gateway.close()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_any_call_of_a_join_may_fail(rgw: str, when: When) -> None:
    """A join that failed is called again, and the final upload has its partials' bytes."""
    place = replace(make_place(rgw), smallest=LEAST, part_size=LEAST, spool=64 * LEAST)
    gateway = FaultyGateway(place)
    store = S3Store(place, gateway)
    pieces = [pattern(size, size) for size in (100, 3 * LEAST + 1, 0, 5, 2 * LEAST)]
    parts = [await finished(store, f"part-{n}", piece) for n, piece in enumerate(pieces)]
    data = b"".join(pieces)
    calls, n = 1, 0
    while n < calls:
        n += 1
        gateway.log.clear()
        gateway.fail_nth(when, n)
        final = Upload(ID, Role.FINAL, len(data), parts=tuple(part.id for part in parts))
        await insist(lambda final=final: create(store, final))
        await insist(lambda final=final: store.join(final, parts, take_over=False))
        await insist(
            lambda final=final: store.save(replace(final, offset=len(data), finished=True))
        )
        calls = len(gateway.log)
        happened = f"call {n} of {calls}: {gateway.log[n - 1 : n]}"
        gateway.heal()

        assert await bytes_of(store, ID) == data, happened
        await store.remove(ID)
        assert unfinished(gateway, place) == [], happened
        assert not [name for name in objects(gateway, place) if ID in name], happened
    await store.aclose()
    gateway.close()


async def create(store: S3Store, upload: Upload) -> None:
    try:
        await store.load(upload.id)
    except UploadNotFound:
        await store.create(upload)


async def finished(store: S3Store, id: str, data: bytes) -> Upload:
    whole = Upload(id, Role.PARTIAL, len(data), len(data), finished=True, announced=True)
    await store.create(replace(whole, offset=0, finished=False))
    async with store.append(await store.load(id), plan(0)) as sink:
        if data:
            await sink.write(memoryview(data))
        await sink.commit(whole)
    return await store.load(id)


async def insist(step) -> None:
    """Do something until it can be done."""
    for _ in range(5):
        try:
            return await step()
        except StoreError:
            continue
    raise AssertionError("It cannot be done.")
