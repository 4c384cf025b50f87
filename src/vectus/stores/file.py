"""Uploads as files in one directory, laid out as tusd does, so that either can take over.

``<dir>/<id>`` holds an upload's data, ``<dir>/<id>.info`` its record (``record.py``). What is ours
alone has a dot where no id has one. Here are the asynchronous methods; each makes one blocking
call, on the event loop or in a thread as ``disk.py`` finds right. The calls are in ``folder.py``,
``sink.py``, ``joining.py`` and ``walk.py``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Literal

from vectus.contracts import Lease
from vectus.errors import Overtaken, RecordBroken, StoreError, UploadNotFound
from vectus.protocol.exchange import Plan
from vectus.protocol.upload import Role, Upload
from vectus.stores.disk import Disk, settled
from vectus.stores.durable import Durability
from vectus.stores.folder import Folder, map_errors
from vectus.stores.joining import Join
from vectus.stores.reach import Reach
from vectus.stores.sink import FileSink
from vectus.stores.walk import Walk

BLOCK = 1 << 20
"""How many bytes of a download are read at once."""


class FileContent:
    """Bytes of an upload's data file, open until ``aclose``.

    Args:
        disk: where to read.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._fd = -1
        self._start = 0
        self._length = 0
        self._reading: asyncio.Future[bytes] | None = None

    def open(self, folder: Folder, id: str, start: int, stop: int) -> None:
        """Open bytes ``start`` to ``stop`` of an upload. Blocks."""
        found = folder.find(id)
        try:
            self._fd = os.open(found.data, os.O_RDONLY)
        except FileNotFoundError:
            raise UploadNotFound(id) from None
        if os.fstat(self._fd).st_size < stop:
            raise RecordBroken(id, "its data are shorter than it says")
        self._start, self._length = start, stop - start

    @property
    def length(self) -> int:
        """How many bytes there are."""
        return self._length

    def file(self) -> tuple[int, int]:
        """Return the descriptor and the position of the first byte."""
        return self._fd, self._start

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the bytes; every block is read in a thread, as nobody knows what is in memory."""
        position, stop = self._start, self._start + self._length
        while position < stop:
            count = min(BLOCK, stop - position)
            self._reading = self._disk.hop(os.pread, self._fd, count, position)
            block = await settled(self._reading)
            if not block:
                raise StoreError("The data of an upload became shorter while it was read.")
            position += len(block)
            yield block

    async def aclose(self) -> None:
        """Close the file. The last one to close a removed file frees its blocks, which takes
        long, so that goes to a thread."""
        fd, self._fd = self._fd, -1
        if self._reading is not None:
            await asyncio.wait((self._reading,))
        if fd < 0:
            return
        if os.fstat(fd).st_nlink:
            os.close(fd)
        else:
            await self._disk.apart(os.close, fd)


class FileStore:
    """Keeps uploads in a directory: a ``Store`` that ``Scans`` and ``Joins``.

    Args:
        directory: where; made if it is not there.
        durability: what is on stable storage when a request is answered: ``"finish"`` (all of a
            finished upload), ``"always"`` (all that was acknowledged), or ``"none"``.
        threads: how many calls to a slow disk may wait at once.
        reach: who else uses the directory; the processes of this machine, unless it is said.

    Raises:
        ConfigurationError: the directory cannot be made or written to.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        durability: Literal["none", "finish", "always"] = "finish",
        *,
        threads: int = 8,
        reach: Reach | None = None,
    ) -> None:
        self._folder = Folder(os.fspath(directory), Durability(durability), reach)
        self._disk = Disk(self._folder.directory, threads=threads)

    @property
    def directory(self) -> str:
        """The absolute path of the directory."""
        return self._folder.directory

    async def create(self, upload: Upload, data: bytes = b"") -> None:
        """Keep a new upload; see ``contracts.Store``."""
        durability = self._folder.durability
        syncs = durability.of_record(upload) or (upload.role is Role.FINAL and durability.ordered)
        run = self._disk.apart if syncs or durability.of_bytes(upload) else self._disk.run
        with map_errors():
            await run(self._folder.create, upload, data)

    async def load(self, id: str) -> Upload:
        """Return an upload as it is on disk; see ``contracts.Store``."""
        with map_errors():
            return await self._disk.run(self._folder.load, id)

    def append(self, upload: Upload, plan: Plan, lease: Lease | None = None) -> FileSink:
        """Open an upload for the bytes of a plan; see ``contracts.Store``."""
        return FileSink(self._folder, self._disk, upload, plan, lease)

    async def save(self, upload: Upload) -> None:
        """Replace the record; see ``contracts.Store``."""
        syncs = self._folder.durability.of_record(upload)
        with map_errors():
            await (self._disk.apart if syncs else self._disk.run)(self._folder.save, upload)

    async def read(self, upload: Upload, start: int, stop: int) -> FileContent:
        """Open a range of an upload's bytes; see ``contracts.Store``."""
        content = FileContent(self._disk)
        try:
            with map_errors():
                await self._disk.run(content.open, self._folder, upload.id, start, stop)
        except BaseException:
            await content.aclose()
            raise
        return content

    async def remove(self, id: str) -> None:
        """Forget an upload; see ``contracts.Store``. Unlinking a large file takes long."""
        with map_errors():
            await self._disk.apart(self._folder.remove, id)

    async def aclose(self) -> None:
        """Let the threads go."""
        self._disk.close()

    async def scan(self) -> AsyncIterator[Upload]:
        """Yield every upload, and tidy up behind crashes; see ``contracts.Scans``."""
        walk = Walk(self._folder)
        try:
            while (uploads := await self._step(walk)) is not None:
                for upload in uploads:
                    yield upload
        finally:
            walk.close()

    async def finals(self, part: str) -> Sequence[str]:
        """Return the open final uploads that name a partial; see ``contracts.Joins``."""
        with map_errors():
            return await self._disk.run(self._folder.finals, part)

    async def reserve(self, final: Upload, parts: Sequence[Upload]) -> None:
        """Make sure of room for a join; see ``contracts.Joins``."""
        with map_errors():
            await self._disk.apart(_reserve, self._folder, final, parts)

    async def join(
        self,
        final: Upload,
        parts: Sequence[Upload],
        *,
        take_over: bool,
        lease: Lease | None = None,
    ) -> None:
        """Join partials; see ``contracts.Joins``. A cancellation stops it within a piece."""
        with map_errors():
            run = partial(_join, self._folder, final, parts, take_over=take_over, lease=lease)
            await self._disk.at_length(run)

    async def bury(self, id: str) -> None:
        """Free the bytes of a partial that was taken over; see ``contracts.Joins``."""
        with map_errors():
            await self._disk.apart(self._folder.bury, id)

    async def _step(self, walk: Walk) -> list[Upload] | None:
        with map_errors():
            return await self._disk.apart(walk.step)


def _reserve(folder: Folder, final: Upload, parts: Sequence[Upload]) -> None:
    Join(folder, final, parts).reserve()


def _join(
    folder: Folder,
    final: Upload,
    parts: Sequence[Upload],
    stopped: Callable[[], bool],
    *,
    take_over: bool,
    lease: Lease | None,
) -> None:
    def lost() -> bool:
        return lease is not None and lease.lost

    if not lost():
        Join(folder, final, parts).run(lambda: stopped() or lost(), take_over=take_over)
    if lost():
        raise Overtaken(final.id)
