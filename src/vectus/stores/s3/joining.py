"""Puts the objects of partials together to that of a final upload: S3 copies what it can by itself,
what is too small for that passes through here.

A join may be killed anywhere and called again: it begins anew, unless the object is there. Nothing
is moved: partials that were taken over are deleted by ``Vault.bury``. Blocking; stopped between two
parts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from vectus.errors import StoreError, StoreFull, StoreUnavailable, UploadNotFound
from vectus.protocol.upload import Upload
from vectus.stores.s3.bucket import Readable
from vectus.stores.s3.client import Missing, Rejected, map_errors
from vectus.stores.s3.naming import name_of
from vectus.stores.s3.parts import Piece, Range, choose, cut, cut_equally
from vectus.stores.s3.pen import Writer
from vectus.stores.s3.place import Place
from vectus.stores.s3.spool import BLOCK, Shelf, Spool, SpoolReader
from vectus.stores.s3.vault import Vault

AT_ONCE = 4
"""How many parts are made at once."""


class Stopped(Exception):
    """The join was told to stop."""


class Join:
    """The joining of one final upload.

    Args:
        vault: where it and its partials are.
        place: how they are kept.
        final: the final upload.
        parts: its partials, complete, in order; one may come twice.
        stopped: says whether to stop.
    """

    def __init__(
        self,
        vault: Vault,
        place: Place,
        final: Upload,
        parts: Sequence[Upload],
        stopped: Callable[[], bool],
    ) -> None:
        self._vault = vault
        self._bucket = vault.bucket
        self._objects = vault.objects
        self._place = place
        self._final = final
        self._name = name_of(final)
        self._parts = parts
        self._sizes = [part.offset for part in parts]
        self._stopped = stopped

    def run(self) -> None:
        """Join, or return because of being stopped."""
        final, total = self._final, sum(self._sizes)
        self._vault.find(final.id)
        if self._objects.size(final) == total:
            self._objects.keep_tags(final)
            return  # nothing else makes it
        self._make_sources()
        if not total:
            self._objects.claims.check(final)
            self._objects.put(final, b"")
            return
        with contextlib.suppress(Stopped):
            self._join(total)

    def _make_sources(self) -> None:
        """A partial may be complete without being finished yet; then it has no object."""
        for part in {part.id: part for part in self._parts}.values():
            kept = self._vault.find(part.id)
            if not kept.upload.finished and kept.upload.taken_by is None:
                self._vault.assemble(Writer(kept.upload), kept, kept.upload)
            if part.key is not None and self._objects.size(part) != part.offset:
                raise UploadNotFound(part.id)

    def _join(self, total: int) -> None:
        multipart = self._begin()
        pieces = cut(self._sizes, self._place.smallest, equal=self._place.equal_parts)
        made = self._make(multipart, pieces)
        if made is None:  # the server cannot copy, and may not let parts be sent again either
            multipart = self._begin()
            pieces = cut_equally(self._sizes, choose(total, self._place.part_size).size)
            made = self._make_all(multipart, pieces, self._stream)
        self._objects.claims.check(self._final)
        self._objects.complete(self._final, multipart, tuple(made))
        if self._objects.size(self._final) != total:
            raise StoreError(f"The joined upload {self._final.id!r} is not as long as its parts.")

    def _begin(self) -> str:
        """Begin a multipart upload; what earlier joins had begun is dropped, answered or not. None
        of it was completed, for the object is not there."""
        begun = self._vault.multiparts(self._final)
        if noted := self._vault.ledger.multipart(self._final.id):
            begun.add(noted)
        for before in begun:
            self._bucket.abort(self._name, before)
        multipart = self._objects.begin(self._final)
        self._vault.ledger.enlist(self._final.id, self._final.parts, multipart)
        return multipart

    def _make(self, multipart: str, pieces: Sequence[Piece]) -> list[str] | None:
        """Make all parts, copying where that can be; return None if the server does not copy, or
        says that it did and did not."""
        try:
            made = self._make_all(multipart, pieces, self._copy_or_stream)
        except Rejected:
            return None
        sizes = self._bucket.part_sizes(self._name, multipart)
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
        with contextlib.closing(Spool(Shelf(self._place.spool_directory))) as spool:
            at = 0
            for span in piece:
                self._fetch(span, spool, at)
                at += span.size
            data: Readable = SpoolReader(spool, at)
            try:
                return self._bucket.send(self._name, multipart, number, data)
            except Missing:
                raise StoreUnavailable("a join was taken away under way") from None

    def _fetch(self, span: Range, spool: Spool, at: int) -> None:
        source, end = self._parts[span.source], at + span.size
        try:
            body = self._objects.open(source, span.start, span.stop)
        except Missing:
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
