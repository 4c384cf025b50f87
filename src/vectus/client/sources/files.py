"""Files that can be read again: one that we opened by its path, and one that the caller opened.

What tells that a file was changed is its size and when that was. Not noticed: a change of the same
size by one who sets the old time again, one within the same tick of the file system's clock, and
one through a memory map whose page was changed before.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import threading
from typing import Any, BinaryIO

from vectus.client.sources.replayable import Replayable
from vectus.client.sources.trouble import as_bytes, telling
from vectus.errors import SourceChanged, SourceError

State = tuple[int, int]
"""Size, and time of the last change in nanoseconds."""


def _state(descriptor: int) -> State:
    about = os.fstat(descriptor)
    return about.st_size, about.st_mtime_ns


class PathFile(Replayable):
    """A file that we opened: renaming or removing it meanwhile does no harm.

    Args:
        file: the open file, unbuffered; closed by ``close``.
        name: for sentences.
    """

    def __init__(self, file: io.FileIO, name: str) -> None:
        self._was = _state(file.fileno())
        super().__init__(name, self._was[0])
        self.mtime_ns = self._was[1]
        self._file = file
        self._turn = threading.Lock()

    def check(self) -> None:
        """Look at size and time. See ``Source.check``."""
        with telling(self.name):
            self._compare()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, position: int, count: int) -> bytes:
        block = self._read_at(position, count)
        self._compare()
        return block

    def _compare(self) -> None:
        if _state(self._file.fileno()) != self._was:
            raise SourceChanged(self.name)

    if hasattr(os, "pread"):

        def _read_at(self, position: int, count: int) -> bytes:
            return os.pread(self._file.fileno(), count, position)

    else:  # Windows: threads take turns at the one position that there is

        def _read_at(self, position: int, count: int) -> bytes:
            with self._turn:
                self._file.seek(position)
                return self._file.read(count)


class CallersFile(Replayable):
    """A seekable file of the caller's, from the position that it has now; never closed.

    Once it was read to its end its position stays there. After an upload that did not come so far
    it is where it was before, so that the same call again goes on with the same upload. Nobody
    else should read it meanwhile.

    Args:
        file: the open file.
        name: for sentences.
    """

    lent = True

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._turn = threading.Lock()
        self._start = file.tell()
        self._end = self._find_end()  # which also writes out what the file has in its buffer
        file.seek(self._start)
        if self._start >= self._end > 0:
            raise SourceError(
                f"{name} is at its end: there is nothing left to upload.",
                "Call its seek(0) to upload it from its start.",
            )
        super().__init__(name, max(self._end - self._start, 0))
        self._descriptor = _descriptor(file)
        self._was = None if self._descriptor is None else _state(self._descriptor)
        self.mtime_ns = None if self._was is None else self._was[1]
        self._reached = 0

    def check(self) -> None:
        """Look at size and time, as far as it has them. See ``Source.check``."""
        with telling(self.name), self._turn:
            self._compare()
            if self._was is None and self._find_end() != self._end:
                raise SourceChanged(self.name)

    def fingerprint(self, endpoint: str) -> str | None:
        """The strong one; what is read for it does not count as read."""
        reached = self._reached
        try:
            return super().fingerprint(endpoint)
        finally:
            self._reached = reached

    def close(self) -> None:
        """Leave the file open, and where it should be, unless its owner has closed it."""
        done = self._reached >= self._length
        with self._turn, contextlib.suppress(OSError, ValueError):
            self._file.seek(self._end if done else self._start)

    def _read(self, position: int, count: int) -> bytes:
        with self._turn:
            self._file.seek(self._start + position)
            block = as_bytes(self.name, self._file.read(count))
            self._compare()
            self._reached = max(self._reached, position + len(block))
        return block

    def _compare(self) -> None:
        if self._descriptor is not None and _state(self._descriptor) != self._was:
            raise SourceChanged(self.name)

    def _find_end(self) -> int:
        self._file.seek(0, os.SEEK_END)
        return self._file.tell()


def _descriptor(file: Any) -> int | None:
    """The file's descriptor, where it has one; a spooled file would make itself one for that."""
    if isinstance(file, tempfile.SpooledTemporaryFile):
        return None
    try:
        number = file.fileno()
    except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError
        return None
    return number if isinstance(number, int) else None
