"""An application on a slow disk, with requests that can be cancelled.

Run by uvicorn in a process of its own. A write sleeps for as many seconds as ``$SECONDS`` says for
the first byte of its data, before anything reaches the file; where that is no number but a name, it
sleeps until the test puts a file of that name into ``$CONTROL``. There ``begun`` has one line per
write that has begun, its first byte, and ``writes`` one per write that is done: the first byte, and
when it began and ended on the machine's monotonic clock. A request with ``X-Cancel`` is cancelled
once the file ``cancel`` is there, the way a middleware with a time limit does it, and ``cancelled``
tells of it. Once slow, the disk stays slow: writes go to threads from then on.
"""

from __future__ import annotations

import ast
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from remote import note, told, uploads
from vectus.stores import disk

SECONDS: dict[str, float | str] = ast.literal_eval(os.environ["SECONDS"])

Application = Callable[[Any, Any, Any], Awaitable[None]]


def make() -> Application:
    """Return the application, with the disk slowed down."""
    disk.SLOW_FOR = disk.REST = 10**6
    os.pwrite = slowed(os.pwrite)
    return impatient(uploads())


def slowed(write: Callable[[int, Any, int], int]) -> Callable[[int, Any, int], int]:
    """Wrap ``os.pwrite``."""

    def sluggish(fd: int, data: Any, at: int) -> int:
        began, first = time.monotonic(), chr(memoryview(data)[0])
        note("begun", repr(first))
        sleep(SECONDS.get(first, SECONDS.get("any", 0)))
        written = write(fd, data, at)
        note("writes", f"{first!r} {began} {time.monotonic()}")
        return written

    return sluggish


def sleep(how_long: float | str) -> None:
    """Sleep for some seconds, or until the test says so."""
    if isinstance(how_long, str):
        while not told(how_long):
            time.sleep(0.005)
    else:
        time.sleep(how_long)


def impatient(app: Application) -> Application:
    """Cancel requests that ask for it."""

    async def limited(scope: Any, receive: Any, send: Any) -> None:
        if b"x-cancel" not in dict(scope.get("headers") or ()):
            await app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(None) as limit:
                watcher = asyncio.ensure_future(expire(limit))
                try:
                    await app(scope, receive, send)
                finally:
                    watcher.cancel()
        except TimeoutError:
            await send({"type": "http.response.start", "status": 504, "headers": []})
            await send({"type": "http.response.body", "body": b"cancelled"})

    return limited


async def expire(limit: asyncio.Timeout) -> None:
    """Let a request's time be over when the test says so."""
    while not told("cancel"):  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(0.005)
    limit.reschedule(asyncio.get_running_loop().time())
    try:
        await asyncio.sleep(0.01)
    finally:  # ended with its request, perhaps
        note("cancelled", "now")
