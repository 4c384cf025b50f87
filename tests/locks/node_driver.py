"""A process that holds locks kept elsewhere, for tests that need one to ask, to stop or to kill.

    node_driver.py LOOP URL MODE [ARGUMENT...]

It prints one line for everything that happens, and ends with its standard input at the latest.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import uvloop

from vectus.errors import LockHeld, LockUnavailable
from vectus.locks import postgres
from vectus.locks.postgres import PostgresLocker
from vectus.locks.redis import RedisLocker

FOREVER = 1e6
PAUSE = 0.4
"""Seconds after which a process has stood still: the least time that a call to Redis may take."""

OVERLAP = 5.0
"""Seconds in which whoever has lost a lock is out, on a machine that has others to attend to."""

Locker = RedisLocker | PostgresLocker


async def stubborn(locker: Locker, id: str) -> None:
    """Hold, say what one is told, and never leave."""
    async with locker.hold(id, lambda: print("wanted"), lambda: print("lost")) as lease:
        print("held", lease.fence)
        await asyncio.sleep(FOREVER)


async def careful(locker: Locker, id: str) -> None:
    """Hold, and write, once for each line read, if the lease is not lost."""
    loop, pieces = asyncio.get_running_loop(), os.dup(0)
    os.set_blocking(pieces, False)
    async with locker.hold(id, None, lambda: print("told")) as lease:

        def write() -> None:
            if not os.read(pieces, 1000):
                os._exit(1)
            print("refused" if lease.lost else "wrote")  # type: ignore[attr-defined]

        loop.add_reader(pieces, write)
        print("held", lease.fence)
        await asyncio.sleep(FOREVER)


async def forgetful(locker: Locker, id: str) -> None:
    """Hold, and end without closing the locker."""
    await locker.hold(id).__aenter__()
    locker.aclose = forget  # type: ignore[method-assign]
    print("ending")


async def forget() -> None:
    """Do nothing."""


async def polite(locker: Locker, id: str) -> None:
    """Hold until wanted, and again whenever told to."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    threading.Thread(target=listen, args=[partial(loop.call_soon_threadsafe, told.set)]).start()
    while True:
        wanted = asyncio.Event()
        async with locker.hold(id, wanted.set, patience=FOREVER):
            print("held")
            await wanted.wait()
        print("left")
        await told.wait()
        told.clear()


async def hammer(locker: Locker, id: str, tasks: str, scratch: str) -> None:
    """Hold in many tasks, over and over, until told to end; count what must not happen, and what
    did."""
    names = ("turns", "overlaps", "doubles", "falls", "lost", "away", "paused")
    counts = dict.fromkeys(names, 0)
    loop, enough = asyncio.get_running_loop(), asyncio.Event()
    told = partial(loop.call_soon_threadsafe, enough.set)
    threading.Thread(target=listen, args=[told], daemon=True).start()
    watching = asyncio.create_task(watch(counts))
    work = [visit(locker, id, scratch, counts, enough) for _ in range(int(tasks))]
    print("begun")
    await asyncio.gather(*work)
    watching.cancel()
    print(*(f"{name}={count}" for name, count in counts.items()))


async def watch(counts: dict[str, int]) -> None:
    """Count how often this process stood still: whoever does may lose locks."""
    clock = asyncio.get_running_loop().time
    while True:
        before = clock()
        await asyncio.sleep(0.02)
        counts["paused"] += clock() - before > PAUSE


async def visit(
    locker: Locker, id: str, scratch: str, counts: dict[str, int], enough: asyncio.Event
) -> None:
    """Be one of those tasks."""
    while not enough.is_set():
        room = Room(scratch, counts)
        try:
            ask, patience = random.random() < 0.7, random.choice([0, 0.2, 20])
            async with locker.hold(
                id, room.leave, room.lose, ask=ask, patience=min(patience, 5)
            ) as lease:
                await room.enter(lease.fence)
                with suppress(TimeoutError):
                    await asyncio.wait_for(room.over.wait(), random.random() / 50)
                room.clear()
        except LockHeld:
            await asyncio.sleep(random.random() / 100)
        except LockUnavailable:
            counts["away"] += 1
            await asyncio.sleep(0.05)


