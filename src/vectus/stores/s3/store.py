"""Uploads in a bucket: the asynchronous methods that the engine sees.

Each makes one step of ``vault.py`` in a thread; taking bytes in is ``sink.py``'s affair.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import BinaryIO

from vectus.contracts import Lease, Limits
from vectus.errors import KeyTaken, StoreError, StoreUnavailable, UploadExists, UploadNotFound
from vectus.protocol.exchange import Plan
from vectus.protocol.upload import Upload
from vectus.stores.disk import Disk
from vectus.stores.s3.bucket import Bucket, Calls
from vectus.stores.s3.client import Gateway, Missing, Rejected, map_errors
from vectus.stores.s3.doubts import Doubts
from vectus.stores.s3.joining import Join
from vectus.stores.s3.lifecycle import life, rules_of, shortest
from vectus.stores.s3.naming import check_key, mark_of, scanned_as
from vectus.stores.s3.parts import LARGEST, MOST, choose
from vectus.stores.s3.place import Place, parse
from vectus.stores.s3.record import Kept
from vectus.stores.s3.room import Room
from vectus.stores.s3.sink import Dock, S3Sink
from vectus.stores.s3.spool import Shelf
from vectus.stores.s3.threads import Threads
from vectus.stores.s3.vault import Vault
from vectus.stores.s3.walk import Known, Walk

BLOCK = 1 << 20
"""How many bytes of a download are read at once."""

SCAN_EVERY = 600.0
"""Seconds between two looks at everything: a listing costs a call for every thousand objects."""

MOST_SHELVED = 8
"""How many files of parts are kept to be filled anew."""

MOST_LOADED = 100
"""How many records are kept in mind between being loaded and being appended to."""


log = logging.getLogger("vectus")

PATIENCE = 0.05
"""Seconds that a write to the spool may keep the event loop waiting before the next ones go to a
thread. Parts are sent by threads that are in each other's way for some milliseconds at a time."""

LONGEST_LINK = 8000
"""Of how many characters a URL may be (RFC 9110, section 4.1)."""


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


def _is_of(loaded: Upload, upload: Upload) -> bool:
    """Whether an upload is one as it was loaded, but for the lease and the time it has now."""
    return replace(loaded, fence=upload.fence, expires=upload.expires) == upload


def _read(body: BinaryIO, count: int) -> bytes:
    with map_errors():
        return body.read(count)


