"""Blocking calls of the asyncio driver: each in a thread that nobody has to wait for.

A pool's threads are waited for when the interpreter ends, and a read from a terminal may never
end; a thread of its own costs no more than a hop to a pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TypeVar, TypeVarTuple

QUICK = 0.005
"""Seconds that a read may keep the loop waiting; one that took longer sends the next elsewhere."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def in_thread(work: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call in a thread and wait; a cancellation leaves the call to itself."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work(*args)
        except BaseException as error:  # raised where it is awaited
            _post(loop, _fail, done, error)
        else:
            _post(loop, _succeed, done, result)

    threading.Thread(target=run, name="vectus-read", daemon=True).start()
    return await done


async def to_end(work: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call in a thread and wait to its end; a cancellation is told only then. For calls that are
    sure to return, such as a read from a disk."""
    job = asyncio.ensure_future(in_thread(work, *args))
    told: asyncio.CancelledError | None = None
    while not job.done():
        try:
            await asyncio.wait((job,))
        except asyncio.CancelledError as cancelled:
            told = cancelled
    if told is None:
        return job.result()
    job.exception()  # looked at, or asyncio would log it as lost
    raise told


class Reader:
    """Reads blocks where that costs least: on the loop as long as each is there at once, as from
    memory or a fast disk, else in a thread.

    Args:
        blocks: what to read.
    """

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._quick = False

    async def read(self) -> bytes:
        """Return the next block; an empty one is the end."""
        block, seconds = self._timed() if self._quick else await to_end(self._timed)
        self._quick = seconds < QUICK
        return block

    def _timed(self) -> tuple[bytes, float]:
        started = perf_counter()
        block = next(self._blocks, b"")
        return block, perf_counter() - started


def _post(loop: asyncio.AbstractEventLoop, act: Callable[[*Ts], None], *args: *Ts) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(act, *args)


def _succeed(done: asyncio.Future[T], result: T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[T], error: BaseException) -> None:
    if done.done():
        return
    if isinstance(error, StopIteration):  # no future takes this one
        error = RuntimeError("a source raised StopIteration")
    done.set_exception(error)
