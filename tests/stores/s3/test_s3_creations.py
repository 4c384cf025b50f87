"""Creations that fail half-way, and requests of theirs that S3 obeys afterwards: there is an upload
with all that its record says, or there is none."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import pytest
from s3_memory import MemoryS3

from vectus.errors import KeyTaken, StoreError, StoreFull, StoreUnavailable, UploadNotFound
from vectus.events import Finished
from vectus.protocol.upload import Role, Upload
from vectus.stores.s3 import walk
from vectus.stores.s3.client import Answer, Gateway, Passing, Rejected
from vectus.stores.s3.naming import claim_of
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import ID, bytes_of
from world import World

PLACE = Place("bucket", "up")
HELLO = b"hello"
KEY = "films/a.mp4"
INFO = f"up/{ID}.info"

DONE = Upload(ID, length=5, offset=5, finished=True, announced=True)
BEGUN = Upload(ID, length=10, offset=5)
FINAL = Upload(ID, role=Role.FINAL, parts=("a", "b"))
CASES = [(DONE, HELLO), (BEGUN, HELLO), (replace(BEGUN, offset=0), b""), (FINAL, b"")]
KINDS = ["finished", "begun", "empty", "final"]


class Failing(MemoryS3):
    """A server that fails puts when it is told to; what it does not answer it does when asked."""

    def __init__(self, *, conditional: bool = True) -> None:
        super().__init__(conditional=conditional)
        self.fails: Callable[[str], Exception | None] = lambda _: None
        self.late: list[tuple[str, bytes, dict[str, Any]]] = []
        self.marks: dict[str, Any] = {}

    def put_object(self, Key: str, Body: bytes, **said: Any) -> Answer:  # noqa: N803
        if (error := self.fails(Key)) is not None:
            if isinstance(error, StoreUnavailable):
                self.late.append((Key, Body, said))
            raise error
        answer = super().put_object(Key, Body, **said)
        self.marks[Key] = said.get("Metadata", {})
        return answer

    def list_objects_v2(self, Prefix: str = "", **_: Any) -> Answer:  # noqa: N803
        under = [key[len(Prefix) :] for key in self.objects if key.startswith(Prefix)]
        folders = {each.partition("/")[0] + "/" for each in under if "/" in each}
        found = super().list_objects_v2(Prefix=Prefix)
        return Answer(found | {"CommonPrefixes": [{"Prefix": Prefix + each} for each in folders]})

    def head_object(self, Key: str, **_: Any) -> Answer:  # noqa: N803
        return Answer(super().head_object(Key) | {"Metadata": self.marks.get(Key, {})})

    def get_object(self, Key: str, Range: str = "", **_: Any) -> Answer:  # noqa: N803
        return Answer(super().get_object(Key, Range) | {"Metadata": self.marks.get(Key, {})})

    @staticmethod
    def away(**_: Any) -> Answer:
        """Answer nothing."""
        raise StoreUnavailable("away")

    def fail(self, ending: str, error: Exception) -> None:
        """Fail puts of one kind."""
        self.fails = lambda key: error if key.endswith(ending) else None

    def arrive(self) -> None:
        """Do what was not answered."""
        self.fails = lambda _: None
        for key, body, said in self.late:
            self.put_object(key, body, **said)


@pytest.fixture
def server() -> Failing:
    """A server."""
    return Failing()


@pytest.fixture
async def store(server: Failing):
    """A store there."""
    store = S3Store(PLACE, server)
    yield store
    await store.aclose()


TIMED_OUT = StoreUnavailable("timed out")


async def swept(store: S3Store, old: float = -60.0) -> None:
    """Sweep, taking what is new for old, or even more of it for new."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "OLD", old)
        async for _ in store.scan():
            pass


