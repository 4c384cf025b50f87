"""Joins the data files of partials to one: by moving the first, sharing blocks, or copying.

A join may be killed at any line and called again. How many bytes are joined and durable is in the
ledger, and it goes on from there. A file is moved only when the partial's record says that its
bytes are the final upload's (``taken_by``): so it tells afterwards what the missing file means.
Blocking; run in a thread, and stopped between two pieces.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from vectus.errors import RecordBroken, UploadNotFound
from vectus.protocol.upload import Upload
from vectus.stores import space
from vectus.stores.durable import sync_file, sync_folder
from vectus.stores.folder import Folder, Found

PIECE = 4 << 20
"""How many bytes are copied between two looks at whether to stop."""

CHECKPOINT = 1 << 30
"""After how many bytes a join notes how far it is."""


@dataclass(frozen=True, slots=True)
class Span:
    """A partial's place in the joined bytes."""

    part: Upload
    start: int

    @property
    def stop(self) -> int:
        """Where the next one begins."""
        return self.start + self.part.offset


def spans(parts: Sequence[Upload]) -> list[Span]:
    """Lay complete partials end to end."""
    laid: list[Span] = []
    for part in parts:
        laid.append(Span(part, laid[-1].stop if laid else 0))
    return laid


class Join:
    """The joining of one final upload.

    Args:
        folder: where it and its partials are.
        final: the final upload.
        parts: its partials, complete, in order; one may come twice.
    """

    def __init__(self, folder: Folder, final: Upload, parts: Sequence[Upload]) -> None:
        self._folder = folder
        self._final = final
        self._spans = spans(parts)
        self._total = self._spans[-1].stop if self._spans else 0
        self._found = folder.find(final.id)

    def reserve(self) -> None:
        """Make sure of room for what will be copied; shared blocks take none."""
        joined = self._joined()
        with _opened(self._found, os.O_RDWR) as fd:
            ranges = self._copied_ranges(fd, joined)
            try:
                space.reserve(fd, ranges)
            except OSError:
                os.ftruncate(fd, os.fstat(fd).st_size)  # gives back what was allocated
                raise

    def run(self, stopped: Callable[[], bool], *, take_over: bool) -> None:
        """Join, or go on joining, until done or stopped."""
        joined = self._joined()
        if joined == 0 and take_over:
            joined = self._move()
        if joined < self._total or self._size() != self._total:
            self._copy(joined, stopped)

    def _joined(self) -> int:
        """Return how many bytes at the head of the final's data are right, whatever happened."""
        least, size = self._moved(), self._size()
        if size < least:
            raise RecordBroken(self._final.id, "bytes that were moved into it are gone")
        joined = self._folder.ledger.joined(self._final.id)
        # A power cut may have kept the note and lost the bytes.
        return joined if least <= joined <= size else least

    def _moved(self) -> int:
        """Return how many bytes of the first partial were moved here."""
        first = self._first()
        if first is None:
            return 0
        try:
            self._folder.reach.size(first.data)
        except FileNotFoundError:
            return self._spans[0].stop
        return 0

    def _move(self) -> int:
        """Make the first partial's file the final's, if that may be; return how many bytes are
        right then."""
        first = self._first()
        if first is None or not (stop := self._spans[0].stop):
            return 0
        if self._size_of(first) < stop:
            raise _short(first.upload)
        try:
            os.rename(first.data, self._found.data)
        except OSError as error:
            if error.errno == errno.EXDEV:
                return 0
            raise
        self._sync_names(first)
        self._note(stop)
        return stop

    def _first(self) -> Found | None:
        """Return the first partial if its bytes are wanted just once, and belong to the final."""
        ids = [span.part.id for span in self._spans]
        if not ids or ids.count(ids[0]) > 1:
            return None
        found = self._folder.find(ids[0])
        return found if found.upload.taken_by == self._final.id else None

    def _copy(self, joined: int, stopped: Callable[[], bool]) -> None:
        with _opened(self._found, os.O_RDWR) as target:
            for span in self._spans:
                if span.stop > joined:
                    joined = self._copy_span(target, span, joined, stopped)
                if stopped():
                    return
            os.ftruncate(target, self._total)
            self._checkpoint(target, self._total)

    def _copy_span(self, target: int, span: Span, joined: int, stopped: Callable[[], bool]) -> int:
        """Copy what is missing of one partial; return how many bytes are joined then."""
        noted = joined
        with _opened(self._folder.find(span.part.id)) as source:
            while joined < span.stop and not stopped():
                count = min(PIECE, span.stop - joined)
                copied = space.copy(source, target, joined - span.start, joined, count)
                if not copied:
                    raise _short(span.part)
                joined += copied
                if joined - noted >= CHECKPOINT:
                    self._checkpoint(target, noted := joined)
        return joined

    def _checkpoint(self, target: int, joined: int) -> None:
        """Make what is joined durable, and only then say so."""
        if self._folder.durability.ordered:
            sync_file(target)
        self._note(joined)

    def _note(self, joined: int) -> None:
        self._folder.ledger.advance(self._final.id, self._final.parts, joined)

    def _sync_names(self, moved: Found) -> None:
        if self._folder.durability.ordered:
            for folder in {os.path.dirname(self._found.data), os.path.dirname(moved.data)}:
                sync_folder(folder)

    def _copied_ranges(self, target: int, joined: int) -> list[tuple[int, int]]:
        """Return (start, length) of what takes room: all that does not share its blocks."""
        shares, block = self._try_sharing(target), os.fstatvfs(target).f_bsize
        wanted = [span for span in self._spans if not shares or span.start % block]
        return [
            (start, span.stop - start)
            for span in wanted
            if (start := max(span.start, joined)) < span.stop
        ]

    def _try_sharing(self, target: int) -> bool:
        """Whether a partial's blocks can be shared; tried on an empty file only, as it fills it."""
        if os.fstat(target).st_size or not self._spans:
            return False
        with _opened(self._folder.find(self._spans[0].part.id)) as source:
            shares = space.can_clone(source, target)
        if shares:
            os.ftruncate(target, 0)
        return shares

    def _size(self) -> int:
        try:
            return self._folder.reach.size(self._found.data)
        except FileNotFoundError:
            return 0

    def _size_of(self, found: Found) -> int:
        try:
            return self._folder.reach.size(found.data)
        except FileNotFoundError:
            raise UploadNotFound(found.upload.id) from None


@contextmanager
def _opened(found: Found, flags: int = os.O_RDONLY) -> Iterator[int]:
    try:
        fd = os.open(found.data, flags)
    except FileNotFoundError:
        raise UploadNotFound(found.upload.id) from None
    try:
        yield fd
    finally:
        os.close(fd)


def _short(part: Upload) -> RecordBroken:
    return RecordBroken(part.id, "its data are shorter than they were")
