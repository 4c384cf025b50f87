"""Locks in files among real processes: killed, stopped, forked and racing ones (D5, D6)."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from vectus.errors import LockHeld
from vectus.locks.file import FileLocker

Start = Callable[..., Awaitable[Any]]

ID = "0123456789abcdef"
LIMIT = 30.0
SOON = 1.0
AT_ONCE = 15.0  # generous: what is free at once is had at the next of a waiter's attempts


@pytest.mark.timeout(240)
async def test_the_unlink_race(start_peer: Start, tmp_path: Path) -> None:
    """D6: processes that take and retire one lock 6000 times never hold it together, and their
    fences rise all the time."""
    racers = [await start_peer("race", ID, 1500, tmp_path) for _ in range(4)]

    assert [await racer.line(6 * LIMIT) for racer in racers] == ["doubles 0 falls 0"] * 4


async def test_takeover(start_peer: Start, files: FileLocker) -> None:
    """D6: a holder in another process is asked, and its lock is had well within a second."""
    now = asyncio.get_running_loop().time
    peer = await start_peer("polite", ID)
    assert await peer.line() == "held"
    waited = []

    for _ in range(9):
        wanted = asyncio.Event()
        begun = now()
        async with asyncio.timeout(LIMIT), files.hold(ID, wanted.set, patience=LIMIT):
            waited.append(now() - begun)
            assert await peer.line() == "left"
            peer.tell("again")
            await wanted.wait()
        assert await peer.line() == "held"
    assert sorted(waited)[4] < SOON  # the machine may be busy once


async def test_a_killed_holder(start_peer: Start, files: FileLocker, tmp_path: Path) -> None:
    """D6: the lock of a killed process is free at once, its fence counts, its socket is removed."""
    peer = await start_peer("stubborn", ID)
    fence = int((await peer.line()).removeprefix("held "))
    peer.process.kill()
    assert await peer.end() == -signal.SIGKILL
    left_behind = os.listdir(tmp_path / "locks" / ".wake")

    async with files.hold(ID, patience=AT_ONCE) as lease:
        assert lease.fence > fence
    sockets = os.listdir(tmp_path / "locks" / ".wake")
    assert len(left_behind) == len(sockets) == 1
    assert left_behind != sockets


async def test_killed_while_others_wait(start_peer: Start, files: FileLocker) -> None:
    """D6: whoever waits for a process that is killed has its lock at once."""
    peer = await start_peer("stubborn", ID)
    await peer.line()
    waiting = asyncio.ensure_future(files.hold(ID).__aenter__())
    assert await peer.line() == "wanted"

    peer.process.kill()
    await asyncio.wait_for(waiting, AT_ONCE)
    await files.hold("another", patience=0).__aenter__()


async def test_a_stopped_holder(start_peer: Start, files: FileLocker) -> None:
    """D6: a stopped process keeps its lock; who wants it gives up in time, as often as it asks,
    and is heard when the process goes on."""
    peer = await start_peer("polite", ID)
    assert await peer.line() == "held"
    peer.stop()

    for patience in (0, 1.2):  # long enough to fill the queue of its socket
        with pytest.raises(LockHeld):
            async with files.hold(ID, patience=patience):
                pytest.fail("Two hold one lock.")

    peer.process.send_signal(signal.SIGCONT)
    async with files.hold(ID, patience=LIMIT):
        assert await peer.line() == "left"


async def test_a_fork(start_peer: Start, files: FileLocker) -> None:
    """A forked child does not hold, release or answer for its parent's lock, and can use the
    parent's locker as its own."""
    parent = await start_peer("fork", ID)
    assert await parent.line() == "child is kept out"
    assert (await parent.line()).startswith("child ")
    for id, answer in ((ID, "wanted"), ("other", "child wanted")):
        with pytest.raises(LockHeld):
            async with files.hold(id, patience=0):
                pytest.fail("Two hold one lock.")
        assert await parent.line() == answer

    parent.process.kill()  # and the child lives on
    async with files.hold(ID, patience=AT_ONCE):
        pass
    with pytest.raises(LockHeld):
        async with files.hold("other", ask=False, patience=0):
            pytest.fail("The child did not live on.")


async def test_a_child_that_knows_nothing(start_peer: Start, files: FileLocker) -> None:
    """A lock is let go though a child, between fork and exec say, has a copy of its descriptor."""
    parent = await start_peer("fork_and_leave", ID)

    for _ in ("kept", "retired"):
        assert await parent.line() == "left"
        async with files.hold(ID, ask=False, patience=0):
            parent.tell("go on")
    assert await parent.end() == 0


@pytest.mark.platform("linux")
@pytest.mark.parametrize(
    ("resource", "problem"),
    [("RLIMIT_NOFILE", "Too many open files"), ("RLIMIT_FSIZE", "File too large")],
)
async def test_want(start_peer: Start, resource: str, problem: str) -> None:
    """Without descriptors, or without room for what a lock file says, a lock cannot be had; nothing
    leaks, nothing is left behind, and it can be had as soon as they are there."""
    peer = await start_peer("scarce", resource)
    refused = f"unavailable: The locker cannot be reached: {problem}."

    said = [(await peer.line()).replace("'.wake'", "") for _ in range(8)]
    assert sorted(said[1::2]) == [*3 * ["leaked 0"], "leaked 1"]  # the process's socket
    assert said[0::2] == [f"{refused} []", f"{refused} []", "held []", f"{refused} []"]


async def test_a_stranger(files: FileLocker, tmp_path: Path) -> None:
    """A lock held by a program that leaves no address is waited for like any other."""
    (tmp_path / "locks").mkdir()
    fd = os.open(tmp_path / "locks" / ID, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(LockHeld):
        async with files.hold(ID, patience=0.2):
            pytest.fail("Two hold one lock.")
    os.close(fd)

    async with files.hold(ID, patience=0):
        pass
