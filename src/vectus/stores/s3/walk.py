"""Goes through a store's records page by page: what is there, and what crashes left over.

It holds no locks, so it removes only what nobody can be using: the tail of an upload that is
closed, and what was put or begun an hour ago and no record tells of. Nothing under other prefixes,
and nothing that does not say that it is ours: a tail bears the mark of its upload, and so does an
object under a key that was chosen; a note is in a folder of ours. An object that has an id's name
and no record stays, unless this process put it for a creation that failed: it may be an upload
whose record somebody removed on purpose.

A record that has not changed since the last walk is not read again, up to some number of them, and
whoever turned out to be a stranger is not asked again. Of what is settled, which most uploads are
sooner or later, only a number is kept in mind, and until when there is nothing to be done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from vectus.errors import StoreError, StoreUnavailable, UploadNotFound
from vectus.protocol.upload import ID, Role, Upload
from vectus.stores.s3.bucket import Listed, Unfinished
from vectus.stores.s3.client import Rejected
from vectus.stores.s3.doubts import Doubts
from vectus.stores.s3.naming import CLAIMS, INFO, JOINS, TAIL
from vectus.stores.s3.vault import Vault

OLD = 3600.0
"""After how many seconds what no record names belongs to nobody."""

MOST_KNOWN = 100_000
"""How many records are kept in mind from one walk to the next, and how many strangers."""

MOST_SETTLED = 1_000_000
"""The same of records that are settled. Each takes 120 bytes at most, during a walk twice that."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A record as it was read.

    Args:
        etag: under which entity tag it was listed.
        upload: what it says.
        multipart: S3's id of the multipart upload that it names, or None.
    """

    etag: str
    upload: Upload
    multipart: str | None


@dataclass(slots=True)
class Known:
    """What one walk hands on to the next.

    Args:
        records: by their uploads' ids.
        strangers: entity tags of objects that only look like tails of ours, by name.
        settled: until when nothing is to be done about an upload, by the mark of its record.
    """

    records: dict[str, Sight] = field(default_factory=dict)
    strangers: dict[str, str] = field(default_factory=dict)
    settled: dict[int, float] = field(default_factory=dict)

    def forget(self) -> None:
        """Let the memory go: nobody walks here any more."""
        self.records, self.strangers, self.settled = {}, {}, {}


class Walk:
    """One pass over a store. Every call blocks.

    Args:
        vault: the store's uploads.
        readers: threads to read records in.
        known: what the last pass found; it is renewed.
        doubts: creations that failed in this process.
    """

    def __init__(
        self, vault: Vault, readers: ThreadPoolExecutor, known: Known, doubts: Doubts
    ) -> None:
        self._vault = vault
        self._bucket = vault.bucket
        self._readers = readers
        self._known = known
        self._doubts = doubts
        self._found = Known()
        self._more: str | None = ""  # the first page
        self._notes: dict[str, Listed] = {}
        self._last = ""
        """The upload whose record was listed last."""
        self._is_closed = False
        self._folders: frozenset[str] = frozenset()

    def step(self) -> list[Upload] | None:
        """Look at the next page; return the uploads in it about which there may be something to do,
        or None after the last."""
        if self._more is None:
            self._end()
            return None
        if not self._more:
            notes = self._bucket.list_all(JOINS)
            self._notes = {each.name.removeprefix(JOINS): each for each in notes}
        page = self._bucket.list(after=self._more)
        self._more = page.more
        self._folders |= page.folders
        records = {id: each for each in page.listed if (id := _id(each.name, INFO))}
        unread = {id: each for id, each in records.items() if not self._is_settled(id, each)}
        read = self._readers.map(self._read, unread.keys(), unread.values())
        uploads = [upload for upload in read if upload]
        closed = {id: id not in unread for id in records}
        closed |= {upload.id: upload.closed for upload in uploads}
        for upload in uploads:
            self._tidy_note(upload)
        for each in page.listed:
            self._visit(each, closed)
        return uploads

    def _is_settled(self, id: str, listed: Listed) -> bool:
        """Whether there was nothing to do about an upload, nor is now: its record is the same, its
        time is not over, and it has left no note of a join."""
        mark = _mark(listed)
        until = self._known.settled.get(mark, 0.0)
        if not listed.etag or until <= time.time() or id in self._notes:
            return False
        self._found.settled[mark] = until
        return True

    def _read(self, id: str, listed: Listed) -> Upload | None:
        sight = self._known.records.get(id)
        if sight is None or not sight.etag or sight.etag != listed.etag:
            try:
                kept = self._vault.find(id)
            except StoreUnavailable:
                raise
            except StoreError:
                return None
            sight = Sight(listed.etag, kept.upload, kept.state.multipart)
        self._keep(id, listed, sight)
        return sight.upload

    def _keep(self, id: str, listed: Listed, sight: Sight) -> None:
        """Keep in mind what was read, as far as there is room."""
        found = self._found
        if _settles(sight.upload) and len(found.settled) < MOST_SETTLED:
            found.settled[_mark(listed)] = sight.upload.expires or math.inf
        elif len(found.records) < MOST_KNOWN:
            found.records[id] = sight

    # Tails.

    def _visit(self, listed: Listed, closed: Mapping[str, bool]) -> None:
        """The listing is sorted, so that an upload's record comes right before its tail."""
        if record := _id(listed.name, INFO):
            self._last = record
            self._is_closed = closed.get(record, False)
        elif (id := _id(listed.name, TAIL)) and self._is_left(id, listed):
            self._vault.drop_tail(id)

    def _is_left(self, id: str, tail: Listed) -> bool:
        """Whether a tail is of no use any more: of an upload that is closed, or what a creation
        left, or a writer that came after the removal. Then there is no record, and none will come,
        as the tail is put just before it."""
        if id == self._last:
            return self._is_closed
        if tail.modified > time.time() - OLD or not self._is_ours(id, tail):
            return False
        return self._has_no_record(id)

    def _is_ours(self, id: str, tail: Listed) -> bool:
        """Whether a tail that no record names bears its upload's mark."""
        if tail.etag and self._known.strangers.get(tail.name) == tail.etag:
            ours = False
        else:
            seen = self._bucket.look(tail.name)
            ours = seen is not None and seen.mark == id
        if not ours and len(self._found.strangers) < MOST_KNOWN:
            self._found.strangers[tail.name] = tail.etag
        return ours

    def _has_no_record(self, id: str) -> bool:
        """Asked right before something is deleted, as the listing is a while ago."""
        return self._bucket.size(id + INFO) is None

    # Notes of joins.

    def _tidy_note(self, upload: Upload) -> None:
        """Note a final upload that is not closed; forget one that is."""
        if upload.role is not Role.FINAL:
            return
        noted = self._notes.pop(upload.id, None)
        if upload.closed:
            if noted is not None:
                self._vault.ledger.strike(upload.id)
        elif noted is None and not self._vault.ledger.knows(upload.id):
            self._vault.ledger.enlist(upload.id, upload.parts)

    def _tidy_notes(self) -> None:
        """Forget final uploads that never came to be: whoever noted them was killed before they
        were recorded. A note that is struck too early is made again by the next walk."""
        for final, note in self._notes.items():
            if note.modified < time.time() - OLD and self._has_no_record(final):
                self._vault.ledger.strike(final)

    # What else there is.

    def _end(self) -> None:
        self._tidy_notes()
        self._doubts.settle(before=time.time() - OLD)
        if CLAIMS in self._folders:
            self._tidy_claims()
        try:
            for each in self._bucket.unfinished():
                if self._is_orphan(each):
                    self._bucket.abort(each.name, each.multipart)
        except Rejected:
            pass  # some servers cannot list them
        self._known.records = self._found.records
        self._known.strangers = self._found.strangers
        self._known.settled = self._found.settled

    def _tidy_claims(self) -> None:
        for note, id, key in self._vault.claims.listed(before=time.time() - OLD):
            self._tidy_claim(note, id, key)

    def _tidy_claim(self, note: Listed, id: str, key: str) -> None:
        """Forget whose a key is to be if nobody waits for it: its object is there, or there is not
        even an upload. Nobody dropped the note, as somebody was killed; if that was in the middle
        of a creation, there may be an object that says so."""
        try:
            sight = self._found.records.get(id)
            upload = sight.upload if sight else self._vault.find(id).upload
        except UploadNotFound:
            if not id:
                return  # what cannot be read is not ours to judge
            self._vault.objects.delete(Upload(id, key=key))
        except StoreUnavailable:
            raise
        except StoreError:
            return
        else:
            if upload.key == key and not upload.closed:
                return
        self._vault.claims.forget(note)

    def _is_orphan(self, each: Unfinished) -> bool:
        """Whether a multipart upload was begun for an upload of ours that does not know of it:
        nobody heard the answer, or recorded it. What was found on the way can say that it is
        known; that it is not, only a look at the record as it is now."""
        if not ID.fullmatch(each.name) or each.initiated > time.time() - OLD:
            return False
        sight = self._found.records.get(each.name)
        if sight is not None and sight.multipart == each.multipart:
            return False
        try:
            kept = self._vault.find(each.name)
        except StoreError:
            return False  # whose it is nobody can tell
        if kept.upload.role is Role.FINAL:
            failed = kept.upload.failed is not None
            return failed or self._vault.ledger.multipart(each.name) not in (None, each.multipart)
        return kept.state.multipart != each.multipart


def _settles(upload: Upload) -> bool:
    """Whether nothing is to be done about an upload until it expires. A partial is never settled,
    as it may be pinned, joined and used up."""
    return upload.finished and upload.announced and upload.role is not Role.PARTIAL


def _mark(listed: Listed) -> int:
    """What stands for a record in memory: 64 bits of its name and its entity tag. That two of a
    million are the same happens once in thirty million times."""
    return hash((listed.name, listed.etag))


def _id(name: str, ending: str) -> str | None:
    """Return the id in an object's name, if it is an upload's name with that ending."""
    id = name.removesuffix(ending)
    return id if name.endswith(ending) and ID.fullmatch(id) else None
