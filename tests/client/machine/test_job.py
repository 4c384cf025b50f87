"""How a source is cut, and how metadata is worded."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, strategies as st

from vectus.client.job import (
    HELD_CHUNK,
    LARGEST_HELD,
    MIB,
    SMALLEST_CHUNK,
    Chunks,
    Job,
    encode_metadata as encode,
)
from vectus.protocol.fields import parse_metadata

sizes = st.integers(1, 100)


@given(sizes, sizes, st.none() | sizes, sizes)
def test_a_chunk_is_one_that_the_endpoint_takes(
    wish: int, smallest: int, largest: int | None, multiple: int
) -> None:
    """Whatever is wished for: not too small, not too large, a multiple; and the wish itself where
    it is all that."""
    try:
        chunks = Chunks(smallest=smallest, largest=largest, multiple=multiple)
    except ValueError:
        assert not [n for n in range(smallest, (largest or 0) + 1) if n % multiple == 0]
        return
    size = chunks.fit(wish)
    good = wish >= smallest and wish % multiple == 0 and wish <= (largest or wish)

    assert size % multiple == 0
    assert smallest <= size <= max(largest or size, chunks.least)
    assert largest is None or size <= largest
    assert not good or size == wish


@given(sizes, sizes, sizes)
def test_half_a_chunk_is_smaller(size: int, smallest: int, multiple: int) -> None:
    """Halving comes to an end, at the smallest chunk that the endpoint takes."""
    chunks = Chunks(smallest=smallest, multiple=multiple)
    assume(size > chunks.least)

    assert chunks.least <= chunks.fit(size // 2) < size


@pytest.mark.parametrize("wrong", [{"multiple": 0}, {"largest": 5, "smallest": 6}])
def test_chunks_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    """An endpoint that takes no size at all is a mistake."""
    with pytest.raises(ValueError, match="No chunk"):
        Chunks(**wrong)


def test_no_endpoint_takes_less_than_is_worth_a_request() -> None:
    """Chunks are 64 KiB at least, unless somebody says otherwise."""
    assert Chunks().fit(1) == SMALLEST_CHUNK


@pytest.mark.parametrize(
    ("how", "chunk", "first"),
    [
        ({}, None, HELD_CHUNK),
        ({"chunks": Chunks(MIB)}, MIB, MIB),
        ({"chunks": Chunks(50 * MIB)}, 50 * MIB, LARGEST_HELD),
        ({"chunks": Chunks(largest=200 * MIB)}, 200 * MIB, LARGEST_HELD),
        ({"chunks": Chunks(300 * MIB, largest=200 * MIB)}, 200 * MIB, LARGEST_HELD),
        ({"checksum": "sha1"}, 64 * MIB, LARGEST_HELD),
        ({"checksum": "sha1", "chunks": Chunks(largest=6 * MIB)}, 6 * MIB, 6 * MIB),
        ({"replayable": False}, HELD_CHUNK, HELD_CHUNK),
        ({"replayable": False, "chunks": Chunks(50 * MIB)}, LARGEST_HELD, LARGEST_HELD),
        ({"replayable": False, "chunks": Chunks(largest=6 * MIB)}, 6 * MIB, 6 * MIB),
    ],
)
def test_how_a_source_is_cut(how: dict[str, object], chunk: int | None, first: int) -> None:
    """In one request, or in chunks where the caller, the endpoint, a checksum or a source that is
    read once wants it; little of it travels with the creation."""
    job = Job(endpoint="/", **how)  # type: ignore[arg-type]

    assert (job.chunk, job.first_chunk) == (chunk, first)


def test_metadata_of_every_type() -> None:
    """Text is UTF-8, numbers and truth are words, None is a bare key; an empty text as well."""
    given_ = {"t": "ä", "b": b"\x00", "i": 7, "f": 1.5, "y": True, "n": None, "e": ""}

    assert parse_metadata(encode(given_)) == {
        "t": "ä".encode(),
        "b": b"\x00",
        "i": b"7",
        "f": b"1.5",
        "y": b"true",
        "n": b"",
        "e": b"",
    }
    assert encode({"no": False}) == "no ZmFsc2U="
    assert encode({}) == ""


def test_a_name_that_is_no_unicode_keeps_its_other_letters() -> None:
    """File names of POSIX need not be text."""
    assert parse_metadata(encode({"filename": "a\udcffb"})) == {"filename": b"a?b"}


@pytest.mark.parametrize("key", ["", "a b", "a,b", "ä", "a\nb", "a\x7fb"])
def test_a_key_that_cannot_be_is_one_sentence(key: str) -> None:
    """Keys that the header cannot carry are refused before anything is sent."""
    with pytest.raises(ValueError, match="metadata key"):
        encode({key: "x"})


def test_a_value_of_another_type_is_one_sentence() -> None:
    """What is no text, bytes or number is not guessed at."""
    with pytest.raises(TypeError, match="'list'"):
        encode({"list": ["x"]})  # type: ignore[dict-item]
