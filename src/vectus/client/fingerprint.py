"""By what a source is known again: the key under which its upload's URL is remembered.

A key that two contents share would make an upload of both; one that a content changes only costs
an upload from the start. So in doubt they are different. Every scheme reads a bounded number of
bytes, however large the source; what is read once has no key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator

from vectus.client.contracts import Source

Fingerprint = Callable[[Source, str], str | None]
"""Makes a key from a source and the endpoint it goes to, or None where it cannot."""

DATED = (16, 64 << 10)
"""How many samples of how many bytes, of what also says when it was changed."""
UNDATED = (64, 1 << 20)
"""The same, of what does not: up to this much it is hashed whole."""

TUSPY_BLOCK = 65536
"""Bytes that tuspy looks at."""


def strong(source: Source, endpoint: str) -> str | None:
    """The default: size, time of the last change in nanoseconds, head, tail, samples, endpoint.

    Not the path: a file that was moved goes on. Two endpoints never share an upload.

    Raises:
        SourceError: it cannot be read, or has changed since it was opened.
    """
    if not source.replayable or source.length is None:
        return None
    mtime = getattr(source, "mtime_ns", None)
    samples, size = UNDATED if mtime is None else DATED
    seen = hashlib.sha256(json.dumps([source.length, mtime, endpoint]).encode())
    for start, stop in spread(source.length, samples, size):
        for block in source.blocks(start, stop):
            seen.update(block)
    return f"vectus1-{seen.hexdigest()}"


def tuspy(source: Source, _endpoint: str = "") -> str | None:
    """The one that tuspy makes, so that its uploads can be gone on with.

    It looks at the size and the first 64 KiB only: files that have both in common are one to it.

    Raises:
        SourceError: it cannot be read, or has changed since it was opened.
    """
    if not source.replayable or source.length is None:
        return None
    seen = hashlib.md5(usedforsecurity=False)
    for block in source.blocks(0, min(source.length, TUSPY_BLOCK)):
        seen.update(block)
    return f"size:{source.length}--md5:{seen.hexdigest()}"


SCHEMES: dict[str, Fingerprint] = {"strong": strong, "tuspy": tuspy}
"""The schemes by name."""


def key_of(source: Source, endpoint: str, choice: str | Fingerprint | None) -> str | None:
    """Make a source's key as the caller chose.

    Args:
        source: the source.
        endpoint: where it goes.
        choice: a function, the name of one of ``SCHEMES``, any other text to be the key itself,
            or None for the source's own.

    Raises:
        SourceError: it cannot be read, or has changed since it was opened.
    """
    if choice is None:
        return source.fingerprint(endpoint)
    if not isinstance(choice, str):
        return choice(source, endpoint)
    return SCHEMES[choice](source, endpoint) if choice in SCHEMES else choice


def of_part(whole: str | None, start: int, stop: int) -> str | None:
    """The key of a part of a source, from the whole's."""
    return None if whole is None else f"{whole}-part-{start}-{stop}"


def spread(length: int, samples: int, size: int) -> Iterator[tuple[int, int]]:
    """Say which bytes to look at: head, tail, and as evenly as can be between; all where that is
    no more."""
    if length <= samples * size:
        yield 0, length
        return
    for number in range(samples):
        start = (length - size) * number // (samples - 1)
        yield start, start + size
