"""The writing half of a connection: buffered writes, and waiting for a client that reads slowly.

A client that takes nothing for too long is cut off. What is written is not known here.
"""

from __future__ import annotations

import asyncio

from vectus.direct.deadline import Deadline


class Writer:
    """Writes to one transport. ``lost`` holds once the connection is no more."""

    __slots__ = (
        "_sender",
        "_timeout",
        "_transport",
        "_unsent",
        "_writable",
        "deadline",
        "loop",
        "lost",
        "paused",
        "plain",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        deadline: Deadline,
        timeout: float,
    ) -> None:
        self.loop = loop
        self.deadline = deadline
        self.lost = False
        self.paused = False
        self.plain = transport.get_extra_info("sslcontext") is None
        self._transport = transport
        self._timeout = timeout
        self._unsent = 0
        self._writable: asyncio.Event | None = None
        self._sender: asyncio.Future[None] | None = None

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport, if there still is one."""
        if not self.lost and not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the transport wants more, or the connection is lost."""
        if not self.paused or self.lost:
            return
        if self._writable is None:
            self._writable = asyncio.Event()
        self._watch()
        try:
            while self.paused:
                self._writable.clear()
                await self._writable.wait()
        finally:
            self.deadline.drop()

    async def flush(self, data: bytes) -> None:
        """Write, and wait until the kernel has everything, or the connection is lost."""
        self._transport.set_write_buffer_limits(high=0)
        try:
            self.write(data)
            await self.drain()
        finally:
            if not self.lost:
                self._transport.set_write_buffer_limits()

    def socket(self) -> int | None:
        """Return the descriptor of a socket that carries bytes as they are, or None."""
        socket = self._transport.get_extra_info("socket") if self.plain else None
        return None if socket is None else int(socket.fileno())

    async def writable(self, descriptor: int) -> None:
        """Wait until a duplicate of the socket takes bytes, or the connection is lost."""
        if self.lost:
            return
        sender = self._sender = self.loop.create_future()
        self.deadline.within(self._timeout, self._transport.abort)
        self.loop.add_writer(descriptor, _resolve, sender)
        try:
            await sender
        finally:
            self.loop.remove_writer(descriptor)
            self.deadline.drop()
            self._sender = None

    def end(self) -> None:
        """Say that nothing more will be written."""
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        """Write what is buffered, and end the connection."""
        if not self.lost and not self._transport.is_closing():
            self._watch()
            self._transport.close()

    def pause(self) -> None:
        """The transport has enough for now."""
        self.paused = True

    def resume(self) -> None:
        """The transport wants more."""
        self.paused = False
        if self._writable is not None:
            self._writable.set()

    def lose(self) -> None:
        """The connection is no more: let everybody go who waits for it."""
        self.lost = True
        self.resume()
        if self._sender is not None:
            _resolve(self._sender)

    def _watch(self) -> None:
        self._unsent = self._transport.get_write_buffer_size()
        self.deadline.within(self._timeout, self._late)

    def _late(self) -> None:
        """Cut the client off, unless it took something since we looked last."""
        if self.lost:
            return
        before = self._unsent
        self._watch()
        if self._unsent >= before:
            self._transport.abort()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
