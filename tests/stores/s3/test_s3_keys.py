"""Keys that an application chose: they hold all that ids do, and nothing else is ever touched."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from s3_faults import FaultyGateway, When
from s3_places import LEAST, make_place
from s3_steps import Client, notes_are_gone, objects, unfinished

from vectus.contracts import Names, Store
from vectus.errors import KeyRefused, KeyTaken, UploadNotFound
from vectus.events import BeforeCreate, Event
from vectus.protocol.messages import Reply
from vectus.protocol.policy import Policy
from vectus.protocol.upload import Upload
from vectus.stores.s3 import sink as sinks, walk
from vectus.stores.s3.client import Answer
from vectus.stores.s3.naming import CLAIMS, MARK, check_key, claim_of
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import ID, bytes_of, give, pattern, plan
from world import World

KEY = "films/2026/ü é+&%=.mp4"
DATA = pattern(3 * LEAST + 1000)
SIZES = [0, 5, LEAST, LEAST + 5, len(DATA)]
ROOT = Path(__file__).parents[3]


class Choosing(World):
    """An engine whose listener chooses the key that the test says.

    Args:
        store: where the uploads are.
        options: as for ``World``.
    """

    key: str | None = KEY

    def __init__(self, store: S3Store, **options: Any) -> None:
        super().__init__(store, listening=False, **options)
        self.engine.store = store  # not behind the one that fails, which has no keys
        self.announcer.add(BeforeCreate, self.choose)

    def choose(self, event: Event) -> None:
        """Have an upload kept under the key."""
        assert isinstance(event, BeforeCreate)
        if self.key is not None:
            event.store_as(self.key)

    async def put(self, data: bytes) -> Reply:
        """Ask for an upload with its bytes in one request."""
        return await self.ask("POST", "", data, upload_length=len(data))


@pytest.fixture
async def world(store: S3Store) -> AsyncIterator[Choosing]:
    """An engine on the real server."""
    world = Choosing(store)
    yield world
    await world.progress.aclose()
    await world.locker.aclose()


@pytest.fixture
def others(gateway: FaultyGateway, place: Place) -> Others:
    """Somebody else at work in the same place."""
    return Others(gateway, place)


class Others:
    """Somebody who knows nothing of vectus."""

    def __init__(self, gateway: FaultyGateway, place: Place) -> None:
        self._client = gateway._client
        self._where = {"Bucket": place.bucket, "Key": f"{place.prefix}/{KEY}"}

    def put(self, data: bytes) -> None:
        """Put an object under the key."""
        self._client.put_object(**self._where, Body=data)

    def get(self) -> bytes:
        """Return what is there."""
        return bytes(self._client.get_object(**self._where)["Body"].read())

    def head(self) -> dict[str, Any]:
        """Return what is said of it."""
        found: dict[str, Any] = self._client.head_object(**self._where)
        return found

    def delete(self) -> None:
        """Take it away."""
        self._client.delete_object(**self._where)

    def begin(self) -> str:
        """Begin a multipart upload there."""
        return str(self._client.create_multipart_upload(**self._where)["UploadId"])

    def abort(self, multipart: str) -> None:
        """Take one away."""
        self._client.abort_multipart_upload(**self._where, UploadId=multipart)

    def parts(self, multipart: str) -> int:
        """Return how many parts one has."""
        return len(self._client.list_parts(**self._where, UploadId=multipart).get("Parts", ()))


@contextmanager
def sweeping_at_once() -> Iterator[None]:
    """Let sweeps take what is new for old."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "OLD", -60.0)
        yield


async def swept(store: S3Store) -> None:
    """Sweep."""
    with sweeping_at_once():
        async for _ in store.scan():
            pass


# --- What a key may be ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["a.mp4", "films/a", "films/2026/ü é.mp4", "a b/c'(d)*~!.x", "x/" + "y" * 900, "info.x"]
)
def test_keys_that_can_be(key: str) -> None:
    """A path of any words, in any letters."""
    check_key(key, "prefix/")


