"""Uploads in a bucket: the asynchronous methods that the engine sees.

Each makes one step of ``vault.py`` in a thread; taking bytes in is ``sink.py``'s affair.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import BinaryIO

from vectus.errors import StoreUnavailable, UploadNotFound
from vectus.protocol.exchange import Plan
from vectus.protocol.upload import Upload
from vectus.stores.disk import Disk
from vectus.stores.s3.bucket import Bucket, Calls
from vectus.stores.s3.client import Gateway, Missing, map_errors
from vectus.stores.s3.joining import Join
from vectus.stores.s3.place import Place, parse
from vectus.stores.s3.record import Kept
from vectus.stores.s3.room import Room
from vectus.stores.s3.sink import Dock, S3Sink
from vectus.stores.s3.threads import Threads
from vectus.stores.s3.vault import Vault
from vectus.stores.s3.walk import Known, Walk

BLOCK = 1 << 20
"""How many bytes of a download are read at once."""

MOST_LOADED = 100
"""How many records are kept in mind between being loaded and being appended to."""


class S3Content:
    """Bytes of an object, open until ``aclose``.

    Args:
        threads: where to read.
        body: what S3 sends, or None for no bytes.
        length: how many bytes there are.
    """

    def __init__(self, threads: Threads, body: BinaryIO | None, length: int) -> None:
        self._threads = threads
        self._body = body
        self.length = length

    def file(self) -> None:
        """Return None: there is no file."""

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come."""
        left = self.length
        while left and self._body is not None:
            block = await self._threads.run(_read, self._body, min(BLOCK, left))
            if not block:
                raise StoreUnavailable("an object ended early")
            left -= len(block)
            yield block

    async def aclose(self) -> None:
        """Let the connection go."""
        body, self._body = self._body, None
        if body is not None:
            await self._threads.run(body.close)


def _read(body: BinaryIO, count: int) -> bytes:
    with map_errors():
        return body.read(count)


class S3Store:
    """Keeps uploads in a bucket: a ``Store`` that ``Scans`` and ``Joins``.

    Args:
        place: where, and how; or an ``s3://bucket/prefix?option=value`` URL.
        gateway: makes the calls; by default one to the place's server.

    Raises:
        ConfigurationError: the URL makes no sense.
    """

    def __init__(self, place: Place | str, gateway: Calls | None = None) -> None:
        self.place = place if isinstance(place, Place) else parse(place)
        self._gateway = gateway or Gateway(self.place)
        self._vault = Vault(Bucket(self._gateway, self.place), self.place)
        self._threads = Threads(self.place.parts_in_flight)
        self._disk = Disk(self.place.spool_directory or tempfile.gettempdir())
        self._room = Room(self.place.spool)
        self._dock = Dock(self._vault, self.place, self._threads, self._room, self._disk)
        self._loaded: dict[str, Kept] = {}
        self._known: Known = {}

    async def create(self, upload: Upload, data: bytes = b"") -> None:
        """Keep a new upload; see ``contracts.Store``."""
        await self._threads.run(self._vault.create, upload, data)

    async def load(self, id: str) -> Upload:
        """Return an upload as it is; see ``contracts.Store``."""
        kept = await self._threads.run(self._vault.load, id)
        if len(self._loaded) >= MOST_LOADED:
            self._loaded.clear()
        self._loaded[id] = kept
        return kept.upload

    def append(self, upload: Upload, plan: Plan) -> S3Sink:
        """Open an upload for the bytes of a plan; see ``contracts.Store``."""
        kept = self._loaded.pop(upload.id, None)
        known = kept if kept is not None and kept.upload == upload else None
        return S3Sink(self._dock, upload, plan, known)

    async def save(self, upload: Upload) -> None:
        """Replace the record; see ``contracts.Store``."""
        await self._threads.run(self._vault.save, upload)

    async def read(self, upload: Upload, start: int, stop: int) -> S3Content:
        """Open a range of an upload's bytes; see ``contracts.Store``. Of one that is not finished
        only the tail can be read, where that is all."""
        body = await self._threads.run(self._open, upload, start, stop)
        return S3Content(self._threads, body, stop - start)

    async def remove(self, id: str) -> None:
        """Forget an upload; see ``contracts.Store``."""
        await self._threads.run(self._vault.remove, id)

    async def aclose(self) -> None:
        """Let the threads and the connections go."""
        self._threads.close()
        self._disk.close()
        if isinstance(self._gateway, Gateway):
            self._gateway.close()

    async def scan(self) -> AsyncIterator[Upload]:
        """Yield every upload, and tidy up behind crashes; see ``contracts.Scans``."""
        walk = Walk(self._vault, self._threads.readers, self._known)
        while (uploads := await self._threads.run(walk.step)) is not None:
            for upload in uploads:
                yield upload

    async def finals(self, part: str) -> Sequence[str]:
        """Return the open final uploads that name a partial; see ``contracts.Joins``."""
        return await self._threads.run(self._vault.finals, part)

    async def reserve(self, final: Upload, parts: Sequence[Upload]) -> None:
        """There is always room in S3; see ``contracts.Joins``."""

    async def join(self, final: Upload, parts: Sequence[Upload], *, take_over: bool) -> None:
        """Join partials, always by copying; see ``contracts.Joins``. A cancellation stops it
        within a part."""
        join = partial(Join, self._vault, self.place, final, parts)
        await self._threads.at_length(lambda stopped: join(stopped).run())

    async def bury(self, id: str) -> None:
        """Free the bytes of a partial that was taken over; see ``contracts.Joins``."""
        await self._threads.run(self._vault.bury, id)

    def _open(self, upload: Upload, start: int, stop: int) -> BinaryIO | None:
        name = self._vault.readable(upload)
        if start == stop:
            return None
        try:
            return self._vault.bucket.open(name, start, stop)
        except Missing:
            raise UploadNotFound(upload.id) from None
