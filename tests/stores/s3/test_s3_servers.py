"""What S3 servers disagree on: what some lack, or only say that they do."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import Any

import pytest
from s3_faults import FaultyGateway
from s3_places import LEAST
from s3_steps import Client, objects, unfinished

from vectus.contracts import Sink
from vectus.errors import StoreFull, UploadExists
from vectus.protocol.upload import Role, Upload
from vectus.stores.s3.client import Answer, Rejected
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import FULL, ID, bytes_of, fill, give, pattern, plan, put


class Lacking(FaultyGateway):
    """A server that refuses some operations, or a condition."""

    lacks: tuple[str, ...] = ()

    def call(self, operation: str, **parameters: Any) -> Answer:
        if operation in self.lacks or any(name in self.lacks for name in parameters):
            raise Rejected("NotImplemented", "A header you provided is not implemented")
        return super().call(operation, **parameters)


class Pretending(FaultyGateway):
    """A server that stores an empty part where it was to copy, as rclone does."""

    def call(self, operation: str, **parameters: Any) -> Answer:
        if operation != "upload_part_copy":
            return super().call(operation, **parameters)
        for name in ("CopySource", "CopySourceRange"):
            del parameters[name]
        sent = super().call("upload_part", **parameters, Body=b"", ContentLength=0)
        return {"CopyPartResult": {"ETag": sent["ETag"]}}


def lacking(place: Place, *lacks: str) -> Lacking:
    gateway = Lacking(place)
    gateway.lacks = lacks
    return gateway


async def joined(store: S3Store, pieces: list[bytes]) -> bytes:
    """Join partials of these bytes; return the final upload's."""
    for number, piece in enumerate(pieces):
        await fill(store, Upload(f"part-{number}", Role.PARTIAL), piece)
    parts = [await store.load(f"part-{number}") for number in range(len(pieces))]
    total = sum(map(len, pieces))
    final = Upload("final", Role.FINAL, total, parts=tuple(part.id for part in parts))
    await store.create(final)
    await store.join(final, parts, take_over=False)
    await store.save(replace(final, offset=total, finished=True))
    return await bytes_of(store, "final")


PIECES = [pattern(size, size) for size in (2 * LEAST + 1, 100, LEAST)]


@pytest.mark.parametrize("kind", ["refuses", "pretends"])
async def test_a_server_that_does_not_copy(place: Place, kind: str) -> None:
    """Joins carry the bytes through here where the server refuses to copy, or says that it did."""
    gateway = lacking(place, "upload_part_copy") if kind == "refuses" else Pretending(place)
    store = S3Store(place, gateway)

    assert await joined(store, PIECES) == b"".join(PIECES)
    assert unfinished(gateway, place) == []
    await store.aclose()


@pytest.mark.parametrize("pieces", [PIECES, [b""], [b"", b""], [b"1", b"", b"2"]])
async def test_equal_parts(place: Place, gateway: FaultyGateway, pieces: list[bytes]) -> None:
    """With ``equal_parts`` every part but the last has one size, in uploads and in joins."""
    store = S3Store(replace(place, equal_parts=True), gateway)
    data = pattern(5 * LEAST + 77)
    await store.create(Upload(ID))
    await Client(store, data, [LEAST - 5, 3 * LEAST + 3]).run(deferred=True)
    assert await bytes_of(store, ID) == data
    assert await joined(store, pieces) == b"".join(pieces)

    sent = [call for name, _, call in gateway.log if name == "upload_part" and ID in call["Key"]]
    assert {call["ContentLength"] for call in sent} <= {LEAST, 77}
    await store.aclose()


async def test_a_server_without_conditions(place: Place) -> None:
    """Where If-None-Match is refused uploads are created without it; ids are random."""
    store = S3Store(place, lacking(place, "IfNoneMatch"))
    await store.create(replace(FULL, offset=4), b"kept")
    assert await bytes_of(store, ID) == b"kept"
    await store.remove(ID)
    await store.create(replace(FULL, length=4, offset=4, finished=True), b"kept")
    assert await bytes_of(store, ID) == b"kept"
    await store.aclose()


async def test_a_server_that_cannot_list_multipart_uploads(place: Place) -> None:
    """What the record names is aborted all the same, and sweeps go on."""
    gateway = lacking(place, "list_multipart_uploads")
    store = S3Store(place, gateway)
    await store.create(replace(FULL, length=9 * LEAST))
    await put(store, ID, pattern(2 * LEAST))
    assert [upload.id async for upload in store.scan()] == [ID]
    await store.remove(ID)

    gateway.lacks = ()
    assert unfinished(gateway, place) == []
    assert objects(gateway, place) == {}
    await store.aclose()


async def test_a_partial_whose_completion_failed(store: S3Store, gateway: FaultyGateway) -> None:
    """A partial that is complete and not finished is made an object before it is joined."""
    data = pattern(2 * LEAST + 5)
    await store.create(Upload("part", Role.PARTIAL, len(data)))
    part = await put(store, "part", data)
    final = Upload("final", Role.FINAL, len(data), parts=("part",))
    await store.create(final)
    await store.join(final, [part], take_over=False)
    await store.save(replace(final, offset=len(data), finished=True))

    assert await bytes_of(store, "final") == data


async def test_a_finished_upload_is_not_made_over_another(
    store: S3Store, gateway: FaultyGateway, place: Place
) -> None:
    """Creating an id again, finished this time, leaves neither a trace nor a wrong object."""
    await store.create(FULL)
    whole = replace(FULL, length=3, offset=3, finished=True)
    with pytest.raises(UploadExists):
        await store.create(whole, b"new")
    assert objects(gateway, place).keys() == {ID + ".info"}


async def test_the_spool_is_full(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """D12: without room on this machine's disk, what fitted is kept."""
    await store.create(replace(FULL, length=LEAST))
    pwrite, left = os.pwrite, 1000

    def write(fd: int, data: memoryview, at: int) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = pwrite(fd, data[:left], at)
        left -= written
        return written

    data = pattern(5000)
    async with store.append(await store.load(ID), plan(0)) as sink:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", write)
            with pytest.raises(StoreFull):
                await give(sink, data)
        assert sink.count == 1000
        await sink.commit(replace(FULL, length=LEAST, offset=1000))

    assert await bytes_of(store, ID) == data[:1000]


async def test_the_bucket_is_full(store: S3Store, gateway: FaultyGateway) -> None:
    """D12: S3 has no room: that is what is told, and what was acknowledged before stays."""
    await store.create(replace(FULL, length=9 * LEAST))
    await put(store, ID, pattern(2 * LEAST + 5))
    gateway.on_call = full
    upload = await store.load(ID)
    async with store.append(upload, plan(upload.offset)) as sink:
        with pytest.raises(StoreFull):
            await commit(sink, upload, pattern(3 * LEAST))
    gateway.on_call = lambda *_: None

    assert await store.load(ID) == upload


def full(operation: str, _: dict[str, object]) -> None:
    if operation == "upload_part":
        raise StoreFull


async def commit(sink: Sink, upload: Upload, data: bytes) -> None:
    await give(sink, data)
    await sink.commit(replace(upload, offset=upload.offset + len(data)))