class S3Store:
    """Keeps uploads in a bucket: a ``Store`` that ``Scans``, ``Joins``, ``Links`` and
    ``Trusts``, and is ``Limited``.

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
        self._threads = Threads(self.place.parts_in_flight, patience=self.place.timeout)
        folder = self.place.spool_directory or tempfile.gettempdir()
        self._disk = Disk(folder, inline_limit=PATIENCE)
        self._room = Room(self.place.spool)
        self._shelf = Shelf(folder, MOST_SHELVED)
        self._dock = Dock(
            self._vault, self.place, self._threads, self._room, self._disk, self._shelf
        )
        self._loaded: dict[str, Kept] = {}
        self._doubts = Doubts(self._vault, self._threads.readers.submit)
        self._known = Known()
        self._forgetting: asyncio.TimerHandle | None = None

    def limits(self) -> Limits:
        """Return what S3 sets; see ``contracts.Limited``. Looks for rules that abort uploads."""
        place = self.place
        growing = choose(None, place.part_size, grows=not place.equal_parts)
        name = scanned_as(place.endpoint, place.bucket, place.folder)
        return Limits(LARGEST * MOST, growing.most, self._life(), SCAN_EVERY, name)

    def _life(self) -> float | None:
        bucket = self._vault.bucket
        try:
            rule = shortest(rules_of(bucket.lifecycle()), bucket.key(""))
        except (Missing, Rejected) as error:
            log.info("The S3 server has no rules that could abort uploads, it says: %s", error)
            return None
        except StoreError as error:
            log.warning("Whether a rule of the bucket aborts uploads cannot be told: %s", error)
            return None
        if rule is None:
            return None
        log.info("A rule of the bucket limits how long uploads may take: %s", rule.words)
        return life(rule)

    def check_key(self, key: str) -> None:
        """Judge a key that was chosen; see ``contracts.Names``."""
        check_key(key, self.place.folder)

    async def create(self, upload: Upload, data: bytes = b"") -> None:
        """Keep a new upload; see ``contracts.Store``."""
        try:
            await self._threads.first(self._vault.create, upload, data)
        except (UploadExists, KeyTaken):
            raise
        except StoreError:
            if upload.finished:
                self._doubts.note(upload)
            raise

    async def load(self, id: str) -> Upload:
        """Return an upload as it is; see ``contracts.Store``."""
        return await self._load(self._vault.load, id)

    async def recall(self, id: str) -> Upload:
        """Return an upload as it was a moment ago; see ``contracts.Trusts``."""
        return await self._load(self._vault.recall, id)

    async def _load(self, load: Callable[[str], Kept], id: str) -> Upload:
        kept = await self._threads.first(load, id)
        if len(self._loaded) >= MOST_LOADED:
            self._loaded.clear()
        self._loaded[id] = kept
        return kept.upload

    def append(self, upload: Upload, plan: Plan, lease: Lease | None = None) -> S3Sink:
        """Open an upload for the bytes of a plan; see ``contracts.Store``."""
        kept = self._loaded.pop(upload.id, None)
        known = kept if kept is not None and _is_of(kept.upload, upload) else None
        return S3Sink(self._dock, upload, plan, known, lease)

    async def save(self, upload: Upload) -> None:
        """Replace the record; see ``contracts.Store``."""
        await self._threads.run(self._vault.save, upload)

    async def read(self, upload: Upload, start: int, stop: int) -> S3Content:
        """Open a range of an upload's bytes; see ``contracts.Store``. Of one that is not finished
        only the tail can be read, where that is all."""
        body = await self._threads.run(self._open, upload, start, stop)
        return S3Content(self._threads, body, stop - start)

    async def link(self, upload: Upload, kind: str, disposition: str) -> str | None:
        """Return a URL of a finished upload's bytes; see ``contracts.Links``. A name may make it
        longer than what every server takes."""
        url = await self._threads.run(self._link, upload, kind, disposition)
        return url if len(url) <= LONGEST_LINK else None

    async def remove(self, id: str) -> None:
        """Forget an upload; see ``contracts.Store``."""
        await self._threads.run(self._vault.remove, id)

    async def aclose(self) -> None:
        """Let the threads and the connections go."""
        self._keep_in_mind()
        self._doubts.close()
        self._threads.close()
        self._disk.close()
        self._shelf.close()
        if isinstance(self._gateway, Gateway):
            self._gateway.close()

    async def scan(self) -> AsyncIterator[Upload]:
        """Yield every upload, and tidy up behind crashes; see ``contracts.Scans``. What was seen
        is kept in mind for the next scan, if there is one: of many processes one goes on."""
        self._keep_in_mind()
        later = asyncio.get_running_loop().call_later
        walk = Walk(self._vault, self._threads.readers, self._known, self._doubts)
        try:
            while (uploads := await self._threads.run(walk.step)) is not None:
                for upload in uploads:
                    yield upload
        finally:
            self._forgetting = later(2 * SCAN_EVERY, self._known.forget)

    def _keep_in_mind(self) -> None:
        forgetting, self._forgetting = self._forgetting, None
        if forgetting is not None:
            forgetting.cancel()

    async def finals(self, part: str) -> Sequence[str]:
        """Return the open final uploads that name a partial; see ``contracts.Joins``."""
        return await self._threads.run(self._vault.finals, part)

    async def reserve(self, final: Upload, parts: Sequence[Upload]) -> None:
        """There is always room in S3; see ``contracts.Joins``."""

    async def join(
        self,
        final: Upload,
        parts: Sequence[Upload],
        *,
        take_over: bool,
        lease: Lease | None = None,
    ) -> None:
        """Join partials, always by copying; see ``contracts.Joins``. A cancellation stops it
        within a part."""
        join = partial(Join, self._vault, self.place, final, parts, lease)
        await self._threads.at_length(lambda stopped: join(stopped).run())

    async def bury(self, id: str) -> None:
        """Free the bytes of a partial that was taken over; see ``contracts.Joins``."""
        await self._threads.run(self._vault.bury, id)

    def _link(self, upload: Upload, kind: str, disposition: str) -> str:
        name = self._vault.readable(upload)
        if upload.key is not None and self._vault.objects.size(upload) is None:
            raise UploadNotFound(upload.id)
        return self._vault.bucket.link(name, kind, disposition)

    def _open(self, upload: Upload, start: int, stop: int) -> BinaryIO | None:
        name = self._vault.readable(upload)
        if start == stop:
            return None
        try:
            mark = mark_of(upload) if name == upload.key else None
            return self._vault.bucket.open(name, start, stop, mark)
        except Missing:
            raise UploadNotFound(upload.id) from None
