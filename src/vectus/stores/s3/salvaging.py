"""What becomes of an upload whose parts S3 refuses to put together: what is still there counts.

A part is known by its entity tag. Somebody whom S3 obeys late, or whose lock was lost, can replace
one: by other bytes, or by the same ones under another tag, where S3 encrypts each part anew. Such a
part can be sent again; an upload that has failed is lost with all its bytes. Every call blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vectus.errors import StoreError, StoreUnavailable
from vectus.stores.s3.bucket import Bucket
from vectus.stores.s3.client import Missing, Rejected
from vectus.stores.s3.layout import LOST, Ack, State
from vectus.stores.s3.naming import name_of
from vectus.stores.s3.pen import Pen, Writer, raised
from vectus.stores.s3.record import Kept

REFUSALS = {"InvalidPart", "InvalidPartOrder", "EntityTooSmall"}
"""How S3 says that the parts are not those that it has."""

MISMATCH = "What was stored of it is not what was sent."
"""Why an upload has failed whose parts S3 does not know as we do."""

MOST_SETBACKS = 5
"""How often an upload is taken up again after S3 refused to put its parts together. What makes one
part another is rare; what does so each time would have the client send all of it for ever."""


class Salvage:
    """Takes uploads up again.

    Args:
        bucket: where they are.
        pen: writes their records.
    """

    def __init__(self, bucket: Bucket, pen: Pen) -> None:
        self._bucket = bucket
        self._pen = pen

    def run(self, writer: Writer, kept: Kept, sent: Sequence[str]) -> None:
        """Record what S3 still has of a complete upload whose parts it refuses to put together, or
        that the upload has failed.

        Args:
            writer: who finishes it.
            kept: its record.
            sent: the entity tags that S3 was told.

        Raises:
            StoreUnavailable: it goes on from what is recorded now.
            Overtaken: somebody else has changed it.
        """
        state = self._look(kept, sent)
        kept = self._pen.check(writer, kept, {kept.state})
        upload = raised(kept.upload, writer)
        if state is None:
            self._pen.write(writer, kept, replace(upload, failed=MISMATCH), kept.state)
            return
        self._pen.write(writer, kept, upload, state)
        if state.multipart is None:
            self._abort(kept)
        raise StoreUnavailable(f"S3 has other parts of {writer.id} than were recorded")

    def _look(self, kept: Kept, sent: Sequence[str]) -> State | None:
        multipart = kept.state.multipart
        assert multipart is not None
        try:
            found = self._bucket.parts(name_of(kept.upload), multipart)
        except Missing:
            raise StoreUnavailable(LOST) from None  # whoever looks next sees what became of it
        except Rejected:
            return None  # it does not tell
        return salvaged(kept.state, sent, found)

    def _abort(self, kept: Kept) -> None:
        """Abort what no record names any more. If that fails a sweep does it."""
        assert kept.state.multipart is not None
        with contextlib.suppress(StoreError):
            self._bucket.abort(name_of(kept.upload), kept.state.multipart)


def salvaged(state: State, sent: Sequence[str], found: Mapping[int, Ack]) -> State | None:
    """Return what still counts of a complete upload whose parts S3 refuses to put together, or None
    where nothing shows why.

    Bytes that are provably not there as recorded count no more, and what follows them: the upload
    ends where the unbroken run of parts does that S3 has as we do, and goes on from there.

    Args:
        state: as recorded.
        sent: the entity tags that S3 was told, of the recorded parts and, if the tail was sent as
            the last one, of that.
        found: what S3 has of it.
    """
    if state.setbacks >= MOST_SETBACKS:
        return None
    run = _run(state, sent, found)
    again = replace(state, setbacks=state.setbacks + 1)
    if run < len(state.etags):
        end = state.schedule.start_of(run + 1)
        return replace(again, etags=state.etags[:run], end=end, tail=0, crc=0)
    if run < len(sent):
        return again  # the tail is sent once more
    if any(number > len(sent) for number in found):
        # Some servers want every part to be used. Nothing can delete one, nor be read from it.
        return replace(again, multipart=None, etags=(), end=0, tail=0, crc=0)
    return None


def _run(state: State, sent: Sequence[str], found: Mapping[int, Ack]) -> int:
    """Return how many parts, from the first, S3 has as we do."""
    for number, etag in enumerate(sent, 1):
        part = found.get(number)
        stop = min(state.schedule.start_of(number + 1), state.size)
        size = stop - state.schedule.start_of(number)
        if part is None or (_bare(part.etag), part.size) != (_bare(etag), size):
            return number - 1
    return len(sent)


def _bare(etag: str) -> str:
    """Return an entity tag without its quotes, which servers put here and not there."""
    return etag.strip('"')
