"""What kills leave and no request comes by again; and what a look at everything costs."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from s3_memory import MemoryS3
from test_s3_sweep_strangers import SMALL, Counting, make_store, swept

from vectus.errors import StoreUnavailable, UploadExists
from vectus.protocol.upload import Role, Upload
from vectus.stores.s3 import doubts, walk
from vectus.stores.s3.client import Answer
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import Held, give, pattern, plan

PART = Upload("part", role=Role.PARTIAL, length=3, offset=3, finished=True, announced=True)
FINAL = Upload("final", role=Role.FINAL, parts=("part",))


class Killed(BaseException):
    """The process is gone."""


Kill = Callable[[str], None]


@pytest.fixture
def server() -> Counting:
    """A server whose objects are all old."""
    return Counting()


@pytest.fixture
async def store(server: Counting) -> AsyncIterator[S3Store]:
    """A store on it."""
    store = make_store(server)
    yield store
    await store.aclose()


def killed_before(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """Have whoever puts an object killed before."""
    put = MemoryS3.put_object

    def kill(self: MemoryS3, Key: str, Body: bytes, **said: object) -> object:  # noqa: N803
        if key == Key:
            raise Killed
        return put(self, Key, Body, **said)

    monkeypatch.setattr(MemoryS3, "put_object", kill)


# --- Notes of joins -------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "left"), [(3600.0, False), (1e12, True)])
async def test_a_note_without_a_final_upload(
    store: S3Store, server: Counting, monkeypatch: pytest.MonkeyPatch, *, old: float, left: bool
) -> None:
    """A final upload is noted before it is there. Who is killed in between leaves a note, which
    goes after an hour."""
    monkeypatch.setattr(walk, "OLD", old)
    with monkeypatch.context() as patch:
        killed_before(patch, "final.info")
        with pytest.raises(Killed):
            await store.create(FINAL)
    assert server.objects.keys() == {".joins/final"}
    await swept(store)

    assert server.objects.keys() == ({".joins/final"} if left else set())


async def test_a_note_of_a_final_upload_that_is_there(store: S3Store, server: Counting) -> None:
    """It stays until the upload is closed, however old, and costs a look nothing."""
    await store.create(PART, b"abc")
    await store.create(FINAL)
    await swept(store)
    server.asked.clear()
    await swept(store)
    assert ".joins/final" in server.objects
    assert {made for made, _ in server.asked} == {"list_objects_v2", "list_multipart_uploads"}
    server.objects["final.info"] = b"{"
    await swept(store)

    assert ".joins/final" in server.objects  # a record that is broken may be mended


async def test_a_final_upload_that_comes_late_keeps_its_note(
    store: S3Store, server: Counting
) -> None:
    """Right before a note is struck its record is asked for once more."""
    await store.create(FINAL)
    record = server.objects.pop("final.info")
    found = server.list_objects_v2

    def late(Prefix: str = "", **sent: object) -> object:  # noqa: N803
        answer = found(Prefix=Prefix, **sent)
        if not Prefix:
            server.objects["final.info"] = record
        return answer

    server.list_objects_v2 = late  # type: ignore[method-assign]
    await swept(store)

    assert ".joins/final" in server.objects


# --- Objects --------------------------------------------------------------------------------------


async def test_an_object_without_a_record_is_left_alone(
    store: S3Store, server: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small upload that was killed between the calls of its creation looks like one whose record
    somebody removed on purpose, as users of tusd do. Nothing that may be wanted is deleted."""
    done = Upload("kept", length=3, offset=3, finished=True, announced=True)
    await store.create(done, b"abc")
    del server.objects["kept.info"]
    with monkeypatch.context() as patch:
        killed_before(patch, "killed.info")
        with pytest.raises(Killed):
            await store.create(replace(done, id="killed"), b"abc")
    server.asked.clear()
    for _ in range(2):
        await swept(store)

    assert server.objects == {"kept": b"abc", "killed": b"abc"}
    assert {made for made, _ in server.asked} == {"list_objects_v2", "list_multipart_uploads"}


