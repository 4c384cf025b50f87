"""By what a source is known again."""

from __future__ import annotations

import io
import os
import shutil

import pytest
from hypothesis import given, strategies as st

from vectus.client import fingerprint
from vectus.client.sources import Window, open_source

ENDPOINT = "https://example.org/files/"
SIZE = 3 << 20


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(bytes(SIZE))
    return path


def of(thing, endpoint=ENDPOINT, choice=None):
    source = open_source(thing)
    try:
        return fingerprint.key_of(source, endpoint, choice)
    finally:
        source.close()


def test_the_same_file_is_known_again_wherever_it_is(path, tmp_path):
    """Moving a file, or handing it in open, changes nothing."""
    before = of(path)
    moved = shutil.move(path, tmp_path / "moved")

    assert before == of(moved) == of(str(moved))
    with open(moved, "rb") as file:
        assert of(file) == before


def test_whatever_can_change_changes_it(path):
    """Time, size, endpoint, and bytes at the head, at the tail, and where samples are taken."""
    seen = {of(path), of(path, "https://example.org/other/")}
    about = path.stat()
    for position in (0, SIZE // 15 // 2 * 2, SIZE - 1):
        with path.open("r+b") as file:
            file.seek(position)
            file.write(b"x")
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        seen.add(of(path))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 1000))
    seen.add(of(path))
    os.truncate(path, SIZE - 1)
    seen.add(of(path))

    assert len(seen) == 7


def test_what_has_no_time_is_looked_at_closer():
    """Of bytes, every one counts, up to 64 MiB."""
    data = bytearray(SIZE)
    before = of(data)
    data[SIZE // 2 + 12_345] = 1

    assert of(data) != before == of(bytes(SIZE)) == of(io.BytesIO(bytes(SIZE)))


def test_a_huge_file_is_known_at_once(tmp_path):
    """The reads are bounded, whatever the size."""
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    read = 0
    source = open_source(path)
    plain = source.blocks

    def counted(start, stop):
        nonlocal read
        read += stop - start
        return plain(start, stop)

    source.blocks = counted
    assert source.fingerprint(ENDPOINT)
    source.close()
    assert read == 1 << 20


def test_parts_are_known_one_by_one(path):
    """A part of a parallel upload has a key of its own."""
    source = open_source(path)
    keys = {
        each.fingerprint(ENDPOINT)
        for each in (source, Window(source, 0, 10), Window(source, 10, 20), Window(source, 0, 20))
    }
    source.close()

    assert len(keys) == 4


def test_what_is_read_once_is_not_known_again():
    """It would be gone after a look at it."""
    source = open_source([b"abc"])
    assert fingerprint.strong(source, ENDPOINT) is None
    assert fingerprint.tuspy(source) is None
    assert fingerprint.of_part(source.fingerprint(ENDPOINT), 0, 1) is None
    assert source.hold(0, 10).stop == 3


def test_tuspys_own_is_made_exactly(tmp_path):
    """Two values of tuspy 1.1.0: for what is small, and for what is larger than its block."""
    path = tmp_path / "x"
    path.write_bytes(b"x" * 1000)

    assert of(path, choice="tuspy") == "size:1000--md5:398533d48111e9f664b1f64cb10c4b63"
    assert of(b"", choice="tuspy") == "size:0--md5:d41d8cd98f00b204e9800998ecf8427e"


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_tuspy_itself_makes_the_same(size):
    """Compared with the original."""
    original = pytest.importorskip("tusclient.fingerprint.fingerprint").Fingerprint()
    data = os.urandom(size)

    assert of(data, choice="tuspy") == original.get_fingerprint(io.BytesIO(data))


def test_the_caller_chooses():
    """A function, a scheme's name, a key, or nothing."""
    assert of(b"abc", choice=lambda source, endpoint: f"{source.length} {endpoint}") == (
        f"3 {ENDPOINT}"
    )
    assert of(b"abc", choice="strong") == of(b"abc")
    assert of(b"abc", choice="invoice 7") == "invoice 7"


@given(st.integers(0, 10**13), st.integers(2, 64), st.integers(1, 1 << 20))
def test_samples_are_within_and_have_head_and_tail(length, samples, size):
    """In order, none overlapping, never more than was said."""
    spans = list(fingerprint.spread(length, samples, size))
    edges = [edge for span in spans for edge in span]

    assert edges == sorted(edges)
    assert (edges[0], edges[-1]) == (0, length)
    assert sum(stop - start for start, stop in spans) == min(length, samples * size)