@pytest.mark.parametrize(
    "key",
    [
        *("", "/a.x", "a.x/", "a//b.x", "../a.x", "a/../b.x", "a/.", "./a.x", "a\nb.x", "a\0.x"),
        *("a\x7f.x", "a\x85.x", "a\u2028.x", "a\ud800.x", "a\uffff.x", "ü" * 512 + ".x"),
        *(".joins/abc", ".keys/abc", ".hidden/a", "a.info", "films/a.part", "abc", "A_b-9"),
    ],
)
async def test_keys_that_cannot_be(world: Choosing, gateway: FaultyGateway, key: str) -> None:
    """What no object can be called, or what the store itself may call one, is refused, and nothing
    is asked of S3 for it."""
    world.key = key
    with pytest.raises(KeyRefused):
        check_key(key, "prefix/")
    reply = await world.ask("POST", upload_length=5)

    assert reply.status == 400
    assert reply.body.startswith(b"bad-key: ")
    assert gateway.log == []


# --- The life of an upload under one --------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cut", [0, LEAST + 7])
async def test_the_object_is_under_its_key(
    world: Choosing, place: Place, gateway: FaultyGateway, others: Others, size: int, cut: int
) -> None:
    """Whatever way it is made, the object has the key, the bytes and the upload's mark; another
    node finds it by the record alone; and nothing is left when it is removed."""
    data = DATA[:size]
    id = await world.create(size)
    if cut < size:
        assert (await world.patch(id, 0, data[:cut])).status == 204
        node = Choosing(S3Store(place, gateway))  # it never heard the choice
        assert await node.offset(id) == cut
        assert (await node.patch(id, cut, data[cut:])).status == 204
        await node.progress.aclose()
    elif size:
        assert (await world.patch(id, 0, data)).status == 204
    record = json.loads(objects(gateway, place)[id + ".info"])
    reply = await world.ask("GET", id, range="bytes=1-3")

    assert objects(gateway, place).keys() == {KEY, id + ".info"}
    assert unfinished(gateway, place) == []
    assert others.get() == data
    assert others.head()["Metadata"] == {MARK: id}
    assert record["Storage"]["Key"] == f"{place.prefix}/{KEY}"
    assert reply.status == (206 if size > 1 else 416)
    if reply.content is not None:
        assert b"".join([block async for block in reply.content.blocks()]) == data[1:4]
        await reply.content.aclose()
    assert (await world.ask("DELETE", id)).status == 204
    assert objects(gateway, place) == {}


async def test_a_small_request_makes_it_at_once(world: Choosing, others: Others) -> None:
    """An upload that comes with its creation is finished by it, under its key."""
    reply = await world.put(b"hello")

    assert (reply.status, reply.header("Upload-Offset")) == (201, "5")
    assert others.get() == b"hello"


async def test_a_listener_may_take_its_time(
    store: S3Store, gateway: FaultyGateway, place: Place
) -> None:
    """An async listener chooses as a plain one does, and the same key twice is no conflict."""
    world = Choosing(store)

    async def choose(event: Event) -> None:
        await asyncio.sleep(0)
        world.choose(event)

    world.announcer.add(BeforeCreate, choose)
    id = await world.done(DATA)

    assert objects(gateway, place).keys() == {KEY, id + ".info"}
    await world.progress.aclose()


