"""Sources that can be read again: bytes, paths, seekable files, and parts of them."""

from __future__ import annotations

import gzip
import importlib.util
import io
import itertools
import mmap
import os
import random
import tempfile
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, strategies as st

from vectus.client.commands import Held
from vectus.client.sources import Window, files, open_source
from vectus.client.sources.buffer import BLOCK
from vectus.errors import SourceChanged, SourceError

DATA = random.Random(3).randbytes(2 * BLOCK + 70_000)


def all_of(source):
    return b"".join(source.blocks(0, source.length))


def opened(kind, path):
    """Something of each kind that has ``DATA``."""
    path.write_bytes(DATA)
    match kind:
        case "path":
            return path
        case "bytes" | "bytearray" | "memoryview":
            return {"bytes": bytes, "bytearray": bytearray, "memoryview": memoryview}[kind](DATA)
        case "file":
            return path.open("rb")
        case "raw file":
            return path.open("rb", 0)
        case "BytesIO":
            return io.BytesIO(DATA)
        case "spooled":
            file = tempfile.SpooledTemporaryFile(max_size=1 << 30)  # noqa: SIM115
            file.write(DATA)
            file.seek(0)
            return file
        case "mmap":
            with path.open("rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        case "gzip":
            path.write_bytes(gzip.compress(DATA, 1))
            return gzip.open(path)
    raise AssertionError(kind)


KINDS = [
    *("path", "bytes", "bytearray", "memoryview", "file", "raw file", "BytesIO", "spooled"),
    *("mmap", "gzip"),
]


@pytest.fixture
def given_source(request, tmp_path):
    """Something to upload, closed in the end where it can be."""
    thing = opened(request.param, tmp_path / "data")
    yield thing
    if hasattr(thing, "close"):
        thing.close()


@pytest.mark.parametrize("given_source", KINDS, indirect=True)
class TestAllKinds:
    @staticmethod
    def test_any_range_can_be_read_at_any_time(given_source):
        """Blocks are about a mebibyte; nothing needs to be held for it."""
        source = open_source(given_source)

        assert (source.replayable, source.length) == (True, len(DATA))
        blocks = list(source.blocks(0, len(DATA)))
        assert [len(block) for block in blocks] == [BLOCK, BLOCK, 70_000]
        assert b"".join(blocks) == DATA
        assert b"".join(source.blocks(5, BLOCK + 7)) == DATA[5 : BLOCK + 7]
        assert list(source.blocks(9, 9)) == []
        source.check()
        source.close()
        source.close()

    @staticmethod
    def test_holding_says_where_it_ends(given_source):
        """The start may go back; beyond the end is an error."""
        source = open_source(given_source)

        assert source.hold(0, 10) == Held(10, last=False)
        assert source.hold(len(DATA) - 10, 10) == Held(len(DATA), last=True)
        assert source.hold(0, 10) == Held(10, last=False)
        assert source.hold(len(DATA), 0) == Held(len(DATA), last=True)
        with pytest.raises(SourceError, match="ends after"):
            source.hold(len(DATA) + 1, 1)
        source.close()

    @staticmethod
    def test_threads_read_it_at_once(given_source):
        """Parts of a parallel upload get their own bytes, however their reads interleave."""
        source = open_source(given_source)
        bounds = [0, 300_000, BLOCK, BLOCK + 1, len(DATA)]
        parts = [Window(source, low, high) for low, high in itertools.pairwise(bounds)]
        barrier = threading.Barrier(len(parts))

        def read(part):
            barrier.wait(10)
            pieces = (
                part.blocks(at, min(at + 90_001, part.length))
                for at in range(0, part.length, 90_001)
            )
            return b"".join(block for piece in pieces for block in piece)

        with ThreadPoolExecutor(len(parts)) as pool:
            read_parts = list(pool.map(read, parts))

        assert b"".join(read_parts) == DATA
        source.close()


@given(
    bounds=st.tuples(st.integers(0, 200), st.integers(0, 200)).map(sorted),
    inner=st.tuples(st.integers(0, 200), st.integers(0, 200)).map(sorted),
)
def test_a_window_is_a_slice(bounds, inner):
    """Its positions are its own, in windows of windows too."""
    data = DATA[:200]
    window = Window(open_source(data), *bounds)
    low, high = (min(each, window.length) for each in inner)
    within = Window(window, low, high)

    assert all_of(window) == data[slice(*bounds)]
    assert all_of(within) == data[slice(*bounds)][low:high]
    assert within.hold(0, 500) == Held(within.length, last=True)


def test_a_window_leaves_the_whole_open(tmp_path):
    """Who opened the whole closes it; what becomes of it shows in the part."""
    path = tmp_path / "data"
    path.write_bytes(DATA)
    source = open_source(path)
    window = Window(source, 10, 20)
    window.close()
    window.check()

    assert all_of(window) == DATA[10:20]
    path.write_bytes(DATA + b"x")
    with pytest.raises(SourceChanged):
        window.check()
    with pytest.raises(SourceChanged):
        all_of(window)
    source.close()


# --- The caller's file ---


def test_a_file_is_uploaded_from_its_position():
    """Position 0 of the upload is where the file was; it is never rewound before that."""
    file = io.BytesIO(b"headDATA")
    file.seek(4)
    source = open_source(file)

    assert (source.length, all_of(source)) == (4, b"DATA")
    source.close()
    assert (file.tell(), file.closed) == (8, False)


def test_a_file_that_was_not_read_to_its_end_is_where_it_was():
    """The same call again finds the same bytes: it goes on, instead of uploading the rest as if
    that were all. Fingerprints do not count as reads."""
    file = io.BytesIO(b"headDATA")
    file.seek(4)
    source = open_source(file)
    source.fingerprint("x")
    next(source.blocks(0, 2))
    source.close()

    assert file.tell() == 4


def test_an_empty_file_is_a_file():
    """Nothing is something to upload, where there is nothing else."""
    source = open_source(io.BytesIO())

    assert (source.length, list(source.blocks(0, 0))) == (0, [])
    assert source.hold(0, 10) == Held(0, last=True)


def test_a_closed_file_is_an_error_in_words():
    """A caller who closes it meanwhile is told."""
    file = io.BytesIO(b"abc")
    source = open_source(file)
    file.close()

    with pytest.raises(SourceError, match="closed file"):
        all_of(source)
    source.close()


def test_a_spooled_file_stays_in_memory():
    """Looking at it does not make it write itself to the disk."""
    with tempfile.SpooledTemporaryFile(max_size=1000) as file:
        file.write(b"abc")
        file.seek(0)
        source = open_source(file)
        all_of(source)
        source.check()
        assert not file._rolled
        file.write(b"defgh")
        with pytest.raises(SourceChanged):
            source.check()


def test_what_was_written_through_the_file_itself_is_there(tmp_path):
    """Bytes in its buffer are written out before anything is looked at."""
    with (tmp_path / "data").open("w+b") as file:
        file.write(DATA)
        file.seek(0)
        source = open_source(file)

        assert all_of(source) == DATA
        source.check()


# --- Changes ---


def later(path):
    """Let a change of this file be seen, on file systems with a coarse clock too."""
    about = path.stat()
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 10**9))


