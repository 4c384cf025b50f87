"""Remembers in memory, for as long as the object lives: what a client does unless told otherwise.

Every step is one operation on a dictionary, which no other thread can come between: no locks, so
that a fork at any moment leaves nothing locked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from vectus.client.contracts import Claim, Entry
from vectus.client.resume.claims import Held


class MemoryResume:
    """A resume store in memory, for all threads of one process."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._claimed: dict[str, object] = {}

    def get(self, fingerprint: str) -> Entry | None:
        """Return what is known of a source, or None."""
        entry = self._entries.get(fingerprint)
        return entry and _copy(entry)

    def set(self, fingerprint: str, entry: Entry) -> None:
        """Remember, until the object is gone."""
        self._entries[fingerprint] = _copy(entry)

    def remove(self, fingerprint: str) -> None:
        """Forget; what is not there is forgotten already."""
        self._entries.pop(fingerprint, None)

    @contextmanager
    def claim(self, fingerprint: str) -> Iterator[Claim | None]:
        """Claim an entry for the length of the ``with``; None if another thread has it."""
        mine = object()
        if self._claimed.setdefault(fingerprint, mine) is not mine:
            yield None
            return
        try:
            yield Held()
        finally:
            del self._claimed[fingerprint]


def _copy(entry: Entry) -> Entry:
    """Return an entry whose dictionary nobody else can change."""
    return replace(entry, extra=dict(entry.extra))
