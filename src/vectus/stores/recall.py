"""What was read from small files that are only ever replaced, kept until they are.

Asking the file system whether a file is still the one that was read costs a tenth of reading and
parsing it again. Nothing is kept that could be mistaken for a later file, and nothing in here knows
what is in the files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from vectus.stores.durable import read_all

T = TypeVar("T")

MOST = 1024
"""How many files are kept in mind."""

LARGE = 4096
"""A file of more bytes is not."""

SETTLED = 50_000_000
"""Nanoseconds after which a file's time tells it from every later one. File systems tell the time
in steps, of 10 ms at most where they have fractions of a second at all."""

Mark = tuple[int, int, int, int]


class Recall(Generic[T]):
    """Remembers what was made of files.

    Args:
        make: turns a path and the content of its file into what is asked for.
    """

    def __init__(self, make: Callable[[str, bytes], T]) -> None:
        self._make = make
        self._known: dict[str, tuple[Mark, T]] = {}

    def look(self, path: str) -> T:
        """Return what a file says now. Blocks.

        Raises:
            FileNotFoundError: there is none.
            Exception: whatever ``make`` raises.
        """
        known = self._known.get(path)
        if known is not None and known[0] == _mark(os.stat(path)):
            return known[1]
        return self._read(path)

    def _read(self, path: str) -> T:
        now = time.time_ns()
        fd = os.open(path, os.O_RDONLY)
        try:
            mark, raw = _mark(os.fstat(fd)), read_all(fd)
        finally:
            os.close(fd)
        made = self._make(path, raw)
        self._keep(path, mark, made, now)
        return made

    def _keep(self, path: str, mark: Mark, made: T, now: int) -> None:
        """A file's number is given to another once it is gone, which then can only be told from it
        by its times; so a file is not kept in mind before these have passed."""
        _, size, _, changed = mark
        if size > LARGE or changed > now - SETTLED or changed % 1_000_000_000 == 0:
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[path] = mark, made


def _mark(stat: os.stat_result) -> Mark:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
