"""What is remembered of one source while it is uploaded, whatever becomes of the resume store.

A store that fails costs the upload nothing but that no other process can go on with it. It may be
used in threads, so nobody is told from here: complaints are collected, and fetched by the driver.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from time import time
from typing import TypeVar, cast

from vectus.client.contracts import Claim, Claims, Entry, ResumeStore

T = TypeVar("T")

LOST = "The upload's URL cannot be kept for later ({})."
SHARED = "Somebody else uploads the same now. This is an upload of its own."


class Notes:
    """The notes of one source, for all threads that upload parts of it.

    Args:
        store: where they are kept, or None where nothing is to last.
        fingerprint: what the source is known by, or None: then nothing is kept either.
        length: of the source.
    """

    def __init__(
        self, store: ResumeStore | None, fingerprint: str | None, length: int | None
    ) -> None:
        self._store = None if fingerprint is None else store
        self._fingerprint = fingerprint or ""
        self._length = length
        self._claim: Claim | None = None
        self._held = ExitStack()
        self._urls: dict[str | None, str] = {}
        self._complaints: deque[str] = deque()

    def open(self) -> None:
        """Claim the entry, where the store has such a thing; one that somebody else uses is left
        to them."""
        if not hasattr(self._store, "claim"):  # isinstance takes ten times as long
            return
        store = cast("Claims", self._store)
        try:
            self._claim = self._held.enter_context(store.claim(self._fingerprint))
        except Exception as error:
            self._lose(error)
        else:
            if self._claim is None:
                self._store = None
                self._complaints.append(SHARED)

    def close(self) -> None:
        """Let go of the claim."""
        self._claim = None
        try:
            self._held.close()
        except Exception as error:  # the upload has come to its end, whatever becomes of the claim
            self._lose(error)

    def complaint(self) -> str | None:
        """What the caller should hear next, as a sentence; each one once."""
        try:
            return self._complaints.popleft()
        except IndexError:  # no look before it: other threads fetch them as well
            return None

    def recall(self, part: str | None) -> str | None:
        """The URL that a source, or a part of it, goes to."""
        if part not in self._urls and self._store is not None:
            key = self._key(part)
            entry = self._try(lambda store: store.get(key))
            if entry is not None and entry.length in (None, self._length):
                return entry.url
        return self._urls.get(part)

    def keep(self, part: str | None, url: str) -> None:
        """Remember it."""
        self._urls[part] = url
        entry = Entry(url, self._length, time())  # of a part too: another source has other parts
        key = self._key(part)
        self._try(lambda store: store.set(key, entry))

    def forget(self, part: str | None) -> None:
        """Forget it."""
        self._urls.pop(part, None)
        key = self._key(part)
        self._try(lambda store: store.remove(key))

    def renew(self) -> None:
        """Say that the entry is still in use."""
        if self._claim is not None:
            self._claim.renew()

    def _key(self, part: str | None) -> str:
        return self._fingerprint if part is None else f"{self._fingerprint}#{part}"

    def _try(self, use: Callable[[ResumeStore], T]) -> T | None:
        """Use the store; any error of any store's library ends its use, and nothing else."""
        store = self._store
        if store is None:
            return None
        try:
            return use(store)
        except Exception as error:
            self._lose(error)
            return None

    def _lose(self, error: Exception) -> None:
        if self._store is not None:
            self._store = None
            self._complaints.append(LOST.format(error))
