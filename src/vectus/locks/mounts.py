"""Whether kernel locks work across the mounts of a directory that several machines share.

Every process that uses the directory keeps a file of its own in ``.nodes`` there, locked as long as
it lives, with a number in it that it changes every other second: its beat. If somebody else can
take that lock, he does not see it, or the process is dead; and where the beat goes on changing it
is not dead. So no clocks are compared, and nobody else is asked. Each has announced itself before
it looks around: of two that start at once, one sees the other at least.

It only finds out, one look at a time: when to look, and what follows, is for ``watch``. Every call
blocks.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from vectus.errors import ConfigurationError

try:
    import fcntl
except ImportError:  # not a POSIX system; the locker of files says so
    fcntl = None  # type: ignore[assignment]

FOLDER = ".nodes"
"""Where the files are, in the directory."""

LOOKS = 14
"""How many looks in a row a process may keep still until it counts as dead. There are some four
looks to a beat."""

HINT = (
    "Mount it so that flock works for all: NFS without nolock and local_lock, or CephFS; or keep "
    "the uploads in S3."
)

_NAME = re.compile(r"[0-9a-f]{32}(\.new)?")
_UNFINISHED = ".new"
_CONTENT = re.compile(r"(\d{20}) (\S+) (\S+) (\d{1,18}) (\S+)\n")
_LONGEST = 4096
_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
_TRIES = 5
_VANISHED = (errno.ENOENT, errno.ESTALE)
_sync = getattr(os, "fdatasync", os.fsync)

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What is no reason not to serve: what frees room needs a server."""

Lock = Callable[[int], bool]
"""Tries to lock an open file, and says whether it could."""


def flock(fd: int) -> bool:
    """Try the kind of lock that uploads have."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Node:
    """A process that uses the directory, as it says itself.

    Args:
        beat: the number that changes as long as it lives.
        place: its machine and its mount.
        realm: where its number is one of a process.
        pid: its number.
        host: what its machine is called.
    """

    beat: int = 0
    place: str = "?"
    realm: str = "?"
    pid: int = 0
    host: str = "?"

    def encode(self) -> bytes:
        """Word it as the content of its file, which is always as long."""
        return f"{self.beat:020d} {self.place} {self.realm} {self.pid} {self.host}\n".encode()

    @classmethod
    def decode(cls, raw: bytes) -> Node:
        """Read the content of its file; what is none says nothing."""
        found = _CONTENT.fullmatch(raw.decode("ascii", "replace"))
        if found is None:
            return cls()
        return cls(int(found[1]), found[2], found[3], int(found[4]), found[5])

    def has_ended(self, realm: str) -> bool:
        """Whether a process of that realm can tell that this one has ended."""
        if self.realm != realm or not self.pid:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


@dataclass(slots=True)
class _Neighbour:
    """What came of the looks at one file."""

    node: Node
    free: bool
    """Whether its lock could be taken."""
    before: int
    """The beat at the first look since that is so."""
    looks: int = 1

    @property
    def alive(self) -> bool:
        """Whether it has moved since."""
        return self.node.beat != self.before

    @property
    def dead(self) -> bool:
        """Whether it has kept still for so long that it must be dead."""
        return self.free and self.looks > LOOKS and not self.alive

    def again(self, node: Node, *, free: bool) -> None:
        """Take note of another look."""
        if free != self.free:
            self.free, self.before, self.looks = free, node.beat, 0
        self.node = node
        self.looks += 1


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known after a look around.

    Args:
        broken: who is alive, and has a lock that is not seen here.
        others: who is alive on another machine or mount, and has a lock that is seen.
        unsure: how many have no lock that is seen, and may be dead.
    """

    broken: tuple[Node, ...] = ()
    others: tuple[Node, ...] = ()
    unsure: int = 0

    @property
    def mounts(self) -> int:
        """How many mounts there are on which locks are seen, this one included."""
        return 1 + len({node.place for node in self.others})

    def trouble(self, directory: str) -> ConfigurationError | None:
        """Return what is wrong if somebody's lock is overlooked."""
        if not self.broken:
            return None
        node = self.broken[0]
        return ConfigurationError(
            f"Kernel locks do not work across the mounts of {directory}: process {node.pid} on "
            f"{node.host} uses it too, and its lock is not seen here.",
            HINT,
        )


