"""Uploads in this process's memory: for tests, for trying things out, for what may be lost.

It keeps every promise of ``contracts.Store`` but to survive its process, and it is the shortest
account of what those promises mean: an upload is a record and an array of bytes, and which of the
bytes count follows from both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from vectus.contracts import Lease
from vectus.errors import Overtaken, StoreError, StoreFull, UploadExists, UploadNotFound
from vectus.protocol.exchange import Plan
from vectus.protocol.upload import ID, Role, Upload

BLOCK = 1 << 18
"""How many bytes are handled between two looks at what else there is to do."""


@dataclass(slots=True)
class Shelf:
    """What is kept of one upload."""

    record: Upload
    data: bytearray = field(default_factory=bytearray)

    @property
    def upload(self) -> Upload:
        """The upload as it is: the bytes tell the offset, but for those that do not count."""
        if self.record.role is Role.FINAL or self.record.taken_by is not None:
            return self.record
        bounds = (len(self.data), self.record.pending, self.record.length)
        return replace(self.record, offset=min(bound for bound in bounds if bound is not None))

    def put(self, upload: Upload) -> None:
        """Replace the record."""
        if self.record.fence > upload.fence:
            raise Overtaken(upload.id)
        self.record = replace(upload, foreign=False)


class MemoryContent:
    """A range of an upload's bytes. They stay as long as somebody holds them."""

    def __init__(self, data: bytearray, start: int, stop: int) -> None:
        self._data = data
        self._start = start
        self._stop = stop

    @property
    def length(self) -> int:
        """How many bytes there are."""
        return self._stop - self._start

    def file(self) -> None:
        """Return None: there is no file."""

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the bytes."""
        for at in range(self._start, self._stop, BLOCK):
            yield bytes(self._data[at : min(at + BLOCK, self._stop)])
            await asyncio.sleep(0)  # a front end's send need not wait, and others want a turn

    async def aclose(self) -> None:
        """Let go of the bytes."""
        self._data, self._start, self._stop = bytearray(), 0, 0


class MemorySink:
    """One append to one upload."""

    def __init__(self, store: MemoryStore, upload: Upload, plan: Plan) -> None:
        self._store = store
        self._id = upload.id
        self._fence = upload.fence
        self._plan = plan
        self._shelf = Shelf(upload)
        self._committed = False

    @property
    def count(self) -> int:
        """How many bytes it has taken and would keep."""
        return len(self._shelf.data) - self._plan.start

    def write(self, data: memoryview) -> None:
        """Take a piece, or as much of it as there is room for."""
        fitting = self._store.room(len(data))
        self._shelf.data += data[:fitting]
        if fitting < len(data):
            raise StoreFull

    async def commit(self, upload: Upload) -> None:
        """Make ``upload`` the record and its bytes count; see ``contracts.Sink``."""
        self._store.shelf(self._id).put(replace(upload, pending=None))
        del self._shelf.data[upload.offset :]
        self._committed = True

    async def __aenter__(self) -> Self:
        self._shelf = self._store.shelf(self._id)
        record = self._shelf.record
        pending = self._plan.start if self._plan.revocable else None
        if record.fence > self._fence:
            raise Overtaken(self._id)
        if len(self._shelf.data) < self._plan.start:
            raise StoreError(f"Upload {self._id!r} has less than the bytes to go on from.")
        del self._shelf.data[self._plan.start :]
        self._shelf.record = replace(record, pending=pending)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._plan.revocable and not self._committed:
            del self._shelf.data[self._plan.start :]
            self._shelf.record = replace(self._shelf.record, pending=None)


class MemoryStore:
    """Keeps uploads in memory: a ``Store`` that ``Scans`` and ``Joins``.

    Args:
        capacity: how many bytes it takes in all, or None for as many as there are.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self._shelves: dict[str, Shelf] = {}
        self._capacity = capacity

    def shelf(self, id: str) -> Shelf:
        """Return what is kept of an upload."""
        try:
            return self._shelves[id]
        except KeyError:
            raise UploadNotFound(id) from None

    def room(self, wanted: int) -> int:
        """Return how many of the wanted bytes there is room for."""
        if self._capacity is None:
            return wanted
        used = sum(len(shelf.data) for shelf in self._shelves.values())
        return max(0, min(wanted, self._capacity - used))

    async def create(self, upload: Upload, data: bytes = b"") -> None:
        """Keep a new upload; see ``contracts.Store``."""
        if not ID.fullmatch(upload.id):
            raise ValueError(f"{upload.id!r} is no upload's id.")
        if upload.id in self._shelves:
            raise UploadExists(upload.id)
        if self.room(len(data)) < len(data):
            raise StoreFull
        self._shelves[upload.id] = Shelf(upload, bytearray(data))

    async def load(self, id: str) -> Upload:
        """Return an upload as it is; see ``contracts.Store``."""
        return self.shelf(id).upload

    def append(self, upload: Upload, plan: Plan, lease: Lease | None = None) -> MemorySink:
        """Open an upload for the bytes of a plan; see ``contracts.Store``."""
        return MemorySink(self, upload, plan)

    async def save(self, upload: Upload) -> None:
        """Replace the record; see ``contracts.Store``."""
        self.shelf(upload.id).put(upload)

    async def read(self, upload: Upload, start: int, stop: int) -> MemoryContent:
        """Open a range of an upload's bytes; see ``contracts.Store``."""
        return MemoryContent(self.shelf(upload.id).data, start, stop)

    async def remove(self, id: str) -> None:
        """Forget an upload; see ``contracts.Store``."""
        self.shelf(id)
        del self._shelves[id]

    async def aclose(self) -> None:
        """Nothing is held; the uploads stay as long as the store does."""

    async def scan(self) -> AsyncIterator[Upload]:
        """Yield every upload; see ``contracts.Scans``."""
        for shelf in list(self._shelves.values()):
            yield shelf.upload
            await asyncio.sleep(0)

    async def finals(self, part: str) -> Sequence[str]:
        """Return the open final uploads that name a partial; see ``contracts.Joins``."""
        records = [shelf.record for shelf in self._shelves.values()]
        return [final.id for final in records if part in final.parts and _is_open(final)]

    async def reserve(self, final: Upload, parts: Sequence[Upload]) -> None:
        """Make sure of room for a join; see ``contracts.Joins``."""
        needed = sum(part.offset for part in parts) - len(self.shelf(final.id).data)
        if self.room(needed) < needed:
            raise StoreFull

    async def join(
        self,
        final: Upload,
        parts: Sequence[Upload],
        *,
        take_over: bool,
        lease: Lease | None = None,
    ) -> None:
        """Join partials, always by copying; see ``contracts.Joins``."""
        shelf, joined = self.shelf(final.id), bytearray()
        for piece in self._pieces(parts):
            joined += piece
            needed = len(joined) - len(shelf.data)
            if self.room(needed) < needed:
                raise StoreFull
            await asyncio.sleep(0)
            if lease is not None and lease.lost:
                raise Overtaken(final.id)
        shelf.data = joined

    async def bury(self, id: str) -> None:
        """Free the bytes of a partial that was taken over; see ``contracts.Joins``."""
        shelf = self._shelves.get(id)
        if shelf is not None and shelf.record.taken_by is not None:
            shelf.data = bytearray()

    def _pieces(self, parts: Sequence[Upload]) -> Iterable[bytes]:
        for part in parts:
            data = self.shelf(part.id).data
            for at in range(0, part.offset, BLOCK):
                yield bytes(data[at : min(at + BLOCK, part.offset)])


def _is_open(final: Upload) -> bool:
    return final.role is Role.FINAL and not final.closed
