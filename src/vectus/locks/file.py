"""Locks among the processes of one machine, and containers that share a volume: kernel locks.

Each upload has a lock file of its own, never renamed. It is locked by ``flock``, which ends with
its holder however that dies; the file's content is a hint (whom to ask, which fence was the last)
and never says whether the lock is held. No ``lockf`` (any close in the process would drop it), no
signals, and nothing here ever blocks.
"""

from __future__ import annotations

import errno
import os
import re
import weakref
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from vectus.contracts import Lease
from vectus.errors import ConfigurationError, LockUnavailable
from vectus.locks.line import Claim, Grip, Line, next_fence
from vectus.locks.wake import ADDRESS, Ear
from vectus.protocol.upload import ID

try:
    import fcntl
except ImportError:  # not a POSIX system; the constructor says so
    fcntl = None  # type: ignore[assignment]

_RECORD = re.compile(rb"vectus (\d{18}) (%b)\n" % ADDRESS.pattern)
_RECORD_SIZE = 64
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # Python adds O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ROUNDS = 16  # lock files that may vanish under one attempt; each one was somebody's whole turn


class FileLocker:
    """A locker among all processes that use one directory on a local file system.

    Fences follow the clock: they rise across processes and restarts, unless the clock is put back
    between two processes or after a lease was retired. On a full file system a lock can be had,
    but its holder cannot be asked for it. Want of descriptors or of permission shows as
    ``LockUnavailable``. One locker serves one event loop at a time, and may go from one to the
    next.

    Args:
        directory: where the lock files are, made on demand; all that share uploads share it.

    Raises:
        ConfigurationError: the platform has no ``flock``.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        if fcntl is None:
            raise ConfigurationError(
                "This platform has no file locks that vectus can use.",
                "Run it on Linux or macOS, or as a single process with locks in memory.",
            )
        self._keeper = _Files(os.path.abspath(os.fspath(directory)), self._called)
        self._line = Line(self._keeper)
        _lockers.add(self)

    def hold(
        self,
        id: str,
        on_wanted: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        *,
        ask: bool = True,
        patience: float = 20.0,
    ) -> AbstractAsyncContextManager[Lease]:
        """Hold an upload's lock for the length of the context; see ``contracts.Locker``.

        Raises:
            ValueError: the id cannot be one.
        """
        if not ID.fullmatch(id):
            raise ValueError(f"{id!r} cannot be the id of an upload.")
        return Claim(self._line, id, on_wanted, ask=ask, patience=patience)

    async def aclose(self) -> None:
        """Close the process's socket and remove it from the disk."""
        self._keeper.ear.close()

    def _called(self, id: str) -> None:
        self._line.call(id)

    def _abandon(self) -> None:
        self._line.abandon()
        self._keeper.ear.abandon()


class _FileGrip(Grip):
    """A locked lock file."""

    __slots__ = ("_fd", "_path")

    def __init__(self, fd: int, path: str) -> None:
        super().__init__(0)
        self._fd = fd
        self._path = path

    def sign(self, earlier: int, ear: Ear) -> None:
        """Leave in the file whom to ask for the lock, and a fence above those of other processes;
        this one remembers its own.

        Raises:
            OSError: there is no room, or the disk failed.
        """
        found = _RECORD.match(os.pread(self._fd, _RECORD_SIZE, 0))
        self.retired = found is None  # a new file that cannot be signed is of no use
        self.fence = next_fence(max(earlier, int(found[1]) if found else 0))
        address = ear.address()
        # Where it names us already, a slow disk need not hold a HEAD up for a newer fence.
        if found is None or found[2] != address:
            record = b"vectus %018d %b\n" % (self.fence, address)
            if os.pwrite(self._fd, record, 0) != len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.retired = False

    def release(self) -> None:
        """Let go. Unlinking is the very last act: from then on the next holder may have begun."""
        with suppress(OSError):
            if self.retired and _is_at(self._fd, self._path):
                os.unlink(self._path)
        with suppress(OSError):
            # Closing alone would not let go while a child, about to exec, has its copy.
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptor; in a forked child this does not let go of the parent's lock."""
        with suppress(OSError):
            os.close(self._fd)


class _Files:
    """Keeps locks in files of one directory."""

    def __init__(self, directory: str, called: Callable[[str], None]) -> None:
        self._directory = directory
        self._fence = 0
        self.ear = Ear(directory, called)

    def take(self, id: str) -> _FileGrip | None:
        path = f"{self._directory}/{id}"
        try:
            grip = self._lock(path)
            return grip and self._signed(grip)
        except OSError as error:
            raise LockUnavailable(error.strerror or type(error).__name__) from error

    def ask(self, id: str) -> None:
        with suppress(OSError):
            found = _RECORD.match(_read(f"{self._directory}/{id}"))
            if found:
                self.ear.call(found[2], id)

    def _lock(self, path: str) -> _FileGrip | None:
        for _ in range(_ROUNDS):
            fd = self._open(path)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(fd, path):
                    return _FileGrip(fd, path)
            except BlockingIOError:
                os.close(fd)
                return None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # its last holder has unlinked it since we opened it
        return None

    def _open(self, path: str) -> int:
        try:
            return os.open(path, _FLAGS, 0o660)
        except FileNotFoundError:
            # The directory is new; or somebody has removed it, and our socket with it. The one it
            # is in is the store's: where that is away, nothing may be made in its place.
            self.ear.close()
            with suppress(FileExistsError):
                os.mkdir(self._directory, 0o770)
            return os.open(path, _FLAGS, 0o660)

    def _signed(self, grip: _FileGrip) -> _FileGrip:
        try:
            grip.sign(self._fence, self.ear)
        except BaseException as error:
            # A full disk leaves a lock whose holder cannot be asked for it, but a lock: what frees
            # room, a DELETE or an expiry, needs one.
            if not (isinstance(error, OSError) and error.errno in _FULL):
                grip.release()
                raise
        self._fence = grip.fence
        return grip


def _is_at(fd: int, path: str) -> bool:
    """Say whether a path still leads to the open file."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return here.st_nlink > 0 and os.path.samestat(here, there)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # whatever it is that somebody put there
    try:
        return os.read(fd, _RECORD_SIZE)
    finally:
        os.close(fd)


_lockers: weakref.WeakSet[FileLocker] = weakref.WeakSet()


def _abandon_all() -> None:
    """After a fork, in the child: its copies of the parent's descriptors would keep the locks held
    after the parent's death."""
    for locker in list(_lockers):
        locker._abandon()


if fcntl is not None:
    os.register_at_fork(after_in_child=_abandon_all)