def grow(path):
    with path.open("ab") as file:
        file.write(b"x")


def shrink(path):
    os.truncate(path, len(DATA) - 1)


def rewrite(path):
    with path.open("r+b") as file:
        file.write(b"other")
    later(path)


@pytest.mark.parametrize("change", [grow, shrink, rewrite])
@pytest.mark.parametrize("kind", ["path", "file", "raw file"])
class TestChanges:
    @staticmethod
    def test_a_change_is_seen_before_another_byte_is_given(kind, change, tmp_path):
        """Never a mix of two versions: the block that was read after the change is not given."""
        path = tmp_path / "data"
        thing = opened(kind, path)
        source = open_source(thing)
        blocks = source.blocks(0, len(DATA))

        assert next(blocks) == DATA[:BLOCK]
        change(path)
        with pytest.raises(SourceChanged, match="was changed"):
            next(blocks)
        with pytest.raises(SourceChanged):
            source.check()
        with pytest.raises(SourceChanged):
            source.fingerprint("x")
        source.close()
        if thing is not path:
            thing.close()


def test_another_file_in_its_place_does_no_harm(tmp_path):
    """The file that was opened is what is uploaded, renamed or removed as it may be."""
    path, other = tmp_path / "data", tmp_path / "other"
    path.write_bytes(DATA)
    other.write_bytes(b"other")
    source = open_source(path)
    other.replace(path)

    assert all_of(source) == DATA
    source.check()
    path.unlink()
    source.check()
    source.close()


def test_a_rewrite_with_its_old_time_is_not_seen(tmp_path):
    """The limit of what is looked at: who sets size and time back deceives us, and every tool
    that goes by them. This test is here so that the documentation stays true."""
    path = tmp_path / "data"
    path.write_bytes(b"abc")
    source = open_source(path)
    about = path.stat()
    path.write_bytes(b"xyz")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))

    source.check()
    assert all_of(source) == b"xyz"
    source.close()


def test_no_byte_comes_out_of_a_closed_path(tmp_path):
    """Its descriptor may be another file's by now."""
    path = tmp_path / "data"
    path.write_bytes(DATA)
    source = open_source(path)
    blocks = source.blocks(0, len(DATA))
    next(blocks)
    source.close()

    with pytest.raises(SourceError, match="closed file"):
        next(blocks)


def test_memory_does_not_grow_with_the_file(tmp_path):
    """A file of 128 MiB is read, and known again, within a few blocks."""
    path, size = tmp_path / "sparse", 128 << 20
    with path.open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        source = open_source(path)
        source.fingerprint("x")
        total = sum(len(block) for block in source.blocks(0, size))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    source.close()

    assert total == size
    assert peak < 4 * BLOCK


def test_a_bytearray_keeps_its_size_until_the_source_is_closed():
    """Python itself stops who would change it under the upload's feet."""
    data = bytearray(b"abc")
    source = open_source(data)

    with pytest.raises(BufferError):
        data += b"d"
    source.close()
    data += b"d"


def test_threads_take_turns_where_files_have_one_position_only(tmp_path, monkeypatch):
    """As on Windows, where nothing reads by position."""
    monkeypatch.delattr(os, "pread", raising=False)
    there = importlib.util.spec_from_file_location("files_without_pread", files.__file__)
    module = importlib.util.module_from_spec(there)
    there.loader.exec_module(module)
    path = tmp_path / "data"
    path.write_bytes(DATA)
    source = module.PathFile(io.FileIO(path), "It")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(all_of, [Window(source, at, at + 400_000) for at in range(4)]))
    source.close()

    assert results == [DATA[at : at + 400_000] for at in range(4)]
