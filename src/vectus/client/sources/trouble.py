"""The sentences for a source that fails: whatever its reading raises becomes a ``SourceError``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vectus.errors import SourceError, UploadError

TEXT = "Open the file in binary mode ('rb'), or encode the text."


@contextmanager
def telling(name: str, doing: str = "read") -> Iterator[None]:
    """Translate what goes wrong inside; interrupts and cancellations pass.

    Raises:
        SourceError: anything did that was no error of an upload already.
    """
    try:
        yield
    except UploadError:
        raise
    except Exception as error:
        raise SourceError(f"{name} cannot be {doing}: {_words(error)}.") from error


def _words(error: Exception) -> str:
    words = error.strerror if isinstance(error, OSError) else None
    return (words or str(error) or type(error).__name__).rstrip(".")


def printable(name: str) -> str:
    """A name as it can stand in a sentence on any terminal."""
    return "".join(each if each.isprintable() else "?" for each in name)


def as_bytes(name: str, block: object) -> bytes:
    """What a source gave, if it is bytes; a copy where it is memory that can change.

    Raises:
        SourceError: it is something else.
    """
    if isinstance(block, bytes):
        return block
    if isinstance(block, bytearray | memoryview):
        return bytes(block)
    if block is None:
        raise SourceError(
            f"{name} does not wait for its bytes: it had none when it was read.",
            "Make it blocking (os.set_blocking), or pass an async iterator to AsyncClient.",
        )
    if isinstance(block, str):
        raise SourceError(f"{name} gives text instead of bytes.", TEXT)
    raise SourceError(f"{name} gives {type(block).__name__} instead of bytes.")