DONE = Upload("tiny", length=3, offset=3, finished=True, announced=True)


def unanswered(server: Counting, key: str, *, late: bool = False) -> None:
    """Have nobody answer whoever puts an object; if ``late`` it is obeyed all the same."""
    put = server.put_object

    def silent(Key: str, Body: bytes, **said: object) -> object:  # noqa: N803
        if key == Key and late:
            put(Key=Key, Body=Body, **said)
        if key == Key:
            raise StoreUnavailable("no answer")
        return put(Key=Key, Body=Body, **said)

    server.put_object = silent  # type: ignore[method-assign]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("key", [None, "films/a.mp4"])
async def test_an_object_of_a_creation_that_failed(
    store: S3Store,
    server: Counting,
    monkeypatch: pytest.MonkeyPatch,
    *,
    key: str | None,
    late: bool,
) -> None:
    """Its record was not answered and may still come, so the object stays for an hour. Then it goes
    where no record has come; nobody was told of the upload."""
    unanswered(server, "tiny.info", late=late)
    with pytest.raises(StoreUnavailable):
        await store.create(replace(DONE, key=key), b"abc")
    await asyncio.to_thread(store._doubts.settle, time.time() - 3600)
    assert (key or "tiny") in server.objects
    monkeypatch.setattr(walk, "OLD", -60.0)
    await swept(store)

    left = {name for name in server.objects if not name.startswith(".keys/")}
    assert left == ({key or "tiny", "tiny.info"} if late else set())


