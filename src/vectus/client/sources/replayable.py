"""Sources that can be read again: what they have in common, bytes in memory, and parts of others.

``blocks`` may run in several threads at once: each reads by position, none moves another's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from vectus.client import fingerprint
from vectus.client.commands import Held
from vectus.client.contracts import Source
from vectus.client.sources.buffer import BLOCK
from vectus.client.sources.trouble import telling
from vectus.errors import SourceChanged, SourceError


class Replayable(ABC):
    """A source whose bytes can be read from any position, as often as one likes.

    Args:
        name: for sentences.
        length: bytes in all.
    """

    replayable = True
    mtime_ns: int | None = None
    """When it was changed last, as far as that can be known."""

    def __init__(self, name: str, length: int) -> None:
        self.name = name
        self.length: int | None = length
        self._length = length

    def hold(self, start: int, count: int) -> Held:
        """Nothing needs to be kept: say only where that ends. See ``Source.hold``."""
        if start > self._length:
            raise SourceError(
                f"{self.name} ends after {self._length} bytes, but the upload goes on at {start}."
            )
        stop = min(start + count, self._length)
        return Held(stop, last=stop == self._length)

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield bytes in blocks of a mebibyte. See ``Source.blocks``."""
        while start < stop:
            with telling(self.name):
                block = self._read(start, min(BLOCK, stop - start))
            if not block:
                raise SourceChanged(self.name)
            start += len(block)
            yield block

    @abstractmethod
    def check(self) -> None:
        """Look whether it is what it was. See ``Source.check``."""

    def fingerprint(self, endpoint: str) -> str | None:
        """The strong one, of ``fingerprint.py``."""
        return fingerprint.strong(self, endpoint)

    @abstractmethod
    def close(self) -> None:
        """Free what is ours."""

    @abstractmethod
    def _read(self, position: int, count: int) -> bytes:
        """Return up to ``count`` bytes, none only where it ends; in several threads at once.

        Raises:
            SourceChanged: after they were read it was not what it had been: so no two versions
                are ever mixed.
        """


class Memory(Replayable):
    """Bytes in memory. One who changes them in place meanwhile is not noticed; one who changes
    the size of a bytearray is stopped by Python."""

    def __init__(self, data: bytes | bytearray | memoryview, name: str) -> None:
        self._view = memoryview(data).cast("B")
        super().__init__(name, len(self._view))

    def check(self) -> None:
        """Nothing can be seen."""

    def close(self) -> None:
        """Let go of the memory."""
        self._view.release()

    def _read(self, position: int, count: int) -> bytes:
        return bytes(self._view[position : position + count])


class Window(Replayable):
    """A part of a source that can be read again, with positions of its own.

    Args:
        source: the whole; who opened it closes it.
        start: the part's first byte.
        stop: the byte after its last.
    """

    def __init__(self, source: Source, start: int, stop: int) -> None:
        super().__init__(source.name, stop - start)
        self._source = source
        self._start = start

    def check(self) -> None:
        """Look whether the whole is what it was."""
        self._source.check()

    def fingerprint(self, endpoint: str) -> str | None:
        """The whole's, and which part of it this is."""
        whole = self._source.fingerprint(endpoint)
        return fingerprint.of_part(whole, self._start, self._start + self._length)

    def close(self) -> None:
        """The whole stays open."""

    def _read(self, position: int, count: int) -> bytes:
        at = self._start + position
        return next(self._source.blocks(at, at + count), b"")
