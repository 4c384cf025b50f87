"""Buckets that transcripts are played on, in memory, and what is in them, seen from outside."""

from __future__ import annotations

from io import BytesIO

from s3_memory import MemoryS3, tag

from vectus.protocol.upload import Upload
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Content, S3Store

PART = 4
"""Of how many bytes a part is: less than most transcripts send, so that they make several."""

LEAST = 3
"""How many a part must have that S3 copies, so that some joins copy, and others send."""


def make_place(*, conditional: bool) -> Place:
    """Return a place whose parts are small enough for transcripts."""
    return Place("bucket", "a prefix", smallest=LEAST, part_size=PART, conditional_put=conditional)


class SeenS3(S3Store):
    """A store for looking only, by another process, as it were. Nobody can read parts through S3;
    here they are.

    Args:
        place: where to look.
        server: what is there.
    """

    def __init__(self, place: Place, server: MemoryS3) -> None:
        super().__init__(place, server)
        self._server = server

    async def read(self, upload: Upload, start: int, stop: int) -> S3Content:
        """Open the bytes that count, of an unfinished upload too."""
        state = self._vault.find(upload.id).state
        if upload.finished or not state.etags:
            return await super().read(upload, start, stop)
        assert state.multipart is not None
        parts = self._server.multiparts[state.multipart][1]
        run = [parts[number] for number in range(1, state.next)]
        assert [tag(part) for part in run] == list(state.etags)
        whole = b"".join(run) + self._tail(upload.id, state.tail)
        return S3Content(self._threads, BytesIO(whole[start:stop]), stop - start)

    def _tail(self, id: str, size: int) -> bytes:
        return self._vault.bucket.get(f"{id}.part")[:size] if size else b""
