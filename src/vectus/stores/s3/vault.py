"""One upload in a bucket, one step at a time; every call blocks.

The order of the steps is what makes a kill at any of them, or an answer that never comes, harmless:

* created: the bytes first, the record last; without a record nothing is an upload.
* appended: parts are sent, then recorded. A new tail is put over an old one only where it begins
  with the same bytes, or where the record says already that those are in a part; then it is
  recorded. An old tail is deleted once the upload is closed.
* finished: that all bytes are there is recorded, the object is made, and only then is the finish
  recorded. Each can be repeated.
* removed: the record goes last.

That nobody else changes it meanwhile is for ``pen.py`` to see to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from vectus.errors import (
    Overtaken,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UploadNotFound,
)
from vectus.protocol.upload import ID, Role, Upload
from vectus.stores.s3 import parts
from vectus.stores.s3.bucket import Bucket, Listed, Readable, Unfinished
from vectus.stores.s3.client import Missing, Rejected, map_errors
from vectus.stores.s3.creating import Creations
from vectus.stores.s3.layout import (
    LOST,
    Fate,
    State,
    Way,
    fate,
    in_doubt,
    judged,
    own_bytes,
    tail_in_the_way,
    way,
    whole,
)
from vectus.stores.s3.ledger import Ledger
from vectus.stores.s3.naming import INFO, TAIL, name_of
from vectus.stores.s3.objects import Objects
from vectus.stores.s3.pen import Pen, Writer, raised, refuse_overtaken
from vectus.stores.s3.place import Place
from vectus.stores.s3.record import Kept
from vectus.stores.s3.salvaging import REFUSALS, Salvage
from vectus.stores.s3.sightings import Sightings
from vectus.stores.s3.spool import BLOCK, Shelf, Spool, SpoolReader


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
        self.objects = Objects(bucket)
        self.claims = self.objects.claims
        self._pen = Pen(bucket, self.objects)
        self.find = self._pen.find
        self._salvage = Salvage(bucket, self._pen)
        self.ledger = Ledger(bucket)
        self._creations = Creations(bucket, self.objects, self.ledger, self._pen)
        self._place = place
        self.sightings = Sightings()

    # Records.

    def load(self, id: str) -> Kept:
        """Return what the record says, failed if its bytes have been taken away since."""
        kept = self.find(id)
        return self._ask(kept) if in_doubt(kept.upload, kept.state) else kept

    def recall(self, id: str) -> Kept:
        """Return the same, without asking S3 for parts that were there a moment ago."""
        kept = self.find(id)
        known = self.sightings.believes(id, kept.state.seen)
        return self._ask(kept) if in_doubt(kept.upload, kept.state) and not known else kept

    def _ask(self, kept: Kept) -> Kept:
        return replace(kept, upload=judged(kept.upload, self._fate(kept)))

    def create(self, upload: Upload, data: bytes) -> None:
        """Keep a new upload with its first bytes, or nothing of it."""
        if not ID.fullmatch(upload.id):
            raise ValueError(f"{upload.id!r} is no upload's id.")
        self._creations.make(upload, data, self._schedule(upload))

    def save(self, upload: Upload) -> None:
        """Replace a record; make the object of an upload that is finished now."""
        kept, writer = self.find(upload.id), Writer(upload)
        refuse_overtaken(kept.upload, upload)
        if upload.finished and not kept.upload.finished:
            self._finish(writer, kept, upload)
        else:
            self._pen.write(writer, kept, upload, kept.state)
        if upload.role is Role.FINAL and upload.closed:
            self.ledger.strike(upload.id)

    def remove(self, id: str) -> None:
        """Forget an upload, readable or not, and all that S3 has of it."""
        kept = self._find_anything(id)
        self._abort_all(id, kept)
        upload = kept.upload if kept else Upload(id)
        self.objects.delete(upload)
        self.bucket.delete(id + TAIL)
        self.claims.drop(upload)
        if kept is None or kept.upload.role is Role.FINAL:
            self.ledger.strike(id)
        self.bucket.delete(id + INFO)

    def unclaim(self, note: Listed, id: str, key: str) -> None:
        """Forget whose a key was to be that nobody waits for, and delete what is under it of an
        upload that was never recorded."""
        if self.bucket.size(id + INFO) is None:
            self.objects.delete(Upload(id, key=key))
        self.claims.forget(note)

    def readable(self, upload: Upload) -> str:
        """Return the name of the object that has an upload's bytes.

        Raises:
            UploadNotFound: the upload is not there any more.
            StoreError: they are in parts, which nobody can read.
        """
        if not ID.fullmatch(upload.id):
            raise UploadNotFound(upload.id)
        if upload.finished and upload.offset:
            return name_of(upload)
        kept = self.find(upload.id)
        if kept.upload.finished or not own_bytes(kept.upload):
            return name_of(upload)
        if kept.state.etags:
            raise StoreError(f"Upload {upload.id!r} is not finished, so it cannot be read yet.")
        return upload.id + TAIL

    def bury(self, id: str) -> None:
        """Free the bytes of a partial that was taken over."""
        with contextlib.suppress(UploadNotFound):
            kept = self.find(id)
            if kept.upload.taken_by is not None:
                self.objects.delete(kept.upload)
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
        return not upload.closed

    # Appends.

    def open(self, writer: Writer, start: int, known: Kept | None) -> Kept:
        """Return the record, and where its bytes are, of an upload that is to be appended to."""
        kept = known or self.find(writer.id)
        refuse_overtaken(kept.upload, writer.upload)
        if not kept.state.end <= start <= kept.state.size:
            problem = f"cannot go on from {start}, it has {kept.state.end} and a tail"
            raise StoreError(f"Upload {writer.id!r} {problem}.")
        return kept

    def fetch_tail(self, writer: Writer, kept: Kept, spool: Spool) -> None:
        """Read the tail into a spool.

        Raises:
            StoreUnavailable: it is not there any more, or not what it was; the record says so now.
        """
        if self._pour_tail(writer.id, kept.state, spool) != kept.state.crc:
            self.note(writer, kept, replace(kept.state, tail=0, crc=0), {kept.state})
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

    def begin(self, writer: Writer, kept: Kept, mine: Collection[State]) -> Kept:
        """Begin a multipart upload, and record it before any part is sent."""
        kept = self._pen.check(writer, kept, mine)
        multipart = self.objects.begin(kept.upload)
        self.sightings.saw(writer.id)
        try:
            begun = self._dated(writer.id, replace(kept.state, multipart=multipart))
            return self._pen.write(writer, kept, raised(kept.upload, writer), begun, mine)
        except (Overtaken, UploadNotFound):
            self.bucket.abort(name_of(kept.upload), multipart)
            raise

    def send(self, upload: Upload, multipart: str, number: int, data: Readable | bytes) -> str:
        """Send a part; return its entity tag."""
        try:
            etag = self.bucket.send(name_of(upload), multipart, number, data)
        except Missing as error:
            self.sightings.doubt(upload.id)
            raise StoreUnavailable(f"the parts of {upload.id} have been taken away") from error
        self.sightings.saw(upload.id)
        return etag

    def note(
        self,
        writer: Writer,
        kept: Kept,
        state: State,
        mine: Collection[State],
        rest: Rest | None = None,
    ) -> Kept:
        """Record how far an upload is; nothing else of its record changes.

        Args:
            writer: who does.
            kept: the record as it was seen last.
            state: where the bytes are now, but for the rest.
            mine: what else it may say by now, as answers can be lost.
            rest: the bytes that shall be the tail.

        Returns:
            The record as it is now.

        Raises:
            Overtaken: somebody else has changed it.
        """
        kept = self._pen.check(writer, kept, mine)
        return self._keep(writer, kept, raised(kept.upload, writer), state, mine, rest)

    def seal(
        self,
        writer: Writer,
        kept: Kept,
        state: State,
        mine: Collection[State],
        rest: Rest | None,
    ) -> Kept:
        """Make the writer's upload the record, with the parts of ``state`` and the rest as its
        bytes; make its object if it is finished. See ``note``."""
        kept = self._pen.check(writer, kept, mine)
        upload = replace(writer.upload, pending=None)
        size = state.end + (rest.size if rest else state.tail)
        if upload.finished and not whole(upload, size):
            raise Overtaken(upload.id)
        if upload.finished and state.multipart is None and (rest or not state.tail):
            kept = self._pen.publish(writer, kept, upload, rest.data if rest else b"")
            return self._close(writer, kept, upload)
        recorded = replace(upload, finished=False, announced=False)
        kept = self._keep(writer, kept, recorded, state, mine, rest)
        return self._finish(writer, kept, upload) if upload.finished else kept

    def _keep(
        self,
        writer: Writer,
        kept: Kept,
        upload: Upload,
        state: State,
        mine: Collection[State],
        rest: Rest | None,
    ) -> Kept:
        state = self._dated(upload.id, state)
        if rest is not None and rest.size:
            wanted = replace(state, tail=rest.size, crc=rest.spool.crc(rest.size))
            if tail_in_the_way(kept.state, wanted):
                kept = self._pen.write(writer, kept, upload, state, mine)
            kept, tag = self._pen.put_tail(writer, kept, SpoolReader(rest.spool, rest.size))
            state = replace(wanted, tag=tag)
        try:
            return self._pen.write(writer, kept, upload, state, mine)
        except UploadNotFound:
            self.drop_tail(upload.id)  # it was removed meanwhile
            raise

    def _dated(self, id: str, state: State) -> State:
        return replace(state, seen=self.sightings.last(id, state.seen))

    def drop_tail(self, id: str) -> None:
        """Delete the tail of an upload that is closed. If that fails it is in nobody's way.

        While it can be appended to, nobody does: whoever lost its lock would delete another's.
        """
        with contextlib.suppress(StoreError):
            self.bucket.delete(id + TAIL)

    # Finishing.

    def assemble(self, writer: Writer, kept: Kept, upload: Upload) -> Kept:
        """Make the object of an upload all of whose bytes are recorded; again if need be.

        Raises:
            Overtaken: the record tells of other bytes than these.
            StoreUnavailable: it cannot be made now; or some of the bytes are not there as they were
                recorded, and the upload is shorter now.
            StoreError: it can never be made; the record says so now.
        """
        if not whole(upload, kept.state.size):
            self._check_made(kept, upload)
            return kept
        match way(upload, kept.state):
            case Way.PUT:
                with self._tail(writer, kept) as data:
                    return self._pen.publish(writer, kept, upload, data)
            case Way.LAST_PART:
                with self._tail(writer, kept) as data:
                    self._complete(writer, kept, upload, data)
            case Way.COMPLETE:
                self._complete(writer, kept, upload, None)
        return kept

    def _check_made(self, kept: Kept, upload: Upload) -> None:
        """Make sure that an upload has its object, whose record tells of too few bytes: it was put
        over a later one, by a writer whose lock was lost, or whom S3 obeyed late."""
        if self._fate(replace(kept, upload=upload)) is not Fate.DONE:
            raise Overtaken(upload.id)
        self.objects.keep_tags(upload)

    def _finish(self, writer: Writer, kept: Kept, upload: Upload) -> Kept:
        """Make the object, and record that the upload is finished."""
        return self._close(writer, self.assemble(writer, kept, upload), upload)

    def _close(self, writer: Writer, kept: Kept, upload: Upload) -> Kept:
        """Record an upload as finished, with what is still to be known of how it was made."""
        state = kept.state
        try:
            if writer.lease is None:  # nothing else says whose it is after what can take minutes
                kept = self._pen.check(writer, kept, {state})
            closed = self._pen.write(writer, kept, upload, State(state.schedule, state.multipart))
        except UploadNotFound:
            self.objects.delete(upload)  # it was removed meanwhile
            raise
        self.claims.drop(upload)
        if state.tail or state.tag:
            self.drop_tail(upload.id)
        return closed

    @contextlib.contextmanager
    def _tail(self, writer: Writer, kept: Kept) -> Iterator[Readable | bytes]:
        if not kept.state.tail:
            yield b""
            return
        with contextlib.closing(Spool(Shelf(self._place.spool_directory))) as spool:
            self.fetch_tail(writer, kept, spool)
            yield Rest(spool, kept.state.tail).data

    def _complete(
        self, writer: Writer, kept: Kept, upload: Upload, last: Readable | bytes | None
    ) -> None:
        state = kept.state
        assert state.multipart is not None
        self.sightings.doubt(upload.id)
        self.claims.check(upload)
        writer.check()
        etags = state.etags
        try:
            if last is not None:
                name = name_of(upload)
                etags += (self.bucket.send(name, state.multipart, state.next, last),)
                writer.check()
            self.objects.complete(upload, state.multipart, etags)
        except Missing:
            if self.objects.size(upload) != upload.length:
                raise StoreUnavailable(LOST) from None  # whoever looks next sees that it failed
            self.objects.keep_tags(upload)
        except Rejected as error:
            if error.code in REFUSALS:
                self._salvage.run(writer, kept, etags)
            raise

    def _fate(self, kept: Kept) -> Fate:
        """Look at S3 for what became of the multipart upload of an upload that is not finished."""
        name, multipart = name_of(kept.upload), kept.state.multipart
        if multipart is not None and self.bucket.is_open(name, multipart):
            self.sightings.saw(kept.upload.id)
            return Fate.OPEN
        self.sightings.doubt(kept.upload.id)
        return fate(kept.upload, listed=False, found=self.objects.size(kept.upload))

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
        upload = kept.upload if kept else Upload(id)
        wanted = self.multiparts(upload)
        if recorded is not None:
            completed = kept is not None and self._was_completed(kept)
            wanted = wanted - {recorded} if completed else wanted | {recorded}
        for multipart in wanted:
            self.bucket.abort(name_of(upload), multipart)

    def multiparts(self, upload: Upload) -> set[str]:
        """Return the multipart uploads that can only be this upload's. Under a key that was chosen
        there may be others', so that what nobody recorded is left to the bucket's rules."""
        if upload.key is None:
            return {
                each.multipart for each in self._unfinished(upload.id) if each.name == upload.id
            }
        if upload.role is not Role.FINAL or self.objects.size(upload) is not None:
            return set()
        noted = self.ledger.multipart(upload.id)
        return {noted} if noted else set()

    def _unfinished(self, id: str) -> list[Unfinished]:
        try:
            return list(self.bucket.unfinished(id))
        except Rejected:
            return []  # some servers cannot list them

    def _was_completed(self, kept: Kept) -> bool:
        return kept.upload.finished or (
            kept.upload.complete and self.objects.size(kept.upload) is not None
        )

    # Small things.

    def _schedule(self, upload: Upload) -> parts.Schedule:
        place = self._place
        return parts.choose(upload.length, place.part_size, grows=not place.equal_parts)
