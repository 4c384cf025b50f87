"""The request that sends one chunk: its headers, its bytes, and what was answered."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from itertools import islice
from typing import IO, Any, ParamSpec, TypeVar

from vectus.client.contracts import Source
from vectus.client.job import HELD_CHUNK, LARGEST_HELD
from vectus.client.threads import in_thread, to_end
from vectus.client.tuspy.connection import FAILURES, Incoming, Outgoing
from vectus.client.tuspy.exceptions import TusCommunicationError, TusUploadFailed
from vectus.client.tuspy.uploader.baseuploader import BaseUploader
from vectus.errors import SourceError
from vectus.protocol.dialects.tus1 import OCTETS

P = ParamSpec("P")
T = TypeVar("T")

BATCH = 4
"""Blocks that are read in one hop to a thread."""


def catch_requests_error(func: Callable[P, T]) -> Callable[P, T]:
    """Make a function raise ``TusCommunicationError`` for what httpx2 raises."""

    @wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return func(*args, **kwargs)
        except FAILURES as error:
            raise TusCommunicationError(error) from error

    return wrapper


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes ``start`` to ``stop`` of a source, as a body; can be read again for a redirect."""

    source: Source
    start: int
    stop: int

    def __iter__(self) -> Iterator[bytes]:
        return self.source.blocks(self.start, self.stop)


class AsyncChunk:
    """The same for asyncio: what lies on a disk is read in threads."""

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        blocks = iter(self._chunk)
        while batch := await self._read(blocks):
            for block in batch:
                yield block

    async def _read(self, blocks: Iterator[bytes]) -> list[bytes]:
        if self._chunk.source.replayable:
            return await to_end(_batch, blocks)
        return _batch(blocks)  # it is in memory


def _batch(blocks: Iterator[bytes]) -> list[bytes]:
    return list(islice(blocks, BATCH))


class BaseTusRequest:
    """One chunk of an upload on its way.

    Args:
        uploader: whose next chunk to send.

    Attributes:
        status_code: of the answer; None before it is there.
        response_headers: of the answer, their names in lower case.
        response_content: the answer's body.
        stream_eof: whether the chunk was the file's last.
        stop: the offset behind its last byte.
        file: the caller's stream; None for a path, whose file is open only while it is read.
    """

    def __init__(self, uploader: BaseUploader) -> None:
        self.status_code: int | None = None
        self.response_headers: dict[str, str] = {}
        self.response_content: bytes | None = None
        self.stream_eof = False
        self.stop = uploader.offset
        self.file: IO[Any] | None = uploader.file_stream
        self.verify_tls_cert = uploader.verify_tls_cert
        self.client_cert = uploader.client_cert
        self._uploader = uploader
        given = {name.lower(): value for name, value in uploader.get_headers().items()}
        self._request_headers = {
            "upload-offset": str(uploader.offset),
            "content-type": OCTETS,
            **given,
        }

    def add_checksum(self, chunk: bytes) -> None:
        """Add the checksum of the body, if the uploader wants that."""
        self._add_checksum((chunk,))

    def _add_checksum(self, blocks: Iterable[bytes]) -> None:
        if not self._uploader.upload_checksum:
            return
        rest = iter(blocks)
        hasher = self._uploader.checksum_algorithm(next(rest, b""))
        for block in rest:
            hasher.update(block)
        digest = base64.b64encode(hasher.digest()).decode()
        name = self._uploader.checksum_algorithm_name
        self._request_headers["upload-checksum"] = f"{name} {digest}"

    def _prepare(self, source: Source) -> Chunk:
        """Say which bytes are sent, and what there is to say of them."""
        start = self._uploader.offset
        held = source.hold(start, self._count(source))
        size = self._uploader.file_size
        if size is not None and held.last and held.stop < size:  # else nothing is sent for ever
            raise SourceError(
                f"{source.name} ends after {held.stop} bytes, but {size} were announced."
            )
        chunk = Chunk(source, start, held.stop)
        self.stop, self.stream_eof = held.stop, held.last
        self._add_checksum(chunk)
        if held.last and self._uploader.upload_length_deferred:
            self._request_headers["upload-length"] = str(held.stop)
        self._request_headers["content-length"] = str(held.stop - start)
        return chunk

    def _count(self, source: Source) -> int:
        """How many bytes; what can be read only once is kept in memory until it is confirmed."""
        count = self._uploader.get_request_length()
        if source.replayable:
            return count
        default = count == self._uploader.DEFAULT_CHUNK_SIZE
        return HELD_CHUNK if default else min(count, LARGEST_HELD)

    @property
    def _outgoing(self) -> Outgoing:
        url = self._uploader.url
        assert url is not None, "a chunk goes to an upload that is there"
        return Outgoing("PATCH", url, self._request_headers, self._uploader._trust, TusUploadFailed)

    def _take(self, answer: Incoming) -> None:
        self.status_code = answer.status
        self.response_headers = answer.headers
        self.response_content = answer.content


class TusRequest(BaseTusRequest):
    """The request of an ``Uploader``."""

    def perform(self) -> None:
        """Send the chunk.

        Raises:
            TusUploadFailed: no answer came, or the file cannot be read.
        """
        with _reading(self._uploader) as source:
            chunk = self._prepare(source)
            self._take(self._uploader._connection.send(self._outgoing, chunk))


class AsyncTusRequest(BaseTusRequest):
    """The request of an ``AsyncUploader``.

    Args:
        uploader: whose next chunk to send.
        io_loop: not looked at; the running loop counts.
    """

    def __init__(
        self, uploader: BaseUploader, io_loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.io_loop = io_loop
        super().__init__(uploader)

    async def perform(self) -> None:
        """Send the chunk.

        Raises:
            TusUploadFailed: no answer came, or the file cannot be read.
        """
        with _reading(self._uploader) as source:
            hop = to_end if source.replayable else in_thread
            chunk = AsyncChunk(await hop(self._prepare, source))
            self._take(await self._uploader._aconnection.send(self._outgoing, chunk))


@contextmanager
def _reading(uploader: BaseUploader) -> Iterator[Source]:
    """Open an uploader's file; one that cannot be read is tuspy's kind of error, too."""
    try:
        with uploader._opened() as source:
            yield source
    except SourceError as error:
        raise TusUploadFailed(error, passing=False) from error