async def test_who_does_not_scan_settles_its_failures(
    store: S3Store, server: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process knows of its own failed creations alone, whoever sweeps for all. While S3 is
    away it goes on knowing."""
    monkeypatch.setattr(doubts, "LASTING", 0.01)
    unanswered(server, "tiny.info")
    look = server.head_object
    answers = iter([StoreUnavailable("still away")])

    def away(Key: str, **sent: object) -> Answer:  # noqa: N803
        for error in answers:
            raise error
        return look(Key, **sent)

    server.head_object = away  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await store.create(DONE, b"abc")
    assert "tiny" in server.objects
    async with asyncio.timeout(10):
        while server.objects:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


async def test_somebody_elses_upload_is_no_failure(store: S3Store, server: Counting) -> None:
    """An id that is taken is another's."""
    await store.create(DONE, b"abc")
    with pytest.raises(UploadExists):
        await store.create(DONE, b"xyz")
    del server.objects["tiny.info"]
    await swept(store)

    assert server.objects == {"tiny": b"abc"}


async def test_an_object_under_a_key_whose_creation_was_killed(
    store: S3Store, server: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note of the key says that it never was an upload, the mark that the object is its own;
    another's under the same key stays."""
    with monkeypatch.context() as patch:
        killed_before(patch, "tiny.info")
        killed_before(patch, "other.info")
        for id, key in (("tiny", "a.mp4"), ("other", "b.mp4")):
            with pytest.raises(Killed):
                await store.create(replace(DONE, id=id, key=key), b"abc")
    server.metadata["b.mp4"] = {}
    await swept(store)

    assert server.objects == {"b.mp4": b"abc"}


# --- What it costs --------------------------------------------------------------------------------


async def begin(store: S3Store, id: str) -> None:
    """Create an upload and send its first part."""
    await store.create(Upload(id, length=3 * SMALL))
    upload = await store.load(id)
    async with store.append(upload, plan(0, 3 * SMALL), Held(1)) as sink:
        await give(sink, pattern(SMALL))
        await sink.commit(replace(upload, offset=SMALL))


async def test_what_has_not_changed_is_not_read_again(store: S3Store, server: Counting) -> None:
    """Not even where its multipart upload is older than an hour; of ten uploads one is read."""
    for n in range(10):
        await begin(store, f"upload-{n}")
    await swept(store)
    await begin(store, "another")
    server.asked.clear()
    assert len(await swept(store)) == 11

    assert server.count("get_object") == 1
    assert len(server.multiparts) == 11


async def test_an_orphan_is_told_by_a_fresh_look(store: S3Store, server: Counting) -> None:
    """What a look found says which multipart uploads are recorded; of one that seems not to be the
    record is read again, as it may be by now."""
    await begin(store, "upload")
    await swept(store)
    server.create_multipart_upload("upload")
    server.create_multipart_upload("nobodys")
    await swept(store)

    assert sorted(key for key, _ in server.multiparts.values()) == ["nobodys", "upload"]
    assert (await store.load("upload")).failed is None


async def test_who_does_not_look_again_forgets(
    store: S3Store, server: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many processes one looks now and then, the others only at their start: what they saw then
    is not kept in memory for ever."""
    monkeypatch.setattr("vectus.stores.s3.store.SCAN_EVERY", 0.0)
    await begin(store, "upload")
    await swept(store)
    assert store._known.records.keys() == {"upload"}
    await asyncio.sleep(0.01)

    assert not store._known.records


async def finish(store: S3Store, id: str, **more: Any) -> None:
    """Create an upload that is settled from its beginning on."""
    await store.create(replace(DONE, id=id, **more), b"abc")


async def test_what_is_settled_is_not_kept_in_memory(
    store: S3Store, server: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many finished uploads stay there: of each a number, and none is read twice."""
    monkeypatch.setattr(walk, "MOST_KNOWN", 1)
    for n in range(10):
        await finish(store, f"done-{n}")
    await begin(store, "upload")
    assert len(await swept(store)) == 11
    server.asked.clear()

    assert await swept(store) == ["upload"]
    assert server.count("get_object") == 0
    assert store._known.records.keys() == {"upload"}
    assert len(store._known.settled) == 10


async def test_what_is_settled_takes_little_memory(store: S3Store, server: Counting) -> None:
    """120 bytes of each, which docs/scaling.md reckons with; twice that during a walk."""
    for n in range(2000):
        await finish(store, f"done-{n}", expires=time.time() + 1000)
    await swept(store)
    settled = store._known.settled
    parts = sys.getsizeof(settled) + sum(map(sys.getsizeof, itertools.chain(*settled.items())))

    assert len(settled) == 2000
    assert parts <= 120 * len(settled)


async def test_what_is_settled_is_read_again_when_its_time_is_over(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before."""
    await finish(store, "done", expires=time.time() + 1000)
    seen = [len(await swept(store)) for _ in range(2)]
    later = time.time() + 1001
    monkeypatch.setattr("vectus.stores.s3.walk.time.time", lambda: later)

    assert (seen, await swept(store)) == ([1, 0], ["done"])


@pytest.mark.parametrize(
    "unsettled",
    [{"announced": False}, {"role": Role.PARTIAL}, {"finished": False, "announced": False}],
    ids=["not told of", "a partial", "not finished"],
)
async def test_what_is_not_settled_always_comes(store: S3Store, unsettled: dict[str, Any]) -> None:
    """Somebody has to finish it, to tell of it, or to pin it."""
    await finish(store, "done", **unsettled)

    assert [len(await swept(store)) for _ in range(3)] == [1, 1, 1]


async def test_what_was_settled_and_has_changed(store: S3Store, server: Counting) -> None:
    """A record that is another one is read; a tail of an upload that is settled goes unread."""
    await finish(store, "done")
    await finish(store, "other")
    await swept(store)
    await store.remove("done")
    await begin(store, "done")
    server.objects["other.part"] = b"ab"
    server.asked.clear()

    assert await swept(store) == ["done"]
    assert server.count("get_object") == 1
    assert "other.part" not in server.objects


async def test_a_note_of_a_join_that_is_settled_goes(store: S3Store, server: Counting) -> None:
    """One that could not be struck when the join was done is struck by a later look."""
    final = Upload("final", Role.FINAL, length=3, offset=3, parts=("a",), finished=True)
    await store.create(replace(final, announced=True), b"abc")
    await swept(store)
    store._vault.ledger.enlist("final", ("a",))
    assert any(name.startswith(".joins/") for name in server.objects)
    await swept(store)

    assert not any(name.startswith(".joins/") for name in server.objects)
