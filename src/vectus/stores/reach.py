"""Who else uses a directory, and so how far one may trust what its file system tells.

On one machine all see at once what one does. A network file system keeps on each machine what it
was told some seconds or a minute ago, names and sizes included; what it promises is that a file, or
a directory, that is opened is as its last writer left it when he closed it (close-to-open). And
where locks come over the network, their holder may lose them while he still writes.

Every call blocks. Nothing in here knows what is in the files.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from vectus.errors import LockHeld
from vectus.protocol.upload import Upload
from vectus.stores.durable import Durability, read_whole
from vectus.stores.recall import Recall

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

TRIES = 3
"""How often a file is opened that somebody else replaces in the very moment."""


class Files(Protocol[T_co]):
    """What was made of small files."""

    def look(self, path: str) -> T_co:
        """Return what a file says now.

        Raises:
            FileNotFoundError: there is none.
        """


class Reach(Protocol):
    """How a directory has to be used, whoever uses it."""

    @property
    def waits(self) -> bool:
        """Whether each write to an upload's data waits for stable storage, if anything does."""

    def durability(self, asked: Durability) -> Durability:
        """Return what has to be synced where so much was asked for."""

    def files(self, make: Callable[[str, bytes], T]) -> Files[T]:
        """Return a reader of small files, given what turns a path and its content into what is
        asked for."""

    def size(self, path: str) -> int:
        """Return a file's size.

        Raises:
            FileNotFoundError: there is none.
        """

    def claim(self, fd: int, id: str) -> None:
        """Keep others from writing to an upload's data, which were just opened.

        Raises:
            LockHeld: somebody else is writing to them.
        """

    def close(self, fd: int) -> None:
        """Close what was claimed; what was written to it can be seen by all then."""

    def signs(self, stored: Upload, writer: Upload) -> bool:
        """Whether a writer has to leave his fence in the record before his first byte."""


class OneMachine:
    """A directory that the processes of one machine use. Its locks are the kernel's, which are
    never lost, so that nobody is ever overtaken; and its crash is the crash of them all."""

    waits = False

    def durability(self, asked: Durability) -> Durability:
        """Return what was asked for."""
        return asked

    def files(self, make: Callable[[str, bytes], T]) -> Files[T]:
        """Return a reader that keeps in mind what it has read."""
        return Recall(make)

    def size(self, path: str) -> int:
        """Return a file's size."""
        return os.stat(path).st_size

    def claim(self, fd: int, id: str) -> None:
        """Do nothing: the upload's lock keeps others out."""

    def close(self, fd: int) -> None:
        """Close a file."""
        os.close(fd)

    def signs(self, stored: Upload, writer: Upload) -> bool:
        """Say no: a new fence alone is not worth a write to every small request."""
        return False


class ManyMachines:
    """A directory on a file system that several machines share, with locks elsewhere.

    * What others did is found out by opening.
    * Data are written to under a lock on the data file itself: a file server that has given it to
      somebody else, as its holder was cut off, refuses what that one still writes.
    * What is acknowledged is on stable storage, and written in order, unless ``none`` was asked
      for: when one machine crashes, another one goes on at once, and must not find a hole where
      something was not written back yet.
    * Whoever writes leaves his fence first, so that whoever he overtook can tell.
    """

    waits = True

    def durability(self, asked: Durability) -> Durability:
        """Return ``always`` where anything is to be synced."""
        return Durability.ALWAYS if asked.ordered else asked

    def files(self, make: Callable[[str, bytes], T]) -> Files[T]:
        """Return a reader that reads every time."""
        return _Afresh(make)

    def size(self, path: str) -> int:
        """Return a file's size, by opening it."""
        fd = os.open(path, os.O_RDONLY)
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def claim(self, fd: int, id: str) -> None:
        """Lock the file."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeld(id) from None

    def close(self, fd: int) -> None:
        """Unlock and close: closing alone would not let go while a child, about to exec, has its
        copy."""
        try:
            fcntl.flock(fd, fcntl.LOCK_UN)
        finally:
            os.close(fd)

    def signs(self, stored: Upload, writer: Upload) -> bool:
        """Say whether the writer's lease is a later one than the record tells of."""
        return writer.fence > stored.fence


class _Afresh(Generic[T]):
    """Reads files every time they are asked for."""

    def __init__(self, make: Callable[[str, bytes], T]) -> None:
        self._make = make

    def look(self, path: str) -> T:
        """Return what a file says now."""
        for _ in range(TRIES - 1):
            try:
                return self._make(path, read_whole(path))
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
        return self._make(path, read_whole(path))
