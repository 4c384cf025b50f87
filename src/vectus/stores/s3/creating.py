"""Makes new uploads in a bucket: the bytes first, the record last. Without a record nothing is an
upload, and whatever a record may count on is never taken back.

A put that was not answered may be obeyed long afterwards. So when it is the record's, all that was
put for it stays; what has no record an hour later a sweep removes (``walk.py``, ``doubts.py``).
Every call blocks.
"""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import replace

from vectus.errors import KeyTaken, StoreError, StoreFull, StoreUnavailable, UploadExists
from vectus.protocol.upload import Role, Upload
from vectus.stores.s3.bucket import Bucket
from vectus.stores.s3.client import Rejected, Taken
from vectus.stores.s3.layout import State
from vectus.stores.s3.ledger import Ledger
from vectus.stores.s3.naming import INFO, TAIL
from vectus.stores.s3.objects import Objects
from vectus.stores.s3.parts import Schedule
from vectus.stores.s3.pen import Pen

_REFUSALS = (Rejected, StoreFull, KeyTaken)
"""Answers after which what was asked for will not be done. After all others it may be."""


class Creations:
    """The creations of one store.

    Args:
        bucket: where.
        objects: what uploads there become.
        ledger: notes which are joined.
        pen: writes their records.
    """

    def __init__(self, bucket: Bucket, objects: Objects, ledger: Ledger, pen: Pen) -> None:
        self._bucket = bucket
        self._objects = objects
        self._claims = objects.claims
        self._ledger = ledger
        self._pen = pen

    def make(self, upload: Upload, data: bytes, schedule: Schedule) -> None:
        """Keep a new upload with its first bytes, or nothing of it.

        Args:
            upload: its record.
            data: its bytes.
            schedule: how long its parts will be.
        """
        tail = b"" if upload.finished else data
        state = State(schedule, tail=len(tail), crc=zlib.crc32(tail))
        self._take_key(upload)
        try:
            tag = self._put_first(upload, data)
            self._record(upload, replace(state, tag=tag))
        except Taken:
            raise UploadExists(upload.id) from None
        except _REFUSALS:
            self._undo(upload)
            raise
        except StoreError:
            self._leave(upload)
            raise
        if upload.finished:
            self._claims.drop(upload)

    def _take_key(self, upload: Upload) -> None:
        try:
            self._claims.take(upload)
        except StoreUnavailable:
            self._claims.drop(upload)
            raise

    def _put_first(self, upload: Upload, data: bytes) -> str:
        """Put what a record that is about to be made will count on; return a tail's entity tag."""
        if upload.role is Role.FINAL:
            self._ledger.enlist(upload.id, upload.parts)
        elif upload.finished:
            self._objects.put_new(upload, data)
        elif data:
            return self._bucket.put_new(upload.id + TAIL, data, upload.id)
        return ""

    def _record(self, upload: Upload, state: State) -> None:
        try:
            self._pen.create(upload, state)
        except Taken:
            if upload.finished:
                self._objects.delete(upload)  # it was put where nothing was
            raise

    def _undo(self, upload: Upload) -> None:
        """Delete what was put for a record that will never be made."""
        with contextlib.suppress(StoreError):
            if self._bucket.size(upload.id + INFO) is not None:
                return  # it was made, and an earlier try's answer was lost
            if upload.role is Role.FINAL:
                self._ledger.strike(upload.id)
            if upload.finished:
                self._objects.delete(upload)
            else:
                self._bucket.delete(upload.id + TAIL)
            self._claims.drop(upload)

    def _leave(self, upload: Upload) -> None:
        """Leave what was put, as an upload may come, or an object that is to be its, or nothing.

        Without an object the key that was chosen is for the next request: if the upload comes
        after all it has no need of it, as whoever makes an object looks who has the key. Under a
        key whose object may be there, or still come, nobody else could ever finish an upload: it
        is held until a sweep settles that.
        """
        if not upload.finished:
            self._claims.drop(upload)
