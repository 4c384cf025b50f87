"""Parts on their way: bytes that wait in a file without a name until S3 has them.

Nobody else can see the file, and nothing is left of it after the process, however that ends.
"""

from __future__ import annotations

import os
import tempfile
import zlib

from vectus.errors import StoreUnavailable

BLOCK = 1 << 20
"""How many bytes are read at once."""


class Spool:
    """An unlinked temporary file. Every call blocks, but only as long as a local disk does.

    Args:
        directory: where; the system's temporary directory by default.
    """

    __slots__ = ("_fd", "stopped")

    def __init__(self, directory: str | None = None) -> None:
        self._fd, path = tempfile.mkstemp(prefix="vectus-part-", dir=directory)
        os.unlink(path)
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

    def read(self, count: int, at: int) -> bytes:
        """Return bytes; fewer at the end."""
        self.check()
        return os.pread(self._fd, count, at)

    def check(self) -> None:
        """Raise if it was stopped."""
        if self.stopped:
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

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        left = self._size - self._at
        count = left if size < 0 else min(left, size)
        data = self._spool.read(count, self._at) if count else b""
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go somewhere else: back to the start, whenever sending is tried again."""
        self._spool.check()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Return where we are."""
        return self._at
