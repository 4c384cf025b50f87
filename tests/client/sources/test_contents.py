"""Digests, and comparing what was downloaded."""

from __future__ import annotations

import hashlib
import itertools
import zlib

import pytest
from hypothesis import given, strategies as st

from vectus.client.sources import acompare, compare, digest, open_source
from vectus.errors import SourceError
from vectus.protocol.checksums import hasher
from vectus.protocol.policy import ALGORITHMS


def expected(algorithm, data):
    if algorithm == "crc32":
        return zlib.crc32(data).to_bytes(4, "big")
    return hashlib.new(algorithm, data).digest()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_digest_is_of_just_these_bytes(algorithm):
    """Every algorithm that our server verifies, over any kind of source."""
    data = bytes(range(256)) * 5000
    stream = open_source(iter([data[:7], data[7:]]))
    stream.hold(3, 1_200_000)

    assert digest(open_source(data), algorithm, 3, 1_100_000) == expected(
        algorithm, data[3:1_100_000]
    )
    assert digest(stream, algorithm, 3, 1_100_000) == expected(algorithm, data[3:1_100_000])
    assert digest(open_source(data), algorithm, 3, 3) == expected(algorithm, b"")


def test_what_the_server_verifies_can_be_computed():
    """Server and client compute with the same hashers, and there is a right one for every name."""
    right = {name for name in ALGORITHMS if hasher(name).digest() == expected(name, b"")}
    assert right == set(ALGORITHMS)


def test_an_unknown_algorithm_is_an_error_in_words():
    """It names those that are known."""
    with pytest.raises(SourceError, match=r"'crc64'.*sha1"):
        digest(open_source(b""), "crc64", 0, 0)


async def each(blocks):
    for block in blocks:
        yield block


@given(
    data=st.binary(max_size=60),
    other=st.none() | st.binary(max_size=60),
    flip=st.none() | st.integers(0, 59),
    cuts=st.lists(st.integers(0, 60), max_size=5),
)
async def test_the_first_difference_is_found(data, other, flip, cuts):
    """Wherever it is, and however the download is cut, by both drivers."""
    got = bytearray(data if other is None else other)
    if flip is not None and flip < len(got):
        got[flip] ^= 1
    ends = sorted({0, *(min(each, len(got)) for each in cuts), len(got)})
    blocks = [bytes(got[low:high]) for low, high in itertools.pairwise(ends)]
    shorter = min(len(data), len(got))
    same = next((at for at in range(shorter) if data[at] != got[at]), shorter)
    answer = None if data == got else same

    assert compare(open_source(data), blocks) == answer
    assert await acompare(open_source(data), each(blocks)) == answer


async def test_a_long_download_is_compared_piece_by_piece():
    """More than one of the pieces that are compared at once."""
    data = bytes(3_000_000)
    blocks = [data[at : at + 65_536] for at in range(0, len(data), 65_536)]
    assert await acompare(open_source(data), each(blocks)) is None
    blocks[-1] = blocks[-1][:-1] + b"x"
    assert await acompare(open_source(data), each(blocks)) == len(data) - 1


def test_what_is_read_once_cannot_be_compared():
    """It is gone by then."""
    with pytest.raises(SourceError, match="cannot be read again"):
        compare(open_source([b"x"]), [b"x"])
