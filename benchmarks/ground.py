"""Where the servers keep their files while they are measured.

What making a file costs on ext4 depends on what happened nearby, by a factor of twenty:

- A folder's files are put near the folder, and a new folder near its parent. Where that part of
  the disk is crowded (a folder for temporary files, a large checkout) a free place is far to seek.
  So the ground is marked as the top of a hierarchy: the folders in it are spread over the disk.
- The places of removed files are not used again for minutes, and are passed over one by one. So
  nothing small is removed before a case is over, and then with the whole ground; and where small
  files are what is measured, every turn has a server and a folder of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

GET_FLAGS, SET_FLAGS, TOP = 0x80086601, 0x40086602, 0x00020000
"""From <linux/fs.h>, for a long of eight bytes."""

FLAGS = struct.Struct("l")


@contextlib.contextmanager
def ground(parent: Path) -> Iterator[Path]:
    """Make a folder for a case, and remove it with all that is in it."""
    with tempfile.TemporaryDirectory(prefix=".vectus-bench-", dir=parent) as folder:
        with contextlib.suppress(OSError):
            mark(Path(folder))
        yield Path(folder)


def mark(folder: Path) -> None:
    """Mark a folder as a top of a hierarchy; other file systems than ext refuse."""
    file = os.open(folder, os.O_RDONLY)
    try:
        (flags,) = FLAGS.unpack(fcntl.ioctl(file, GET_FLAGS, bytes(FLAGS.size)))
        fcntl.ioctl(file, SET_FLAGS, FLAGS.pack(flags | TOP))
    finally:
        os.close(file)


def default(project: Path) -> Path:
    """Return the folder for temporary files if it is on the project's disk, else the project's."""
    temporary = Path(tempfile.gettempdir())
    return temporary if temporary.stat().st_dev == project.stat().st_dev else project


def file_system(folder: Path) -> str:
    """Return the kind of file system that a folder is on, or a dash."""
    device = folder.stat().st_dev
    place = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError):
        for mount in Path("/proc/self/mountinfo").read_text().splitlines():
            before, _, after = mount.partition(" - ")
            if before.split()[2] == place:
                return after.split()[0]
    return "–"
