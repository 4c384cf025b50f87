"""The course of an upload: which step follows which, and what is made of the answers.

Pure but for the storage of URLs. Steps come out, and either kind of uploader does them in its own
way. The state is the uploader's: users look at it, and change it, between two chunks.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from vectus.client.tuspy.exceptions import TusCommunicationError, TusUploadFailed
from vectus.client.tuspy.uploader.baseuploader import BaseUploader, Sent
from vectus.protocol.dialects.tus1_client import read_number
from vectus.protocol.messages import Headers


class Act(Enum):
    """What an uploader is asked to do."""

    CREATE = auto()
    """Make an upload. Reply: its URL."""
    SEND = auto()
    """Send the next chunk; ``request`` has the answer then."""
    ASK = auto()
    """Ask how far the upload is. Reply: the offset."""
    CLOSE = auto()
    """Close the connection."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Wait so many seconds."""

    seconds: float


Steps = Generator[Act | Rest, Any, None]
"""What is to be done; a ``TusCommunicationError`` that a step comes to is thrown in."""


def whole(uploader: BaseUploader, stop_at: int | None) -> Steps:
    """Upload until the end of the file, or until ``stop_at``."""
    if not uploader.url and not uploader.upload_length_deferred:
        uploader.file_size = uploader.get_file_size()  # it may have grown since it was looked at
    uploader.stop_at = stop_at or uploader.file_size
    if uploader.stop_at is not None and uploader.file_size is not None:
        uploader.stop_at = min(uploader.stop_at, uploader.file_size)
    if not uploader.url:
        yield from _create(uploader)
    while uploader.stop_at is None or uploader.offset < uploader.stop_at:
        yield from chunk(uploader)
    yield from _settle(uploader)
    yield Act.CLOSE


def chunk(uploader: BaseUploader) -> Steps:
    """Upload one chunk, however often that must be tried."""
    if not uploader.url:
        yield from _create(uploader)
    uploader._retried = 0
    while True:
        try:
            if uploader._retried:
                uploader.offset = uploader._fitting((yield Act.ASK))
            if not uploader._retried or _lacking(uploader):
                yield Act.SEND
                _advance(uploader)
            break
        except TusCommunicationError as error:
            yield from _wait(uploader, error)
    yield from _settle(uploader)


def _create(uploader: BaseUploader) -> Steps:
    """Make an upload, however often that must be tried."""
    uploader._retried = 0
    while True:
        try:
            url = yield Act.CREATE
            break
        except TusCommunicationError as error:
            yield from _wait(uploader, error)
    uploader.set_url(url)
    uploader.offset = 0
    uploader._file = None


def _wait(uploader: BaseUploader, error: TusCommunicationError) -> Steps:
    """Wait for another try, or give up."""
    if uploader._retried >= uploader.retries or not error.passing:
        raise error
    uploader._retried += 1
    yield Rest(uploader.retry_delay)


def _settle(uploader: BaseUploader) -> Steps:
    """Once the server has it all, there is nothing left to remember."""
    if uploader.file_size is not None and uploader.offset >= uploader.file_size:
        uploader._forget()
        yield Act.CLOSE


def _lacking(uploader: BaseUploader) -> bool:
    """Whether there is anything left to send, or to say, after an answer that was lost."""
    return uploader.upload_length_deferred or uploader.get_request_length() > 0


def _advance(uploader: BaseUploader) -> None:
    """Be where the server says that the chunk has led."""
    sent = uploader.request
    assert sent is not None, "a chunk was sent"
    offset = _offset_after(sent)
    if offset is None or offset <= uploader.offset < sent.stop:
        raise TusUploadFailed("The server does not say that it took any of the bytes.")
    if offset > sent.stop:
        raise TusUploadFailed(
            f"The server says that it has {offset} bytes, but only {sent.stop} were sent.",
            passing=False,
        )
    uploader.offset = offset
    if uploader.upload_length_deferred and sent.stream_eof and offset == sent.stop:
        uploader.file_size = uploader.stop_at = offset


def _offset_after(sent: Sent) -> int | None:
    if not 200 <= (sent.status_code or 0) < 300:
        raise TusUploadFailed("", sent.status_code, sent.response_content)
    return read_number(Headers(sent.response_headers.items()), "upload-offset")
