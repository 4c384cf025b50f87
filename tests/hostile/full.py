"""A disk that runs full when the test wants it to."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from pathlib import Path

from server import Server


class SmallDisk:
    """A disk on which soon nothing fits any more: a small file system of its own where this user
    may mount one, else a limit of the file size.

    ``folder`` is on it.
    """

    ROOM = 1 << 20

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._ballast = folder / "ballast.bin"
        command = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)]
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(command, capture_output=True, check=False, timeout=10)
        self._mounted = os.path.ismount(folder)

    def fill(self, server: Server) -> None:
        """Leave room for about a megabyte."""
        if self._mounted:
            free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
            self._ballast.write_bytes(bytes(free - self.ROOM))
        else:
            _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (self.ROOM, hard))

    def free(self, server: Server) -> None:
        """Make room again."""
        if self._mounted:
            self._ballast.unlink()
        else:
            _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))

    def close(self) -> None:
        """Take it away; lazily, as a server may live a little longer."""
        if self._mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True, timeout=10)
