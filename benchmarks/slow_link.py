"""A slow network on loopback: each connection has a rate of its own, and every byte takes time.

Forwards TCP and knows nothing of what it carries. Run by itself, it is a process that says where it
listens; tests run it in a thread. It must never buffer more than such a network would: what cannot
leave yet is not read, so that whoever sends feels it.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Self, cast

BLOCK_TIME = 0.005
"""Seconds at the link's rate that one block may take: so smooth is it."""
SMALLEST, LARGEST = 4 << 10, 256 << 10
"""Bytes of a block, whatever the rate is."""


class Way(asyncio.BufferedProtocol):
    """One end of a connection, from which bytes go to the other end, late.

    Args:
        rate: bytes per second, or None for as many as come.
        delay: seconds that each byte takes.
    """

    def __init__(self, rate: float | None, delay: float) -> None:
        self._pace = 1 / rate if rate else 0.0
        self._delay = delay
        block = LARGEST if rate is None else int(rate * BLOCK_TIME)
        self._buffer = bytearray(min(max(block, SMALLEST), LARGEST))
        self._room = 2 * len(self._buffer) + int((rate or 1 << 28) * delay)
        self._free = 0.0  # when the link is done with all that was read
        self._under_way = 0
        self._crowded = False  # the other end does not take it as fast as it comes
        self._ended = False
        self._queue: deque[Callable[[], None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._other: Way | None = None
        self._transport: asyncio.Transport | None = None

    def lead_to(self, other: Way, start: float) -> None:
        """Send what comes to the other end, and nothing before ``start``."""
        self._other = other
        self._free = start
        self._flow()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Read nothing before there is somewhere to send it."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.pause_reading()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Let bytes come."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Send a block on its way."""
        self._under_way += nbytes
        data = bytes(memoryview(self._buffer)[:nbytes])
        self._later(lambda: self._arrive(data), nbytes)
        self._flow()

    def eof_received(self) -> bool:
        """Tell the other end after the last byte; it may still talk."""
        self._later(self._end)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the other end along: after the last byte, or at once where the end was no end."""
        if self._other is None:
            return
        if exc is None:
            self._later(self._close)
        else:
            self._loop.call_later(self._delay, self._abort)

    def pause_writing(self) -> None:
        """Have the other side send no more for now."""
        self._crowd(crowded=True)

    def resume_writing(self) -> None:
        """Have it go on."""
        self._crowd(crowded=False)

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _later(self, action: Callable[[], None], size: int = 0) -> None:
        now = self._loop.time()
        self._free = max(now, self._free) + size * self._pace
        self._queue.append(action)
        self._loop.call_at(self._free + self._delay, self._next)

    def _next(self) -> None:
        """Do what is due: timers of the same moment keep no order, so the queue does."""
        self._queue.popleft()()

    def _arrive(self, data: bytes) -> None:
        self._under_way -= len(data)
        if (to := self._opposite()) is not None:
            to.write(data)
        self._flow()

    def _end(self) -> None:
        self._ended = True
        if (to := self._opposite()) is None or self._other is None:
            return
        with suppress(OSError):  # it has gone meanwhile
            to.write_eof()
        if self._other._ended:
            to.close()
            self._other._close()

    def _close(self) -> None:
        if (to := self._opposite()) is not None:
            to.close()

    def _abort(self) -> None:
        if (to := self._opposite()) is not None:
            to.abort()

    def _opposite(self) -> asyncio.Transport | None:
        to = self._other._transport if self._other is not None else None
        return None if to is None or to.is_closing() else to

    def _crowd(self, *, crowded: bool) -> None:
        if self._other is not None:
            self._other._crowded = crowded
            self._other._flow()

    def _flow(self) -> None:
        """Read, if there is room on the way."""
        here = self._transport
        if here is None or here.is_closing():
            return
        if self._crowded or self._under_way >= self._room:
            here.pause_reading()
        else:
            here.resume_reading()


class Link:
    """A slow way to a port of 127.0.0.1.

    Args:
        to: the port.
        rate: bytes per second of each connection, each way, or None for no limit.
        delay: seconds that bytes take, each way; a new connection takes both ways longer.
    """

    def __init__(self, to: int, rate: float | None = None, delay: float = 0.0) -> None:
        self._to = to
        self._rate = rate
        self._delay = delay
        self._ways: weakref.WeakSet[Way] = weakref.WeakSet()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, port: int = 0) -> int:
        """Listen, and return the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """End it and every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        for way in list(self._ways):
            way.abort()
        await asyncio.sleep(0)  # transports close in the loop's next round

    def _accept(self) -> Way:
        near = self._way()
        task = asyncio.get_running_loop().create_task(self._connect(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return near

    def _way(self) -> Way:
        way = Way(self._rate, self._delay)
        self._ways.add(way)
        return way

    async def _connect(self, near: Way) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, far = await loop.create_connection(self._way, "127.0.0.1", self._to)
        except OSError:
            near.abort()
            return
        far.lead_to(near, 0.0)
        near.lead_to(far, loop.time() + 2 * self._delay)


class LinkThread:
    """A link in a thread of this process, while its context lasts."""

    def __init__(self, to: int, rate: float | None = None, delay: float = 0.0) -> None:
        self.port = 0
        self._link = Link(to, rate, delay)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(30):
            raise TimeoutError("The link does not listen.")
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._done is not None:
            self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(30)

    async def _run(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        self.port = await self._link.open()
        self._ready.set()
        await self._done.wait()
        await self._link.close()


async def serve(link: Link, port: int) -> None:
    """Run a link until this process ends."""
    port = await link.open(port)
    print(f"Listening on 127.0.0.1:{port}", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Run a link as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=int, required=True, help="forward to this port")
    parser.add_argument("--port", type=int, default=0, help="listen here")
    parser.add_argument("--rate", type=float, help="bytes per second of each connection")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds, each way")
    options = parser.parse_args()
    link = Link(options.to, options.rate, options.delay)
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(link, options.port))


if __name__ == "__main__":
    main()
