"""A source in the hands of several threads: it is closed when the last read of it has ended.

An upload that is stopped leaves threads behind that cannot be: one may be in the middle of a read
from a slow disk. Were the file closed under it, another file could get its number, and somebody
else's bytes would be read. So whoever is done closes, the last reader frees, and nobody reads after
that. Nobody waits for the last read, unless the file is the caller's, who may use it as soon as the
upload has ended. What the bytes are for is not this file's affair.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Protocol

from vectus.client.commands import Held
from vectus.client.contracts import Source
from vectus.client.sources import Stream
from vectus.errors import UploadCancelled


class Cancel(Protocol):
    """Says whether the caller wants to stop: ``threading.Event`` and ``asyncio.Event`` do."""

    def is_set(self) -> bool:
        """Whether to stop."""


def stop_if(cancels: tuple[Cancel, ...]) -> None:
    """Raise if one of them says so.

    Raises:
        UploadCancelled: that is so.
    """
    for cancel in cancels:
        if cancel.is_set():
            raise UploadCancelled


class Custody:
    """A ``Source`` that may be closed while others read it: they read nothing more, and what is
    being read is read to its end first. Each read is a ``with`` of it.

    Args:
        source: closed when nobody reads it.
        cancel: who can say stop while it is waited for what a stream gives.

    Attributes:
        lent: whether ``close`` waits for the last read, since what is read is the caller's file.
    """

    def __init__(self, source: Source, cancel: tuple[Cancel, ...] = ()) -> None:
        self._source = source
        self._cancel = cancel
        self._lock = threading.Lock()
        self._readers: set[int] = set()  # their threads
        self._closed = False
        self._freed = threading.Event()
        self.lent: bool = getattr(source, "lent", False)
        self.name = source.name
        self.length = source.length
        self.replayable = source.replayable
        self.mtime_ns: int | None = getattr(source, "mtime_ns", None)
        if isinstance(source, Stream):
            source.before_read = self._go_on

    def hold(self, start: int, count: int) -> Held:
        """Have bytes at hand. See ``Source.hold``."""
        with self:
            held = self._source.hold(start, count)
            self.length = self._source.length
        return held

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield bytes that are at hand. See ``Source.blocks``."""
        blocks = self._source.blocks(start, stop)
        while True:
            with self:
                block = next(blocks, b"")
            if not block:
                return
            yield block

    def check(self) -> None:
        """Look whether it is what it was. See ``Source.check``."""
        with self:
            self._source.check()

    def fingerprint(self, endpoint: str) -> str | None:
        """What it is known by."""
        with self:
            return self._source.fingerprint(endpoint)

    def close(self) -> None:
        """Let nobody read any more, and free it now or after the last read that is under way."""
        with self._lock:
            self._readers.discard(
                threading.get_ident()
            )  # a Ctrl-C may have come before its read, or after
            last = not self._closed and not self._readers
            self._closed = True
        if last:
            self._free()
        elif self.lent:
            self._freed.wait()

    def __enter__(self) -> None:
        """Begin to read."""
        with self._lock:
            if self._closed:
                raise UploadCancelled
            self._readers.add(threading.get_ident())

    def __exit__(self, *failure: object) -> None:
        """Have read."""
        with self._lock:
            self._readers.discard(threading.get_ident())
            last = self._closed and not self._readers
        if last:
            self._free()

    def _free(self) -> None:
        try:
            self._source.close()
        finally:
            self._freed.set()

    def _go_on(self) -> None:
        stop_if(self._cancel)
        if self._closed:
            raise UploadCancelled
