"""Parts that S3 has otherwise than they were recorded: when it refuses to put them together, what
it still has counts, and the client sends the rest again."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from s3_faults import FaultyGateway
from s3_memory import MemoryS3
from s3_places import LEAST as LEAST_OF_RGW

from vectus.errors import Overtaken, StoreError, StoreUnavailable
from vectus.protocol.upload import Upload
from vectus.stores.s3.bucket import Bucket
from vectus.stores.s3.client import Answer, Missing, Rejected
from vectus.stores.s3.layout import LOST, Ack, State
from vectus.stores.s3.parts import Schedule
from vectus.stores.s3.place import Place
from vectus.stores.s3.salvaging import MISMATCH, MOST_SETBACKS, salvaged
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import ID, bytes_of, give, pattern, plan
from world import World

LEAST = 4 << 10
DATA = pattern(4 * LEAST + 100)
OTHER = pattern(len(DATA), 1)
PLACE = Place("bucket", "up", smallest=LEAST, part_size=LEAST, spool=64 * LEAST)

Part = tuple[bytes, str]


class Kms(MemoryS3):
    """A server that gives equal parts other entity tags each time.

    Args:
        conditional: whether it looks at conditions.
        strict: whether it wants all parts to be used, as RGW does.
    """

    def __init__(self, *, conditional: bool = True, strict: bool = False) -> None:
        super().__init__(conditional=conditional)
        self.sent: dict[str, dict[int, Part]] = {}
        self.fails: Callable[[str], Exception | None] = lambda _: None
        self._strict = strict

    def call(self, operation: str, **sent: Any) -> Answer:
        called = "look" if sent.get("MaxParts") == 1 else operation
        if (error := self.fails(called)) is not None:
            raise error
        return Answer(super().call(operation, **sent))

    def upload_part(self, UploadId: str, PartNumber: int, Body: bytes, **_: Any) -> Answer:  # noqa: N803
        self._multipart(UploadId)
        etag = f'"{secrets.token_hex(8)}"'
        self.sent.setdefault(UploadId, {})[PartNumber] = Body, etag
        return Answer(ETag=etag)

    def list_parts(
        self,
        UploadId: str,  # noqa: N803
        PartNumberMarker: int = 0,  # noqa: N803
        MaxParts: int = 2,  # noqa: N803
        **_: Any,
    ) -> Answer:
        self._multipart(UploadId)
        found = [
            {"PartNumber": number, "Size": len(body), "ETag": etag.strip('"')}
            for number, (body, etag) in sorted(self.sent.get(UploadId, {}).items())
            if number > PartNumberMarker
        ]
        return Answer(Parts=found[:MaxParts], IsTruncated=len(found) > MaxParts)

    def complete_multipart_upload(self, UploadId: str, MultipartUpload: Any, **_: Any) -> Answer:  # noqa: N803
        key, _ = self._multipart(UploadId)
        parts, wanted = self.sent.get(UploadId, {}), MultipartUpload["Parts"]
        chosen = [parts.get(each["PartNumber"], (b"", "")) for each in wanted]
        surplus = self._strict and len(parts) > len(wanted)
        if surplus or [etag for _, etag in chosen] != [each["ETag"] for each in wanted]:
            raise Rejected("InvalidPart", key)
        self.objects[key] = b"".join(body for body, _ in chosen)
        del self.multiparts[UploadId]
        return Answer(ETag="")

    @property
    def parts(self) -> dict[int, Part]:
        """The parts of the only upload there is."""
        (id,) = self.multiparts
        return self.sent[id]

    def replace(self, number: int, data: bytes = OTHER[:LEAST]) -> None:
        """Obey somebody late."""
        (id,) = self.multiparts
        self.upload_part(id, number, data)


@pytest.fixture(params=[True, False], ids=["conditional", "unconditional"])
def server(request: pytest.FixtureRequest) -> Kms:
    """A server."""
    return Kms(conditional=request.param)


def store_at(server: Kms) -> S3Store:
    """Return a store there."""
    return S3Store(replace(PLACE, conditional_put=server._conditional), server)


@pytest.fixture
async def world(server: Kms):
    """An engine on it."""
    world = World(store_at(server), listening=False)
    yield world
    await world.aclose()


async def go_on(world: World, id: str) -> None:
    """Send the rest, as a client does."""
    offset = await world.offset(id)
    assert (await world.patch(id, offset, DATA[offset:])).status == 204
    assert await world.data(id) == DATA


@pytest.mark.parametrize("late", [1, 2, 3])
@pytest.mark.parametrize("same", [False, True])
async def test_a_part_that_was_replaced(
    world: World, server: Kms, late: int, *, same: bool
) -> None:
    """By other bytes, or the same: the upload goes back to where that part begins, and comes to its
    end from there."""
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[: 3 * LEAST + 50])).status == 204
    server.replace(late, DATA[(late - 1) * LEAST : late * LEAST] if same else OTHER[:LEAST])
    reply = await world.patch(id, 3 * LEAST + 50, DATA[3 * LEAST + 50 :])

    assert reply.status == 503
    assert f"up/{id}" not in server.objects
    assert await world.offset(id) == (late - 1) * LEAST
    await go_on(world, id)
    assert not server.multiparts


@pytest.mark.parametrize("found", [b"", OTHER[:10]])
async def test_a_part_of_another_size(world: World, server: Kms, found: bytes) -> None:
    """It is another part, whatever its entity tag."""
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[: 3 * LEAST])).status == 204
    server.parts[2] = found, server.parts[2][1]
    server.fails = lambda operation: (
        Rejected("EntityTooSmall", "no") if operation == "complete_multipart_upload" else None
    )
    assert (await world.patch(id, 3 * LEAST, DATA[3 * LEAST :])).status == 503
    server.fails = lambda _: None

    assert await world.offset(id) == LEAST
    await go_on(world, id)


async def test_a_part_that_is_gone(world: World, server: Kms) -> None:
    """The parts before it count."""
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[: 3 * LEAST])).status == 204
    del server.parts[3]
    assert (await world.patch(id, 3 * LEAST, DATA[3 * LEAST :])).status == 503

    assert await world.offset(id) == 2 * LEAST
    await go_on(world, id)


def refused(operation: str) -> Exception | None:
    """Refuse to put parts together."""
    return Rejected("InvalidPart", "no") if operation == "complete_multipart_upload" else None


@pytest.mark.parametrize("late", [None, 1, 4, 5])
async def test_a_tail_begins_where_a_part_does(world: World, server: Kms, late: int | None) -> None:
    """It stays where all parts before it are as recorded, and is sent once more as the last one."""
    id = await world.create()
    assert (await world.patch(id, 0, DATA)).status == 204
    meets = iter([late])

    def meddle(operation: str) -> None:
        if operation == "complete_multipart_upload" and (number := next(meets, None)):
            server.replace(number, DATA[(number - 1) * LEAST : number * LEAST])

    server.fails = meddle
    reply = await world.patch(id, len(DATA), upload_length=len(DATA))
    assert reply.status == (204 if late is None else 503)

    if late in (1, 4):
        assert await world.offset(id) == (late - 1) * LEAST
        await go_on(world, id)
    assert await world.offset(id) == len(DATA)
    assert await world.data(id) == DATA


async def test_a_question_finds_out(world: World, server: Kms) -> None:
    """Whoever drives the upload on: the client asks later, and then hears how far it is."""
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[: 3 * LEAST])).status == 204
    server.fails = lambda operation: (
        StoreUnavailable("away") if operation == "complete_multipart_upload" else None
    )
    assert (await world.patch(id, 3 * LEAST, DATA[3 * LEAST :])).status == 503
    server.replace(3)
    server.fails = lambda _: None
    reply = await world.ask("HEAD", id)
    assert (reply.status, reply.header("Upload-Offset")) == (423, None)

    assert await world.offset(id) == 2 * LEAST
    await go_on(world, id)


async def test_a_partial_that_is_joined(world: World, server: Kms) -> None:
    """A join goes on when its partial has been sent again."""
    id = await world.create(len(DATA), upload_concat="partial")
    assert (await world.patch(id, 0, DATA[: 3 * LEAST])).status == 204
    server.replace(3)
    assert (await world.patch(id, 3 * LEAST, DATA[3 * LEAST :])).status == 503
    final = await world.final(f"/files/{id}")
    assert await world.offset(id) == 2 * LEAST
    assert (await world.patch(id, 2 * LEAST, DATA[2 * LEAST :])).status == 204
    server.upload_part_copy = lambda **_: refuse_copy()  # type: ignore[method-assign]
    await world.until_finished(final)

    assert await world.data(final) == DATA


def refuse_copy() -> Answer:
    """Copy nothing."""
    raise Rejected("NotImplemented", "no")


@pytest.mark.parametrize("listed", [True, False])
async def test_nothing_explains_it(world: World, server: Kms, *, listed: bool) -> None:
    """All parts are as they were recorded, or S3 does not tell: the upload has failed."""
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[: 3 * LEAST])).status == 204
    server.fails = lambda operation: (
        Rejected("MethodNotAllowed", "no")
        if operation == "list_parts" and not listed
        else refused(operation)
    )
    assert (await world.patch(id, 3 * LEAST, DATA[3 * LEAST :])).status == 500
    server.fails = lambda _: None

    assert (await world.ask("HEAD", id)).status == 410
    assert (await world.record(id)).failed == MISMATCH


async def test_it_ends(world: World, server: Kms) -> None:
    """A server with which it always goes wrong gets the same bytes some times, not for ever."""
    id = await world.create(len(DATA))
    lists, server.list_parts = server.list_parts, lambda **_: Answer()  # type: ignore[method-assign]
    server.fails = refused
    for _ in range(MOST_SETBACKS):
        assert await _offset(lists, server, world, id) == 0
        assert (await world.patch(id, 0, DATA)).status == 503
    assert (await world.patch(id, 0, DATA)).status == 500

    server.list_parts = lists  # type: ignore[method-assign]
    assert (await world.ask("HEAD", id)).status == 410


async def _offset(lists: Any, server: Kms, world: World, id: str) -> int:
    empty, server.list_parts = server.list_parts, lists  # type: ignore[method-assign]
    try:
        return await world.offset(id)
    finally:
        server.list_parts = empty  # type: ignore[method-assign]


async def test_the_parts_are_gone_by_then(world: World, server: Kms) -> None:
    """Nothing is recorded; whoever looks next sees what became of it."""
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[: 3 * LEAST])).status == 204

    def take_away(operation: str) -> Exception | None:
        if operation == "list_parts":
            server.multiparts.clear()
        return refused(operation)

    server.fails = take_away
    assert (await world.patch(id, 3 * LEAST, DATA[3 * LEAST :])).status == 503
    server.fails = lambda _: None
    assert (await world.ask("HEAD", id)).status == 410
    assert (await world.record(id)).failed == LOST


async def test_s3_is_away_by_then(world: World, server: Kms) -> None:
    """Nothing is changed, and the next request tries again."""
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[: 3 * LEAST])).status == 204
    server.replace(2)
    away = StoreUnavailable("away")
    server.fails = lambda operation: away if operation == "list_parts" else None
    assert (await world.patch(id, 3 * LEAST, DATA[3 * LEAST :])).status == 503
    server.fails = lambda _: None
    assert (await world.ask("HEAD", id)).status == 423

    assert await world.offset(id) == LEAST
    await go_on(world, id)


async def test_parts_beyond_the_end() -> None:
    """Some servers want all parts to be used. Parts that were sent with a wrong checksum may be
    more than the upload has in the end: it begins anew, as nothing can take them away."""
    server = Kms(strict=True)
    world = World(store_at(server), listening=False)
    id = await world.create()
    data = DATA[: LEAST + 5]
    assert (await world.patch(id, 0, data[:LEAST])).status == 204
    server.replace(3)
    assert (await world.patch(id, LEAST, data[LEAST:], upload_length=len(data))).status == 503

    assert await world.offset(id) == 0
    assert not server.multiparts
    assert (await world.patch(id, 0, data)).status == 204
    assert await world.data(id) == data
    await world.aclose()


class Steps:
    """Fails the n-th call from now on, before it is made or after."""

    def __init__(self, server: Kms, nth: int, when: str) -> None:
        self._server = server
        self._left = nth
        self._when = when

    def call(self, operation: str, **sent: Any) -> Answer:
        """Make a call, or not."""
        self._left -= 1
        if self._left or self._when == "after":
            answer = self._server.call(operation, **sent)
        if not self._left:
            raise StoreUnavailable("no answer")
        return answer

    def sign(self, operation: str, seconds: int, **_: Any) -> str:
        """Give out no URL."""
        raise Rejected("NotImplemented", operation)

    @property
    def fired(self) -> bool:
        """Whether there were so many calls."""
        return self._left <= 0


@pytest.mark.parametrize("when", ["before", "after"])
async def test_every_step_can_fail(server: Kms, when: str) -> None:
    """Or be the last that a process makes: in the end all is there."""
    fired, nth = True, 0
    while fired:
        nth += 1
        server.objects.clear()
        server.multiparts.clear()
        with_faults = Steps(server, nth, when)
        place = replace(PLACE, conditional_put=server._conditional)
        whole, faulty = S3Store(place, server), S3Store(place, with_faults)
        await whole.create(Upload(ID, length=len(DATA)))
        await append(whole, len(DATA))
        server.replace(3)
        with pytest.raises(StoreError):
            await settle(faulty)
        for _ in range(4):
            try:
                await append(whole, len(DATA))
                await settle(whole)
            except StoreError:
                continue
        assert await bytes_of(whole, ID) == DATA
        await whole.aclose()
        await faulty.aclose()
        fired = with_faults.fired
    assert nth > 4


async def append(store: S3Store, stop: int) -> None:
    """Append what is missing up to an offset."""
    upload = await store.load(ID)
    if upload.offset < stop:
        async with store.append(upload, plan(upload.offset, len(DATA) - upload.offset)) as sink:
            await give(sink, DATA[upload.offset : stop])
            await sink.commit(replace(upload, offset=stop))


async def settle(store: S3Store) -> None:
    """Do what the sweeper does."""
    upload = await store.load(ID)
    if not upload.finished:
        await store.save(replace(upload, finished=True, announced=True))


async def test_somebody_else_was_faster(server: Kms) -> None:
    """Who has been overtaken sets nothing back."""
    store = store_at(server)
    await store.create(Upload(ID, length=len(DATA)))
    await append(store, len(DATA))
    late = replace(await store.load(ID), fence=1)
    server.replace(3)
    kept: list[State] = []

    def overtake(operation: str) -> None:
        if operation == "list_parts" and not kept:
            kept.append(State(Schedule(LEAST)))
            _write(store, fence=2)

    server.fails = overtake
    with pytest.raises(Overtaken):
        await store.save(replace(late, finished=True, announced=True))
    assert (await store.load(ID)).offset == len(DATA)
    await store.aclose()


def _write(store: S3Store, fence: int) -> None:
    """Write a record as the next holder does."""
    vault = store._vault
    kept = vault.find(ID)
    vault._pen._replace(kept, replace(kept.upload, fence=fence), kept.state)


def test_all_pages_are_read() -> None:
    """A listing has at most a thousand parts."""
    server = Kms()
    bucket = Bucket(server, PLACE)
    multipart = bucket.begin(ID, {})
    etags = [bucket.send(ID, multipart, number, b"x" * number) for number in range(1, 8)]
    found = bucket.parts(ID, multipart)

    assert [found[number].etag for number in range(1, 8)] == [each.strip('"') for each in etags]
    assert bucket.part_sizes(ID, multipart) == {number: number for number in range(1, 8)}
    with pytest.raises(Missing):
        bucket.parts(ID, "another")


THREE = State(Schedule(10), "id", ('"a"', '"b"', '"c"'), 30, 5, 77, "tag")
FOUND = {1: Ack("a", 10), 2: Ack("b", 10), 3: Ack("c", 10), 4: Ack("d", 5)}
SENT = (*THREE.etags, '"d"')


@pytest.mark.parametrize(
    ("changed", "run", "size"),
    [
        ({1: Ack("x", 10)}, 0, 0),
        ({2: Ack("x", 10)}, 1, 10),
        ({2: Ack("b", 9)}, 1, 10),
        ({3: Ack("", 10)}, 2, 20),
        ({4: Ack("x", 5)}, 3, 35),
        ({4: Ack("d", 6)}, 3, 35),
        ({2: Ack("x", 10), 3: Ack("x", 10)}, 1, 10),
        ({2: Ack("x", 10), 5: Ack("x", 10)}, 1, 10),
        ({5: Ack("x", 10)}, 0, 0),
    ],
)
def test_what_still_counts(changed: dict[int, Ack], run: int, size: int) -> None:
    """The unbroken run of parts that S3 has as recorded, and the tail if it is that far."""
    state = salvaged(THREE, SENT, FOUND | changed)
    assert state is not None
    assert state.consistent
    assert (len(state.etags), state.size, state.setbacks) == (run, size, 1)
    assert (state.multipart is None) == (changed.keys() == {5})


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_what_is_not_listed_does_not_count(missing: int) -> None:
    """A part that S3 does not have is none."""
    state = salvaged(THREE, SENT, {n: part for n, part in FOUND.items() if n != missing})
    assert state is not None
    assert len(state.etags) == missing - 1


def test_all_is_as_it_was() -> None:
    """Then nothing is known of why S3 refuses; and there is an end to all trying."""
    assert salvaged(THREE, SENT, FOUND) is None
    assert salvaged(replace(THREE, setbacks=MOST_SETBACKS), SENT, {}) is None


def test_what_counts_once_more_has_an_end() -> None:
    """However often it is refused, each time is counted."""
    state: State | None = THREE
    times = 0
    while state := salvaged(state, (*state.etags, '"d"'), {5: Ack("x", 1)}):
        times += 1
    assert times == MOST_SETBACKS


# On the real server.


async def test_a_replaced_part_at_rgw(store: S3Store, gateway: FaultyGateway, place: Place) -> None:
    """It refuses other bytes than were recorded; the upload ends well."""
    data = pattern(3 * LEAST_OF_RGW + 9)
    world = World(store, listening=False)
    id = await world.create(len(data))
    assert (await world.patch(id, 0, data[: 2 * LEAST_OF_RGW])).status == 204
    multipart = store._vault.find(id).state.multipart
    assert multipart is not None
    store._vault.bucket.send(id, multipart, 2, pattern(LEAST_OF_RGW, 5))
    offset = 2 * LEAST_OF_RGW
    assert (await world.patch(id, offset, data[offset:])).status == 503

    assert await world.offset(id) == LEAST_OF_RGW
    assert (await world.patch(id, LEAST_OF_RGW, data[LEAST_OF_RGW:])).status == 204
    assert await world.data(id) == data
    await world.progress.aclose()
    await world.locker.aclose()


async def test_parts_beyond_the_end_at_rgw(store: S3Store) -> None:
    """It wants every part to be used; the upload begins anew, and ends well."""
    data = pattern(LEAST_OF_RGW + 9)
    world = World(store, listening=False)
    id = await world.create()
    assert (await world.patch(id, 0, data[:LEAST_OF_RGW])).status == 204
    multipart = store._vault.find(id).state.multipart
    assert multipart is not None
    store._vault.bucket.send(id, multipart, 3, b"dropped")
    reply = await world.patch(id, LEAST_OF_RGW, data[LEAST_OF_RGW:], upload_length=len(data))
    assert reply.status == 503

    assert await world.offset(id) == 0
    assert (await world.patch(id, 0, data)).status == 204
    assert await world.data(id) == data
    await world.progress.aclose()
    await world.locker.aclose()
