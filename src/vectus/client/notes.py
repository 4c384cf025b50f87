"""What is remembered of one source while it is uploaded, whatever becomes of the resume store.

A store that fails costs the upload nothing but that no other process can go on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import time
from typing import TypeVar

from vectus.client.contracts import Claim, Claims, Entry, ResumeStore

T = TypeVar("T")

LOST = "The upload's URL cannot be kept for later ({})."


class Notes:
    """The notes of one source.

    Args:
        store: where they are kept, or None where nothing is to last.
        fingerprint: what the source is known by.
        length: of the source.
        claim: says that the entry is ours, where the store has such a thing.
        notice: told, as a sentence, what went wrong.
    """

    def __init__(
        self,
        store: ResumeStore | None,
        fingerprint: str,
        length: int | None,
        claim: Claim | None,
        notice: Callable[[str], None],
    ) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._length = length
        self._claim = claim
        self._notice = notice
        self._urls: dict[str | None, str] = {}

    def recall(self, part: str | None) -> str | None:
        """The URL that a source, or a part of it, goes to."""
        if part not in self._urls and self._store is not None:
            key = self._key(part)
            entry = self._try(lambda store: store.get(key))
            if entry is not None and (part is not None or entry.length in (None, self._length)):
                return entry.url
        return self._urls.get(part)

    def keep(self, part: str | None, url: str) -> None:
        """Remember it."""
        self._urls[part] = url
        entry = Entry(url, self._length if part is None else None, time())
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
        if self._store is None:
            return None
        try:
            return use(self._store)
        except Exception as error:
            self._store = None
            self._notice(LOST.format(error))
            return None


@contextmanager
def opened(
    store: ResumeStore | None,
    fingerprint: str | None,
    length: int | None,
    notice: Callable[[str], None],
) -> Iterator[Notes]:
    """Open the notes of a source; an entry that somebody else uses is left to them."""
    if fingerprint is None or store is None:
        yield Notes(None, "", length, None, notice)
        return
    claims: object = store
    if not isinstance(claims, Claims):
        yield Notes(store, fingerprint, length, None, notice)
        return
    with ExitStack() as stack:
        claim: Claim | None = None
        try:
            claim = stack.enter_context(claims.claim(fingerprint))
        except Exception as error:
            notice(LOST.format(error))
        else:
            if claim is None:
                notice("Somebody else uploads the same now. This is an upload of its own.")
        yield Notes(store if claim else None, fingerprint, length, claim, notice)
