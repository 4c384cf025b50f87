"""Where the servers that are killed keep uploads, and what is there, seen without any server.

What differs between homes is in here, so that one test is about all of them: how much of an upload
can be seen while it comes, how much of that a kill may cost, and which sizes are of interest.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path
from typing import Protocol

import pytest

from vectus.stores.s3.bucket import Unfinished
from vectus.stores.s3.client import Missing
from vectus.stores.s3.store import S3Store

MIB = 1 << 20
PART = 5 * MIB
"""How long the parts of uploads in buckets are: the least that S3 takes."""

THOROUGH = "VECTUS_THOROUGH" in os.environ

S3 = pytest.param("s3", marks=pytest.mark.timeout(240))

HOMES = ("files", S3)
OFTEN = HOMES if THOROUGH else ("files",)
"""Every request in a bucket costs several of a real S3 server: what is much like other tests is
only done there with ``VECTUS_THOROUGH`` set."""


class Home(Protocol):
    """A place for uploads. Paths are those of URLs.

    Args:
        where: what servers are told.
        sizes: the least and the most bytes of an upload whose body is cut.
        many: the most bytes of an upload that is one of many.
        clients: how many make these at once.
        kills: how many workers are killed meanwhile, before the server is and after it.
        patience: the seconds that all of this may take.
        small: how many bytes are few.
        exact: whether a kill costs nothing that lies there.
        finish: the seconds within which the finish of an upload comes, most of the time.
        takes_over: whether a final upload may begin with what was its first partial's.
    """

    where: str
    sizes: tuple[int, int]
    many: int
    clients: int
    kills: int
    patience: float
    small: int
    exact: bool
    finish: float
    takes_over: bool

    def size(self, path: str) -> int:
        """How many bytes of an upload lie there, counting or not."""

    def kept(self, path: str) -> int:
        """How many of them count, if all of their request do."""

    def shows(self, size: int) -> int:
        """How many of so many bytes lie there while more of the same request are to come."""

    def joined(self, path: str) -> int:
        """How many bytes of a final upload there are by now."""

    def stored(self, path: str) -> bytes:
        """The bytes of a finished upload."""

    def ids(self) -> list[str]:
        """The uploads there are records of."""

    def joinable(self) -> list[int]:
        """Sizes of partials whose joining can be stopped after a third, and after two."""


class Files:
    """A directory.

    Args:
        folder: it.
    """

    sizes = (1 * MIB, 3 * MIB)
    many = 1_500_000
    clients = 8
    kills = 5
    patience = 45.0
    small = 100_000
    exact = True
    finish = 0.004
    takes_over = True

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self._folder = folder

    def size(self, path: str) -> int:
        return (self._folder / _id(path)).stat().st_size

    kept = joined = size

    def shows(self, size: int) -> int:
        return size

    def stored(self, path: str) -> bytes:
        return (self._folder / _id(path)).read_bytes()

    def ids(self) -> list[str]:
        return [record.stem for record in self._folder.glob("*.info")]

    def joinable(self) -> list[int]:
        return [random.randrange(4 * MIB, 6 * MIB) for _ in range(3)]


class Bucket:
    """A place in a bucket.

    Args:
        where: its URL.
    """

    sizes = (11 * MIB, 14 * MIB)
    many = 14 * MIB
    clients = 8 if THOROUGH else 3
    kills = 5 if THOROUGH else 2
    patience = 180.0
    small = PART + 100_000
    exact = False
    finish = 0.1
    takes_over = False

    def __init__(self, where: str) -> None:
        self.where = where
        self._store = S3Store(where)
        self._vault = self._store._vault
        self._bucket = self._vault.bucket

    def close(self) -> None:
        """Let its connections go."""
        asyncio.run(self._store.aclose())

    def size(self, path: str) -> int:
        return max(self.kept(path), self.joined(path))

    def kept(self, path: str) -> int:
        return self._vault.find(_id(path)).upload.offset

    def shows(self, size: int) -> int:
        return size // PART * PART

    def joined(self, path: str) -> int:
        time.sleep(0.02)  # whoever asks over and over leaves S3 time for others
        found = (each for each in self._bucket.unfinished(_id(path)) if each.name == _id(path))
        return max(map(self._in_parts, found), default=0)

    def _in_parts(self, listed: Unfinished) -> int:
        try:
            return sum(self._bucket.part_sizes(listed.name, listed.multipart).values())
        except Missing:
            return 0  # it has just been dropped, or made the object

    def stored(self, path: str) -> bytes:
        return self._bucket.get(_id(path))

    def ids(self) -> list[str]:
        names = (each.name for each in self._bucket.list_all())
        return [name.removesuffix(".info") for name in names if name.endswith(".info")]

    def joinable(self) -> list[int]:
        return [random.randrange(PART, 6 * MIB)] * 3


def _id(path: str) -> str:
    return path.rpartition("/")[2]
