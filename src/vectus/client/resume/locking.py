"""Files that one thread of one process holds at a time, on any platform.

The kernel keeps the locks: one ends with its holder however that dies, and a file that is left
over means nothing. POSIX has ``flock``, Windows locks regions of files. Where there is neither
(WebAssembly), there is but one process, and its threads exclude each other. No ``lockf``: any
close of the file in the process would drop it. No thread ever blocks in the kernel: a holder that
is stopped would hold up everybody for ever.
"""

from __future__ import annotations

import os
import random
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:
    msvcrt = None  # type: ignore[assignment]

PATIENCE: Final = 20.0
"""Seconds to wait for what others hold for milliseconds."""

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # Python adds O_CLOEXEC
_ROUNDS = 16  # files that may vanish under one attempt; each one was somebody's whole turn


class Grip:
    """A file that may be locked, by ``flock``: separate descriptors exclude each other, those of
    two threads as well.

    Args:
        fd: the open file; the grip's from now on.
        path: where it was opened.
    """

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path
        _grips.add(self)

    def __del__(self) -> None:
        self.leave()  # an interrupt came before anybody could take care of it

    def lock(self) -> bool:
        """Lock it, unless somebody else has it; say whether it is locked.

        Raises:
            OSError: files cannot be locked there.
        """
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Let go of the lock, for copies of the descriptor in other processes as well."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def leave(self) -> None:
        """Let go if it is locked, and leave the file where it is."""
        if self.fd >= 0:
            with suppress(OSError):
                self.unlock()
            self.abandon()

    def retire(self) -> None:
        """Let go, and take the file away.

        Unlinking is the very last act while it is held: from then on the next may have begun.
        """
        if self.fd >= 0:
            with suppress(OSError):
                if is_at(self.fd, self.path):
                    os.unlink(self.path)
            self.leave()

    def abandon(self) -> None:
        """Close the descriptor; in a forked child this does not let go of the parent's lock."""
        fd, self.fd = self.fd, -1
        with suppress(OSError):
            os.close(fd)


class _WindowsGrip(Grip):
    """The same by a lock on a file's first byte, which need not exist."""

    def lock(self) -> bool:
        try:
            msvcrt.locking(self.fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except PermissionError:
            return False
        return True

    def unlock(self) -> None:
        msvcrt.locking(self.fd, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]

    def retire(self) -> None:
        """Let go, then take the file away: Windows removes none that somebody has open."""
        if self.fd >= 0:
            self.leave()
            with suppress(OSError):
                os.unlink(self.path)


class _LonelyGrip(Grip):
    """The same among the threads of the only process there is."""

    def lock(self) -> bool:
        return _lonely.setdefault(self.path, self.fd) == self.fd

    def unlock(self) -> None:
        if _lonely.get(self.path) == self.fd:
            del _lonely[self.path]


_KINDS: tuple[tuple[object, type[Grip]], ...] = ((fcntl, Grip), (msvcrt, _WindowsGrip))
_KIND = next((kind for module, kind in _KINDS if module is not None), _LonelyGrip)
_grips: weakref.WeakSet[Grip] = weakref.WeakSet()
_lonely: dict[str, int] = {}


def take(path: str) -> Grip | None:
    """Lock a file, made on demand with its folder; None if somebody else holds it.

    Raises:
        OSError: it cannot be made or locked.
    """
    for _ in range(_ROUNDS):
        grip = _KIND(_open(path), path)
        try:
            if not grip.lock():
                grip.abandon()
                return None
            if is_at(grip.fd, path):
                return grip
        except BaseException:
            grip.leave()
            raise
        grip.leave()  # its last holder has unlinked it since we opened it
    return None


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold a file, which stays, for the length of the ``with``; wait for it a while.

    Raises:
        TimeoutError: somebody else keeps it.
        OSError: it cannot be made or locked.
    """
    grip = _wait_for(path)
    try:
        yield
    finally:
        grip.leave()


def _wait_for(path: str) -> Grip:
    deadline = time.monotonic() + PATIENCE
    while (grip := take(path)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is kept locked by another process.")
        time.sleep(random.uniform(0.001, 0.01))  # noqa: S311  # so that those who wait part
    return grip


def _open(path: str) -> int:
    try:
        return os.open(path, _FLAGS, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        return os.open(path, _FLAGS, 0o600)


def is_at(fd: int, path: str) -> bool:
    """Say whether a path still leads to the open file."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return here.st_nlink > 0 and os.path.samestat(here, there)


def _abandon_all() -> None:
    """After a fork, in the child: its copies of the parent's descriptors would keep the locks held
    after the parent's death."""
    for grip in list(_grips):
        grip.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