@pytest.mark.parametrize("conditional", [False, True])
async def test_a_late_record_of_a_small_upload(*, conditional: bool) -> None:
    """Its client was told that nothing came of it; the sweeper finds it, whole, and says so."""
    server = Failing(conditional=conditional)
    world = World(S3Store(replace(PLACE, conditional_put=conditional), server), listening=False)
    told: list[str] = []
    world.announcer.add(Finished, lambda event: told.append(event.upload.id))
    server.fail(".info", TIMED_OUT)
    assert (await world.ask("POST", "", HELLO, upload_length=5)).status == 503
    server.arrive()
    (id,) = (key[3:-5] for key in server.objects if key.endswith(".info"))
    await world.sweeper.scan()
    await world.settle(lambda: asyncio.sleep(0, bool(told)))

    assert told == [id]
    assert await world.data(id) == HELLO
    await world.aclose()


@pytest.mark.parametrize(("upload", "data"), CASES, ids=KINDS)
async def test_a_late_record(store: S3Store, server: Failing, upload: Upload, data: bytes) -> None:
    """All that it counts on is there."""
    server.fail(".info", TIMED_OUT)
    with pytest.raises(StoreUnavailable):
        await store.create(upload, data)
    with pytest.raises(UploadNotFound):
        await store.load(ID)
    server.arrive()
    await swept(store)

    assert await store.load(ID) == upload
    assert await bytes_of(store, ID) == data
    assert await store.finals("a") == ([ID] if upload is FINAL else [])


@pytest.mark.parametrize("ending", [".info", ID, ".part", "joins/" + ID])
@pytest.mark.parametrize(("upload", "data"), CASES, ids=KINDS)
async def test_what_came_to_nothing(
    store: S3Store, server: Failing, upload: Upload, data: bytes, ending: str
) -> None:
    """It is removed by the sweep, an hour later and not before, however late S3 obeyed."""
    server.fail(ending, TIMED_OUT)
    try:
        await store.create(upload, data)
    except StoreUnavailable:
        server.late = [each for each in server.late if not each[0].endswith(".info")]
        server.arrive()
        before = dict(server.objects)
        await swept(store, old=math.inf)
        assert server.objects == before
        await swept(store)
        assert server.objects == {}


async def test_s3_is_away_when_it_is_swept(store: S3Store, server: Failing) -> None:
    """Then the next sweep does it."""
    server.fail(".info", TIMED_OUT)
    with pytest.raises(StoreUnavailable):
        await store.create(DONE, HELLO)
    head, server.head_object = server.head_object, Failing.away  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await swept(store)
    server.head_object = head  # type: ignore[method-assign]
    await swept(store)

    assert server.objects == {}


REFUSED = [Rejected("InvalidArgument", "no"), StoreFull()]


@pytest.mark.parametrize("error", REFUSED, ids=["refused", "full"])
@pytest.mark.parametrize(("upload", "data"), CASES, ids=KINDS)
async def test_a_refused_record(
    store: S3Store, server: Failing, upload: Upload, data: bytes, error: StoreError
) -> None:
    """Nothing is left of what was put for it, the key neither."""
    server.fail(".info", error)
    with pytest.raises(type(error)):
        await store.create(replace(upload, key=KEY), data)

    assert server.objects == {}


@pytest.mark.parametrize("error", [*REFUSED, TIMED_OUT], ids=["refused", "full", "timed out"])
@pytest.mark.parametrize(
    ("upload", "data"), [CASES[0], CASES[1], CASES[3]], ids=KINDS[:2] + KINDS[3:]
)
async def test_bytes_that_were_not_put(
    store: S3Store, server: Failing, upload: Upload, data: bytes, error: StoreError
) -> None:
    """No record is sent, so that nothing will ever count on them."""
    server.fails = lambda key: None if key.endswith(".info") else error
    with pytest.raises(type(error)):
        await store.create(upload, data)
    assert server.objects == {}
    server.arrive()
    with pytest.raises(UploadNotFound):
        await store.load(ID)


