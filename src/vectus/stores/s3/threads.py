"""Threads for calls to S3, which block: some for parts, which take long, some for all else.

What is started is waited for to its end, cancelled or not: nothing of an append may happen after
it was left.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TypeVar, TypeVarTuple

from vectus.errors import StoreUnavailable
from vectus.stores.disk import settled

SMALL = 32
READERS = 8

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Threads:
    """The threads of one store.

    Args:
        parts: how many parts are sent at once.
        small: how many other calls are made at once.
        long: how many joins are at work at once.
        patience: seconds that the first call of a request waits for a thread.
    """

    def __init__(
        self, parts: int, small: int = SMALL, long: int = 2, patience: float = 15.0
    ) -> None:
        self._parts = ThreadPoolExecutor(parts, "vectus-part")
        self._small = ThreadPoolExecutor(small, "vectus-s3")
        self._long = ThreadPoolExecutor(long, "vectus-join")
        self.readers = ThreadPoolExecutor(READERS, "vectus-scan")
        self._patience = patience

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Make a few calls."""
        return await settled(asyncio.get_running_loop().run_in_executor(self._small, work, *args))

    async def first(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Make the first calls of a request. Where S3 is silent and keeps all threads waiting, its
        client is to hear of it soon, and those who come later are to have their turn.

        Raises:
            StoreUnavailable: there was no thread in time; no call was made.
        """
        late = monotonic() + self._patience

        def unless_late(*args: *Ts) -> T:
            if monotonic() > late:
                raise StoreUnavailable("it keeps all threads waiting")
            return work(*args)

        return await self.run(unless_late, *args)

    async def send(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Send a part."""
        return await settled(asyncio.get_running_loop().run_in_executor(self._parts, work, *args))

    async def at_length(self, work: Callable[[Callable[[], bool]], T]) -> T:
        """Make calls that may take hours. ``work`` gets a function that says whether to stop, which
        becomes true when the waiting task is cancelled."""
        stop = threading.Event()
        job = self._long.submit(work, stop.is_set)

        def hasten() -> None:
            stop.set()
            job.cancel()  # for when it has not got a thread yet

        return await settled(asyncio.wrap_future(job), hasten)

    def close(self) -> None:
        """Let the threads go as soon as they are idle; nothing can be run after it."""
        for pool in (self._parts, self._small, self._long, self.readers):
            pool.shutdown(wait=False)
