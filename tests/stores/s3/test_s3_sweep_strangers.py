"""What others keep right under the prefix is nobody's tail, whatever it is called."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from s3_faults import FaultyGateway
from s3_memory import MemoryS3
from s3_places import LEAST
from s3_steps import objects, patch

from vectus.protocol.upload import Upload
from vectus.stores.s3 import walk
from vectus.stores.s3.client import Answer
from vectus.stores.s3.naming import MARK
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import ID, pattern

SMALL = 4 << 10

THEIRS = {"backup-2026.part": b"somebody's", "readme.part": b"", "film.mp4.part": b"has a dot"}


class Counting(MemoryS3):
    """A server that remembers which keys each kind of call was made for, and lists folders."""

    def __init__(self, *, conditional: bool = False) -> None:
        super().__init__(conditional=conditional)
        self.asked: Counter[tuple[str, str]] = Counter()

    def call(self, operation: str, **sent: Any) -> Answer:
        self.asked[operation, sent.get("Key", "")] += 1
        return super().call(operation, **sent)

    def list_objects_v2(self, Prefix: str = "", **sent: Any) -> Answer:  # noqa: N803
        answer = super().list_objects_v2(Prefix=Prefix, **sent)
        deeper = (
            key[len(Prefix) :].partition("/") for key in self.objects if key.startswith(Prefix)
        )
        folders = {f"{Prefix}{folder}/" for folder, slash, _ in deeper if slash}
        return {**answer, "CommonPrefixes": [{"Prefix": each} for each in sorted(folders)]}

    def count(self, operation: str) -> int:
        """Return how many such calls there were."""
        return sum(times for (made, _), times in self.asked.items() if made == operation)


def make_store(server: MemoryS3, prefix: str = "", *, conditional: bool = False) -> S3Store:
    """Return a store whose parts are small."""
    small = {"smallest": SMALL, "part_size": SMALL, "spool": 64 * SMALL}
    return S3Store(Place("bucket", prefix, conditional_put=conditional, **small), server)


async def swept(store: S3Store) -> list[str]:
    """Look at everything; return the ids of what is there."""
    return [upload.id async for upload in store.scan()]


@pytest.mark.parametrize("prefix", ["", "in"])
async def test_a_part_of_somebody_elses_stays(prefix: str) -> None:
    """An object that is called like a tail, is old and has no record may be anybody's."""
    server = Counting()
    folder = f"{prefix}/" if prefix else ""
    server.objects.update({folder + name: data for name, data in THEIRS.items()})
    store = make_store(server, prefix)
    assert await swept(store) == []
    await store.aclose()

    assert server.objects == {folder + name: data for name, data in THEIRS.items()}
    assert server.count("delete_object") == 0


async def test_strangers_are_asked_once() -> None:
    """Whose it is does not change unless the object does: each look costs a listing only."""
    server = Counting()
    server.objects.update(THEIRS)
    store = make_store(server)
    for _ in range(3):
        await swept(store)
    assert server.count("head_object") == 2  # what has a dot in it is no id at all
    server.objects["backup-2026.part"] = b"another"
    for _ in range(3):
        await swept(store)
    await store.aclose()

    assert server.asked["head_object", "backup-2026.part"] == 2
    assert server.count("head_object") == 3


