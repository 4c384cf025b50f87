"""The sentences for a source that fails: whatever its reading raises becomes a ``SourceError``."""

from __future__ import annotations

from types import TracebackType

from vectus.errors import SourceError, UploadError

TEXT = "Open the file in binary mode ('rb'), or encode the text."


class telling:  # noqa: N801 - it reads like a function, and is faster than one
    """Translate what goes wrong inside; interrupts and cancellations pass.

    Raises:
        SourceError: anything did that was no error of an upload already.
    """

    __slots__ = ("_doing", "_name")

    def __init__(self, name: str, doing: str = "read") -> None:
        self._name = name
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, UploadError):
            raise SourceError(f"{self._name} cannot be {self._doing}: {_words(error)}.") from error


def _words(error: Exception) -> str:
    words = error.strerror if isinstance(error, OSError) else None
    return (words or str(error) or type(error).__name__).rstrip(".")


def printable(name: str) -> str:
    """A name as it can stand in a sentence on any terminal."""
    if name.isprintable():
        return name
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
