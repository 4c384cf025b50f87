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


class Spool:
    """An unlinked temporary file. Every call blocks, but only as long as a local disk does.

    Args:
        directory: where; the system's temporary directory by default.
        lease: under which its bytes are sent; once that is lost, no more of them are.
    """

    __slots__ = ("_fd", "_lease", "stopped")

    def __init__(self, directory: str | None = None, lease: Lease | None = None) -> None:
        self._fd, path = tempfile.mkstemp(prefix="vectus-part-", dir=directory)
        os.unlink(path)
        self._lease = lease
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
                    return written
                raise
        return written

    def read_into(self, buffer: memoryview, at: int) -> int:
        """Read what fits; return how many bytes that is, fewer at the end."""
        self.check()
        return os.preadv(self._fd, (buffer,), at)

    def check(self) -> None:
        """Raise if it was stopped, or must not be sent any more."""
        if self.stopped or (self._lease is not None and self._lease.lost):
            raise StoreUnavailable("the request was stopped")

    def crc(self, count: int) -> int:
        """Return the CRC-32 of the first bytes."""
        value = 0
        for at in range(0, count, BLOCK):
            value = zlib.crc32(os.pread(self._fd, min(BLOCK, count - at), at), value)
        return value

    def close(self) -> None:
        """Free its blocks; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


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
