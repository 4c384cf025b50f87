"""Spool files: filled anew for the next part, and never read beyond what was written this time."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from vectus.stores.s3.spool import KEPT, Shelf, Spool, SpoolReader


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with closing(Shelf(str(tmp_path), 2)) as shelf:
        yield shelf


def used(shelf: Shelf, data: bytes) -> int:
    """Fill a spool, let it go, and return the file it had."""
    with closing(Spool(shelf)) as spool:
        spool.write(memoryview(data), 0)
        return spool._fd


def is_open(fd: int) -> bool:
    """Whether a descriptor is open."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_file_is_filled_anew(shelf: Shelf) -> None:
    """The next part gets the file of the last one, and nothing of what is in it."""
    before = used(shelf, b"somebody else's bytes")

    with closing(Spool(shelf)) as spool:
        assert spool._fd == before
        assert spool.read_into(memoryview(bytearray(9)), 0) == 0
        assert spool.crc(9) == 0
        spool.write(memoryview(b"mine"), 0)
        assert spool.crc(21) == zlib.crc32(b"mine")
        assert bytes(SpoolReader(spool, 21).read()) == b"mine"
        assert spool.read_into(memoryview(bytearray(9)), 2) == 2


def test_only_so_many_are_kept(shelf: Shelf) -> None:
    """More files than that are closed, and so are large ones, and all in the end."""
    spools = [Spool(shelf) for _ in range(3)]
    files = [spool._fd for spool in spools]
    for spool in spools:
        spool.close()
        spool.close()
    assert [is_open(fd) for fd in files] == [True, True, False]

    shelf.put(shelf.take(), KEPT + 1)
    assert [is_open(fd) for fd in files].count(True) == 1

    shelf.close()
    assert not any(is_open(fd) for fd in files)
    assert not is_open(used(shelf, b"late"))


def test_nobody_else_sees_them(shelf: Shelf, tmp_path: Path) -> None:
    """They have no names."""
    used(shelf, b"bytes")

    assert list(tmp_path.iterdir()) == []
