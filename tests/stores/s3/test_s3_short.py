"""A record that tells of too few bytes, put over a later one by somebody whom S3 obeyed late: what
is finished has all of its bytes, or nothing is made of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from s3_memory import MemoryS3

from vectus.errors import Overtaken, StoreUnavailable
from vectus.events import BeforeFinish, Event
from vectus.protocol.upload import Role, Upload
from vectus.stores.s3.layout import State
from vectus.stores.s3.pen import Writer
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import ID, bytes_of, give, pattern, plan
from world import World

LEAST = 4 << 10
DATA = pattern(3 * LEAST)
PLACE = Place("bucket", "up", smallest=LEAST, part_size=LEAST, spool=64 * LEAST)

INFO = f"up/{ID}.info"


@pytest.fixture
def server() -> MemoryS3:
    """A server that looks at no conditions."""
    return MemoryS3(conditional=False)


@pytest.fixture
async def store(server: MemoryS3):
    """A store there."""
    store = S3Store(PLACE, server)
    yield store
    await store.aclose()


async def append(store: S3Store, stop: int, *, finish: bool = False) -> None:
    """Append what is missing up to an offset."""
    upload = await store.load(ID)
    async with store.append(upload, plan(upload.offset, len(DATA) - upload.offset)) as sink:
        await give(sink, DATA[upload.offset : stop])
        await sink.commit(replace(upload, offset=stop, finished=finish, announced=finish))


async def finish(store: S3Store) -> None:
    """Do what the sweeper does."""
    await store.save(replace(await store.load(ID), finished=True, announced=True))


class Late:
    """Puts an old record over a new one, once, as soon as it is called."""

    def __init__(self, server: MemoryS3, id: str) -> None:
        self._objects = server.objects
        self._name = f"up/{id}.info"
        self._record: bytes | None = self._objects[self._name]

    def __call__(self, _: Event) -> None:
        if self._record is not None:
            self._objects[self._name], self._record = self._record, None


@pytest.mark.parametrize("first", [100, LEAST, 2 * LEAST, 2 * LEAST + 5])
async def test_a_late_record_before_the_end(server: MemoryS3, first: int) -> None:
    """It comes while listeners have their say: the request is refused, and the client goes on from
    where the record is now."""
    world = World(S3Store(PLACE, server), listening=False)
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[:first])).status == 204
    world.announcer.add(BeforeFinish, Late(server, id))
    reply = await world.patch(id, first, DATA[first:])

    assert reply.status == 423
    assert f"up/{id}" not in server.objects
    assert await world.offset(id) == first
    assert (await world.patch(id, first, DATA[first:])).status == 204
    assert await world.data(id) == server.objects[f"up/{id}"] == DATA
    await world.aclose()


async def test_a_late_record_before_the_look(server: MemoryS3) -> None:
    """The same, where a HEAD drives the upload on."""
    world = World(S3Store(PLACE, server), listening=False)
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[:LEAST])).status == 204
    late = Late(server, id)
    troubles: list[Exception] = [StoreUnavailable("not now")]

    def say(event: Event) -> None:
        if troubles:
            raise troubles.pop()
        late(event)

    world.announcer.add(BeforeFinish, say)
    assert (await world.patch(id, LEAST, DATA[LEAST:])).status == 503
    assert (await world.ask("HEAD", id)).status == 423
    assert f"up/{id}" not in server.objects
    assert await world.offset(id) == LEAST
    assert (await world.patch(id, LEAST, DATA[LEAST:])).status == 204
    assert await world.data(id) == DATA
    await world.aclose()


@pytest.mark.parametrize("first", [100, LEAST, LEAST + 5])
async def test_nothing_is_made_of_too_few_bytes(
    store: S3Store, server: MemoryS3, first: int
) -> None:
    """Whoever saves an upload as finished says that all is there; the record knows better."""
    await store.create(Upload(ID, length=len(DATA)))
    await append(store, first)
    before = dict(server.objects), {id: dict(parts) for id, (_, parts) in server.multiparts.items()}
    upload = replace(await store.load(ID), offset=len(DATA), finished=True, announced=True)
    with pytest.raises(Overtaken):
        await store.save(upload)

    assert server.objects == before[0]
    assert {id: parts for id, (_, parts) in server.multiparts.items()} == before[1]


@pytest.mark.parametrize(
    ("old", "length"),
    [(0, 100), (50, 100), (100, len(DATA)), (LEAST, len(DATA)), (LEAST + 5, len(DATA))],
)
async def test_an_object_that_was_made_is_kept(
    store: S3Store, server: MemoryS3, old: int, length: int
) -> None:
    """An old record over that of a finished upload: whoever was about to say that it is announced
    finds its object, and says it is finished."""
    await store.create(Upload(ID, length=length))
    if old:
        await append(store, old)
    record = server.objects[INFO]
    await append(store, length, finish=True)
    finished = await store.load(ID)
    server.objects[INFO] = record
    await store.save(finished)

    assert await store.load(ID) == finished
    assert await bytes_of(store, ID) == DATA[:length]


def short(state: State) -> State:
    """Return a state that lacks its end."""
    return replace(state, tail=0, crc=0) if state.tail else State(state.schedule)


@pytest.mark.parametrize("there", [100, LEAST, LEAST + 5])
async def test_a_commit_of_too_few_bytes(store: S3Store, server: MemoryS3, there: int) -> None:
    """A sink that would seal less than it says makes nothing, and records nothing."""
    await store.create(Upload(ID, length=there))
    await append(store, there)
    vault = store._vault
    kept = vault.find(ID)
    before = dict(server.objects)
    upload = replace(kept.upload, finished=True, announced=True)
    with pytest.raises(Overtaken):
        vault.seal(Writer(upload), kept, short(kept.state), {kept.state}, None)

    assert server.objects == before
    await finish(store)
    assert await bytes_of(store, ID) == DATA[:there]


@pytest.mark.parametrize("first", [100, LEAST, LEAST + 5])
async def test_a_join_takes_whole_partials(store: S3Store, server: MemoryS3, first: int) -> None:
    """A partial whose record was set back is not joined as if that were all."""
    partial = Upload(ID, role=Role.PARTIAL, length=len(DATA))
    await store.create(partial)
    await append(store, first)
    late = server.objects[INFO]
    await append(store, len(DATA))
    complete = await store.load(ID)
    final = Upload("final", role=Role.FINAL, parts=(ID,), length=len(DATA))
    await store.create(final)
    server.objects[INFO] = late
    with pytest.raises((Overtaken, StoreUnavailable)):
        await store.join(final, [complete], take_over=False)

    assert not {"up/final", f"up/{ID}"} & server.objects.keys()
    await append(store, len(DATA))
    await store.join(final, [await store.load(ID)], take_over=False)
    assert server.objects["up/final"] == DATA


@pytest.mark.parametrize("role", [Role.PLAIN, Role.PARTIAL, Role.FINAL])
async def test_an_empty_upload_is_whole(store: S3Store, server: MemoryS3, role: Role) -> None:
    """Of nothing nothing can lack, and what is joined has its bytes from others."""
    await store.create(Upload(ID, role=role, length=0, parts=("a",) * (role is Role.FINAL)))
    await finish(store)
    assert server.objects[f"up/{ID}"] == b""
