"""What reaches stable storage, when, and in which order.

The one place that syncs. It knows the three durability options and how to replace a small file in
one step; what the files mean is not its affair.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import secrets
from enum import Enum

from vectus.protocol.upload import Upload

FILE_MODE = 0o664
FOLDER_MODE = 0o775

_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
"""On macOS a plain sync leaves the bytes in the drive's cache."""

_NO_SUCH_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}

_drafts = itertools.count()
_token = secrets.token_hex(4)
"""Processes in different containers may share a directory and a process id, but not this; those
forked from one share this, but no process id."""


class Durability(Enum):
    """How much is on stable storage when a request is answered."""

    NONE = "none"
    """Nothing on purpose: survives kill -9, not a power cut."""
    FINISH = "finish"
    """Everything of an upload once its last byte is acknowledged."""
    ALWAYS = "always"
    """Everything that was acknowledged."""

    @property
    def ordered(self) -> bool:
        """Whether what must not be believed after a power cut has to be marked so, durably,
        before it is written."""
        return self is not Durability.NONE

    def of_bytes(self, upload: Upload) -> bool:
        """Whether a commit with this outcome syncs the data."""
        return self is Durability.ALWAYS or (self is Durability.FINISH and upload.complete)

    def of_record(self, upload: Upload) -> bool:
        """Whether this record is synced when it is written. With ``FINISH`` also what a join says
        before it moves bytes that were acknowledged as finished."""
        if self is Durability.FINISH:
            return upload.finished or upload.joining or upload.taken_by is not None
        return self is Durability.ALWAYS


def sync_file(fd: int) -> None:
    """Bring a file's bytes and its size to stable storage."""
    if _FULL_SYNC is None:
        _sync_data(fd)
        return
    try:
        fcntl.fcntl(fd, _FULL_SYNC)
    except OSError as error:
        if error.errno not in _NO_SUCH_SYNC:
            raise
        os.fsync(fd)


def sync_folder(path: str) -> None:
    """Bring a folder's names to stable storage, where its file system knows how."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_file(fd)
    except OSError as error:
        if error.errno not in _NO_SUCH_SYNC:
            raise
    finally:
        os.close(fd)


def draft(path: str, raw: bytes, *, sync: bool) -> str:
    """Write what shall become ``path`` beside it, and return where; nothing is left on failure."""
    name = f"{path}.{_token}{os.getpid():x}-{next(_drafts):x}.tmp"
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        write_whole(fd, raw)
        if sync:
            sync_file(fd)
    except BaseException:
        drop(name)
        raise
    finally:
        os.close(fd)
    return name


def replace_file(path: str, raw: bytes, *, sync: bool) -> None:
    """Make ``raw`` the content of a file in one step: afterwards it is the old or the new one."""
    name = draft(path, raw, sync=sync)
    try:
        os.rename(name, path)
    except BaseException:
        drop(name)
        raise
    if sync:
        sync_folder(os.path.dirname(path))


def drop(path: str) -> None:
    """Unlink a file if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def read_whole(path: str) -> bytes:
    """Return the content of a small file."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_all(fd)
    finally:
        os.close(fd)


def read_all(fd: int) -> bytes:
    """Return the content of a small file that was just opened."""
    raw = os.read(fd, 16384)
    while len(raw) >= 16384 and (more := os.read(fd, 1 << 20)):
        raw += more
    return raw


def write_whole(fd: int, raw: bytes) -> None:
    """Write all of the content of a new small file."""
    written = os.write(fd, raw)
    while written < len(raw):
        written += os.write(fd, raw[written:])


def _sync_data(fd: int) -> None:
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)