class Presence:
    """This process among those that use a directory.

    Args:
        directory: what they share.
        lock: the kind of lock that is tried.
    """

    def __init__(self, directory: str, lock: Lock = flock) -> None:
        self._folder = os.path.join(directory, FOLDER)
        self._lock = lock
        self._fd = -1
        self._name = ""
        self._me = Node(pid=os.getpid(), realm=_realm(), host=_host())
        self._met: dict[str, _Neighbour] = {}
        _present.add(self)

    def beat(self) -> bool:
        """Show that this process is alive; say whether the others have to be looked at anew, since
        it was not there, or they have taken it for dead.

        Raises:
            OSError: it could not be shown, or no lock be had.
        """
        if self._fd >= 0 and self._moves():
            return False
        self.abandon()
        self._announce()
        return True

    def look(self) -> Sight:
        """Look at all others once.

        Raises:
            OSError: the directory is away.
        """
        names = [name for name in self._names() if _NAME.fullmatch(name)]
        self._met = {name: met for name in names if (met := self._visit(name))}
        return self._sight()

    def leave(self) -> None:
        """Say goodbye."""
        if self._fd >= 0:
            with suppress(OSError):
                os.unlink(f"{self._folder}/{self._name}")
        self.abandon()
        with suppress(OSError):
            os.rmdir(self._folder)  # if it was the last one

    def abandon(self) -> None:
        """Close the file; in a forked child this does not let go of the parent's lock."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)

    # What is shown.

    def _announce(self) -> None:
        for _ in range(_TRIES):
            name = secrets.token_hex(16)
            # Somebody was the last one and has removed the folder, or tries a lock not yet ours.
            with suppress(FileNotFoundError, BlockingIOError):
                with suppress(FileExistsError):
                    os.mkdir(self._folder, 0o770)
                self._appear(f"{self._folder}/{name}")
                self._name = name
                return
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _appear(self, path: str) -> None:
        """Make the file; it gets its name once it is locked."""
        draft = path + _UNFINISHED
        fd = os.open(draft, _FLAGS | os.O_CREAT | os.O_EXCL, 0o660)
        try:
            if not self._lock(fd):
                raise BlockingIOError
            self._me = self._moved(f"{_machine()}:{os.fstat(fd).st_dev}")
            os.pwrite(fd, self._me.encode(), 0)
            os.fsync(fd)
            os.rename(draft, path)
        except BaseException:
            os.close(fd)
            with suppress(OSError):
                os.unlink(draft)
            raise
        self._fd = fd

    def _moves(self) -> bool:
        """Change the number; say whether the others can see that. It is written, not set as the
        file's time: a file server that has taken the lock away refuses a write."""
        self._me = self._moved(self._me.place)
        try:
            os.pwrite(self._fd, self._me.encode(), 0)
            _sync(self._fd)
            return os.fstat(self._fd).st_nlink > 0
        except OSError as error:
            return error.errno in FULL

    def _moved(self, place: str) -> Node:
        return replace(self._me, beat=self._me.beat + 1, place=place)

    # What is seen.

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._folder)
        except FileNotFoundError:
            return []

    def _visit(self, name: str) -> _Neighbour | None:
        """Look at one file; what is left of a dead process is removed."""
        if name == self._name and self._fd >= 0:
            return None
        try:
            return self._examine(f"{self._folder}/{name}", self._met.get(name))
        except OSError as error:
            if error.errno in _VANISHED:
                return None
            raise

    def _examine(self, path: str, met: _Neighbour | None) -> _Neighbour | None:
        fd = os.open(path, _FLAGS)
        try:
            return self._judge(fd, path, met)
        finally:
            os.close(fd)

    def _judge(self, fd: int, path: str, met: _Neighbour | None) -> _Neighbour | None:
        # In this order: once its lock is taken, a process that is dead has written its last.
        free = self._lock(fd)
        node = Node.decode(os.pread(fd, _LONGEST, 0))
        if met is None:
            met = _Neighbour(node, free, node.beat)
        else:
            met.again(node, free=free)
        if met.dead or (free and node.has_ended(self._me.realm)):
            os.unlink(path)
            return None
        return met

    def _sight(self) -> Sight:
        met = list(self._met.values())
        return Sight(
            tuple(each.node for each in met if each.free and each.alive),
            tuple(each.node for each in met if not each.free and self._is_elsewhere(each)),
            sum(each.free and not each.alive for each in met),
        )

    def _is_elsewhere(self, neighbour: _Neighbour) -> bool:
        return neighbour.alive and neighbour.node.place != self._me.place


def _machine() -> str:
    """Return what tells this machine from all others, as long as it runs."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return _host()


def _realm() -> str:
    """Return what tells where a process's number is its own; where that is not known, nobody else
    is there."""
    try:
        return f"{_machine()}:{_host()}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return secrets.token_hex(8)


def _host() -> str:
    return re.sub(r"[^\x21-\x7e]", "?", socket.gethostname())[:255] or "?"


_present: weakref.WeakSet[Presence] = weakref.WeakSet()


def _abandon_all() -> None:
    """After a fork, in the child: its copy of the descriptor would keep the lock held after the
    parent's death."""
    for presence in list(_present):
        presence.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
