"""How one process asks another to let go of a lock: a datagram to the other's local socket.

The datagram is the upload's id. It is a hint that may be lost or forged: whoever gets one for a
lock it does not hold does nothing, and whoever sends one tries for the lock either way. So no
failure to send is an error, and nothing in here may decide who holds a lock.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

ADDRESS = re.compile(rb"[dt][0-9a-f]{16}")
"""Where a process is called: in which of the ``_PLACES``, and the name of its socket there."""

_NAME = re.compile(r"[0-9a-f]{16}")
_UNFINISHED = ".new"
_UNFINISHED_AGE = 60.0  # seconds after which nobody is about to rename it any more
_LONGEST_PATH = 100  # bytes that fit into sockaddr_un everywhere: 108 on Linux, 104 on macOS
_LONGEST_MESSAGE = 256
_BATCH = 64  # datagrams read before other work gets its turn


def _beside(directory: str) -> str:
    """Beside the locks, so that containers that share the volume hear each other."""
    return f"{directory}/.wake"


def _elsewhere(_: str) -> str:
    """Where sockets cannot be made beside the locks, or their path would be too long."""
    return f"{tempfile.gettempdir()}/vectus-{os.getuid()}"


_PLACES: dict[str, Callable[[str], str]] = {"d": _beside, "t": _elsewhere}
"""Folders for sockets by the first letter of an address, the first that works being used."""


class Ear:
    """This process's socket, on the running event loop. It is opened when first needed.

    Args:
        directory: the folder of the locks, the same for all who share them.
        called: told the id in each datagram, on the event loop.
    """

    def __init__(self, directory: str, called: Callable[[str], object]) -> None:
        self._directory = directory
        self._called = called
        self._address = b""
        self._path = ""
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def address(self) -> bytes:
        """Return where this process is called; opens the socket if it is not.

        Raises:
            OSError: it could not be opened.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._follow(loop)
        return self._address

    def call(self, address: bytes, id: str) -> None:
        """Send an id to another process. Failing is harmless: it is gone, or has enough unread."""
        with suppress(OSError):
            self.address()
            place, name = address[:1].decode(), address[1:].decode()
            with _reach(_PLACES[place](self._directory), name) as path:
                assert self._socket is not None
                self._socket.sendto(id.encode(), path)

    def close(self) -> None:
        """Stop listening, and remove the socket from the disk. It may be opened again."""
        if self._socket is None:
            return
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
        self.abandon()
        with suppress(OSError):
            os.unlink(self._path)

    def abandon(self) -> None:
        """Forget the socket without touching what a forked child shares with its parent: the path,
        and the event loop's registrations."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._loop = None

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None and self._loop.is_running():
            raise RuntimeError("A locker serves one event loop at a time.")
        self.close()
        address, self._path, bound = _open(self._directory)
        try:
            loop.add_reader(bound, self._listen)
        except BaseException:
            bound.close()
            os.unlink(self._path)
            raise
        self._address, self._socket, self._loop = address, bound, loop

    def _listen(self) -> None:
        for _ in range(_BATCH):
            if self._socket is None:
                return
            try:
                message = self._socket.recv(_LONGEST_MESSAGE)
            except OSError:  # nothing more to read
                return
            self._called(message.decode("ascii", "replace"))


def _open(directory: str) -> tuple[bytes, str, socket.socket]:
    trouble: OSError | None = None
    for place, folder_of in _PLACES.items():
        try:
            folder = folder_of(directory)
            name, bound = _bind(folder)
        except OSError as error:
            trouble = trouble or error
        else:
            return f"{place}{name}".encode(), f"{folder}/{name}", bound
    assert trouble is not None
    raise trouble


def _bind(folder: str) -> tuple[str, socket.socket]:
    os.makedirs(folder, 0o770, exist_ok=True)
    _bury(folder)
    name = os.urandom(8).hex()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        # Between its creation and the end of bind a socket refuses connections, and would be taken
        # for a dead one; so it gets the name that ``_bury`` looks at when it answers.
        with _reach(folder, name + _UNFINISHED) as path:
            bound.bind(path)
        os.rename(f"{folder}/{name}{_UNFINISHED}", f"{folder}/{name}")
    except BaseException:
        bound.close()
        raise
    return name, bound


def _bury(folder: str) -> None:
    """Remove the sockets of processes that are dead."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if _is_dead(folder, name):
                with suppress(OSError):
                    os.unlink(f"{folder}/{name}")


def _is_dead(folder: str, name: str) -> bool:
    if _NAME.fullmatch(name):
        return not _answers(folder, name)
    if _NAME.fullmatch(name.removesuffix(_UNFINISHED)):
        return time.time() - os.lstat(f"{folder}/{name}").st_mtime > _UNFINISHED_AGE
    return False  # not ours


def _answers(folder: str, name: str) -> bool:
    with _reach(folder, name) as path, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError:  # cannot tell, so leave it
            return True
    return True


@contextmanager
def _reach(folder: str, name: str) -> Iterator[str]:
    """Give a path for a socket's address that is short enough, for the length of the context."""
    path = f"{folder}/{name}"
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield path
        return
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)
