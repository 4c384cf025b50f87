"""Goes through a store's records page by page: what is there, and what crashes left over.

It holds no locks, so it removes only what nobody can be using: the tail of an upload that is
closed, and what was put or begun an hour ago and no record tells of. Nothing under other prefixes,
and but for tails nothing without a record of ours. A record that has not changed since the last
walk is not read again.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from vectus.errors import StoreError, StoreUnavailable, UploadNotFound
from vectus.protocol.upload import ID, Role, Upload
from vectus.stores.s3.bucket import Listed, Unfinished
from vectus.stores.s3.client import Rejected
from vectus.stores.s3.naming import CLAIMS, INFO, TAIL
from vectus.stores.s3.vault import Vault

OLD = 3600.0
"""After how many seconds a multipart upload that no record names belongs to nobody."""

MOST_KNOWN = 100_000
"""How many records are kept in mind from one walk to the next."""

Known = dict[str, tuple[str, Upload]]
"""Uploads by id, each with the entity tag its record was read under."""


class Walk:
    """One pass over a store. Every call blocks.

    Args:
        vault: the store's uploads.
        readers: threads to read records in.
        known: what the last pass found; it is renewed.
    """

    def __init__(self, vault: Vault, readers: ThreadPoolExecutor, known: Known) -> None:
        self._vault = vault
        self._readers = readers
        self._known = known
        self._found: Known = {}
        self._more: str | None = ""  # the first page
        self._noted: set[str] = set()
        self._closed: set[str] = set()
        self._folders: frozenset[str] = frozenset()

    def step(self) -> list[Upload] | None:
        """Look at the next page; return the uploads in it, or None after the last."""
        if self._more is None:
            self._end()
            return None
        if not self._more:
            self._noted = set(self._vault.ledger.finals())
        page = self._vault.bucket.list(after=self._more)
        self._more = page.more
        self._folders |= page.folders
        records = [each for each in page.listed if _id(each.name, INFO)]
        uploads = [upload for upload in self._readers.map(self._read, records) if upload]
        for upload in uploads:
            self._tidy(upload)
        for each in page.listed:
            self._tidy_tail(each)
        return uploads

    def _read(self, listed: Listed) -> Upload | None:
        id = _id(listed.name, INFO)
        assert id is not None
        etag, upload = self._known.get(id, ("", None))
        if upload is None or not etag or etag != listed.etag:
            try:
                upload = self._vault.find(id).upload
            except StoreUnavailable:
                raise
            except StoreError:
                return None
        if len(self._found) < MOST_KNOWN:
            self._found[id] = (listed.etag, upload)
        return upload

    def _tidy(self, upload: Upload) -> None:
        if upload.closed:
            self._closed.add(upload.id)
        elif upload.role is Role.FINAL and not self._is_noted(upload.id):
            self._vault.ledger.enlist(upload.id, upload.parts)

    def _is_noted(self, final: str) -> bool:
        return final in self._noted or self._vault.ledger.knows(final)

    def _tidy_tail(self, listed: Listed) -> None:
        """The listing is sorted, so that an upload's record comes before its tail."""
        id = _id(listed.name, TAIL)
        if id is not None and (id in self._closed or self._is_left(id, listed)):
            self._vault.drop_tail(id)

    def _is_left(self, id: str, tail: Listed) -> bool:
        """Whether a tail is what a creation left, or a writer that came after the removal: there is
        no record, and none will come, as the tail is put just before it."""
        if id in self._found or tail.modified > time.time() - OLD:
            return False
        return self._vault.bucket.size(id + INFO) is None

    def _end(self) -> None:
        for final in self._noted & self._closed:
            self._vault.ledger.strike(final)
        if CLAIMS in self._folders:
            self._tidy_claims()
        try:
            for each in self._vault.bucket.unfinished():
                if self._is_orphan(each):
                    self._vault.bucket.abort(each.name, each.multipart)
        except Rejected:
            pass  # some servers cannot list them
        self._known.clear()
        self._known.update(self._found)

    def _tidy_claims(self) -> None:
        """Forget whose the keys are to be that nobody waits for: an object is there, or there is
        not even an upload. Nobody dropped the note, as somebody was killed."""
        for note, id, key in self._vault.claims.listed(before=time.time() - OLD):
            if not self._is_waited_for(id, key):
                self._vault.claims.forget(note)

    def _is_waited_for(self, id: str, key: str) -> bool:
        try:
            upload = self._found[id][1] if id in self._found else self._vault.find(id).upload
        except UploadNotFound:
            return not id  # what cannot be read is not ours to judge
        except StoreUnavailable:
            raise
        except StoreError:
            return True
        return upload.key == key and not upload.closed

    def _is_orphan(self, each: Unfinished) -> bool:
        """Whether a multipart upload was begun for an upload of ours that does not know of it:
        nobody heard the answer, or recorded it."""
        if not ID.fullmatch(each.name) or each.initiated > time.time() - OLD:
            return False
        try:
            kept = self._vault.find(each.name)
        except StoreError:
            return False  # whose it is nobody can tell
        if kept.upload.role is Role.FINAL:
            return self._vault.ledger.multipart(each.name) not in (None, each.multipart)
        return kept.state.multipart != each.multipart


def _id(name: str, ending: str) -> str | None:
    """Return the id in an object's name, if it is an upload's name with that ending."""
    id = name.removesuffix(ending)
    return id if name.endswith(ending) and ID.fullmatch(id) else None
