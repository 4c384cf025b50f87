"""What can be said of a source's bytes: their digest, and whether others are the same."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from contextlib import aclosing
from typing import Protocol

from vectus.client.contracts import Source
from vectus.client.sources.buffer import BLOCK
from vectus.client.threads import to_end
from vectus.errors import SourceError
from vectus.protocol.checksums import hasher
from vectus.protocol.policy import ALGORITHMS


class Giving(Protocol):
    """What gives blocks: a ``Source``, or what stands before one."""

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield bytes that are at hand. See ``Source.blocks``."""


def digest(source: Giving, algorithm: str, start: int, stop: int) -> bytes:
    """Hash bytes ``start`` to ``stop`` of what is at hand.

    Args:
        source: whose bytes.
        algorithm: one of ``policy.ALGORITHMS``.
        start: the first byte.
        stop: the byte after the last.

    Raises:
        SourceError: it cannot be read, or the algorithm is unknown.
    """
    if algorithm not in ALGORITHMS:
        known = ", ".join(ALGORITHMS)
        raise SourceError(f"{algorithm!r} checksums cannot be computed.", f"Take one of {known}.")
    hashed = hasher(algorithm)
    for block in source.blocks(start, stop):
        hashed.update(block)
    return hashed.digest()


def compare(source: Source, blocks: Iterable[bytes]) -> int | None:
    """Compare a download with the source that it should be.

    Returns:
        The position of the first byte that differs or that only one of them has, or None.

    Raises:
        SourceError: the source cannot be read, or not again.
    """
    position = 0
    for block in blocks:
        found = difference(source, position, block)
        if found is not None:
            return found
        position += len(block)
    return None if position == source.length else position


async def acompare(source: Source, blocks: AsyncIterable[bytes]) -> int | None:
    """Compare as ``compare`` does, the source being read in threads."""
    position = 0
    async with aclosing(_gathered(blocks)) as gathered:
        async for block in gathered:
            found = await to_end(difference, source, position, block)
            if found is not None:
                return found
            position += len(block)
    return None if position == source.length else position


async def _gathered(blocks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """What comes from the network is small; each hop to a thread has its price."""
    gathered = bytearray()
    async for block in blocks:
        gathered += block
        if len(gathered) >= BLOCK:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def difference(source: Source, position: int, block: bytes) -> int | None:
    """Compare one block with what the source has at a position; see ``compare``."""
    if not source.replayable or source.length is None:
        raise SourceError(f"{source.name} cannot be read again, so nothing can be compared.")
    stop = min(position + len(block), source.length)
    own = b"".join(source.blocks(position, stop))
    if own == block:
        return None
    pairs = enumerate(zip(own, block, strict=False))
    return position + next((at for at, (one, other) in pairs if one != other), len(own))