async def test_strangers_are_asked_again_where_they_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only so many are kept in mind; the others are still not touched."""
    monkeypatch.setattr(walk, "MOST_KNOWN", 1)
    server = Counting()
    server.objects.update(THEIRS)
    store = make_store(server)
    for _ in range(2):
        await swept(store)
    await store.aclose()

    assert server.objects == THEIRS
    assert server.count("head_object") == 3


@pytest.mark.parametrize("conditional", [False, True])
async def test_tails_bear_their_uploads_mark(conditional: bool) -> None:  # noqa: FBT001
    """A creation's, an append's, and one that is put over a tail that nobody recorded."""
    server = Counting(conditional=True)
    store = make_store(server, conditional=conditional)
    await store.create(Upload(ID, length=SMALL, offset=7), pattern(7))
    assert server.metadata[f"{ID}.part"] == {MARK: ID}
    server.metadata.clear()
    await patch(store, ID, pattern(9))
    assert server.metadata[f"{ID}.part"] == {MARK: ID}
    await store.create(Upload("other", length=SMALL))
    server.objects["other.part"] = b"left by a kill"
    await patch(store, "other", pattern(3))
    await store.aclose()

    assert server.metadata["other.part"] == {MARK: "other"}


async def test_a_tail_of_ours_that_no_record_names_goes() -> None:
    """A creation that was killed between its calls leaves one; so does a writer that comes after a
    removal."""
    server = Counting()
    store = make_store(server)
    await store.create(Upload(ID, length=SMALL, offset=7), pattern(7))
    assert await swept(store) == [ID]
    del server.objects[f"{ID}.info"]
    await swept(store)
    await store.aclose()

    assert server.objects == {}


async def test_what_is_young_is_not_even_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record may be under way."""
    monkeypatch.setattr(walk, "OLD", 1e12)
    server = Counting()
    store = make_store(server)
    await store.create(Upload(ID, length=SMALL, offset=7), pattern(7))
    del server.objects[f"{ID}.info"]
    await swept(store)
    await store.aclose()

    assert server.objects.keys() == {f"{ID}.part"}
    assert server.count("head_object") == 0


async def test_a_record_that_comes_late_keeps_its_tail() -> None:
    """Right before a tail is deleted its record is asked for once more: the listing is old."""
    server = Counting()
    store = make_store(server)
    await store.create(Upload(ID, length=SMALL, offset=7), pattern(7))
    record = server.objects.pop(f"{ID}.info")
    look = server.head_object

    def slow(Key: str, **sent: Any) -> Answer:  # noqa: N803
        found = look(Key, **sent)
        server.objects[f"{ID}.info"] = record
        return found

    server.head_object = slow  # type: ignore[method-assign]
    await swept(store)
    await store.aclose()

    assert server.objects.keys() == {f"{ID}.info", f"{ID}.part"}


async def test_a_copy_of_a_tail_is_somebodys() -> None:
    """Metadata are copied with an object: only the mark of this very id counts."""
    server = Counting()
    server.objects["copied.part"] = b"abc"
    server.metadata["copied.part"] = {MARK: ID}
    store = make_store(server)
    await swept(store)
    await store.aclose()

    assert server.objects.keys() == {"copied.part"}


async def test_a_tail_with_a_record_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where there are more uploads than can be kept in mind, or the record is broken."""
    monkeypatch.setattr(walk, "MOST_KNOWN", 1)
    server = Counting()
    store = make_store(server)
    for n in range(3):
        await store.create(Upload(f"upload-{n}", length=SMALL, offset=7), pattern(7))
    server.objects["upload-2.info"] = b"{"
    there = dict(server.objects)
    server.asked.clear()
    await swept(store)
    await store.aclose()

    assert server.objects == there
    assert server.count("head_object") == 0


async def test_a_tail_of_an_upload_that_is_closed_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marked or not, as those of earlier versions are not: its record says that it is ours."""
    monkeypatch.setattr(walk, "OLD", 1e12)
    server = Counting()
    store = make_store(server)
    done = Upload(ID, length=3, offset=3, finished=True, announced=True)
    await store.create(done, b"abc")
    server.objects[f"{ID}.part"] = b"ab"
    await swept(store)
    await store.aclose()

    assert server.objects.keys() == {ID, f"{ID}.info"}


async def test_on_a_real_server(
    store: S3Store, gateway: FaultyGateway, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RGW keeps the mark with the tail, and somebody else's object without it."""
    monkeypatch.setattr(walk, "OLD", -60.0)
    gateway.call("put_object", Key=f"{place.prefix}/backup.part", Body=b"somebody's")
    await store.create(Upload(ID, length=2 * LEAST, offset=7), pattern(7))
    await patch(store, ID, pattern(300))
    await store.create(Upload("killed", length=2 * LEAST, offset=7), pattern(7))
    gateway.call("delete_object", Key=f"{place.prefix}/killed.info")
    for _ in range(2):
        assert await swept(store) == [ID]

    assert objects(gateway, place).keys() == {f"{ID}.info", f"{ID}.part", "backup.part"}
    looks = [key for name, key, _ in gateway.log if name == "head_object"]
    assert looks.count(f"{place.prefix}/backup.part") == 1