@pytest.mark.parametrize("last", [".info", KEY])
async def test_a_key_whose_object_is_in_doubt(store: S3Store, server: Failing, last: str) -> None:
    """Nobody else gets the key while an upload may come that has it. When none came in an hour the
    sweep removes the object that was put for it, and the key is free."""
    server.fail(last, TIMED_OUT)
    with pytest.raises(StoreUnavailable):
        await store.create(replace(DONE, key=KEY), HELLO)
    server.fails = lambda _: None
    again = replace(DONE, id="again", key=KEY)
    with pytest.raises(KeyTaken):
        await store.create(again, b"world")
    if last == KEY:
        server.arrive()
    await swept(store)
    assert server.objects == {}

    await store.create(again, b"world")
    assert await bytes_of(store, "again") == b"world"


async def test_a_late_record_with_a_key(store: S3Store, server: Failing) -> None:
    """The object under the key is its own, and stays through every sweep."""
    upload = replace(DONE, key=KEY)
    server.fail(".info", TIMED_OUT)
    with pytest.raises(StoreUnavailable):
        await store.create(upload, HELLO)
    server.arrive()
    await swept(store)

    assert await store.load(ID) == upload
    assert server.objects.keys() == {INFO, f"up/{KEY}"}


async def test_a_key_of_an_upload_that_is_in_doubt(store: S3Store, server: Failing) -> None:
    """Without an object the next request has the key at once. The other upload, if it comes after
    all, never gets in the way."""
    server.fail(".info", TIMED_OUT)
    with pytest.raises(StoreUnavailable):
        await store.create(replace(BEGUN, length=5, key=KEY), HELLO)
    server.fails = lambda _: None
    await store.create(replace(BEGUN, id="again", length=5, key=KEY), b"world")
    server.arrive()
    assert f"up/{claim_of(KEY)}" in server.objects
    with pytest.raises(StoreUnavailable):
        await store.save(replace(await store.load(ID), finished=True))
    await store.save(replace(await store.load("again"), finished=True))
    with pytest.raises(StoreUnavailable):
        await store.save(replace(await store.load(ID), finished=True))
    await store.remove(ID)

    assert await bytes_of(store, "again") == b"world"


async def test_a_refusal_after_a_lost_answer(store: S3Store, server: Failing) -> None:
    """A record that is there is no record that was refused."""

    def refuse(key: str) -> Exception | None:
        if key != INFO:
            return None
        server.objects[INFO] = b"{}"  # an earlier try
        return Rejected("InvalidArgument", "no")

    server.fails = refuse
    with pytest.raises(Rejected):
        await store.create(DONE, HELLO)
    assert server.objects[f"up/{ID}"] == HELLO


class Door(Gateway):
    """The door to a server in memory, at which calls are tried again."""

    def __init__(self, server: MemoryS3) -> None:
        super().__init__(replace(PLACE, endpoint="http://127.0.0.1:1"), pauses=(0.0,))
        self._server = server

    def _try(self, operation: str, parameters: dict[str, Any]) -> Answer:
        return self._server.call(operation, **parameters)


@pytest.mark.parametrize("error", REFUSED, ids=["refused", "full"])
@pytest.mark.parametrize(("upload", "data"), CASES, ids=KINDS)
@pytest.mark.usefixtures("credentials")
async def test_a_refusal_after_no_answer(
    server: Failing, upload: Upload, data: bytes, error: StoreError
) -> None:
    """S3 may still obey the first try: then the upload has all that its record counts on."""
    store = S3Store(PLACE, Door(server))
    answers = chain([Passing("timed out")], repeat(error))
    server.fails = lambda key: next(answers) if key.endswith(".info") else None
    with pytest.raises(StoreError):
        await store.create(upload, data)
    server.arrive()
    await swept(store)

    assert await store.load(ID) == upload
    assert await bytes_of(store, ID) == data
    assert await store.finals("a") == ([ID] if upload is FINAL else [])
    await store.aclose()
