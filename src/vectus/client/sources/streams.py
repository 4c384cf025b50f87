"""Sources that are read once: streams and iterators, blocking and asyncio. Never closed by us,
but for what we opened; what was read is kept in a ``Buffer`` until it is confirmed."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from typing import Any

from vectus.client.commands import Held
from vectus.client.sources.buffer import BLOCK, Buffer
from vectus.client.sources.trouble import telling

END = object()
"""What a reader returns instead of a block when there are no more."""

Reader = Callable[[int], object]
"""Reads a block of about that many bytes, or ``END``."""

AsyncReader = Callable[[int], Awaitable[object]]
"""The same, awaited."""


class _Once:
    """What both kinds have in common: everything but the reading."""

    replayable = False

    def __init__(self, name: str, length: int | None, close: Callable[[], None] | None) -> None:
        self.name = name
        self.length = length
        self._buffer = Buffer(name, length)
        self._close = close

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield bytes that are at hand; nothing is read for it."""
        return self._buffer.blocks(start, stop)

    def check(self) -> None:
        """There is nothing to look at: what was read is kept, and the rest is not known."""

    def fingerprint(self, endpoint: str) -> str | None:
        """None: what it is shows when it is read, and then it is gone."""

    def close(self) -> None:
        """Free what we opened."""
        if self._close is not None:
            self._close()

    def _give(self, block: object) -> None:
        if block is END:
            self._buffer.end()
        else:
            self._buffer.take(block)

    def _held(self, start: int, count: int) -> Held:
        self.length = self._buffer.length
        return self._buffer.held(start, count)


class Stream(_Once):
    """A source that is read once.

    Args:
        read: gives its next block.
        name: for sentences.
        length: where it must end, or None where nobody knows.
        close: frees what is ours.

    Attributes:
        before_read: called before every read; what it raises ends the reading.
    """

    def __init__(
        self,
        read: Reader,
        name: str,
        length: int | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(name, length, close)
        self._read = read
        self.before_read: Callable[[], None] = lambda: None

    def hold(self, start: int, count: int) -> Held:
        """Read until ``count`` bytes from ``start`` on are at hand; see ``Source.hold``."""
        self._buffer.release(start)
        while lacking := self._buffer.ask(start + count):
            self.before_read()
            with telling(self.name):
                block = self._read(min(lacking, BLOCK))
            self._give(block)
        return self._held(start, count)


class AsyncStream(_Once):
    """A source that is read once, with ``await``: a ``Source`` but for its ``hold``.

    Its other methods read nothing and never keep the event loop waiting.

    Args:
        read: gives its next block.
        name: for sentences.
        length: where it must end, or None where nobody knows.
    """

    def __init__(self, read: AsyncReader, name: str, length: int | None = None) -> None:
        super().__init__(name, length, None)
        self._read = read

    async def hold(self, start: int, count: int) -> Held:
        """Read until ``count`` bytes from ``start`` on are at hand; see ``Source.hold``."""
        self._buffer.release(start)
        while lacking := self._buffer.ask(start + count):
            with telling(self.name):
                block = await self._read(min(lacking, BLOCK))
            self._give(block)
        return self._held(start, count)


def reading(stream: Any) -> Reader:
    """Read a stream; what it gives is looked at by the buffer, but for what is empty."""

    def read(count: int) -> object:
        block = stream.read(count)
        if inspect.isawaitable(block):
            _drop(block)
            raise TypeError("its read() must be awaited; AsyncClient does that")
        return END if _empty(block) else block

    return read


def iterating(blocks: Iterable[object]) -> Reader:
    """Read an iterator, as its blocks come; empty ones are blocks like others."""
    iterator = iter(blocks)
    return lambda _count: next(iterator, END)


def async_reading(stream: Any) -> AsyncReader:
    """Read a stream whose ``read`` must be awaited."""

    async def read(count: int) -> object:
        block = await stream.read(count)
        return END if _empty(block) else block

    return read


def async_iterating(blocks: AsyncIterable[object]) -> AsyncReader:
    """Read an async iterator, as its blocks come."""
    iterator = aiter(blocks)

    async def read(_count: int) -> object:
        return await anext(iterator, END)

    return read


def _empty(block: object) -> bool:
    return isinstance(block, bytes | bytearray | memoryview | str) and len(block) == 0


def _drop(awaitable: object) -> None:
    """A coroutine that nobody awaits would be complained about."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()
