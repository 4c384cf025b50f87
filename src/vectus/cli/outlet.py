"""Standard output and standard error, where a reader that has gone ends nothing.

An upload is worth more than what is said of it: ``vectus upload … | head -1`` goes on to its end.
A result that cannot be written, on a full disk, is another matter.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import TextIO

from vectus.errors import ConfigurationError

_lock = threading.Lock()


class Unwritable(ConfigurationError):
    """Standard output cannot be written, though somebody wants it."""

    def __init__(self, error: OSError) -> None:
        why = (error.strerror or str(error)).lower()
        super().__init__(f"Standard output cannot be written: {why}.")


def out(line: str) -> None:
    """Write a line to standard output, now.

    Raises:
        Unwritable: it cannot be written, though somebody wants it.
    """
    try:
        _write(sys.stdout, line)
    except OSError as error:
        raise Unwritable(error) from error


def err(line: str) -> None:
    """Write a line to standard error, if that is possible."""
    with suppress(OSError):
        _write(sys.stderr, line)


def _write(stream: TextIO | None, line: str) -> None:
    if stream is None:  # a process without a terminal on Windows
        return
    try:
        with _lock:
            stream.write(_encodable(stream, line) + "\n")
            stream.flush()
    except (BrokenPipeError, ValueError):
        silence(stream)
    except OSError:
        silence(stream)
        raise


def _encodable(stream: TextIO, line: str) -> str:
    """The line with escapes for what the stream cannot write."""
    encoding = stream.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def silence(stream: TextIO) -> None:
    """Lead what is still to come, and what Python writes at its end, to nowhere."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
