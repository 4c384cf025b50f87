"""Where file work runs: on the event loop while the disk is fast, in threads while it is slow.

Handing a short call to a thread costs more than the call; waiting for a slow disk on the event
loop costs everybody. So one call that took long moves the work to threads for some seconds. What
is never quick (a sync, unlinking a large file, a join) always goes to a thread.

A call in a thread cannot be stopped, so whoever waits for one waits to its end, however often it
is cancelled meanwhile: a lock must outlive the last write made under it.

This module knows threads and time, nothing of uploads.
"""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TypeVar, TypeVarTuple
from weakref import WeakValueDictionary

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

INLINE_LIMIT = 0.010
"""A call on the event loop that took longer than this many seconds makes the disk slow."""

THREAD_LIMIT = 0.050
"""A call in a thread that took longer keeps it slow. It is more, as threads wait for each other
too, and what takes less does little harm on the event loop."""

SLOW_FOR = 5.0
"""How many seconds a disk counts as slow after its last slow call, at most."""

REST = 100
"""A slow call on the event loop makes the disk slow for so many times as long as it took: such
calls take a hundredth of everybody's time at most, and the hiccup of a few milliseconds with which
a journal is written, every five seconds on many systems, does not send all work to threads."""


class Pace:
    """How a directory's disk has been doing lately, shared by all who use it in this process."""

    __slots__ = ("__weakref__", "slow_until")

    def __init__(self) -> None:
        self.slow_until = 0.0

    @property
    def slow(self) -> bool:
        """Whether there was a slow call lately."""
        return self.slow_until > monotonic()

    def slacken(self, seconds: float = SLOW_FOR) -> None:
        """Take note of a slow call that ends now."""
        self.slow_until = max(self.slow_until, monotonic() + min(seconds, SLOW_FOR))


_paces: WeakValueDictionary[str, Pace] = WeakValueDictionary()


def pace_of(directory: str) -> Pace:
    """Return the one pace of a directory."""
    return _paces.setdefault(os.path.realpath(directory), Pace())


_WHO: int | None = getattr(resource, "RUSAGE_THREAD", None)


def _waits() -> float:
    """Return a number that changes whenever this thread waits for anything but a processor; on
    systems that do not count that, it changes always."""
    return monotonic() if _WHO is None else resource.getrusage(_WHO).ru_nvcsw


async def settled(future: asyncio.Future[T], on_cancel: Callable[[], object] = lambda: None) -> T:
    """Wait for a future to its very end; a cancellation is told only then.

    Args:
        future: what to wait for; it is not cancelled.
        on_cancel: called on each cancellation, to hasten the end.

    Returns:
        The future's result; its exception is raised, but for a cancellation, which goes first.
    """
    told: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as cancelled:
            told = cancelled
            on_cancel()
    if told is None:
        return future.result()
    if not future.cancelled():
        future.exception()  # looked at, or asyncio would log it as lost
    raise told


class Disk:
    """Runs the blocking calls of one store.

    Args:
        directory: whose pace counts.
        threads: how many calls may be in threads at once; more wait for one to end.
        long_threads: the same for ``at_length``, which must not take the others' threads.
        inline_limit: how many seconds a call on the event loop may take. Where other threads run
            Python, waiting for the interpreter looks like waiting for the disk.
    """

    def __init__(
        self,
        directory: str,
        *,
        threads: int = 8,
        long_threads: int = 2,
        inline_limit: float = INLINE_LIMIT,
    ) -> None:
        self._pace = pace_of(directory)
        self._inline_limit = inline_limit
        self._pool = ThreadPoolExecutor(threads, "vectus-disk")
        self._long = ThreadPoolExecutor(long_threads, "vectus-join")

    @property
    def fast(self) -> bool:
        """Whether a short call may run on the event loop now."""
        return not self._pace.slow

    def inline(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call here and now, and learn from how long it took."""
        waits, started = _waits(), monotonic()
        try:
            return work(*args)
        finally:
            # A call that only waited for a busy processor says nothing of the disk.
            took = monotonic() - started
            if took > self._inline_limit and _waits() != waits:
                self._pace.slacken(REST * took)

    def hop(self, work: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Start a call in a thread; wait for it with ``settled``."""
        return asyncio.get_running_loop().run_in_executor(self._pool, self._timed, work, *args)

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Make a short call: inline while the disk is fast, else in a thread."""
        return self.inline(work, *args) if self.fast else await settled(self.hop(work, *args))

    async def apart(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Make a call that may take long, in a thread."""
        job = asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        return await settled(job)

    async def at_length(self, work: Callable[[Callable[[], bool], *Ts], T], *args: *Ts) -> T:
        """Make a call that may take hours, in a thread kept for such.

        ``work`` gets a function as its first argument that says whether it should stop, which
        becomes true when the waiting task is cancelled.
        """
        stop = threading.Event()
        job = self._long.submit(work, stop.is_set, *args)

        def hasten() -> None:
            stop.set()
            job.cancel()  # for when it has not got a thread yet

        return await settled(asyncio.wrap_future(job), hasten)

    def close(self) -> None:
        """Let the threads go as soon as they are idle; nothing can be run after it."""
        self._pool.shutdown(wait=False)
        self._long.shutdown(wait=False)

    def _timed(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        started = monotonic()
        try:
            return work(*args)
        finally:
            if monotonic() - started > THREAD_LIMIT:
                self._pace.slacken()
