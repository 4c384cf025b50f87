"""Room on a file system, and bytes from one file to another: what the kernel does best.

Each function tries what this system has and says or does honestly what is left without it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import sys
from collections.abc import Callable, Iterable

BLOCK = 1 << 20

_CLONE = 0x40049409
"""FICLONE of linux/fs.h: make a file share another's blocks."""

_KEEP_SIZE = 0x01
"""FALLOC_FL_KEEP_SIZE of linux/falloc.h."""

_CANNOT = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ENOTTY}


def can_clone(source: int, target: int) -> bool:
    """Try whether blocks can be shared. If so, ``target`` is now a copy of ``source``."""
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target, _CLONE, source)
    except OSError:
        return False
    return True


def reserve(fd: int, ranges: Iterable[tuple[int, int]]) -> None:
    """Allocate blocks for ranges (start, length) of a file; its size stays.

    Where that is impossible, it only makes sure that as much is free now.

    Raises:
        OSError: ENOSPC, there is not enough room.
    """
    ranges = [(start, length) for start, length in ranges if length]
    if not ranges:
        return
    stat, system = os.fstat(fd), os.fstatvfs(fd)
    spare = max(0, stat.st_blocks * 512 - min(start for start, _ in ranges))
    needed = sum(length for _, length in ranges) - spare
    # A file system that does not know its size (FUSE may not) cannot tell what is free either.
    if system.f_blocks and needed > system.f_bavail * system.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    allocate = _allocator()
    if allocate is not None:
        for start, length in ranges:
            allocate(fd, start, length)


def copy(source: int, target: int, at: int, to: int, count: int) -> int:
    """Copy at most ``count`` bytes from one position to another, sharing blocks where possible.

    Returns:
        How many were copied; 0 at the end of the source.
    """
    copier = getattr(os, "copy_file_range", None)
    if copier is not None:
        try:
            copied: int = copier(source, target, count, at, to)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
        else:
            if copied:
                return copied
    return _copy_through(source, target, at, to, min(count, BLOCK))


def _copy_through(source: int, target: int, at: int, to: int, count: int) -> int:
    block = memoryview(os.pread(source, count, at))
    done = 0
    while done < len(block):
        done += os.pwrite(target, block[done:], to + done)
    return done


@functools.cache
def _allocator() -> Callable[[int, int, int], None] | None:
    """Return the kernel's fallocate. ``os.posix_fallocate`` changes the size, and where the file
    system cannot do it, it writes into every block instead."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    call = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if call is None:
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

    def allocate(fd: int, start: int, length: int) -> None:
        if call(fd, _KEEP_SIZE, start, length) == 0:
            return
        failure = ctypes.get_errno()
        if failure not in _CANNOT:
            raise OSError(failure, os.strerror(failure))

    return allocate
