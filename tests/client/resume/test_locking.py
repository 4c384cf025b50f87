"""Locked files: those that vanish, those that cannot be locked, those nobody took care of."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vectus.client.resume import locking


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The file to lock, in a folder that is not there yet."""
    return str(tmp_path / "folder" / "file")


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


def lock_after(monkeypatch: pytest.MonkeyPatch, *happens: object) -> None:
    """Let something happen between a file's opening and its locking, each time another thing."""
    really, left = locking.Grip.lock, list(happens)

    def lock(grip: locking.Grip) -> bool:
        if left and callable(happening := left.pop(0)):
            happening()
        return really(grip)

    monkeypatch.setattr(locking.Grip, "lock", lock)


@pytest.mark.platform("linux", "darwin")
def test_a_file_that_vanishes(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that its last holder took away is locked in vain, so a new one is."""
    lock_after(monkeypatch, lambda: os.unlink(path), lambda: os.unlink(path))
    grip = locking.take(path)

    assert grip is not None
    assert locking.is_at(grip.fd, path)
    assert locking.take(path) is None
    grip.retire()


@pytest.mark.platform("linux", "darwin")
def test_a_file_that_is_another(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody else has made and locked meanwhile is theirs."""
    theirs: list[locking.Grip | None] = []

    def replace() -> None:
        os.unlink(path)
        theirs.append(locking.take(path))

    lock_after(monkeypatch, replace)
    assert locking.take(path) is None

    assert theirs[0] is not None
    theirs[0].retire()
    assert not Path(path).exists()


@pytest.mark.platform("linux", "darwin")
def test_a_file_that_vanishes_for_ever(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever never gets a file that lasts does not try for ever, and keeps nothing open."""
    before = open_files()
    lock_after(monkeypatch, *[lambda: os.unlink(path)] * 100)

    assert locking.take(path) is None
    assert open_files() <= before


@pytest.mark.platform("linux", "darwin")
def test_no_locks_there(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks is told as what it is, and nothing is kept open."""

    def fail() -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    before = open_files()
    lock_after(monkeypatch, fail)
    with pytest.raises(OSError, match="No locks"):
        locking.take(path)

    assert open_files() <= before


def test_a_grip_nobody_holds_on_to(path: str) -> None:
    """A lock whose holder was interrupted before it could take care of it is let go."""
    assert locking.take(path) is not None

    again = locking.take(path)
    assert again is not None
    again.retire()
    again.retire()
    assert not Path(path).exists()


@pytest.mark.platform("linux", "darwin")
def test_gone_before_it_is_free(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is taken away is gone when its lock is let go: the next may begin at once."""
    there: list[bool] = []
    really = locking.Grip.unlock

    def unlock(grip: locking.Grip) -> None:
        there.append(os.path.exists(path))
        really(grip)

    monkeypatch.setattr(locking.Grip, "unlock", unlock)
    grip = locking.take(path)
    assert grip is not None
    grip.retire()

    assert there == [False]
