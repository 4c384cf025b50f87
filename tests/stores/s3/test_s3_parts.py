"""The arithmetic of parts, up to sizes nobody uploads in a test."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from vectus.stores.s3.parts import (
    LARGEST,
    LONG,
    MIB,
    MOST,
    PREFERRED,
    PREFERRED_IF_LONG,
    SMALLEST,
    Schedule,
    choose,
    cut,
    cut_equally,
    cut_freely,
)

GIB, TIB = 1 << 30, 1 << 40
SIZES = st.lists(st.integers(0, 300), max_size=12)


@pytest.mark.parametrize(
    ("length", "size", "count"),
    [
        (0, PREFERRED, 0),
        (1, PREFERRED, 1),
        (LONG - 1, PREFERRED, 16),
        (LONG, PREFERRED_IF_LONG, 8),
        (5 * GIB, PREFERRED_IF_LONG, 320),
        (MOST * PREFERRED_IF_LONG, PREFERRED_IF_LONG, MOST),
        (MOST * PREFERRED_IF_LONG + 1, PREFERRED_IF_LONG + MIB, 9412),
        (5 * TIB, 525 * MIB, 9987),
        (MOST * LARGEST, LARGEST, MOST),
    ],
)
def test_a_known_length_gives_one_size(length: int, size: int, count: int) -> None:
    """Parts have one size, which grows twice: where an upload is long, and where 10 000 parts must
    hold more; then it is no larger than they must be."""
    schedule = choose(length)

    assert schedule == Schedule(size)
    assert -(-length // size) == count
    assert {schedule.size_of(number) for number in (1, 2, MOST)} == {size}


@pytest.mark.parametrize("length", [None, 1, 5 * GIB])
def test_a_size_that_is_asked_for(length: int | None) -> None:
    """Who asks for a size gets it, however long the upload is, while 10 000 parts hold it."""
    assert choose(length, 6 * MIB).size == 6 * MIB
    assert choose(5 * TIB, 6 * MIB).size == 525 * MIB


def test_an_unknown_length_starts_small_and_grows() -> None:
    """Parts of an upload of unknown length begin at 8 MiB and grow slowly, and 10 000 of them hold
    what S3 took for an object for most of its life."""
    schedule = choose(None)
    sizes = [schedule.size_of(number) for number in range(1, MOST + 1)]

    assert sizes[0] == PREFERRED
    assert all(0 <= later - earlier <= PREFERRED for earlier, later in pairwise(sizes))
    assert max(sizes) == 157 * PREFERRED <= LARGEST
    assert sum(sizes) == schedule.most > 5 * TIB


def test_equal_parts_stay_equal() -> None:
    """Where a server wants equal parts, an unknown length means a cap that can be told."""
    assert choose(None, grows=False).most == MOST * PREFERRED
    assert choose(None, grows=False).size_of(MOST) == PREFERRED


@given(st.integers(1, 64 * MIB), st.sampled_from([0, 1, 2, 64]), st.integers(1, MOST))
def test_parts_lie_end_to_end(size: int, step: int, number: int) -> None:
    """Where a part begins, the one before it ends; whoever computes it, and in any order."""
    schedule = Schedule(size, step)

    assert schedule.start_of(1) == 0
    assert schedule.start_of(number) + schedule.size_of(number) == schedule.start_of(number + 1)


def test_no_part_is_larger_than_s3_takes() -> None:
    """Growing stops at 5 GiB."""
    schedule = choose(None, 3 * GIB)

    assert schedule.size_of(65) == schedule.size_of(MOST) == LARGEST
    assert schedule.start_of(67) == 64 * 3 * GIB + 2 * LARGEST


@given(SIZES, st.integers(1, 50), st.integers(50, 120))
def test_a_free_cut_is_what_s3_takes(sizes: list[int], smallest: int, largest: int) -> None:
    """Every part but the last is large enough, none is too large, and all bytes are there once."""
    pieces = cut_freely(sizes, smallest, largest)
    lengths = [sum(span.size for span in piece) for piece in pieces]

    assert spelled(pieces) == [(n, at) for n, size in enumerate(sizes) for at in range(size)]
    assert all(smallest <= length <= max(smallest, largest) for length in lengths[:-1])
    assert all(0 < length <= max(smallest, largest) for length in lengths)


@given(SIZES, st.integers(1, 50))
def test_an_equal_cut_is_equal(sizes: list[int], size: int) -> None:
    """Every part but the last has the size, and all bytes are there once."""
    pieces = cut_equally(sizes, size)
    lengths = [sum(span.size for span in piece) for piece in pieces]

    assert spelled(pieces) == [(n, at) for n, size in enumerate(sizes) for at in range(size)]
    assert set(lengths[:-1]) <= {size}
    assert all(0 < length <= size for length in lengths)


def test_what_is_large_is_copied_whole() -> None:
    """Only what is left of a partial that is too small for a part is carried through here."""
    pieces = cut([SMALLEST, GIB + 1, 100 * MIB, 3])
    carried = sum(span.size for piece in pieces if len(piece) > 1 for span in piece)

    assert pieces[0] == cut([SMALLEST])[0]
    assert carried == SMALLEST + 3 + 0 or carried < 2 * SMALLEST


def test_more_partials_than_parts() -> None:
    """12 000 small partials become one object of at most 10 000 parts."""
    assert len(cut([SMALLEST + 1] * 12_000)) <= MOST


def spelled(pieces: list[tuple[object, ...]]) -> list[tuple[int, int]]:
    """Return each byte of some parts by its source and its place there."""
    return [
        (span.source, at)  # type: ignore[attr-defined]
        for piece in pieces
        for span in piece
        for at in range(span.start, span.stop)  # type: ignore[attr-defined]
    ]
