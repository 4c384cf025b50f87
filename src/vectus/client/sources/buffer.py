"""What is at hand of a stream: bytes from a position on, and whether it ends behind them.

Pure: it is told what was read, by a blocking reader or by an asyncio one, and never reads itself.
A filling always goes the same way::

    buffer.release(start)
    while lacking := buffer.ask(start + count):
        ...  # read up to ``lacking`` bytes, then ``buffer.take(block)``, or ``buffer.end()``
    held = buffer.held(start, count)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from vectus.client.commands import Held
from vectus.client.sources.trouble import as_bytes
from vectus.errors import SourceError

BLOCK = 1 << 20
"""Bytes of a block that is read and sent at once: larger ones fall out of the processor's cache."""

TINY = 16 << 10
"""Blocks below this are put together: each object has its price."""


class Buffer:
    """The bytes of a stream from some position on.

    Args:
        name: of the stream, for sentences.
        length: where it must end, or None where nobody knows.
    """

    def __init__(self, name: str, length: int | None = None) -> None:
        self._name = name
        self.length = length
        self._start = 0  # nothing before is asked for any more
        self._stop = 0  # so far the stream has been read
        self._ended = False
        self._asking = False
        self._blocks: deque[bytes | bytearray] = deque()
        self._first = 0  # where the first of them lies

    def release(self, start: int) -> None:
        """Forget what is before ``start``, and what will come before it.

        Raises:
            SourceError: bytes from there on are forgotten already, or an earlier read failed:
                what it would have given is missing, and an end that comes later is not the end.
        """
        if self._asking:
            raise SourceError(
                f"{self._name} cannot be gone on with: it was interrupted while it was read."
            )
        self._guard(start)
        self._start = start
        while self._blocks and self._first + len(self._blocks[0]) <= start:
            self._first += len(self._blocks.popleft())

    def ask(self, stop: int) -> int:
        """Say how many bytes must be read to have all up to ``stop``, and to know whether it ends
        there; none are left to be read at 0."""
        lacking = 0 if self._ended else max(stop + 1 - self._stop, 0)
        self._asking = lacking > 0
        return lacking

    def take(self, given: object) -> None:
        """Take what was read, as much as came; it is the caller's memory and may change later.

        Raises:
            SourceError: it is no bytes, or more than there should be.
        """
        block = as_bytes(self._name, given)
        self._stop += len(block)
        if self.length is not None and self._stop > self.length:
            raise SourceError(
                f"{self._name} gives more than the {self.length} bytes that were announced."
            )
        if self._stop > self._start:
            self._keep(block)
        self._asking = False

    def end(self) -> None:
        """The stream has ended.

        Raises:
            SourceError: too early.
        """
        if self.length is not None and self._stop < self.length:
            raise SourceError(
                f"{self._name} ended after {self._stop} bytes, but {self.length} were announced."
            )
        self._ended, self._asking = True, False
        self.length = self._stop

    def held(self, start: int, count: int) -> Held:
        """Say what is at hand.

        Raises:
            SourceError: the stream ends before ``start``.
        """
        if start > self._stop:
            raise SourceError(
                f"{self._name} ends after {self._stop} bytes, but the upload goes on at {start}."
            )
        stop = min(start + count, self._stop)
        return Held(stop, last=self._ended and stop == self._stop)

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield bytes that are at hand, in blocks of ``BLOCK`` at most.

        Raises:
            SourceError: they are forgotten.
        """
        self._guard(start)
        pieces: list[bytes | bytearray] = []
        room = BLOCK
        for piece in self._pieces(start, stop):
            if len(piece) > room:
                yield b"".join(pieces)
                pieces, room = [], BLOCK
            pieces.append(piece)
            room -= len(piece)
        if pieces:
            yield b"".join(pieces)

    def _guard(self, start: int) -> None:
        if start < self._start:
            raise SourceError(
                f"{self._name} can be read only once, and byte {start} was read before."
            )

    def _keep(self, block: bytes) -> None:
        if not self._blocks:
            self._first = self._stop - len(block)
        last = self._blocks[-1] if self._blocks else None
        if len(block) >= TINY:
            self._blocks.append(block)
        elif isinstance(last, bytearray) and len(last) < BLOCK:
            last += block
        else:
            self._blocks.append(bytearray(block))

    def _pieces(self, start: int, stop: int) -> Iterator[bytes | bytearray]:
        position = self._first
        for block in self._blocks:
            low, high = max(start - position, 0), min(stop - position, len(block))
            for at in range(low, high, BLOCK):
                yield block[at : min(at + BLOCK, high)]
            position += len(block)
