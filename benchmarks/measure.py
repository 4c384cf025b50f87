"""What a server used, read from /proc: its own process and every process below it.

Only reads (but for the kernel's own high-water mark, which it resets); knows no server.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path
from stat import S_ISREG

TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
PROC = Path("/proc")


def tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := stat(int(entry.name))):
            children[int(fields[1])].append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children[pid])
    return found


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on, or none if it is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu(root: int) -> float:
    """Return the CPU seconds of a server so far, those of children that ended among them."""
    ticks = (sum(map(int, fields[11:15])) for pid in tree(root) if (fields := stat(pid)))
    return sum(ticks) / TICK


def memory(root: int) -> int:
    """Return the bytes a server keeps in memory; what processes share counts once."""
    return sum(field(pid, "smaps_rollup", "Pss") for pid in tree(root))


def resident(root: int) -> int:
    """Return the bytes of a server that are in memory, those it shares with others in full."""
    return sum(field(pid, "status", "VmRSS") for pid in tree(root))


def open_files(root: int) -> int:
    """Return the bytes that the files take up on the disk which a server has open, unlinked ones
    among them."""
    return sum(on_disk(entry) for pid in tree(root) for entry in (PROC / str(pid) / "fd").iterdir())


def on_disk(path: Path) -> int:
    """Return the bytes that a regular file takes up; of anything else, none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    return status.st_blocks * 512 if S_ISREG(status.st_mode) else 0


def peak(root: int) -> int:
    """Return the most memory a server had, in bytes, since ``forget_peak``."""
    return sum(field(pid, "status", "VmHWM") for pid in tree(root))


def forget_peak(root: int) -> None:
    """Begin a new high-water mark."""
    for pid in tree(root):
        (PROC / str(pid) / "clear_refs").write_text("5")


def descriptors(root: int) -> int:
    """Return how many files and sockets a server has open."""
    return sum(len(os.listdir(PROC / str(pid) / "fd")) for pid in tree(root))


def field(pid: int, file: str, name: str) -> int:
    """Return a ``Name: n kB`` line of a file in /proc/PID, in bytes."""
    for line in (PROC / str(pid) / file).read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def rest(root: int, *, patience: float = 20.0, quiet: float = 0.5) -> None:
    """Wait until a server does nothing any more, for as long as we are patient."""
    deadline = time.monotonic() + patience
    used = cpu(root)
    while time.monotonic() < deadline:
        time.sleep(quiet)
        used, before = cpu(root), used
        if used - before <= 0.02 * quiet:
            return


def busy(seconds: float = 0.5) -> float:
    """Return how many cores are at work now, whoever's work it is."""
    before = working()
    time.sleep(seconds)
    return (working() - before) / seconds


def working() -> float:
    """Return the CPU seconds that the machine has worked since it was started."""
    ticks = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _waiting, hard, soft = map(int, ticks[:7])
    return (user + nice + system + hard + soft) / TICK
