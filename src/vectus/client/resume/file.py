"""Remembers in one JSON file, in tuspy's format: a file of either can be gone on with by the other.

The file is replaced in one step, under a lock: whoever is killed leaves the old one or the new one.
What the rows mean is told in ``rows.py``.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TypeVar

from vectus.client.contracts import Claim, Entry
from vectus.client.resume import rows
from vectus.client.resume.claims import claim_file
from vectus.client.resume.locking import locked
from vectus.errors import ConfigurationError

T = TypeVar("T")

_NO_SUCH_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES, errno.EBADF}
_PAUSES = (0.01, 0.05, 0.25, 1.0) if os.name == "nt" else ()


class FileResume:
    """A resume store in one file, for any number of processes of one machine.

    Nothing is made before something is remembered. Beside the file are ``<path>.lock`` and the
    folder ``<path>.claims``. A URL of an upload lets whoever has it write there, so the file is
    its owner's only. tuspy can use the same file before and after, but not at the same time: it
    keeps the file open and writes without a lock.

    Args:
        path: the file; its folder is made on demand.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.path.realpath(os.fspath(path))  # what a link leads to is replaced

    def get(self, fingerprint: str) -> Entry | None:
        """Return what is known of a source, or None.

        Raises:
            ConfigurationError: the file is broken.
            OSError: it cannot be read.
        """
        return rows.find(self._read(), fingerprint)

    def set(self, fingerprint: str, entry: Entry) -> None:
        """Remember; durably, once it has returned.

        Raises:
            ConfigurationError: the file is broken; it is left as it is.
            OSError: it cannot be written, or somebody keeps its lock.
        """
        with self._locked():
            document = self._read()
            rows.put(document, fingerprint, entry)
            self._write(rows.dump(document))

    def remove(self, fingerprint: str) -> None:
        """Forget; what is not there is forgotten already.

        Raises:
            ConfigurationError: the file is broken; it is left as it is.
            OSError: it cannot be written, or somebody keeps its lock.
        """
        if not os.path.exists(self._path):
            return
        with self._locked():
            document = self._read()
            if rows.drop(document, fingerprint):
                self._write(rows.dump(document))

    def claim(self, fingerprint: str) -> AbstractContextManager[Claim | None]:
        """Claim an entry for the length of the ``with``; None if somebody else has it.

        It is free at once when its process dies.

        Raises:
            OSError: on entering: the claim's file cannot be made or locked.
        """
        return claim_file(f"{self._path}.claims", fingerprint)

    def _locked(self) -> AbstractContextManager[None]:
        return locked(f"{self._path}.lock")

    def _read(self) -> rows.Document:
        try:
            return rows.parse(_insist(lambda: _content(self._path)))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ConfigurationError(
                f"{self._path} is not a file of resumable uploads, or is broken ({error}).",
                "Move it away to start with an empty one, or choose another path.",
            ) from error

    def _write(self, raw: bytes) -> None:
        """Replace the file; the lock's holder is the only one to write the draft."""
        draft = f"{self._path}.new"
        try:
            _write_anew(draft, raw)
            _insist(lambda: os.replace(draft, self._path))
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise
        _sync_folder(os.path.dirname(self._path))


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write_anew(path: str, raw: bytes) -> None:
    """Write a file that is not there yet: what a killed process left may have another mode."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: str) -> None:
    """Bring a folder's names to stable storage, where the system knows how."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SUCH_SYNC:
            raise
    finally:
        os.close(fd)


def _insist(act: Callable[[], T]) -> T:
    """Do something with a file; on Windows again, if somebody else has it open just now."""
    for pause in _PAUSES:
        try:
            return act()
        except PermissionError:
            time.sleep(pause)
    return act()
