"""Goes through a directory of uploads slice by slice: what is there, and what crashes left over.

It holds no locks, so it removes only what nobody can be using: names that only we give, after the
upload they belong to is gone, and drafts after an hour. Never a file of somebody else's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice

from vectus.errors import StoreError, UploadNotFound
from vectus.protocol.upload import ID, Role, Upload
from vectus.stores.durable import drop
from vectus.stores.folder import GONE, INFO, NEW, Folder

SLICE = 128
"""How many names are looked at in one call."""

OLD = 3600.0
"""After how many seconds a draft belongs to nobody."""


class Walk:
    """One pass over a directory. Every call blocks.

    Args:
        folder: the directory.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._names: Iterator[os.DirEntry[str]] | None = None
        self._opened = ExitStack()

    def step(self) -> list[Upload] | None:
        """Look at the next names; return the uploads among them, or None after the last name."""
        if self._names is None:
            self._names = self._opened.enter_context(os.scandir(self._folder.directory))
        names = [entry.name for entry in islice(self._names, SLICE)]
        if not names:
            self._tidy_notes()
            return None
        return [upload for name in names if (upload := self._visit(name))]

    def close(self) -> None:
        """Free the directory, however far the walk has come."""
        self._opened.close()

    def _visit(self, name: str) -> Upload | None:
        """Look at one name. What fails on it, such as a file that the system does not let go, must
        not keep the walk from the others."""
        try:
            return self._look(name)
        except (StoreError, OSError):
            return None

    def _look(self, name: str) -> Upload | None:
        id, dot, ending = name.partition(".")
        if not dot or not ID.fullmatch(id):
            return None
        if dot + ending == INFO:
            return self._load(id)
        if dot + ending == GONE:
            self._folder.finish_removal(id)
        elif ending.startswith("info.") and ending.endswith(".tmp"):
            self._tidy_draft(id, name)
        return None

    def _load(self, id: str) -> Upload:
        upload = self._folder.load(id)
        if upload.taken_by is not None and not self._is_wanted(upload.taken_by):
            self._folder.bury(id)
        self._enlist(upload)
        return upload

    def _is_wanted(self, final: str) -> bool:
        """Whether a final upload still needs the data of partials that it took over."""
        try:
            upload = self._folder.load(final)
        except UploadNotFound:
            return False
        return not upload.complete and upload.failed is None

    def _enlist(self, upload: Upload) -> None:
        """A power cut may have lost the note of a final upload, and tusd's never had one.

        Whether it is there is asked only now: one made since the walk began may say by now how far
        a join is."""
        ledger = self._folder.ledger
        is_open = upload.role is Role.FINAL and not upload.closed
        if is_open and ledger.raw(upload.id) is None:
            ledger.enlist(upload.id, upload.parts)

    def _tidy_draft(self, id: str, name: str) -> None:
        """Drop an old draft, and the data file of an upload that was never made."""
        path, info, data = (
            os.path.join(self._folder.directory, each) for each in (name, id + INFO, id)
        )
        if not _is_old(path):
            return
        unborn = name.startswith(id + INFO + NEW) and _is_made_after(data, path)
        if not os.path.lexists(info) and (unborn or _is_empty(data)):
            drop(data)
        drop(path)

    def _tidy_notes(self) -> None:
        """Drop old notes of uploads that are closed, and drafts of notes."""
        ledger = self._folder.ledger
        for name in ledger.names():
            path = os.path.join(ledger.directory, name)
            if _is_old(path) and ("." in name or not self._folder.is_open(name)):
                drop(path)


def _is_old(path: str) -> bool:
    try:
        return time.time() - os.stat(path).st_mtime > OLD
    except OSError:
        return False


def _is_made_after(path: str, other: str) -> bool:
    """Whether a file may have been made after another: a stranger's was there before."""
    try:
        return os.stat(path).st_mtime_ns >= os.stat(other).st_mtime_ns
    except OSError:
        return False


def _is_empty(path: str) -> bool:
    try:
        return os.stat(path).st_size == 0
    except OSError:
        return False
