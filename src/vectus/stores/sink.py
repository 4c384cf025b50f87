"""Where the bytes of one append go: into the data file, in order, at their place.

Plain bytes count as soon as they are written, as the file's size is the offset. Revocable ones
must not count before they are judged, so before the first of them the record says ``pending``, and
that goes away with the judgement: with the commit, or with the bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Coroutine
from dataclasses import replace
from types import TracebackType
from typing import Self

from vectus.contracts import Lease
from vectus.errors import Overtaken, StoreError, StoreFull
from vectus.protocol.exchange import Plan
from vectus.protocol.upload import Upload
from vectus.stores.disk import Disk, settled
from vectus.stores.durable import Durability, sync_file
from vectus.stores.folder import Folder, Found, map_errors, refuse_overtaken
from vectus.stores.record import differs, measured

LARGE = 2 << 20
"""A piece of more bytes is written in a thread, however fast the disk is."""

RECORD_ROOM = 128 << 10
"""Bytes that are left on a full disk for a record, which metadata may make long."""


class FileSink:
    """One append to one upload; made by ``FileStore.append``, used as a context once.

    Args:
        folder: where the upload is.
        disk: where to run what blocks.
        upload: the upload as just loaded.
        plan: what may come.
        lease: under which it is done; None is one that cannot be lost.
    """

    __slots__ = (
        "_committed",
        "_count",
        "_disk",
        "_fd",
        "_flight",
        "_folder",
        "_lease",
        "_ready",
        "_revocable",
        "_start",
        "_upload",
        "_waits",
    )

    def __init__(
        self, folder: Folder, disk: Disk, upload: Upload, plan: Plan, lease: Lease | None = None
    ) -> None:
        self._folder = folder
        self._disk = disk
        self._upload = upload
        self._start = plan.start
        self._revocable = plan.revocable
        self._lease = lease
        self._waits = folder.waits
        self._fd = -1
        self._count = 0
        self._ready = False
        self._committed = False
        self._flight: asyncio.Future[None] | None = None

    @property
    def count(self) -> int:
        """How many bytes it has taken and would keep."""
        return self._count

    def write(self, data: memoryview) -> Awaitable[None] | None:
        """Write a piece: here and now while the disk is fast, else in a thread."""
        if self._disk.fast and len(data) <= LARGE and not self._waits:
            self._disk.inline(self._write, data)
            return None
        self._flight = self._disk.hop(self._write, data)
        return settled(self._flight)

    async def commit(self, upload: Upload) -> None:
        """Make ``upload`` the record and its bytes count; see ``contracts.Sink``."""
        with map_errors():
            if self._flying:
                await self._to_its_end(self._commit_after_landing(upload))
            else:
                await self._commit_somewhere(upload)

    async def __aenter__(self) -> Self:
        try:
            with map_errors():
                await (self._disk.apart if self._prepares() else self._disk.run)(self._open)
        except BaseException:
            await self._leave()  # it may have been opened before the cancellation was told
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._leave()

    @property
    def _flying(self) -> bool:
        return self._flight is not None and not self._flight.done()

    @property
    def _revokes(self) -> bool:
        """Whether leaving now takes bytes back."""
        return self._revocable and self._ready and not self._committed

    def _prepares(self) -> bool:
        """Whether opening syncs something."""
        touches = self._revocable or self._upload.pending is not None or self._upload.foreign
        return self._waits or (touches and self._folder.durability.ordered)

    def _syncs(self, upload: Upload) -> bool:
        durability = self._folder.durability
        return durability.of_bytes(upload) or durability.of_record(upload)

    # What runs on the loop, and waits.

    async def _to_its_end(self, steps: Coroutine[object, object, None]) -> None:
        await settled(asyncio.get_running_loop().create_task(steps))

    async def _commit_after_landing(self, upload: Upload) -> None:
        await self._land()
        await self._commit_somewhere(upload)

    async def _commit_somewhere(self, upload: Upload) -> None:
        await (self._disk.apart if self._syncs(upload) else self._disk.run)(self._commit, upload)

    async def _leave(self) -> None:
        if self._flying or self._revokes:
            await self._to_its_end(self._leave_apart())
        elif self._fd >= 0:
            await self._disk.run(self._close)  # some network file systems flush on it

    async def _leave_apart(self) -> None:
        await self._land()
        await self._disk.apart(self._abandon)

    async def _land(self) -> None:
        """Wait for the write under way; what came of it is for whoever gave the piece."""
        if self._flight is not None:
            await asyncio.wait((self._flight,))
            self._flight.exception()

    # What blocks.

    def _check_held(self) -> None:
        """Change nothing any more once the lock is lost. With the kernel's still held nobody else
        could be writing; but a file server may take that one away as well."""
        if self._lease is not None and self._lease.lost:
            raise Overtaken(self._upload.id)

    def _open(self) -> None:
        self._check_held()
        found = self._folder.find(self._upload.id)
        refuse_overtaken(found.upload, self._upload)
        self._fd = self._folder.open_data(found)
        size = os.fstat(self._fd).st_size
        if size < self._start:
            raise StoreError(f"Upload {self._upload.id!r} has less than the bytes to go on from.")
        pending = self._start if self._revocable else None
        self._cut()
        signs = self._folder.reach.signs(found.upload, self._upload)
        if found.upload.pending != pending or found.upload.foreign or signs:
            # A foreign record must become ours before its last bytes come: it would be taken for
            # one that tusd had finished.
            record = replace(measured(found.upload, size), pending=pending, offset=self._start)
            self._write_record(record, found)
        self._ready = True

    def _write(self, data: memoryview) -> None:
        try:
            with map_errors():
                while data:
                    self._check_held()
                    written = os.pwrite(self._fd, data, self._start + self._count)
                    self._count += written
                    data = data[written:]
        except StoreFull:
            if self._revocable:
                self._make_room()
            raise

    def _make_room(self) -> None:
        """Give back a little of what fitted: without room for the record that makes it count, all
        of it would be lost."""
        self._count = max(0, self._count - RECORD_ROOM)
        os.ftruncate(self._fd, self._start + self._count)

    def _commit(self, upload: Upload) -> None:
        folder, upload = self._folder, _judged(upload)
        found = folder.find(upload.id)
        refuse_overtaken(found.upload, upload)
        self._check_held()
        if upload.offset < self._start + self._count:
            os.ftruncate(self._fd, upload.offset)
        if folder.durability.of_bytes(upload):
            folder.sync_data(self._fd, upload, self._durable())
        if differs(found.upload, upload) or folder.reach.signs(found.upload, upload):
            self._check_held()
            folder.write(upload, found, sync=folder.durability.of_record(upload))
        self._committed = True
        self._close()

    def _durable(self) -> int:
        """How many bytes are surely on stable storage: with ``FINISH``, nobody ever asked."""
        return self._start if self._folder.durability is Durability.ALWAYS else 0

    def _abandon(self) -> None:
        try:
            if self._revokes:
                self._take_back()
        finally:
            self._close()

    def _take_back(self) -> None:
        """Cut the bytes off, then the mark. If that fails they still do not count: it stands."""
        with contextlib.suppress(OSError, StoreError):
            self._check_held()
            found = self._folder.find(self._upload.id)
            refuse_overtaken(found.upload, self._upload)
            # Not the record found: a commit may have failed when its own was in place already.
            record = replace(self._upload, pending=self._start, offset=self._start)
            if found.upload.pending != record.pending:
                self._write_record(record, found)
            self._cut()
            self._write_record(replace(record, pending=None), found)

    def _write_record(self, record: Upload, found: Found) -> None:
        record = replace(record, fence=self._upload.fence)
        self._folder.write(record, found, sync=self._folder.durability.ordered)

    def _cut(self) -> None:
        """Cut off what lies beyond the start, for good if a mark shall go that hides it now."""
        if os.fstat(self._fd).st_size > self._start:
            os.ftruncate(self._fd, self._start)
            if self._folder.durability.ordered:
                sync_file(self._fd)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._folder.reach.close(fd)


def _judged(upload: Upload) -> Upload:
    return upload if upload.pending is None else replace(upload, pending=None)
