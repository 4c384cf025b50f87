"""Tries out what a directory can do of all that the file store asks of it; one finding each.

Everything happens in a directory of its own inside, which is removed in the end, and so is the
place itself if it had to be made. Nothing is known here of uploads, nor of locks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from vectus.findings import Finding, Grade
from vectus.stores import space

PREFIX = ".check-"
"""What begins with a dot is nobody's upload."""

LITTLE = 1 << 30
"""Bytes. Where less is free, the room is soon used up."""

FEW = 10_000
"""Files. An upload needs two or three."""


def probe(place: Path) -> Iterator[Finding]:
    """Try a directory; see ``findings.Probe``."""
    with contextlib.ExitStack() as cleaning:
        try:
            made = enter(place, cleaning)
        except OSError as error:
            yield Finding("directory", Grade.FAILURE, f"{place}: {_why(error)}.", _OWNER)
            return
        what = "It can be made and written to." if made else "It is there and can be written to."
        yield Finding("directory", Grade.OK, what)
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as name:
            yield from _try_all(Path(name))


def enter(place: Path, cleaning: contextlib.ExitStack) -> bool:
    """Make a directory where it is missing, for a while, and try to write there; say whether it
    was missing."""
    missing = [each for each in (place, *place.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        cleaning.callback(_remove_empty, each)
    with tempfile.TemporaryFile(dir=place):
        return bool(missing)


def _remove_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()


_OWNER = "Name a directory that this user may write to."


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _try_all(place: Path) -> Iterator[Finding]:
    for subject, trial, grade in TRIALS:
        try:
            yield from trial(place)
        except OSError as error:
            yield Finding(subject, grade, f"It fails: {_why(error)}.", _CONSEQUENCES[subject])


def _room(place: Path) -> Iterator[Finding]:
    system = os.statvfs(place)
    free, total = system.f_bavail * system.f_frsize, shutil.disk_usage(place).total
    if not system.f_blocks:
        yield Finding("room", Grade.NOTE, "The file system does not tell how much there is.")
        return
    says = f"{_gib(free)} of {_gib(total)} are free."
    grade = Grade.WARNING if free < LITTLE else Grade.OK
    yield Finding("room", grade, says, "Make room." if free < LITTLE else "")
    if system.f_files and system.f_favail < FEW:
        says = f"There is room for {system.f_favail} more files only."
        yield Finding("files", Grade.WARNING, says, "An upload needs two or three. Make room.")


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"


def _replacing(place: Path) -> Iterator[Finding]:
    """Records are written beside, synced, and put in place in one step, while others read them."""
    record, draft = place / "record", place / "draft"
    record.write_bytes(b"old")
    draft.write_bytes(b"new")
    _sync(draft)
    with record.open("rb") as reader:
        os.replace(draft, record)
        _sync(place)
        kept = reader.read() == b"old"
    if record.read_bytes() != b"new" or draft.exists() or not kept:
        says = "A file that was replaced is not the new one, or readers of the old one see it."
        yield Finding("records", Grade.FAILURE, says, _CONSEQUENCES["records"])
        return
    yield Finding("records", Grade.OK, "Files are synced, and replaced in one step.")


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _removing(place: Path) -> Iterator[Finding]:
    """Downloads go on although their upload is removed."""
    path = place / "removed"
    path.write_bytes(b"bytes")
    with path.open("rb") as reader:
        path.unlink()
        kept = reader.read() == b"bytes"
    if kept and not any(place.glob(".nfs*")):
        yield Finding("removal", Grade.OK, "A file that is open can be removed.")
    elif kept:
        says = "A file that is removed while it is open stays for as long, under another name."
        yield Finding("removal", Grade.NOTE, says)
    else:
        yield Finding("removal", Grade.WARNING, "It cannot be read on.", _CONSEQUENCES["removal"])


def _sharing(place: Path) -> Iterator[Finding]:
    source, target = place / "source", place / "target"
    source.write_bytes(bytes(1 << 16))
    with source.open("rb") as one, target.open("wb") as other:
        shared = space.can_clone(one.fileno(), other.fileno())
    says = "Files can share blocks, so joins cost nothing." if shared else _COPIED
    yield Finding("joins", Grade.OK if shared else Grade.NOTE, says)


_COPIED = "Joins are copies: the file system shares no blocks (XFS and Btrfs can)."

Trial = Callable[[Path], Iterator[Finding]]

TRIALS: tuple[tuple[str, Trial, Grade], ...] = (
    ("room", _room, Grade.WARNING),
    ("records", _replacing, Grade.FAILURE),
    ("removal", _removing, Grade.WARNING),
    ("joins", _sharing, Grade.NOTE),
)
"""What is tried, in this order, and how bad it is if it does not work."""

_CONSEQUENCES = {
    "room": "",
    "records": "Without this a crash may cost uploads. Use another file system.",
    "removal": "Downloads break when their upload is removed.",
    "joins": "",
}
"""What follows from a failure."""
