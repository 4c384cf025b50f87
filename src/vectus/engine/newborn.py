"""Uploads that are being born: what a small request brings is received first, and kept in one step.

Until a request is answered its client knows no URL, so nobody misses an upload that does not exist
yet; but from the answer on, whatever it says, the upload is there. Nothing here judges what came.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from vectus.contracts import Store
from vectus.protocol.exchange import Payload, Refused
from vectus.protocol.upload import Upload

SMALL = 16 << 10
"""A body of at most so many bytes waits in memory for its end: as much as a half-sent request may
cost."""


def is_small(payload: Payload | None) -> bool:
    """Whether what a request brings, or that it brings nothing, can wait in memory."""
    size = 0 if payload is None else payload.size
    return size is not None and size <= SMALL


class Newborn:
    """A new upload, and the sink of its first bytes: its commit creates the upload.

    Where its request is refused before that, leaving its context creates the upload without bytes.
    Any other failure leaves no upload, and so does a cancellation, which has no answer.

    Args:
        store: where it will be kept.
        upload: the upload without bytes.
        tell: told of it once it is there.
    """

    def __init__(
        self, store: Store, upload: Upload, tell: Callable[[Upload], Awaitable[None]]
    ) -> None:
        self._store = store
        self._upload = upload
        self._tell = tell
        self._data = bytearray()
        self.exists = False
        """Whether the upload is there now."""

    @property
    def id(self) -> str:
        """The upload's id."""
        return self._upload.id

    @property
    def count(self) -> int:
        """How many bytes it has taken."""
        return len(self._data)

    def write(self, data: memoryview) -> None:
        """Take a piece."""
        self._data += data

    async def commit(self, upload: Upload) -> None:
        """Create the upload, with the bytes that count."""
        await self._create(upload, bytes(self._data[: upload.offset]))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Refused):
            await self._create(self._upload, b"")

    async def _create(self, upload: Upload, data: bytes) -> None:
        await self._store.create(upload, data)
        self.exists = True
        await self._tell(self._upload)


class Unlocked:
    """The lease of an upload that nobody can know, or has anything to do for: there is no lock."""

    fence = 0
    lost = False

    def retire(self) -> None:
        """There is nothing to clean up."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


UNLOCKED = Unlocked()
