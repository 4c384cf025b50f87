"""An application on a slow disk, with requests that can be cancelled.

Run by uvicorn in a process of its own. A write sleeps for as many seconds as ``$SECONDS`` says for
the first byte of its data, before anything reaches the file. ``$CONTROL/writes`` has one line per
write that is done: the first byte, and when it began and ended on the machine's monotonic clock.
A request with ``X-Cancel-After`` is cancelled after so many seconds, the way a middleware with a
time limit does it.
"""

from __future__ import annotations

import ast
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from remote import note, uploads

SECONDS: dict[str, float] = ast.literal_eval(os.environ["SECONDS"])

Application = Callable[[Any, Any, Any], Awaitable[None]]


def make() -> Application:
    """Return the application, with the disk slowed down."""
    os.pwrite = slowed(os.pwrite)
    return impatient(uploads())


def slowed(write: Callable[[int, Any, int], int]) -> Callable[[int, Any, int], int]:
    """Wrap ``os.pwrite``."""

    def sluggish(fd: int, data: Any, at: int) -> int:
        began, first = time.monotonic(), chr(memoryview(data)[0])
        time.sleep(SECONDS.get(first, SECONDS.get("any", 0)))
        written = write(fd, data, at)
        note("writes", f"{first!r} {began} {time.monotonic()}")
        return written

    return sluggish


def impatient(app: Application) -> Application:
    """Cancel requests that ask for it."""

    async def limited(scope: Any, receive: Any, send: Any) -> None:
        limit = dict(scope.get("headers") or ()).get(b"x-cancel-after")
        try:
            async with asyncio.timeout(float(limit) if limit else None):
                await app(scope, receive, send)
        except TimeoutError:
            if not limit:
                raise
            await send({"type": "http.response.start", "status": 504, "headers": []})
            await send({"type": "http.response.body", "body": b"cancelled"})

    return limited
