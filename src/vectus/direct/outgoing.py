"""A reply's content on its way out: by ``sendfile`` where the kernel can, in blocks elsewhere.

Everything here gives way: to slow readers, to clients that leave, and to the loop after each step.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from vectus.direct.writer import Writer
from vectus.protocol.messages import Content

STEP = 1024 * 1024
"""What is sent before the loop gets its turn: some 0.2 ms on loopback."""

_COLD = getattr(os, "RWF_NOWAIT", None)


async def send_content(writer: Writer, head: bytes, content: Content) -> bool:
    """Send a head and its content; say whether all of it went out."""
    file, socket = content.file(), writer.socket()
    if file is None or socket is None or not hasattr(os, "sendfile"):
        writer.write(head)
        return await _send_blocks(writer, content)
    # Loops forbid a writer on a transport's own descriptor; and once we have waited, that number
    # may be another client's. The duplicate keeps the connection open, so it must be closed.
    duplicate = os.dup(socket)
    try:
        await writer.flush(head)
        return await _send_file(writer, duplicate, *file, content.length)
    finally:
        os.close(duplicate)


async def _send_blocks(writer: Writer, content: Content) -> bool:
    left = content.length
    blocks = content.blocks()
    try:
        async for block in blocks:
            left -= len(block)
            if writer.lost or left < 0:
                return False
            writer.write(block)
            await writer.drain()
            await asyncio.sleep(0)
    finally:
        if (close := getattr(blocks, "aclose", None)) is not None:
            await close()
    return left == 0


async def _send_file(writer: Writer, socket: int, file: int, start: int, length: int) -> bool:
    position, stop = start, start + length
    while position < stop and not writer.lost:
        count = min(STEP, stop - position)
        try:
            sent = await _send_step(writer.loop, socket, file, position, count)
        except BlockingIOError:
            await writer.writable(socket)
            continue
        except ConnectionError:
            return False
        if sent == 0:
            return False
        position += sent
        await asyncio.sleep(0)
    return position == stop


async def _send_step(
    loop: asyncio.AbstractEventLoop, socket: int, file: int, position: int, count: int
) -> int:
    """Send from the page cache at once, from a cold disk in a thread."""
    if not _is_cold(file, position) and not _is_cold(file, position + count - 1):
        return os.sendfile(socket, file, position, count)
    step = loop.run_in_executor(_threads(), os.sendfile, socket, file, position, count)
    cancelled: asyncio.CancelledError | None = None
    while not step.done():
        try:
            await asyncio.wait([step])
        except asyncio.CancelledError as error:
            # The thread still uses both descriptors: nobody may close them before it is done.
            cancelled = error
    if cancelled is not None:
        step.exception()
        raise cancelled
    return step.result()


def _is_cold(file: int, position: int) -> bool:
    """Say whether reading there would wait for the disk."""
    if _COLD is None:
        return False
    try:
        os.preadv(file, [bytearray(1)], position, _COLD)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads of our own: a stuck disk must not take the ones that others rely on."""
    return ThreadPoolExecutor(4, "vectus-sendfile")
