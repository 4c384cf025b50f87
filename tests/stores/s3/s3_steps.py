"""What a server does with a store, and a client with a server, step by step; and what is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from s3_faults import FaultyGateway

from vectus.errors import StoreError, UploadNotFound
from vectus.protocol.upload import Upload
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import ID, give, plan

LIMIT = 30.0


async def patch(
    store: S3Store,
    id: str,
    data: bytes,
    *,
    revocable: bool = False,
    finish: bool = True,
    piece: int = 100_003,
) -> Upload:
    """Do what a PATCH does: load, receive, commit, and finish what is complete."""
    upload = await store.load(id)
    room = None if upload.length is None else upload.length - upload.offset
    async with store.append(upload, plan(upload.offset, room, revocable=revocable)) as sink:
        for at in range(0, len(data), piece):
            await give(sink, data[at : at + piece])
        after = replace(upload, offset=upload.offset + len(data))
        finished = finish and after.complete
        await sink.commit(replace(after, finished=finished, announced=finished))
    return await store.load(id)


async def settle(store: S3Store, id: str) -> Upload:
    """Do what a HEAD does: load, and drive on what is complete."""
    upload = await store.load(id)
    if upload.complete and not upload.finished and upload.failed is None:
        await store.save(replace(upload, finished=True, announced=True))
        upload = await store.load(id)
    return upload


def objects(gateway: FaultyGateway, place: Place) -> dict[str, bytes]:
    """Return every object of a place by its name there."""
    found = gateway._client.list_objects_v2(Bucket=place.bucket, Prefix=f"{place.prefix}/")
    return {
        each["Key"].removeprefix(f"{place.prefix}/"): gateway._client.get_object(
            Bucket=place.bucket, Key=each["Key"]
        )["Body"].read()
        for each in found.get("Contents", ())
    }


def unfinished(gateway: FaultyGateway, place: Place) -> list[str]:
    """Return the keys of all multipart uploads of a place."""
    found = gateway._client.list_multipart_uploads(Bucket=place.bucket, Prefix=f"{place.prefix}/")
    return [each["Key"] for each in found.get("Uploads", ())]


async def notes_are_gone(gateway: FaultyGateway, place: Place) -> bool:
    """Say whether nothing is noted of joins and of keys: that ends after the upload is finished."""
    found = await asyncio.to_thread(objects, gateway, place)
    return not any(name.startswith(".") for name in found)


class Client:
    """A client that does not give up, and the server behind it: sends until all is there.

    Args:
        store: where.
        data: what.
        cuts: where requests end.
        options: how; see ``patch``.
    """

    def __init__(
        self, store: S3Store, data: bytes, cuts: Sequence[int] = (), **options: bool
    ) -> None:
        self.store = store
        self.data = data
        self.cuts = [*cuts, len(data)]
        self.options = options
        self.offsets: list[int] = []
        self.failures: list[str] = []

    async def run(self, deferred: bool = False) -> None:  # noqa: FBT001, FBT002
        """Send everything."""
        length = None if deferred else len(self.data)
        for _ in range(10):
            try:
                return await asyncio.wait_for(self._run(length), LIMIT)
            except StoreError as error:
                self.failures.append(repr(error))
        raise AssertionError(f"It never ends: {self.failures}")

    async def _run(self, length: int | None) -> None:
        upload = await self._find(length)
        while not upload.finished:
            assert upload.failed is None, upload.failed
            self.offsets.append(upload.offset)
            if upload.length is None and upload.offset == len(self.data):
                upload = await self._declare(upload)
                continue
            if upload.complete:
                upload = await settle(self.store, ID)
                continue
            stop = next(cut for cut in self.cuts if cut > upload.offset)
            upload = await patch(self.store, ID, self.data[upload.offset : stop], **self.options)
        self.offsets.append(upload.offset)

    async def _find(self, length: int | None) -> Upload:
        try:
            return await self.store.load(ID)
        except UploadNotFound:
            await self.store.create(Upload(ID, length=length))
            return await self.store.load(ID)

    async def _declare(self, upload: Upload) -> Upload:
        whole = replace(upload, length=upload.offset, finished=True, announced=True)
        async with self.store.append(upload, plan(upload.offset)) as sink:
            await sink.commit(whole)
        return await self.store.load(ID)
