"""How a waiter sleeps: for a while, or until somebody wakes it."""

from __future__ import annotations

import asyncio


class Alarm:
    """The sleep of one waiter, on one event loop."""

    __slots__ = ("_ringing",)

    def __init__(self) -> None:
        self._ringing: asyncio.Future[None] | None = None

    async def sleep(self, seconds: float) -> None:
        """Sleep so long at most."""
        loop = asyncio.get_running_loop()
        self._ringing = loop.create_future()
        timer = loop.call_later(seconds, self.ring)
        try:
            await self._ringing
        finally:
            timer.cancel()

    def ring(self) -> None:
        """End the present sleep, if there is one."""
        if self._ringing is not None and not self._ringing.done():
            self._ringing.set_result(None)