async def test_two_listeners_disagree(
    world: Choosing, gateway: FaultyGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can tell which key is right: nothing is created, and the log says why."""
    world.announcer.add(BeforeCreate, lambda event: event.store_as("other.mp4"))  # type: ignore[attr-defined]
    with caplog.at_level(logging.ERROR):
        reply = await world.ask("POST", upload_length=5)

    assert reply.status == 500
    assert "Two listeners chose keys" in caplog.text
    assert gateway.log == []


@pytest.mark.parametrize("where", ["file", "memory"])
async def test_a_store_without_keys(
    where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Files are called by their ids: a choice is an error of the application's, told in the log."""
    from vectus.stores.file import FileStore
    from vectus.stores.memory import MemoryStore

    store: Store = FileStore(tmp_path) if where == "file" else MemoryStore()
    world = Choosing(store)  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        reply = await world.ask("POST", upload_length=5)

    assert not isinstance(store, Names)
    assert reply.status == 500
    assert "no keys that could be chosen" in caplog.text
    await world.aclose()


async def test_a_redirect_to_it(store: S3Store, others: Others) -> None:
    """A presigned URL is of the key, and is not given for what others put there since."""
    world = Choosing(store, policy=Policy(redirect=True))
    id = await world.done(DATA)
    url = (await world.ask("GET", id)).header("Location")
    assert url is not None
    assert httpx2.get(url, timeout=30, trust_env=False).content == DATA
    others.put(b"theirs" * 1000)

    assert (await world.ask("GET", id)).status == 404
    await world.progress.aclose()


@pytest.mark.parametrize("drop", [False, True])
async def test_partials_and_finals_may_have_keys(
    store: S3Store, gateway: FaultyGateway, place: Place, *, drop: bool
) -> None:
    """Whatever is joined may be anywhere, and so may what it becomes."""
    world = Choosing(store, policy=Policy(drop_partials=drop))
    parts = []
    for number, piece in enumerate((DATA, b"few", DATA[:LEAST])):
        world.key = f"parts/{number}.bin"
        parts.append(await world.partial(piece))
    world.key = KEY
    final = await world.final(*(f"/files/{part}" for part in parts))
    await world.until_finished(final)
    await world.settle(lambda: notes_are_gone(gateway, place))
    found = objects(gateway, place)

    assert found[KEY] == DATA + b"few" + DATA[:LEAST]
    assert {name for name in found if name.startswith("parts/")} == (
        set() if drop else {f"parts/{number}.bin" for number in range(3)}
    )
    assert (await world.ask("DELETE", final)).status == 204
    assert KEY not in objects(gateway, place)
    await world.progress.aclose()


async def test_what_it_costs(
    world: Choosing, gateway: FaultyGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three calls more to create, four to finish, and none in between."""
    # How often parts are noted under way depends on the machine: they are when all have come.
    monkeypatch.setattr(sinks.S3Sink, "_have_noted", lambda _: None)
    counts: dict[str | None, list[int]] = {}
    for world.key in (None, KEY):
        counts[world.key] = []
        gateway.log.clear()
        id = await world.create(len(DATA))
        for start, stop in ((0, LEAST + 5), (LEAST + 5, len(DATA))):
            counts[world.key].append(len(gateway.log))
            gateway.log.clear()
            assert (await world.patch(id, start, DATA[start:stop])).status == 204
        counts[world.key].append(len(gateway.log))

    plain, chosen = counts[None], counts[KEY]
    assert [c - p for c, p in zip(chosen, plain, strict=True)] == [3, 0, 4]


# --- Whose it is ----------------------------------------------------------------------------------


async def test_a_key_is_given_once(
    world: Choosing, gateway: FaultyGateway, place: Place, others: Others
) -> None:
    """While an upload is to have a key, and while its object is there, nobody else gets it; the
    refusal is one that clients take for final, and leaves nothing."""
    first = await world.create(len(DATA))
    for start, stop in ((0, LEAST + 5), (LEAST + 5, len(DATA)), (len(DATA), len(DATA))):
        before = objects(gateway, place)
        for refused in (await world.ask("POST", upload_length=9), await world.put(b"tiny")):
            assert refused.status == 403
            assert refused.body.startswith(b"key-taken: ")
        assert objects(gateway, place) == before
        assert (await world.patch(first, start, DATA[start:stop])).status == 204
    assert others.get() == DATA
    assert (await world.ask("DELETE", first)).status == 204
    second = await world.done(b"another")

    assert objects(gateway, place).keys() == {KEY, second + ".info"}


async def test_two_at_once(store: S3Store, place: Place) -> None:
    """Of many creations at one time on several nodes one gets the key."""
    nodes = [store, *(S3Store(place) for _ in range(3))]
    uploads = [Upload(f"upload-{n}", length=5, key=KEY) for n in range(12)]
    made = await asyncio.gather(
        *(nodes[n % 4].create(upload) for n, upload in enumerate(uploads)), return_exceptions=True
    )

    assert made.count(None) <= 1
    assert all(answer is None or isinstance(answer, KeyTaken) for answer in made)
    assert len([upload async for upload in store.scan()]) == made.count(None)
    for node in nodes[1:]:
        await node.aclose()


async def test_what_was_there_before(
    world: Choosing, gateway: FaultyGateway, place: Place, others: Others
) -> None:
    """An object that nobody of us has made keeps its place, and the creation is refused."""
    others.put(b"theirs")
    for refused in (await world.ask("POST", upload_length=6), await world.put(b"theirs")):
        assert refused.status == 403

    assert objects(gateway, place) == {KEY: b"theirs"}


@pytest.mark.parametrize("size", [5, LEAST, len(DATA)])
async def test_what_came_meanwhile(world: Choosing, others: Others, size: int) -> None:
    """An object that was put there while the upload was under way is not written over, and never
    taken for the upload, though it is as long; the upload waits until it is gone, and loses
    nothing."""
    data, theirs = DATA[:size], b"x" * size
    id = await world.create(size)
    others.put(theirs)
    assert (await world.patch(id, 0, data)).status == 503
    reply = await world.ask("HEAD", id)
    assert (reply.status, reply.header("Upload-Offset")) in {(423, None), (200, "0")}
    assert (await world.ask("GET", id)).status == 409
    assert others.get() == theirs
    others.delete()
    far = await world.offset(id)
    if far < size:
        assert (await world.patch(id, far, data[far:])).status == 204

    assert others.get() == data
    assert await world.data(id) == data


async def test_a_foreign_object_is_no_completion(
    world: Choosing, store: S3Store, others: Others
) -> None:
    """The parts are taken away, and an object of the right length is put there: the upload is gone,
    not done, and the object stays."""
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[: 2 * LEAST])).status == 204
    others.abort(await multipart_of(store, id))
    others.put(b"x" * len(DATA))

    assert (await world.ask("HEAD", id)).status == 410
    assert (await world.ask("DELETE", id)).status == 410
    await store.remove(id)
    assert others.get() == b"x" * len(DATA)


async def multipart_of(store: S3Store, id: str) -> str:
    """Return S3's id of an upload's multipart upload."""
    found = store._vault.find(id).state.multipart
    assert found is not None
    return found


async def test_what_was_put_over_it(world: Choosing, others: Others) -> None:
    """An application that replaces a finished upload's object has the last word: the upload has no
    bytes any more, and its end leaves what is there."""
    id = await world.done(DATA)
    others.put(b"x" * len(DATA))
    assert (await world.ask("GET", id)).status == 404
    assert (await world.ask("DELETE", id)).status == 204

    assert others.get() == b"x" * len(DATA)


async def test_what_was_moved_away_frees_its_key(
    world: Choosing, gateway: FaultyGateway, place: Place, others: Others
) -> None:
    """An application that takes the object away can have another upload under the key; the end of
    the first does no harm to it."""
    first = await world.done(DATA)
    others.delete()
    second = await world.done(DATA[::-1])
    assert (await world.ask("GET", first)).status == 404
    assert (await world.ask("DELETE", first)).status == 204

    assert await world.data(second) == DATA[::-1]
    assert objects(gateway, place).keys() == {KEY, second + ".info"}


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_completion_that_fails(
    world: Choosing, gateway: FaultyGateway, others: Others, when: When
) -> None:
    """The object's mark says whose it is when the answer was lost."""
    id = await world.create(len(DATA))
    gateway.fail_once("complete_multipart_upload", when)
    assert (await world.patch(id, 0, DATA)).status == 503

    assert await world.offset(id) == len(DATA)
    assert others.get() == DATA


# --- Servers that do not heed conditions ----------------------------------------------------------


class Heedless(FaultyGateway):
    """A server that makes an object whether there is one or not."""

    def call(self, operation: str, **parameters: Any) -> Answer:
        for condition in ("IfNoneMatch", "IfMatch"):
            parameters.pop(condition, None)
        return super().call(operation, **parameters)


async def test_a_server_that_heeds_no_conditions(place: Place) -> None:
    """Keys are looked at before they are claimed, so that nobody's claim is written over."""
    gateway = Heedless(place)
    world = Choosing(S3Store(place, gateway))
    first = await world.create(len(DATA))
    assert (await world.ask("POST", upload_length=5)).status == 403
    assert (await world.patch(first, 0, DATA)).status == 204
    assert (await world.put(b"tiny")).status == 403

    assert await world.data(first) == DATA
    await world.aclose()
    gateway.close()


async def test_a_claim_that_was_lost(world: Choosing, gateway: FaultyGateway, place: Place) -> None:
    """Where conditions are not heeded, two creations at one moment can both get a key. The one
    whose claim was written over waits, whole, until the other is gone; neither ever has the
    other's bytes."""
    first = await world.create(len(DATA))
    claim = {"Bucket": place.bucket, "Key": f"{place.prefix}/{claim_of(KEY)}"}
    gateway._client.delete_object(**claim)
    second = await world.create(len(DATA))
    assert (await world.patch(first, 0, DATA)).status == 503
    assert (await world.ask("HEAD", first)).status == 423
    assert (await world.patch(second, 0, DATA[::-1])).status == 204
    assert (await world.ask("HEAD", first)).status == 423
    assert await world.data(second) == DATA[::-1]
    assert (await world.ask("DELETE", second)).status == 204

    assert await world.offset(first) == len(DATA)
    assert await world.data(first) == DATA


# --- Crashes and sweeps ---------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("cuts", [[], [LEAST + 5]])
async def test_any_call_may_fail(rgw: str, when: When, cuts: list[int]) -> None:
    """Whichever call fails, the upload goes on; what comes out is what was sent, under its key, and
    nothing else is left but what nobody can tell from others' work: a multipart upload without a
    part."""
    place = replace(make_place(rgw), smallest=LEAST, part_size=LEAST)
    gateway = FaultyGateway(place)
    others = Others(gateway, place)
    data, calls, n = DATA[: 2 * LEAST + 9], 1, 0
    while n < calls:
        n += 1
        store = S3Store(place, gateway)
        gateway.log.clear()
        gateway.fail_nth(when, n)
        await Keyed(store, data, cuts).run()
        calls = len(gateway.log)
        happened = f"call {n} of {calls}: {gateway.log[n - 1 : n]}"
        gateway.heal()
        assert await bytes_of(store, ID) == data, happened
        await swept(store)
        assert objects(gateway, place).keys() == {KEY, ID + ".info"}, happened
        for left in begun(gateway, place):
            assert others.parts(left) == 0, happened
            others.abort(left)
        await store.remove(ID)
        assert objects(gateway, place) == {}, happened
        await store.aclose()
    gateway.close()


class Keyed(Client):
    """A client whose upload has the key."""

    async def _find(self, length: int | None) -> Upload:
        try:
            return await self.store.load(ID)
        except UploadNotFound:
            await self.store.create(Upload(ID, length=length, key=KEY))
            return await self.store.load(ID)


def begun(gateway: FaultyGateway, place: Place) -> list[str]:
    """Return the ids of all multipart uploads of a place."""
    found = gateway._client.list_multipart_uploads(Bucket=place.bucket, Prefix=f"{place.prefix}/")
    return [each["UploadId"] for each in found.get("Uploads", ())]


async def test_a_claim_of_nobody_is_swept(
    store: S3Store, gateway: FaultyGateway, place: Place
) -> None:
    """Whoever claims a key and is killed before there is an upload holds it for an hour. What is
    new is left alone, and so is what an open upload waits for."""
    vault = store._vault
    vault.claims.take(Upload("never-made", key="lost.mp4"))
    await store.create(Upload("open", length=5, key=KEY))
    async for _ in store.scan():
        pass
    assert len([name for name in objects(gateway, place) if name.startswith(CLAIMS)]) == 2
    await swept(store)

    left = {name for name in objects(gateway, place) if name.startswith(CLAIMS)}
    assert left == {claim_of(KEY)}
    await store.create(Upload("made", length=5, key="lost.mp4"))


async def test_a_claim_that_outlived_its_upload(
    store: S3Store, gateway: FaultyGateway, place: Place
) -> None:
    """Whoever makes the object and is killed before the claim is dropped leaves it to the sweep."""
    await store.create(Upload(ID, length=5, key=KEY))
    gateway.fault = lambda operation, sent: (
        "before" if operation == "delete_object" and CLAIMS in sent["Key"] else None
    )
    async with store.append(await store.load(ID), plan(0, 5)) as sink:
        await give(sink, b"hello")
        await sink.commit(Upload(ID, length=5, offset=5, finished=True, announced=True, key=KEY))
    gateway.heal()
    assert claim_of(KEY) in objects(gateway, place)
    await swept(store)

    assert objects(gateway, place).keys() == {KEY, ID + ".info"}


async def test_what_others_began_is_left_alone(world: Choosing, others: Others) -> None:
    """Multipart uploads of others survive sweeps and removals, be they of the very same key."""
    theirs = others.begin()
    id = await world.create(len(DATA))
    assert (await world.patch(id, 0, DATA[: 2 * LEAST])).status == 204
    await swept(world.engine.store)  # type: ignore[arg-type]
    assert others.parts(theirs) == 0
    assert (await world.ask("DELETE", id)).status == 204

    assert others.parts(theirs) == 0  # it is there
    others.abort(theirs)


async def test_an_expired_upload_frees_its_key(
    store: S3Store, gateway: FaultyGateway, place: Place
) -> None:
    """What was never finished holds its key as long as it lives."""
    world = Choosing(store, policy=Policy(expire_after=60.0))
    begun = await world.create(len(DATA))
    assert (await world.patch(begun, 0, DATA[: LEAST + 9])).status == 204
    world.clock.advance(100)
    await world.sweeper.scan()
    assert objects(gateway, place) == {}
    assert unfinished(gateway, place) == []

    assert (await world.put(b"next")).status == 201
    await world.progress.aclose()


async def test_a_quick_server(moto: str) -> None:
    """Metadata, claims and marks are the same on another server."""
    where = make_place(moto)
    world = Choosing(S3Store(where))
    id = await world.done(DATA)
    assert await world.data(id) == DATA
    assert (await world.ask("POST", upload_length=5)).status == 403
    assert (await world.ask("DELETE", id)).status == 204
    assert (await world.put(b"next")).status == 201
    await world.aclose()


# --- The page -------------------------------------------------------------------------------------


async def test_the_page_says_how(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example in docs/embedding.md is an application that does it."""
    page = (ROOT / "docs" / "embedding.md").read_text()
    (example,) = re.findall(r"(?s)```python\n([^`]*store_as.*?)^```", page, re.MULTILINE)
    names: dict[str, Any] = {}
    monkeypatch.setattr("vectus.Uploads", Standing, raising=False)
    exec(example, names)
    chosen, told = names["uploads"].listeners
    event = BeforeCreate(None, Upload("abc"))  # type: ignore[arg-type]
    chosen(event)

    assert event.choice.key == "films/2026/abc.mp4"
    assert told is names["finished"]


class Standing:
    """Stands for an application, and keeps its listeners."""

    def __init__(self, *_: object, **__: object) -> None:
        self.listeners: list[Any] = []

    def on(self, *_: object) -> Any:
        """Take a listener."""
        return lambda listener: self.listeners.append(listener) or listener