class Room:
    """What only one may be in at a time: a file says that somebody is."""

    def __init__(self, scratch: str, counts: dict[str, int]) -> None:
        self._busy = f"{scratch}/busy"
        self._fence = f"{scratch}/fence"
        self._counts = counts
        self._inside = False
        self.over = asyncio.Event()

    async def enter(self, fence: int) -> None:
        """Look whether it is empty, and whether the fence has risen. Where somebody is inside, give
        him the moment that it takes to hear that he has lost the lock."""
        self._counts["turns"] += 1
        self._counts["falls"] += not rises(self._fence, fence)
        if self._occupy():
            return
        self._counts["overlaps"] += 1
        for _ in range(int(OVERLAP / 0.05)):
            await asyncio.sleep(0.05)
            if self._occupy():
                return
        self._counts["doubles"] += 1

    def _occupy(self) -> bool:
        try:
            os.close(os.open(self._busy, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        self._inside = not self.over.is_set()
        if not self._inside:
            os.unlink(self._busy)
        return True

    def leave(self) -> None:
        """Somebody wants to enter."""
        self.over.set()

    def lose(self) -> None:
        """Be out at once."""
        self._counts["lost"] += 1
        self.clear()
        self.over.set()

    def clear(self) -> None:
        """Leave it empty."""
        if self._inside:
            self._inside = False
            with suppress(FileNotFoundError):
                os.unlink(self._busy)


def rises(path: str, fence: int) -> bool:
    """Say whether a fence is above the one in a file, and put it there."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    before = int(os.pread(fd, 30, 0) or b"0")
    os.pwrite(fd, b"%030d" % fence, 0)
    os.close(fd)
    return fence > before


async def fork(locker: Locker, id: str) -> None:
    """Hold, and fork a child that outlives this process's lease."""
    claim = locker.hold(id, lambda: print("wanted"), lambda: print("lost"))
    async with claim:
        if os.fork() == 0:
            with suppress(StopIteration):  # leave the parent's context, as a destructor may
                claim.__aexit__(None, None, None).__await__().send(None)
            asyncio.run(child(locker, id))
            os._exit(0)
        await asyncio.sleep(FOREVER)


async def child(locker: Locker, id: str) -> None:
    """Use the parent's locker, and live on."""
    try:
        async with locker.hold(id, ask=False, patience=0):
            print("child holds the parent's lock")
    except LockHeld:
        print("child is kept out")
    async with locker.hold("other", lambda: print("child wanted")):
        print("child", os.getpid())
        threading.Thread(target=listen, args=[lambda: None], daemon=True).start()
        await asyncio.sleep(FOREVER)


def listen(told: Callable[[], Any]) -> None:
    """Hand on what comes on standard input, and end the process with it."""
    while os.read(0, 1000):
        told()
    os._exit(1)


Mode = Callable[..., Awaitable[None]]
MODES: dict[str, Mode] = {
    mode.__name__: mode for mode in (stubborn, careful, forgetful, polite, hammer, fork)
}


async def main(url: str, mode: Mode, *arguments: str) -> None:
    """Run one mode."""
    # A busy machine takes its time, and nobody here waits for the end of it.
    postgres.PATIENCE, postgres.LASTING = 30.0, 60.0
    locker = PostgresLocker(url) if url.startswith("postgresql") else RedisLocker(url)
    try:
        await mode(locker, *arguments)
    finally:
        await locker.aclose()


loop, where, mode_name = sys.argv[1:4]
sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
if mode_name not in {"careful", "polite", "hammer"}:
    threading.Thread(target=listen, args=[lambda: None], daemon=True).start()
(uvloop.run if loop == "uvloop" else asyncio.run)(main(where, MODES[mode_name], *sys.argv[4:]))
