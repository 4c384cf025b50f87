"""tuspy's file storage, on vectus' own: the same file, safe for several processes."""

from __future__ import annotations

import os
import time

from vectus.client.contracts import Entry
from vectus.client.resume.file import FileResume
from vectus.client.tuspy.storage import interface


class FileStorage(interface.Storage):
    """Keeps upload URLs in a JSON file that tuspy can read and write as well.

    Args:
        fp: the file; made when there is something to store.
    """

    def __init__(self, fp: str | os.PathLike[str]) -> None:
        self._store = FileResume(fp)

    def get_item(self, key: str) -> str | None:
        """Return the URL stored under a fingerprint, or None."""
        entry = self._store.get(key)
        return None if entry is None else entry.url

    def set_item(self, key: str, url: str) -> None:
        """Store a URL under a fingerprint."""
        self._store.set(key, Entry(url, created=time.time()))

    def remove_item(self, key: str) -> None:
        """Remove what is stored under a fingerprint, if there is anything."""
        self._store.remove(key)

    def close(self) -> None:
        """Do nothing: the file is open only while it is read or written."""
