"""One upload in a bucket, one step at a time; every call blocks.

The order of the steps is what makes a kill at any of them, or an answer that never comes, harmless:

* created: the bytes first, the record last; without a record nothing is an upload.
* appended: parts are sent, then recorded. A new tail is put over an old one only where it begins
  with the same bytes, or where the record says already that those are in a part; then it is
  recorded. An old tail is deleted last of all.
* finished: that all bytes are there is recorded, the object is made, and only then is the finish
  recorded. Each can be repeated.
* removed: the record goes last.

Every change of a record reads it again, and refuses if somebody with a later lease wrote it, or if
its bytes are not where the writer saw them: then somebody else has been at work. Nobody but the
holder of an upload's lock changes it, so this is for locks that were lost.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from time import monotonic
from urllib.parse import quote

from vectus.errors import (
    Overtaken,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UploadExists,
    UploadNotFound,
)
from vectus.protocol.upload import ID, Role, Upload
from vectus.stores.s3 import parts
from vectus.stores.s3.bucket import INFO, TAIL, Bucket, Readable, Unfinished
from vectus.stores.s3.client import Missing, Rejected, Taken, map_errors
from vectus.stores.s3.layout import (
    LOST,
    MISMATCH,
    Fate,
    State,
    Way,
    counted,
    fate,
    in_doubt,
    own_bytes,
    tail_in_the_way,
    way,
)
from vectus.stores.s3.ledger import Ledger
from vectus.stores.s3.place import Place
from vectus.stores.s3.record import Kept, decode, encode, words
from vectus.stores.s3.spool import BLOCK, Spool, SpoolReader

SEEN_FOR = 30.0
"""Seconds for which a multipart upload that was seen is taken to be there still. What looks sooner
saves a call; what comes later learns that somebody has taken it away."""

MOST_SEEN = 10_000

_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w.+-]+=[\w.+-]+)*", re.ASCII)
_MISMATCHED = {"InvalidPart", "InvalidPartOrder", "EntityTooSmall"}


@dataclass(frozen=True, slots=True)
class Rest:
    """What of an append is not in parts: the bytes of its piece.

    Args:
        spool: where they are.
        size: how many.
    """

    spool: Spool
    size: int

    @property
    def data(self) -> Readable | bytes:
        """The bytes, as something to send."""
        return SpoolReader(self.spool, self.size) if self.size else b""


class Vault:
    """The uploads of one bucket.

    Args:
        bucket: where they are.
        place: how they are kept.
    """

    def __init__(self, bucket: Bucket, place: Place) -> None:
        self.bucket = bucket
        self.ledger = Ledger(bucket)
        self._place = place
        self._seen: dict[str, float] = {}

    # Records.

    def find(self, id: str) -> Kept:
        """Return what the record of an upload says, its offset as its state tells.

        Raises:
            UploadNotFound: there is none.
            RecordBroken: it cannot be read.
        """
        if not ID.fullmatch(id):
            raise UploadNotFound(id)
        try:
            raw = self.bucket.get(id + INFO)
        except Missing:
            raise UploadNotFound(id) from None
        kept = decode(id, raw)
        return Kept(counted(kept.upload, kept.state), kept.state)

    def load(self, id: str) -> Kept:
        """Return what the record says, failed if its bytes have been taken away since."""
        kept = self.find(id)
        if not in_doubt(kept.upload, kept.state) or self._was_seen(id):
            return kept
        if self._fate(kept) is Fate.GONE:
            return Kept(replace(kept.upload, failed=LOST), kept.state)
        return kept

    def create(self, upload: Upload, data: bytes) -> None:
        """Keep a new upload with its first bytes, or nothing of it."""
        if not ID.fullmatch(upload.id):
            raise ValueError(f"{upload.id!r} is no upload's id.")
        tail = b"" if upload.finished else data
        state = State(self._schedule(upload), tail=len(tail), crc=zlib.crc32(tail))
        begun = False
        try:
            self._put_first(upload, data)
            begun = True
            self._write_new(upload, state)
        except Taken:
            if begun and upload.finished:
                self.bucket.delete(upload.id)  # it was put where nothing was
            raise UploadExists(upload.id) from None
        except StoreError:
            self._undo(upload)
            raise

    def _put_first(self, upload: Upload, data: bytes) -> None:
        """Put what a record that is about to be made will count on."""
        if upload.role is Role.FINAL:
            self.ledger.enlist(upload.id, upload.parts)
        elif upload.finished:
            self.bucket.publish_new(upload.id, data, headers_of(upload))
        elif data:
            self.bucket.put_new(upload.id + TAIL, data)

    def _undo(self, upload: Upload) -> None:
        """Delete what a creation left that failed, if it is sure that it did: its last answer may
        have been lost."""
        with contextlib.suppress(StoreError):
            if self.bucket.size(upload.id + INFO) is None:
                if upload.role is Role.FINAL:
                    self.ledger.strike(upload.id)
                self.bucket.delete(upload.id if upload.finished else upload.id + TAIL)

    def save(self, upload: Upload) -> None:
        """Replace a record; make the object of an upload that is finished now."""
        kept = self.find(upload.id)
        _refuse_overtaken(kept.upload, upload)
        finishes = upload.finished and not kept.upload.finished
        self._write(upload, self._finish(upload, kept.state) if finishes else kept.state)
        if finishes and kept.state.tail:
            self.drop_tail(upload.id)
        if upload.role is Role.FINAL and (upload.finished or upload.failed is not None):
            self.ledger.strike(upload.id)

    def remove(self, id: str) -> None:
        """Forget an upload, readable or not, and all that S3 has of it."""
        kept = self._find_anything(id)
        self._abort_all(id, kept)
        for name in (id, id + TAIL):
            self.bucket.delete(name)
        if kept is None or kept.upload.role is Role.FINAL:
            self.ledger.strike(id)
        self.bucket.delete(id + INFO)

    def readable(self, upload: Upload) -> str:
        """Return the name of the object that has an upload's bytes.

        Raises:
            UploadNotFound: the upload is not there any more.
            StoreError: they are in parts, which nobody can read.
        """
        if not ID.fullmatch(upload.id):
            raise UploadNotFound(upload.id)
        if upload.finished and upload.offset:
            return upload.id
        kept = self.find(upload.id)
        if kept.upload.finished or not own_bytes(kept.upload):
            return upload.id
        if kept.state.etags:
            raise StoreError(f"Upload {upload.id!r} is not finished, so it cannot be read yet.")
        return upload.id + TAIL

    def bury(self, id: str) -> None:
        """Free the bytes of a partial that was taken over."""
        with contextlib.suppress(UploadNotFound):
            kept = self.find(id)
            if kept.upload.taken_by is not None:
                self.bucket.delete(id)
                self.bucket.delete(id + TAIL)

    def finals(self, part: str) -> list[str]:
        """Return the final uploads that name a partial and are not closed."""
        return [final for final in self.ledger.naming(part) if self.is_open(final)]

    def is_open(self, final: str) -> bool:
        """Whether a final upload is there, and neither finished nor failed."""
        try:
            upload = self.find(final).upload
        except StoreUnavailable:
            raise
        except StoreError:
            return False
        return not upload.finished and upload.failed is None

    # Appends.

    def open(self, writer: Upload, start: int, known: Kept | None) -> State:
        """Return where the bytes of an upload are that is to be appended to."""
        kept = known or self.find(writer.id)
        _refuse_overtaken(kept.upload, writer)
        if not kept.state.end <= start <= kept.state.size:
            problem = f"cannot go on from {start}, it has {kept.state.end} and a tail"
            raise StoreError(f"Upload {writer.id!r} {problem}.")
        return kept.state

    def fetch_tail(self, writer: Upload, state: State, spool: Spool) -> None:
        """Read the tail into a spool.

        Raises:
            StoreUnavailable: it is not there any more, or not what it was; the record says so now.
        """
        if self._pour_tail(writer.id, state, spool) != state.crc:
            self.note(writer, replace(state, tail=0, crc=0), {state})
            raise StoreUnavailable(f"the tail of upload {writer.id} is gone; it is shorter now")

    def _pour_tail(self, id: str, state: State, spool: Spool) -> int | None:
        """Read the tail into a spool; return its CRC-32, or None where it is not there whole."""
        try:
            body = self.bucket.open(id + TAIL, 0, state.tail)
        except Missing:
            return None
        except Rejected as error:
            if error.code == "InvalidRange":
                return None
            raise
        with map_errors(), contextlib.closing(body):
            at = 0
            while block := body.read(BLOCK):
                if spool.write(memoryview(block), at) < len(block):
                    raise StoreFull
                at += len(block)
        return spool.crc(at) if at == state.tail else None

    def begin(self, writer: Upload, state: State, mine: Collection[State]) -> State:
        """Begin a multipart upload, and record it before any part is sent."""
        stored = self.check(writer, mine)
        begun = replace(state, multipart=self.bucket.begin(writer.id, headers_of(stored.upload)))
        return self._write(_raised(stored.upload, writer), begun)

    def send(self, id: str, multipart: str, number: int, data: Readable | bytes) -> str:
        """Send a part; return its entity tag."""
        try:
            etag = self.bucket.send(id, multipart, number, data)
        except Missing as error:
            self._seen.pop(id, None)
            raise StoreUnavailable(f"the parts of upload {id} have been taken away") from error
        self._saw(id)
        return etag

    def check(self, writer: Upload, mine: Collection[State]) -> Kept:
        """Read the record of an upload that is about to be changed.

        Raises:
            Overtaken: somebody else has changed it.
        """
        kept = self.find(writer.id)
        _refuse_overtaken(kept.upload, writer)
        if kept.state not in mine:
            raise Overtaken(writer.id)
        return kept

    def note(
        self, writer: Upload, state: State, mine: Collection[State], rest: Rest | None = None
    ) -> State:
        """Record how far an upload is; nothing else of its record changes. Return the new state."""
        stored = self.check(writer, mine)
        return self._keep(_raised(stored.upload, writer), stored.state, state, rest)

    def seal(
        self, upload: Upload, state: State, mine: Collection[State], rest: Rest | None
    ) -> State:
        """Make ``upload`` the record, with the parts of ``state`` and the rest as its bytes; make
        its object if it is finished. Return where its bytes are now."""
        stored = self.check(upload, mine)
        upload = replace(upload, pending=None)
        if upload.finished and state.multipart is None and (rest or not state.tail):
            self.bucket.publish(upload.id, rest.data if rest else b"", headers_of(upload))
            return self._write(upload, State(state.schedule))
        recorded = replace(upload, finished=False, announced=False)
        state = self._keep(recorded, stored.state, state, rest)
        return self._write(upload, self._finish(upload, state)) if upload.finished else state

    def _keep(self, upload: Upload, stored: State, state: State, rest: Rest | None) -> State:
        if rest is not None and rest.size:
            wanted = replace(state, tail=rest.size, crc=rest.spool.crc(rest.size))
            if tail_in_the_way(stored, wanted):
                self._write(upload, state)
            self.bucket.put(upload.id + TAIL, rest.data)
            state = wanted
        return self._write(upload, state)

    def drop_tail(self, id: str) -> None:
        """Delete a tail whose bytes are elsewhere. If that fails it is in nobody's way."""
        with contextlib.suppress(StoreError):
            self.bucket.delete(id + TAIL)

    # Finishing.

    def assemble(self, upload: Upload, state: State) -> None:
        """Make the object of an upload all of whose bytes are recorded; again if need be.

        Raises:
            StoreError: it can never be made; the record says so now.
        """
        match way(upload, state):
            case Way.PUT:
                with self._tail(upload, state) as data:
                    self.bucket.publish(upload.id, data, headers_of(upload))
            case Way.LAST_PART:
                with self._tail(upload, state) as data:
                    self._complete(upload, state, data)
            case Way.COMPLETE:
                self._complete(upload, state, None)

    def _finish(self, upload: Upload, state: State) -> State:
        """Make the object; return what is still to be known of how it was made."""
        self.assemble(upload, state)
        return State(state.schedule, state.multipart)

    @contextlib.contextmanager
    def _tail(self, upload: Upload, state: State) -> Iterator[Readable | bytes]:
        if not state.tail:
            yield b""
            return
        with contextlib.closing(Spool(self._place.spool_directory)) as spool:
            self.fetch_tail(upload, state, spool)
            yield Rest(spool, state.tail).data

    def _complete(self, upload: Upload, state: State, last: Readable | bytes | None) -> None:
        assert state.multipart is not None
        self._seen.pop(upload.id, None)
        etags = state.etags
        try:
            if last is not None:
                etags += (self.bucket.send(upload.id, state.multipart, state.next, last),)
            self.bucket.complete(upload.id, state.multipart, etags)
        except Missing:
            if self.bucket.size(upload.id) != upload.length:
                raise StoreUnavailable(LOST) from None  # whoever looks next sees that it failed
        except Rejected as error:
            if error.code in _MISMATCHED:
                unfinished = replace(upload, finished=False, announced=False)
                self._write(replace(unfinished, failed=MISMATCH), state)
            raise

    def _fate(self, kept: Kept) -> Fate:
        """Look at S3 for what became of the multipart upload of an upload that is not finished."""
        id, multipart = kept.upload.id, kept.state.multipart
        if multipart is not None and self.bucket.is_open(id, multipart):
            self._saw(id)
            return Fate.OPEN
        found = self.bucket.size(id) if kept.upload.complete else None
        return fate(kept.upload, listed=False, found=found)

    # Removing.

    def _find_anything(self, id: str) -> Kept | None:
        """Return an upload, or None for one whose record is broken."""
        try:
            return self.find(id)
        except (UploadNotFound, StoreUnavailable):
            raise
        except StoreError:
            return None

    def _abort_all(self, id: str, kept: Kept | None) -> None:
        """Abort every multipart upload of just this upload's object, recorded or not: one whose
        beginning was never answered is known to S3 alone. Never the one that was completed."""
        recorded = kept.state.multipart if kept else None
        wanted = {each.multipart for each in self._unfinished(id) if each.name == id}
        if recorded is not None:
            completed = kept is not None and self._was_completed(kept)
            wanted = wanted - {recorded} if completed else wanted | {recorded}
        for multipart in wanted:
            self.bucket.abort(id, multipart)

    def _unfinished(self, id: str) -> list[Unfinished]:
        try:
            return list(self.bucket.unfinished(id))
        except Rejected:
            return []  # some servers cannot list them

    def _was_completed(self, kept: Kept) -> bool:
        return kept.upload.finished or (
            kept.upload.complete and self.bucket.size(kept.upload.id) is not None
        )

    # Small things.

    def _write(self, upload: Upload, state: State) -> State:
        self.bucket.put(upload.id + INFO, self._word(upload, state))
        return state

    def _write_new(self, upload: Upload, state: State) -> None:
        self.bucket.put_new(upload.id + INFO, self._word(upload, state))

    def _word(self, upload: Upload, state: State) -> bytes:
        key = self.bucket.key(upload.id)
        return encode(replace(upload, foreign=False), state, self.bucket.name, key)

    def _schedule(self, upload: Upload) -> parts.Schedule:
        place = self._place
        return parts.choose(upload.length, place.part_size, grows=not place.equal_parts)

    def _saw(self, id: str) -> None:
        if len(self._seen) >= MOST_SEEN:
            self._seen.clear()
        self._seen[id] = monotonic()

    def _was_seen(self, id: str) -> bool:
        return self._seen.get(id, -SEEN_FOR) > monotonic() - SEEN_FOR


def _refuse_overtaken(stored: Upload, writer: Upload) -> None:
    if stored.fence > writer.fence:
        raise Overtaken(writer.id)


def _raised(stored: Upload, writer: Upload) -> Upload:
    """Return a record as it is, under the writer's lease; what was pending has been cut off."""
    return replace(stored, fence=max(stored.fence, writer.fence), pending=None)


def headers_of(upload: Upload) -> dict[str, str]:
    """Return what the metadata say of the object: its type, and its name."""
    metadata = words(upload)["MetaData"]
    kinds = (metadata.get(name) for name in ("filetype", "type", "contentType"))
    names = (metadata.get(name) for name in ("filename", "name"))
    headers = {}
    if (kind := next(filter(None, kinds), None)) and _TYPE.fullmatch(kind):
        headers["ContentType"] = kind
    if name := next(filter(None, names), None):
        headers["ContentDisposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return headers
