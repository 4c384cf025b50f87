"""Changes what S3 has of an upload, as long as nobody else does.

Nobody but the holder of an upload's lock changes it; but locks can be lost, and whoever lost one
may be stopped before any call, and go on when the upload is another's. So a record is replaced only
where it is the one that the writer saw, and so is a tail, and an object is made where there is
none: by conditional puts. Where the server knows none, every change of a record reads it again, and
refuses if somebody with a later lease wrote it, or if its bytes are not where the writer saw them.

Whatever is in the way of a put is replaced only after the record has been written anew: then others
who are at work on the same upload fail, before what they put counts. Every call blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from vectus.contracts import Lease
from vectus.errors import Overtaken, UploadNotFound
from vectus.protocol.upload import ID, Upload
from vectus.stores.s3.bucket import Bucket, Readable
from vectus.stores.s3.client import Missing, Taken
from vectus.stores.s3.layout import State, counted
from vectus.stores.s3.naming import INFO, TAIL, name_of
from vectus.stores.s3.objects import Objects
from vectus.stores.s3.record import Kept, decode, encode


@dataclass(frozen=True, slots=True)
class Writer:
    """Who changes an upload.

    Args:
        upload: under its lease's number.
        lease: its lease, or None for one that is never lost.
    """

    upload: Upload
    lease: Lease | None = None

    @property
    def id(self) -> str:
        """The upload's id."""
        return self.upload.id

    @property
    def lost(self) -> bool:
        """Whether somebody else may be at work on the upload by now."""
        return self.lease is not None and self.lease.lost

    def check(self) -> None:
        """Raise if it must not write any more."""
        if self.lost:
            raise Overtaken(self.id)


class Pen:
    """Writes into one bucket.

    Args:
        bucket: which one.
        objects: what uploads there become.
    """

    def __init__(self, bucket: Bucket, objects: Objects) -> None:
        self._bucket = bucket
        self._objects = objects

    def find(self, id: str) -> Kept:
        """Return what the record of an upload says, its offset as its state tells.

        Raises:
            UploadNotFound: there is none.
            RecordBroken: it cannot be read.
        """
        if not ID.fullmatch(id):
            raise UploadNotFound(id)
        try:
            raw, tag = self._bucket.get_tagged(id + INFO)
        except Missing:
            raise UploadNotFound(id) from None
        kept = decode(id, raw, tag)
        return replace(kept, upload=counted(kept.upload, kept.state))

    def create(self, upload: Upload, state: State) -> None:
        """Write the record of a new upload.

        Raises:
            Taken: there is one.
        """
        self._bucket.put_new(upload.id + INFO, self._word(upload, state))

    def check(self, writer: Writer, kept: Kept, mine: Collection[State]) -> Kept:
        """Return the record of an upload that is about to be changed, as it is now. Where puts have
        conditions nobody looks: it is as it was seen last, or will not be changed.

        Args:
            writer: who is about to change it.
            kept: how it was seen last.
            mine: where else its bytes may be by now, as answers can be lost.

        Raises:
            Overtaken: somebody else has changed it.
        """
        writer.check()
        return kept if self._bucket.conditional else self._look(writer, mine)

    def write(
        self,
        writer: Writer,
        kept: Kept,
        upload: Upload,
        state: State,
        mine: Collection[State] = (),
    ) -> Kept:
        """Replace a record that is as it was seen last; or as we left it, where an answer was lost.
        Return the new one; see ``check``."""
        writer.check()
        try:
            return self._replace(kept, upload, state)
        except (Taken, Missing):
            kept = self._look(writer, {*mine, kept.state, state})
        if kept.upload.fence != writer.upload.fence:
            raise Overtaken(writer.id)
        writer.check()
        with _meant_for(writer):
            return self._replace(kept, upload, state)

    def put_tail(self, writer: Writer, kept: Kept, data: Readable) -> tuple[Kept, str]:
        """Put a tail over the one that was recorded last; return the record as it is now, and the
        tail's entity tag."""
        name = writer.id + TAIL
        writer.check()
        try:
            return kept, self._bucket.put_over(name, data, kept.state.tag, writer.id)
        except (Taken, Missing):
            kept = self._claim(writer, kept)
        with _meant_for(writer):
            return kept, self._bucket.put_over(name, data, self._tag(name), writer.id)

    def publish(self, writer: Writer, kept: Kept, upload: Upload, data: Readable | bytes) -> Kept:
        """Make the object of an upload in one piece; return the record as it is now."""
        self._objects.claims.check(upload)
        writer.check()
        try:
            self._objects.put_first(upload, data)
        except Taken:
            kept = self._claim(writer, kept)
            self._objects.claims.check(upload)
            with _meant_for(writer):
                self._objects.put_over(upload, data)
        return kept

    def _claim(self, writer: Writer, kept: Kept) -> Kept:
        """Write a record anew, as something is in the way that it does not know of: left by a kill,
        by an answer that was lost, or by somebody who is at work now. Those will fail."""
        kept = self.check(writer, kept, {kept.state})
        return self.write(writer, kept, raised(kept.upload, writer), kept.state)

    def _look(self, writer: Writer, mine: Collection[State]) -> Kept:
        kept = self.find(writer.id)
        refuse_overtaken(kept.upload, writer.upload)
        if kept.state not in mine:
            raise Overtaken(writer.id)
        return kept

    def _replace(self, kept: Kept, upload: Upload, state: State) -> Kept:
        state = replace(state, turn=kept.state.turn + 1)
        tag = self._bucket.put_over(upload.id + INFO, self._word(upload, state), kept.tag)
        return Kept(counted(upload, state), state, tag)

    def _word(self, upload: Upload, state: State) -> bytes:
        key = self._bucket.key(name_of(upload))
        return encode(replace(upload, foreign=False), state, self._bucket.name, key)

    def _tag(self, name: str) -> str:
        try:
            return self._bucket.tag(name)
        except Missing:
            return ""


@contextlib.contextmanager
def _meant_for(writer: Writer) -> Iterator[None]:
    """A condition fails that held just before: somebody else is at work."""
    try:
        yield
    except (Taken, Missing):
        raise Overtaken(writer.id) from None


def refuse_overtaken(stored: Upload, writer: Upload) -> None:
    """Refuse to change what was written under a later lease."""
    if stored.fence > writer.fence:
        raise Overtaken(writer.id)


def raised(stored: Upload, writer: Writer) -> Upload:
    """Return a record as it is, under the writer's lease; what was pending has been cut off."""
    return replace(stored, fence=max(stored.fence, writer.upload.fence), pending=None)
