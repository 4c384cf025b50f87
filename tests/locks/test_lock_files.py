"""What is particular to locks in files: what is on the disk, what it costs, what may be in the way
(D6, D13)."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from vectus.errors import ConfigurationError, LockHeld, LockUnavailable
from vectus.locks import file
from vectus.locks.file import FileLocker
from vectus.testing.lockers import ID, Holder

LIMIT = 30.0
POSIX = ["fork", "register_at_fork", "getuid", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK"]


def names(directory: Path) -> list[str]:
    """Return what is in a folder of locks besides sockets."""
    return sorted(name for name in os.listdir(directory) if name != ".wake")


def descriptors() -> set[tuple[int, int, int]]:
    """Return the descriptors of this process, each with what it is of. What earlier tests have left
    open may be closed at any time."""
    found = set()
    for fd in map(int, os.listdir("/dev/fd")):
        with suppress(OSError):  # the one that they were listed by
            stat = os.fstat(fd)
            found.add((fd, stat.st_dev, stat.st_ino))
    return found


async def test_a_lock_file_stays(files: FileLocker, tmp_path: Path) -> None:
    """A lock file stays between requests, and goes with a lease that was retired."""
    async with files.hold(ID):
        assert names(tmp_path / "locks") == [ID]
    assert names(tmp_path / "locks") == [ID]
    async with files.hold(ID) as lease:
        lease.retire()
        assert names(tmp_path / "locks") == [ID]
    assert names(tmp_path / "locks") == []


async def test_one_descriptor_for_a_lease(files: FileLocker) -> None:
    """A lease costs one descriptor, the process one more, and none is left in the end."""
    nothing = descriptors()
    holders = [Holder(files, f"upload-{n}", patient=None) for n in range(40)]
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        for holder in holders:
            group.create_task(holder.run())
        for holder in holders:
            await holder.held.wait()
        assert len(descriptors() - nothing) == 40 + 1
        for holder in holders:
            group.create_task(Holder(files, "upload-0").run()).cancel()
            assert len(descriptors() - nothing) == 40 + 1
            holder.leave()
    assert len(descriptors() - nothing) == 1
    await files.aclose()
    await files.aclose()
    assert descriptors() <= nothing
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize(
    "id", ["", ".", "..", "../x", "a/b", ".wake", "a\n", "a b", "ü", "\0", "x" * 129]
)
async def test_what_cannot_be_an_id(files: FileLocker, tmp_path: Path, id: str) -> None:
    """D13: what does not match the grammar of ids never reaches the disk."""
    with pytest.raises(ValueError, match="cannot be the id"):
        files.hold(id)
    assert not (tmp_path / "locks").exists()


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"4711\n",
        b"\0" * 64,
        b"x" * 100_000,
        b"vectus 000000000000000007 d0123456789abcdef\n",
        b"vectus 000000000000000007 x0123456789abcdef\n",
        b"vectus 999999999999999999 t0123456789abcdef\n",
        b"vectus " + "٣".encode() * 18 + b" d0123456789abcdef\n",
        b"vectus 000000000000000007 d../../../../../../",
    ],
)
async def test_what_a_lock_file_may_hold(
    files: FileLocker, more_files: FileLocker, tmp_path: Path, garbage: bytes
) -> None:
    """D6: the content of a lock file, a process's number in the way of tusd among others, never
    keeps anybody out; nor does it harm who asks."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / ID).write_bytes(garbage)
    async with files.hold(ID, patience=0) as lease:
        assert lease.fence > 1_700_000_000_000_000
        (tmp_path / "locks" / ID).write_bytes(garbage)
        with pytest.raises(LockHeld):
            async with more_files.hold(ID, patience=0.1):
                pytest.fail("Two hold one lock.")
    async with more_files.hold(ID, patience=0):
        pass


async def test_the_fence_follows_the_file(files: FileLocker, tmp_path: Path) -> None:
    """A fence is above the one in the file, though the clock was put back."""
    (tmp_path / "locks").mkdir()
    ahead = 9_000_000_000_000_000
    (tmp_path / "locks" / ID).write_bytes(b"vectus %018d d0123456789abcdef\n" % ahead)
    fences = []
    for _ in range(2):
        async with files.hold(ID) as lease:
            fences.append(lease.fence)
    assert fences == [ahead + 1, ahead + 2]


