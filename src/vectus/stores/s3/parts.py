"""How long each part of an upload is, and how partials are cut into the parts of a final upload.

Pure arithmetic, and fixed once an upload has begun: part n of an upload covers the same bytes
whoever sends it, however often. So a part that is sent again, or arrives late from a writer who
has been overtaken, is the same part. Nothing of S3's calls in here, only its limits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

MIB = 1 << 20
SMALLEST = 5 * MIB
"""The least a part may have, but for the last one."""
LARGEST = 5 << 30
"""The most a part may have."""
MOST = 10_000
"""How many parts an upload may have."""
PREFERRED = 8 * MIB
"""How long a part is where nothing asks for more."""
LONG = 128 * MIB
"""From how many bytes on an upload is a long one."""
PREFERRED_IF_LONG = 16 * MIB
"""How long its parts are: half as many calls for all of it, where a part is a small share of it."""
STEP = 64
"""Where the length is unknown, parts grow by the first one's size after every so many."""
COPIED = 512 * MIB
"""How long a part is that S3 copies by itself; several are copied at once."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The sizes of an upload's parts, numbered from 1; the last part may be shorter.

    Args:
        size: of the first part.
        step: after how many parts the size grows by ``size``; 0 for never.
    """

    size: int
    step: int = 0

    def size_of(self, number: int) -> int:
        """Return how long a part is."""
        grown = (number - 1) // self.step if self.step else 0
        return min(LARGEST, self.size * (1 + grown))

    def start_of(self, number: int) -> int:
        """Return where a part begins."""
        before = number - 1
        if not self.step:
            return self.size * before
        growing = min(before, self.step * (LARGEST // self.size))
        grown, odd = divmod(growing, self.step)
        units = self.step * grown * (grown + 1) // 2 + odd * (grown + 1)
        return self.size * units + LARGEST * (before - growing)

    @property
    def most(self) -> int:
        """How many bytes there can be in all."""
        return self.start_of(MOST + 1)


def choose(length: int | None, wanted: int | None = None, *, grows: bool = True) -> Schedule:
    """Choose the sizes of an upload's parts.

    Args:
        length: of the upload, or None while it is unknown.
        wanted: the size where the length does not ask for more, or None for what is usual.
        grows: whether parts may differ in size where the length is unknown.
    """
    size = wanted or usual(length)
    if length is None:
        return Schedule(size, STEP if grows else 0)
    least = -(-length // MOST)
    rounded = -(-least // MIB) * MIB
    return Schedule(max(size, min(rounded, LARGEST) if least > size else 0))


def usual(length: int | None) -> int:
    """Return how long a part is where nobody says how long it shall be."""
    return PREFERRED_IF_LONG if length is not None and length >= LONG else PREFERRED


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes ``start`` to ``stop`` (not included) of the n-th source."""

    source: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many bytes."""
        return self.stop - self.start


Piece = tuple[Range, ...]
"""A part of a final upload, by where its bytes are; one of a single range can be copied by S3."""


def cut(sizes: Sequence[int], smallest: int = SMALLEST, *, equal: bool = False) -> list[Piece]:
    """Cut sources that are laid end to end into parts, each of which S3 takes.

    Args:
        sizes: of the sources.
        smallest: the least a part may have, but for the last.
        equal: whether all parts but the last must have one size.
    """
    size = choose(sum(sizes)).size
    if not equal:
        pieces = cut_freely(sizes, smallest, max(COPIED, size))
        if len(pieces) <= MOST:
            return pieces
    return cut_equally(sizes, size)


def cut_equally(sizes: Sequence[int], size: int) -> list[Piece]:
    """Cut sources into parts of one size; what lies across two sources has several ranges."""
    return _cut(sizes, lambda _: size)


def cut_freely(sizes: Sequence[int], smallest: int, largest: int) -> list[Piece]:
    """Cut sources so that as much as possible is of one source: what is left of one that is too
    small for a part is filled up from the next, just as far as it must."""
    return _cut(sizes, lambda left: max(smallest, min(left, largest)))


def _cut(sizes: Sequence[int], wanted: Callable[[int], int]) -> list[Piece]:
    """Walk along the sources; ``wanted`` says how long a part shall be that begins in a source
    with so many bytes left."""
    pieces: list[Piece] = []
    piece: list[Range] = []
    missing = 0
    for source, size in enumerate(sizes):
        at = 0
        while at < size:
            missing = missing or wanted(size - at)
            stop = min(size, at + missing)
            piece.append(Range(source, at, stop))
            missing -= stop - at
            at = stop
            if not missing:
                pieces.append(tuple(piece))
                piece = []
    return [*pieces, tuple(piece)] if piece else pieces
