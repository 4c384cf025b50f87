"""Blocking calls of the asyncio driver: each in a thread that nobody has to wait for.

An executor's threads are waited for when the interpreter ends, and a read from a terminal may never
end. To start a thread costs more than to upload a small file, so threads stay a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, TypeVar, TypeVarTuple

QUICK = 0.005
"""Seconds that a read may keep the loop waiting; one that took longer sends the next elsewhere."""
REST = 5.0
"""Seconds that a thread with nothing to do waits for more."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Call = Callable[[], object]


async def in_thread(
    work: Callable[[*Ts], T], *args: *Ts, late: Callable[[T], object] | None = None
) -> T:
    """Call in a thread and wait; a cancellation leaves the call to itself.

    Args:
        work: what to call.
        args: with what.
        late: takes a result that nobody waits for any more.
    """
    done = _started(partial(work, *args), late)
    try:
        return await done
    except asyncio.CancelledError:
        if late is not None and done.done() and not done.cancelled() and not done.exception():
            late(done.result())  # it came in the same turn of the loop
        raise


async def to_end(work: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call in a thread and wait to its end; a cancellation is told only then. For calls that are
    sure to return, and whose result must not be lost."""
    done = _started(partial(work, *args), None)
    await settled((done,))
    return done.result()


async def settled(futures: Collection[asyncio.Future[Any]]) -> None:
    """Wait until all are done, however they end; a cancellation is told only then."""
    pending = {each for each in futures if not each.done()}
    told: asyncio.CancelledError | None = None
    while pending:
        try:
            _, pending = await asyncio.wait(pending)
        except asyncio.CancelledError as cancelled:
            told = cancelled
            pending = {each for each in pending if not each.done()}
    for each in futures:
        if not each.cancelled():
            each.exception()  # looked at, or asyncio would log it as lost
    if told is not None:
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
        block, seconds = self._timed() if self._quick else await in_thread(self._timed)
        self._quick = seconds < QUICK
        return block

    def _timed(self) -> tuple[bytes, float]:
        started = perf_counter()
        block = next(self._blocks, b"")
        return block, perf_counter() - started


# --- Threads that stay ----------------------------------------------------------------------------


_resting: dict[SimpleQueue[Call], None] = {}
"""Where threads with nothing to do wait for more, the one that came last being the first to go."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_resting.clear)  # a child has none of these threads


def _started(work: Callable[[], T], late: Callable[[T], object] | None) -> asyncio.Future[T]:
    """Begin a call in a thread, in the caller's context."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # raised where it is awaited
            _post(loop, _fail, done, error)
        else:
            _post(loop, _succeed, done, result, late)

    _hand_over(partial(copy_context().run, run))
    return done


def _hand_over(call: Call) -> None:
    try:
        resting, _ = _resting.popitem()
    except KeyError:
        threading.Thread(target=_serve, args=(call,), name="vectus", daemon=True).start()
    else:
        resting.put(call)


def _serve(call: Call) -> None:
    """Make one call after the other, until nobody has had another for a while."""
    own: SimpleQueue[Call] = SimpleQueue()
    while True:
        call()
        del call  # and all that it holds
        _resting[own] = None
        try:
            call = own.get(timeout=REST)
        except Empty:
            if _resting.pop(own, own) is None:
                return
            call = own.get()  # somebody has just taken this one


def _post(loop: asyncio.AbstractEventLoop, act: Callable[[*Ts], None], *args: *Ts) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(act, *args)


def _succeed(done: asyncio.Future[T], result: T, late: Callable[[T], object] | None) -> None:
    if not done.done():
        done.set_result(result)
    elif late is not None:
        late(result)


def _fail(done: asyncio.Future[T], error: BaseException) -> None:
    if done.done():
        return
    if isinstance(error, StopIteration):  # no future takes this one
        error = RuntimeError("a source raised StopIteration")
    done.set_exception(error)
