"""Parts on their way: bytes that wait in a file without a name until S3 has them.

Nobody else can see the file, and nothing is left of it after the process, however that ends.
"""

from __future__ import annotations

import os
import tempfile
import threading
import zlib

from vectus.contracts import Lease
from vectus.errors import StoreUnavailable

BLOCK = 1 << 20
"""How many bytes are read at once."""

SENT = 512 << 10
"""How many bytes are handed at once to whoever sends them. Every block costs a turn of the
interpreter, for which all threads wait in line: in blocks of 16 KiB that is half of all time."""


KEPT = 16 << 20
"""Of how many bytes at most a file may be that is kept for another part."""


class Shelf:
    """Files of parts that are sent, to be filled anew: to write over pages that are there costs
    half of what new ones do.

    Args:
        directory: where new ones are; the system's temporary directory by default.
        most: how many are kept.
    """

    def __init__(self, directory: str | None = None, most: int = 0) -> None:
        self._directory = directory
        self._most = most
        self._files: list[int] = []

    def take(self) -> int:
        """Return the descriptor of a file, whatever is in it."""
        try:
            return self._files.pop()
        except IndexError:
            return self._make()

    def put(self, fd: int, size: int) -> None:
        """Keep a file of so many bytes, or close it."""
        if size <= KEPT and len(self._files) < self._most:
            self._files.append(fd)
        else:
            os.close(fd)

    def close(self) -> None:
        """Keep none any more."""
        self._most = 0
        while self._files:
            os.close(self._files.pop())

    def _make(self) -> int:
        fd, path = tempfile.mkstemp(prefix="vectus-part-", dir=self._directory)
        os.unlink(path)
        return fd


class Spool:
    """An unlinked temporary file. Every call blocks, but only as long as a local disk does.

    Args:
        shelf: where its file comes from, and goes to.
        lease: under which its bytes are sent; once that is lost, no more of them are.
    """

    __slots__ = ("_end", "_fd", "_lease", "_shelf", "stopped")

    def __init__(self, shelf: Shelf, lease: Lease | None = None) -> None:
        self._shelf = shelf
        self._fd = shelf.take()
        self._lease = lease
        self._end = 0  # what lies behind was another's
        self.stopped = False
        """Set to make whoever is sending it fail at the next block."""

    def write(self, data: memoryview, at: int) -> int:
        """Write what fits of some bytes; return how many.

        Raises:
            OSError: none fits.
        """
        written = 0
        while written < len(data):
            try:
                written += os.pwrite(self._fd, data[written:], at + written)
            except OSError:
                if written:
                    break
                raise
        self._end = max(self._end, at + written)
        return written

    def read_into(self, buffer: memoryview, at: int) -> int:
        """Read what fits; return how many bytes that is, fewer at the end."""
        self.check()
        return os.preadv(self._fd, (buffer[: max(0, self._end - at)],), at)

    def check(self) -> None:
        """Raise if it was stopped, or must not be sent any more."""
        if self.stopped or (self._lease is not None and self._lease.lost):
            raise StoreUnavailable("the request was stopped")

    def crc(self, count: int) -> int:
        """Return the CRC-32 of the first bytes."""
        value, end = 0, min(count, self._end)
        for at in range(0, end, BLOCK):
            value = zlib.crc32(os.pread(self._fd, min(BLOCK, end - at), at), value)
        return value

    def close(self) -> None:
        """Let its file go; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._shelf.put(fd, self._end)


class _Hand(threading.local):
    """The memory that a thread's blocks are in: small enough to stay in the processor's cache, and
    no more of it than there are threads."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(SENT))


_hand = _Hand()


class SpoolReader:
    """The first bytes of a spool as a file to send from.

    Args:
        spool: the file.
        size: how many bytes.
    """

    def __init__(self, spool: Spool, size: int) -> None:
        self._spool = spool
        self._size = size
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1, /) -> bytes | memoryview:
        """Return the next bytes: up to the end; or, as memory that is good until this thread reads
        again, a block of as many as are handed on at once, however few are asked for."""
        left = self._size - self._at
        if size < 0:
            return bytes(self._next(memoryview(bytearray(left))))
        return self._next(_hand.memory[: min(left, SENT)])

    def _next(self, buffer: memoryview) -> memoryview:
        count = self._spool.read_into(buffer, self._at) if buffer else 0
        self._at += count
        return buffer[:count]

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go somewhere else: back to the start, whenever sending is tried again."""
        self._spool.check()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Return where we are."""
        return self._at