async def test_what_is_in_the_way(files: FileLocker, tmp_path: Path) -> None:
    """What is no file in a lock file's place makes the lock unavailable; it is neither followed nor
    waited for nor removed."""
    locks = tmp_path / "locks"
    (locks / "folder").mkdir(parents=True)
    (locks / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(locks / "pipe")
    nothing = descriptors()
    for id in ("folder", "link", "pipe"):
        with pytest.raises(LockUnavailable):
            async with files.hold(id):
                pytest.fail("It was held.")
    assert names(locks) == ["folder", "link", "pipe"]
    assert not (tmp_path / "elsewhere").exists()
    assert descriptors() <= nothing


async def test_a_file_where_the_folder_should_be(files: FileLocker, tmp_path: Path) -> None:
    """A locker that cannot have its folder says that it is unavailable, without its path."""
    (tmp_path / "locks").write_text("")
    with pytest.raises(LockUnavailable) as caught:
        async with files.hold(ID):
            pytest.fail("It was held.")
    assert str(tmp_path) not in str(caught.value)

    (tmp_path / "locks").unlink()
    async with files.hold(ID):
        pass


async def test_a_removed_folder(files: FileLocker, more_files: FileLocker, tmp_path: Path) -> None:
    """Somebody removes the folder of the locks: it is made again, and holders are asked again."""
    async with files.hold(ID), more_files.hold("another"):
        pass
    shutil.rmtree(tmp_path / "locks")

    holder = Holder(files)
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        group.create_task(holder.run())
        await holder.held.wait()
        async with more_files.hold(ID, patience=LIMIT):
            assert holder.asked > 0


async def test_a_removed_lock_file(files: FileLocker, tmp_path: Path) -> None:
    """Somebody removes a lock file while it is held, and another makes it anew: retiring the first
    does not remove the second's."""
    async with files.hold(ID) as lease:
        lease.retire()
        (tmp_path / "locks" / ID).unlink()
        (tmp_path / "locks" / ID).write_text("")
    assert names(tmp_path / "locks") == [ID]


async def test_a_folder_given_relatively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder means what it meant when the locker was made."""
    monkeypatch.chdir(tmp_path)
    locker = FileLocker("locks")
    monkeypatch.chdir("/")
    async with locker.hold(ID):
        assert names(tmp_path / "locks") == [ID]
    await locker.aclose()


def test_from_loop_to_loop(tmp_path: Path) -> None:
    """One locker serves one event loop after another, and is asked on the present one."""
    locker, other = FileLocker(tmp_path / "locks"), FileLocker(tmp_path / "locks")

    async def serve() -> int:
        holder = Holder(locker)
        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            group.create_task(holder.run())
            await holder.held.wait()
            async with other.hold(ID, patience=LIMIT):
                return holder.asked

    for _ in range(3):
        assert asyncio.run(serve()) > 0
        assert len(os.listdir(tmp_path / "locks" / ".wake")) == 2
    for each in (locker, other):
        asyncio.run(each.aclose())
    assert os.listdir(tmp_path / "locks" / ".wake") == []


async def test_two_loops_at_once(files: FileLocker, tmp_path: Path) -> None:
    """A locker refuses to serve a second event loop while the first one runs."""
    said: list[BaseException] = []

    async def elsewhere() -> None:
        async with files.hold("another"):
            pytest.fail("It was held.")

    def run() -> None:
        try:
            asyncio.run(elsewhere())
        except BaseException as error:
            said.append(error)

    async with files.hold(ID):
        thread = threading.Thread(target=run)
        thread.start()
        await asyncio.to_thread(thread.join, LIMIT)
    assert [type(error) for error in said] == [RuntimeError]
    assert names(tmp_path / "locks") == [ID]


def test_without_flock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no flock the locker cannot be made, and says what to do."""
    monkeypatch.setattr(file, "fcntl", None)
    with pytest.raises(ConfigurationError) as caught:
        FileLocker(tmp_path)
    assert caught.value.hint


def test_importing_without_posix() -> None:
    """Importing the module needs nothing that other platforms lack."""
    program = f"""
import os, socket, sys
sys.modules["fcntl"] = None
for name in {POSIX}:
    delattr(os, name)
del socket.AF_UNIX
import vectus.locks.file
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


async def test_full_disk(files: FileLocker, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk a lock can still be had, and keeps others out: a DELETE must free room."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    async with files.hold(ID, patience=0):
        with pytest.raises(LockHeld):
            async with files.hold(ID, patience=0):
                pytest.fail("Two hold one lock.")
