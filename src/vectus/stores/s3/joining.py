"""Puts the objects of partials together to that of a final upload: S3 copies what it can by itself,
what is too small for that passes through here.

A join may be killed anywhere and called again: it begins anew, unless the object is there. Nothing
is moved: partials that were taken over are deleted by ``Vault.bury``. Whoever lost the lock of the
joining may find that another join is under way, or done: so there is a look at it before each call
that changes something. Blocking; stopped between two parts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from vectus.contracts import Lease
from vectus.errors import Overtaken, StoreError, StoreFull, StoreUnavailable, UploadNotFound
from vectus.protocol.upload import Upload
from vectus.stores.s3.bucket import Readable
from vectus.stores.s3.client import Missing, Rejected, map_errors
from vectus.stores.s3.layout import Fate, counted, fate, in_doubt, judged
from vectus.stores.s3.naming import name_of
from vectus.stores.s3.parts import Piece, Range, choose, cut, cut_equally
from vectus.stores.s3.pen import Writer
from vectus.stores.s3.place import Place
from vectus.stores.s3.record import Kept
from vectus.stores.s3.spool import BLOCK, Shelf, Spool, SpoolReader
from vectus.stores.s3.vault import Vault

AT_ONCE = 4
"""How many parts are made at once."""

TAKEN_AWAY = "a join was taken away under way"
"""Why one begins anew whose multipart upload somebody aborted."""


class Stopped(Exception):
    """The join was told to stop."""


class Join:
    """The joining of one final upload.

    Args:
        vault: where it and its partials are.
        place: how they are kept.
        final: the final upload.
        parts: its partials, complete, in order; one may come twice.
        lease: of the joining, or None for one that is never lost.
        stopped: says whether to stop.
    """

    def __init__(
        self,
        vault: Vault,
        place: Place,
        final: Upload,
        parts: Sequence[Upload],
        lease: Lease | None,
        stopped: Callable[[], bool],
    ) -> None:
        self._vault = vault
        self._bucket = vault.bucket
        self._objects = vault.objects
        self._place = place
        self._final = final
        self._writer = Writer(final, lease)
        self._name = name_of(final)
        self._parts = parts
        self._sizes = [part.offset for part in parts]
        self._stopped = stopped

    def run(self) -> None:
        """Join, or return because of being stopped."""
        final, total = self._final, sum(self._sizes)
        self._vault.find(final.id)
        if self._objects.size(final) == total:
            self._writer.check()
            self._objects.keep_tags(final)
            return  # nothing else makes it
        try:
            self._make_sources()
            if total:
                with contextlib.suppress(Stopped):
                    self._join(total)
                return
        except UploadNotFound:
            self._drop_begun()  # nobody will ever go on with it
            raise
        self._objects.claims.check(final)
        self._writer.check()
        self._objects.put(final, b"")

    def _make_sources(self) -> None:
        """See to it that each partial has its object. One that is complete may not be finished; and
        as they were taken over before that once, a tombstone may not be either."""
        for part in {part.id: part for part in self._parts}.values():
            kept = self._vault.find(part.id)
            if not kept.upload.finished:
                self._make_source(kept)
            if part.key is not None and self._objects.size(part) != part.offset:
                raise UploadNotFound(part.id)

    def _make_source(self, kept: Kept) -> None:
        own = self._judge(kept)
        if own.failed is not None or not own.complete:
            if kept.upload.taken_by is not None:
                raise UploadNotFound(own.id)  # nobody can send it again
            raise StoreUnavailable(f"{own.id} has fewer bytes than it had")
        self._writer.check()
        self._vault.assemble(Writer(kept.upload, self._writer.lease), kept, own)

    def _judge(self, kept: Kept) -> Upload:
        """Return a partial as it would be if nobody had taken it over."""
        own = counted(replace(kept.upload, taken_by=None), kept.state)
        if not in_doubt(own, kept.state):
            return own
        assert kept.state.multipart is not None
        if self._bucket.is_open(name_of(own), kept.state.multipart):
            return judged(own, Fate.OPEN)
        return judged(own, fate(own, listed=False, found=self._objects.size(own)))

    def _join(self, total: int) -> None:
        multipart = self._begin()
        pieces = cut(self._sizes, self._place.smallest, equal=self._place.equal_parts)
        made = self._make(multipart, pieces)
        if made is None:  # the server cannot copy, and may not let parts be sent again either
            multipart = self._begin()
            pieces = cut_equally(self._sizes, choose(total, self._place.part_size).size)
            made = self._make_all(multipart, pieces, self._stream)
        self._objects.claims.check(self._final)
        self._writer.check()
        try:
            self._objects.complete(self._final, multipart, tuple(made))
        except Missing:
            raise StoreUnavailable(TAKEN_AWAY) from None
        if self._objects.size(self._final) != total:
            raise StoreError(f"The joined upload {self._final.id!r} is not as long as its parts.")

    def _begin(self) -> str:
        """Begin a multipart upload, and note it."""
        self._drop_begun()
        self._writer.check()
        multipart = self._objects.begin(self._final)
        try:
            self._writer.check()
        except Overtaken:
            self._bucket.abort(self._name, multipart)  # nobody else knows of it
            raise
        self._vault.ledger.enlist(self._final.id, self._final.parts, multipart)
        return multipart

    def _drop_begun(self) -> None:
        """Abort what earlier joins had begun, answered or not. None of it was completed, for the
        object is not there."""
        begun = self._vault.multiparts(self._final)
        if noted := self._vault.ledger.multipart(self._final.id):
            begun.add(noted)
        for before in begun:
            self._writer.check()
            self._bucket.abort(self._name, before)

    def _make(self, multipart: str, pieces: Sequence[Piece]) -> list[str] | None:
        """Make all parts, copying where that can be; return None if the server does not copy, or
        says that it did and did not."""
        try:
            made = self._make_all(multipart, pieces, self._copy_or_stream)
            sizes = self._bucket.part_sizes(self._name, multipart)
        except Rejected:
            return None
        except Missing:
            raise StoreUnavailable(TAKEN_AWAY) from None
        wanted = {number: _size(piece) for number, piece in enumerate(pieces, 1)}
        return made if sizes == wanted else None

    def _make_all(
        self,
        multipart: str,
        pieces: Sequence[Piece],
        make: Callable[[str, int, Piece], str],
    ) -> list[str]:
        def one(numbered: tuple[int, Piece]) -> str:
            if self._stopped():
                raise Stopped
            self._writer.check()
            return make(multipart, *numbered)

        with ThreadPoolExecutor(AT_ONCE, "vectus-join-part") as pool:
            try:
                return list(pool.map(one, enumerate(pieces, 1)))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _copy_or_stream(self, multipart: str, number: int, piece: Piece) -> str:
        if len(piece) == 1:
            (span,) = piece
            name, source = self._name, name_of(self._parts[span.source])
            try:
                return self._bucket.copy(name, multipart, number, source, span.start, span.stop)
            except Missing:
                pass  # it is gone, or the server does not find some keys that are there
        return self._stream(multipart, number, piece)

    def _stream(self, multipart: str, number: int, piece: Piece) -> str:
        """Make a part of bytes that pass through here."""
        shelf, lease = Shelf(self._place.spool_directory), self._writer.lease
        with contextlib.closing(Spool(shelf, lease)) as spool:
            at = 0
            for span in piece:
                self._fetch(span, spool, at)
                at += span.size
            data: Readable = SpoolReader(spool, at)
            self._writer.check()
            try:
                return self._bucket.send(self._name, multipart, number, data)
            except Missing:
                raise StoreUnavailable(TAKEN_AWAY) from None

    def _fetch(self, span: Range, spool: Spool, at: int) -> None:
        source, end = self._parts[span.source], at + span.size
        try:
            body = self._objects.open(source, span.start, span.stop)
        except Missing:
            if self._objects.size(source) is not None:
                raise StoreUnavailable("a partial was not found, and is there") from None
            raise UploadNotFound(source.id) from None
        with map_errors(), contextlib.closing(body):
            for block in iter(partial(body.read, BLOCK), b""):
                if spool.write(memoryview(block), at) < len(block):
                    raise StoreFull
                at += len(block)
        if at != end:
            raise StoreUnavailable("a partial came shorter than it is")


def _size(piece: Piece) -> int:
    return sum(span.size for span in piece)
