"""How processes ask each other: sockets, live, dead, deaf and far away."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from vectus.errors import LockHeld
from vectus.locks import wake
from vectus.locks.file import FileLocker
from vectus.testing.lockers import ID, Holder

LIMIT = 30.0


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files, with a short path and of this test alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


async def asked(holding: FileLocker, asking: FileLocker) -> int:
    """Let one locker ask another for a lock, and return how often its holder was told."""
    holder = Holder(holding)
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        group.create_task(holder.run())
        await holder.held.wait()
        async with asking.hold(ID, patience=LIMIT):
            return holder.asked


def sockets(locks: Path) -> list[str]:
    """Return the names of the sockets beside some locks."""
    return sorted(os.listdir(locks / ".wake"))


@pytest.mark.platform("linux")
async def test_a_long_path(tmp_path: Path, temporary: Path) -> None:
    """A folder whose path is longer than a socket's may be serves like any other."""
    locks = tmp_path / ("x" * 120) / ("y" * 120)
    locks.parent.mkdir()
    first, second = FileLocker(locks), FileLocker(locks)
    assert await asked(first, second) > 0
    assert await asked(second, first) > 0
    assert len(sockets(locks)) == 2
    for locker in (first, second):
        await locker.aclose()
    assert sockets(locks) == []
    assert list(temporary.iterdir()) == []


async def test_a_long_path_elsewhere(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a long path cannot be shortened the sockets are among the temporary files."""
    monkeypatch.setattr(sys, "platform", "somewhere")
    locks = tmp_path / ("x" * 120)
    first, second = FileLocker(locks), FileLocker(locks)
    assert await asked(first, second) > 0
    assert await asked(second, first) > 0
    folder = temporary / f"vectus-{os.getuid()}"
    assert len(list(folder.iterdir())) == 2
    for locker in (first, second):
        await locker.aclose()
    assert list(folder.iterdir()) == []


async def test_no_sockets_beside_the_locks(tmp_path: Path, temporary: Path) -> None:
    """Where no socket can be made beside the locks they are among the temporary files."""
    (tmp_path / ".wake").write_text("")
    first, second = FileLocker(tmp_path), FileLocker(tmp_path)
    assert await asked(first, second) > 0
    assert len(list((temporary / f"vectus-{os.getuid()}").iterdir())) == 2
    for locker in (first, second):
        await locker.aclose()


async def test_the_dead_are_buried(tmp_path: Path) -> None:
    """A starting locker removes the sockets that dead processes left, and no other's."""
    folder = tmp_path / ".wake"
    folder.mkdir()
    dead, unfinished, new, alive = "d" * 16, "e" * 16 + ".new", "f" * 16 + ".new", "a" * 16
    for name in (dead, unfinished, new):
        socket_at(folder / name).close()
    os.utime(folder / unfinished, (1, 1))
    (folder / "README").write_text("not a socket, and not ours")
    with closing(socket_at(folder / alive)):
        first, second = FileLocker(tmp_path), FileLocker(tmp_path)
        assert await asked(first, second) > 0
        kept = {alive, new, "README"}
        assert kept < set(sockets(tmp_path))
        assert len(sockets(tmp_path)) == len(kept) + 2
        for locker in (first, second):
            await locker.aclose()
        assert set(sockets(tmp_path)) == kept


def socket_at(path: Path) -> socket.socket:
    """Make a socket like another process's."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(str(path))
    return made


async def test_a_socket_that_is_not_read(tmp_path: Path) -> None:
    """A holder that does not read its socket, or has none any more, harms nobody who asks it."""
    (tmp_path / ".wake").mkdir()
    full = socket_at(tmp_path / ".wake" / ("a" * 16))
    locker, holding = FileLocker(tmp_path), FileLocker(tmp_path)
    async with asyncio.timeout(LIMIT), holding.hold(ID):
        (tmp_path / ID).write_bytes(b"vectus %018d d%b\n" % (1, b"a" * 16))
        for patience in (1.0, 0.1):  # enough to fill its queue; then it is closed
            with pytest.raises(LockHeld):
                async with locker.hold(ID, patience=patience):
                    pytest.fail("Two hold one lock.")
            full.close()
    for each in (locker, holding):
        await each.aclose()


async def test_forged_datagrams(tmp_path: Path) -> None:
    """What is no id of a lock held here does nothing, and what comes after it is heard."""
    first, second = FileLocker(tmp_path), FileLocker(tmp_path)
    holder, other = Holder(first, patient=None), Holder(first, "another", patient=None)
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        for each in (holder, other):
            group.create_task(each.run())
            await each.held.wait()
        (name,) = sockets(tmp_path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as forger:
            for message in (b"", b"\0\xff" * 20, b"x" * 5000, b"not-held", b"../" + ID.encode()):
                forger.sendto(message, str(tmp_path / ".wake" / name))
        with pytest.raises(LockHeld):
            async with second.hold("another", patience=0.1):
                pytest.fail("Two hold one lock.")
        while not other.asked:  # noqa: ASYNC110 - what was sent before has come by then
            await asyncio.sleep(0.001)
        assert holder.asked == 0
        for each in (holder, other):
            each.leave()
    for locker in (first, second):
        await locker.aclose()


async def test_the_socket_is_there_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket gets the name that others look at once it answers, so none takes it for dead."""
    seen: list[bool] = []

    def rename(before: str, after: str) -> None:
        wake._bury(str(tmp_path / ".wake"))
        seen.append(os.path.exists(before))
        real(before, after)
        wake._bury(str(tmp_path / ".wake"))
        seen.append(os.path.exists(after))

    real = os.rename
    monkeypatch.setattr(os, "rename", rename)
    locker = FileLocker(tmp_path)
    async with locker.hold(ID):
        pass
    await locker.aclose()
    assert seen == [True, True]
