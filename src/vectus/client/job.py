"""What to upload, where, and how: everything that the machine is told beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vectus.protocol import fields

MIB = 1 << 20

HELD_CHUNK = 8 * MIB
"""Bytes of a chunk of what can be read only once; it is kept in memory until it is confirmed. Also
of what may travel with an upload's creation."""
LARGEST_HELD = 16 * MIB
"""The most that is kept in memory for that, whatever ``chunk_size`` says."""
HASHED_CHUNK = 64 * MIB
"""Bytes of a checksummed chunk: one that arrives wrong, or not whole, is thrown away by servers."""
SMALLEST_CHUNK = 64 << 10
"""A chunk that a server finds too large is halved, but not below this, unless the caller's own
chunks are smaller."""

Verify = Literal["length", "download"]


@dataclass(frozen=True, slots=True)
class Chunks:
    """The sizes of chunks an endpoint takes, in bytes.

    Args:
        size: as large as this, or None for all that is left in one request.
        smallest: no smaller, unless it is the last; nor when a server finds one too large.
        largest: no larger.
        multiple: each but the last a multiple of this.

    Raises:
        ValueError: no size is all that.
    """

    size: int | None = None
    smallest: int = SMALLEST_CHUNK
    largest: int | None = None
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.multiple < 1 or (self.largest is not None and self.largest < self.least):
            raise ValueError(f"No chunk can have such a size: {self}.")

    @property
    def least(self) -> int:
        """The smallest size that the endpoint takes, in bytes."""
        return max(-(-self.smallest // self.multiple), 1) * self.multiple

    def fit(self, size: int) -> int:
        """The size nearest to the wished one that the endpoint takes, in bytes."""
        if self.largest is not None:
            size = min(size, self.largest)
        return max(size - size % self.multiple, self.least)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to try again without any progress, and how long to wait, in seconds."""

    retries: int = 8
    delay: float = 0.5
    longest: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One upload of one source.

    Args:
        endpoint: where uploads are created, or None where ``upload_url`` is all there is.
        upload_url: an upload that exists already, to be gone on with and never to be replaced by
            another; None to make one.
        name: of the source, for sentences.
        length: bytes of the source, or None while it is not known.
        replayable: whether the source can be read again from its start.
        metadata: as the header has it.
        partial: whether it is a part of a parallel upload.
        chunks: how to cut it.
        checksum: the algorithm that protects each chunk, ``"auto"``, or None.
        verify: whether and how to ask in the end what the server holds.
        patience: how to try again.
        override: whether PATCH and DELETE travel as POST.
        keep_entry: whether what is remembered stays after success; a parallel upload's parts are
            forgotten together, when they are joined.
    """

    endpoint: str | None
    upload_url: str | None = None
    name: str = "The source"
    length: int | None = None
    replayable: bool = True
    metadata: str = ""
    partial: bool = False
    chunks: Chunks = Chunks()
    checksum: str | None = None
    verify: Verify | None = None
    patience: Patience = Patience()
    override: bool = False
    keep_entry: bool = False

    @property
    def chunk(self) -> int | None:
        """Bytes of one request, or None for all that is left.

        What can be read only once is kept in memory until it is confirmed, so that is little; and
        a checksummed request that breaks is thrown away whole by servers.
        """
        size = self.chunks.size
        if not self.replayable:
            size = min(size or HELD_CHUNK, LARGEST_HELD)
        elif size is None:
            size = self.chunks.largest if self.checksum is None else HASHED_CHUNK
        return None if size is None else self.chunks.fit(size)

    @property
    def first_chunk(self) -> int:
        """Bytes of a source that may travel with its creation."""
        return min(self.chunk or HELD_CHUNK, LARGEST_HELD)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an upload.

    Args:
        url: the upload's URL.
        length: its length, in bytes.
        resumed: how many bytes the server had already when this upload went on with it.
        retries: how many times something was tried again.
        parts: URLs of the partial uploads it was joined from; empty for one that was not.
    """

    url: str
    length: int
    resumed: int = 0
    retries: int = 0
    parts: tuple[str, ...] = ()


def encode_metadata(metadata: Mapping[str, str | bytes | int | float | bool | None]) -> str:
    """Write metadata as the header wants it: text is encoded as UTF-8, None is a bare key.

    Raises:
        ValueError: a key is empty or has a space, a comma or what is not ASCII.
        TypeError: a value is of another type.
    """
    for key in metadata:
        if not key.isascii() or not key.isprintable() or not key or set(key) & set(" ,"):
            raise ValueError(
                f"The metadata key {key!r} must be ASCII text without spaces and commas."
            )
    return fields.format_metadata((key, _bytes(key, value)) for key, value in metadata.items())


def _bytes(key: str, value: object) -> bytes:
    match value:
        case None:
            return b""
        case bytes():
            return value
        case str():  # a file name that is no Unicode (POSIX allows it) keeps its other letters
            return value.encode(errors="replace")
        case bool():
            return b"true" if value else b"false"
        case int() | float():
            return str(value).encode()
    raise TypeError(f"The metadata value of {key!r} must be text, bytes or a number.")
