"""A process that holds locks of files, for tests that need one to ask, to stop or to kill.

    lock_driver.py LOOP MODE DIRECTORY [ARGUMENT...]

It prints one line for everything that happens, and ends with its standard input at the latest.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import resource
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import uvloop

from vectus.errors import LockHeld, LockUnavailable
from vectus.locks.file import FileLocker

FOREVER = 1e6
listeners: list[Callable[[], object]] = []


async def stubborn(locker: FileLocker, id: str) -> None:
    """Hold, say when it is wanted, and never leave."""
    async with locker.hold(id, lambda: print("wanted")) as lease:
        print("held", lease.fence)
        await asyncio.sleep(FOREVER)


async def polite(locker: FileLocker, id: str) -> None:
    """Hold until wanted, and again whenever told to."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    listeners.append(partial(loop.call_soon_threadsafe, told.set))
    while True:
        wanted = asyncio.Event()
        async with locker.hold(id, wanted.set, patience=FOREVER):
            print("held")
            await wanted.wait()
        print("left")
        await told.wait()
        told.clear()


async def race(locker: FileLocker, id: str, rounds: str, scratch: str) -> None:
    """Take the lock many times, retiring it half of the times; count what must not happen."""
    yield_at_flock()
    doubles, falls, left = 0, 0, int(rounds)
    while left:
        try:
            patience = 5.0 if random.random() < 0.02 else 0.0
            async with locker.hold(id, ask=False, patience=patience) as lease:
                try:
                    os.close(os.open(f"{scratch}/busy", os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    doubles += 1
                falls += not rises(f"{scratch}/fence", lease.fence)
                if random.random() < 0.7:
                    lease.retire()
                with suppress(FileNotFoundError):
                    os.unlink(f"{scratch}/busy")
                left -= 1
        except LockHeld:
            pass
        await asyncio.sleep(0)
    print("doubles", doubles, "falls", falls)


def yield_at_flock() -> None:
    """Let other processes run between opening and locking, and between unlinking and unlocking,
    where a careless locker would lose."""
    flock = fcntl.flock

    def yielding(fd: int, operation: int) -> None:
        os.sched_yield()
        flock(fd, operation)

    fcntl.flock = yielding


def rises(path: str, fence: int) -> bool:
    """Say whether a fence is above the one in a file, and put it there."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    before = int(os.pread(fd, 30, 0) or b"0")
    os.pwrite(fd, b"%030d" % fence, 0)
    os.close(fd)
    return fence > before


async def scarce(locker: FileLocker, kind: str) -> None:
    """Hold when a resource of this process is used up, and when it is there again; first while the
    locker's socket is not open yet, then when it is."""
    limit = getattr(resource, kind)
    soft, hard = resource.getrlimit(limit)
    one_descriptor = os.dup(0) + 1
    os.close(one_descriptor - 1)
    for few in (0, one_descriptor if kind == "RLIMIT_NOFILE" else 0, None, 0):
        before = descriptors()
        resource.setrlimit(limit, (soft if few is None else few, hard))
        said = await outcome(locker)
        resource.setrlimit(limit, (soft, hard))
        print(said, os.listdir(directory) if os.path.exists(directory) else [])
        print("leaked", descriptors() - before)


async def outcome(locker: FileLocker) -> str:
    """Hold, and say how it went."""
    try:
        async with locker.hold("some") as lease:
            lease.retire()
            return "held"
    except LockUnavailable as error:
        return f"unavailable: {error}"


def descriptors() -> int:
    """Return how many descriptors are open."""
    return len(os.listdir("/proc/self/fd"))


async def fork(locker: FileLocker, id: str) -> None:
    """Hold, and fork a child that outlives this process's lease."""
    claim = locker.hold(id, lambda: print("wanted"))
    async with claim as lease:
        lease.retire()
        if os.fork() == 0:
            with suppress(StopIteration):  # leave the parent's context, as a destructor may
                claim.__aexit__(None, None, None).__await__().send(None)
            asyncio.run(child(locker, id))
            os._exit(0)
        await asyncio.sleep(FOREVER)


async def child(locker: FileLocker, id: str) -> None:
    """Use the parent's locker, and live on."""
    try:
        async with locker.hold(id, ask=False, patience=0):
            print("child holds the parent's lock")
    except LockHeld:
        print("child is kept out")
    async with locker.hold("other", lambda: print("child wanted")):
        print("child", os.getpid())
        threading.Thread(target=listen, daemon=True).start()
        await asyncio.sleep(FOREVER)


async def fork_and_leave(locker: FileLocker, id: str) -> None:
    """Hold, have a child that knows of nothing (as one about to exec), and let go."""
    for retired in (False, True):
        reading, writing = os.pipe()
        async with locker.hold(id) as lease:
            if retired:
                lease.retire()
            pid = raw_fork()
            if pid == 0:
                os.close(writing)
                os.read(reading, 1)
                os._exit(0)
        print("left")
        await asyncio.to_thread(sys.stdin.readline)
        os.close(writing)
        os.close(reading)
        await asyncio.to_thread(os.waitpid, pid, 0)


def raw_fork() -> int:
    """Fork without Python's hooks, but holding the interpreter's lock: else another thread may have
    it at that moment, and the child would wait for it for ever."""
    import ctypes

    return int(ctypes.PyDLL(None).fork())


def listen() -> None:
    """Hand on what comes on standard input, and end the process with it."""
    while os.read(0, 1000):
        for listener in listeners:
            listener()
    os._exit(1)


Mode = Callable[..., Awaitable[None]]
MODES: dict[str, Mode] = {
    mode.__name__: mode for mode in (stubborn, polite, race, scarce, fork, fork_and_leave)
}


async def main(mode: Mode, *arguments: str) -> None:
    """Run one mode."""
    locker = FileLocker(directory)
    try:
        await mode(locker, *arguments)
    finally:
        await locker.aclose()


loop, mode_name, directory = sys.argv[1:4]
sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
if mode_name != "fork_and_leave":
    threading.Thread(target=listen, daemon=True).start()
(uvloop.run if loop == "uvloop" else asyncio.run)(main(MODES[mode_name], *sys.argv[4:]))
