"""Which kind of source something is: the one place that looks at what the caller gave."""

from __future__ import annotations

import inspect
import io
import os
import stat
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any

from vectus.client.contracts import Source
from vectus.client.sources.files import CallersFile, PathFile
from vectus.client.sources.replayable import Memory
from vectus.client.sources.streams import (
    AsyncStream,
    Stream,
    async_iterating,
    async_reading,
    iterating,
    reading,
)
from vectus.client.sources.trouble import TEXT, printable, telling
from vectus.errors import SourceError

KINDS = "a path, bytes, a file opened in binary mode, or an iterable of bytes"


def open_source(source: object, length: int | None = None, name: str | None = None) -> Source:
    """Make a ``Source`` of what the caller gave; nothing is read yet.

    Args:
        source: a path; bytes, bytearray or memoryview; a file opened in binary mode, seekable or
            not; anything else with a ``read``; an iterable of bytes.
        length: how many bytes it has, for what does not know it itself; it must end there.
        name: what to call it in sentences.

    Raises:
        TypeError: it is none of these.
        ValueError: the length is below 0.
        SourceError: it cannot be opened, or has another length.
    """
    if _is_async(source):
        raise TypeError(
            f"{type(source).__name__} is read with await: use AsyncClient or aupload for it."
        )
    return _open(source, length, name)


def open_async_source(
    source: object, length: int | None = None, name: str | None = None
) -> Source | AsyncStream:
    """The same for the asyncio driver, which also takes async iterables and what has an async
    ``read``; these become an ``AsyncStream``, and all else is a ``Source`` to be used in a thread.
    """
    if not _is_async(source):
        return _open(source, length, name)
    _refuse_length(length)
    asked = inspect.iscoroutinefunction(getattr(source, "read", None))
    read = async_reading(source) if asked else async_iterating(source)  # type: ignore[arg-type]
    return AsyncStream(read, _name(source, name), length)


def _open(source: Any, length: int | None, name: str | None) -> Source:
    _refuse_length(length)
    called = _name(source, name)
    if isinstance(source, str | os.PathLike):
        opened = _open_path(os.fspath(source), length, called)
    elif isinstance(source, bytes | bytearray | memoryview):
        opened = Memory(source, called)
    elif isinstance(source, io.TextIOBase):
        raise TypeError(f"{called} is open as text. {TEXT}")
    elif hasattr(source, "read"):
        opened = _open_file(source, length, called)
    elif isinstance(source, Iterable):
        opened = Stream(iterating(source), called, length)
    else:
        raise TypeError(f"{type(source).__name__} cannot be uploaded: give {KINDS}.")
    return _agreed(opened, length)


def _open_path(path: str | bytes, length: int | None, name: str) -> Source:
    with telling(name, "opened"):
        file = _opened(path, name)
        try:
            if _is_plain(file):
                return PathFile(file, name)
        except BaseException:
            file.close()
            raise
    return Stream(reading(file), name, length, close=file.close)


def _opened(path: str | bytes, name: str) -> io.FileIO:
    try:
        return io.FileIO(path)
    except FileNotFoundError:
        raise SourceError(f"There is no file {name}.", "See whether the path is right.") from None
    except (IsADirectoryError, PermissionError) as error:
        if os.path.isdir(path):  # Windows has no other word for one than that it may not be read
            hint = "Upload its files one by one; vectus upload does it with -r."
            raise SourceError(f"{name} is a directory.", hint) from None
        raise SourceError(f"{name} may not be read.", "Ask its owner for permission.") from error


def _is_plain(file: io.FileIO) -> bool:
    """Whether it is a regular file: no FIFO, device or terminal, and none of /proc, where files
    say that they are empty and are not."""
    about = os.fstat(file.fileno())
    if not stat.S_ISREG(about.st_mode):
        return False
    if about.st_size:
        return True
    empty = not file.read(1)
    file.seek(0)
    return empty or os.fstat(file.fileno()).st_size > 0  # somebody has just begun to fill it


def _open_file(file: Any, length: int | None, name: str) -> Source:
    if getattr(file, "closed", False) is True:
        raise SourceError(f"{name} is closed.", "Close it after the upload.")
    if not _answers(file, "readable", default=True):
        raise SourceError(f"{name} is not open for reading.", "Open it with 'rb'.")
    if not _answers(file, "seekable", default=hasattr(file, "seek") and hasattr(file, "tell")):
        return Stream(reading(file), name, length)
    with telling(name):
        return CallersFile(file, name)


def _answers(file: Any, question: str, *, default: bool) -> bool:
    """What a file says of itself; some have less than ``io`` asks for."""
    ask: Callable[[], object] | None = getattr(file, question, None)
    return bool(ask()) if callable(ask) else default


def _agreed(source: Source, length: int | None) -> Source:
    """Refuse a source that knows its length and was announced with another."""
    if length is None or source.length == length:
        return source
    source.close()
    raise SourceError(
        f"{source.name} has {source.length} bytes, but {length} were announced.",
        "Leave the length out: it is known.",
    )


def _refuse_length(length: int | None) -> None:
    if length is not None and length < 0:
        raise ValueError(f"A length of {length} bytes cannot be.")


def _is_async(source: object) -> bool:
    if inspect.iscoroutinefunction(getattr(source, "read", None)):
        return True
    return isinstance(source, AsyncIterable) and not isinstance(source, Iterable)


def _name(source: Any, given: str | None) -> str:
    """What to call it: as the caller said, by its path, or by its kind."""
    if given is not None:
        return printable(given)
    if isinstance(source, bytes | bytearray | memoryview):
        return "The data"
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    if isinstance(path, str | bytes | os.PathLike) and path:
        text = os.fsdecode(path)
        return "Standard input" if text == "<stdin>" else printable(text)
    return "The file" if hasattr(source, "read") else "The source"
