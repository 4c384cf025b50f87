"""Faults put in beneath ``os``, and what the tests about them share."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any, Literal

import pytest

from vectus.testing.stores import FULL, pattern

DATA = pattern(10_000)
WHOLE = replace(FULL, length=len(DATA))

Durability = Literal["none", "finish", "always"]


@contextmanager
def failing(name: str, error: int, after: int = 0, of: ModuleType = os) -> Iterator[None]:
    """Make a call of ``os`` fail from the n-th time on."""
    call = getattr(of, name)
    left = after

    def fail(*args: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(error, os.strerror(error))
        return call(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of, name, fail)
        yield


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """Make data files take so many bytes and no more, as a disk does that is nearly full."""
    pwrite, left = os.pwrite, count

    def write(fd: int, data: memoryview, at: int) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = pwrite(fd, data[:left], at)
        left -= written
        return written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", write)
        yield
