"""What to upload: the files that the words on the command line name, and what goes with each.

Nothing here talks to a server. What is wrong with one file is found out here, and says nothing
against the others.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from vectus.errors import ConfigurationError

STDIN = "-"

Metadata = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Item:
    """One file to upload.

    Args:
        name: as people know it: the path as it was given, or found below what was given.
        path: where it is; None is standard input.
        metadata: what the server is told of it.
        size: bytes, or None of what can be read only once: a pipe.
        trouble: why it cannot be uploaded.
    """

    name: str
    path: Path | None = None
    metadata: Metadata = field(default_factory=dict)
    size: int | None = None
    trouble: ConfigurationError | None = None


@dataclass(slots=True)
class Found:
    """What was found: the files, and how much was left out."""

    items: list[Item] = field(default_factory=list)
    links: int = 0
    others: int = 0


def find(words: list[str], extra: Mapping[str, str | None], *, recursive: bool) -> Found:
    """Find what the words name.

    Args:
        words: paths, or ``-``.
        extra: metadata for each, which wins over what is found out.
        recursive: whether directories mean the files below them.
    """
    found = Found()
    for word in words:
        if word == STDIN:
            found.items.append(Item(STDIN, metadata=dict(extra)))
        elif recursive and os.path.isdir(word):
            _find_below(word, extra, found)
        else:
            relative = PurePath(word).name if recursive else None
            found.items.append(_named(word, relative, extra))
    return found


def trouble_of(item: Item) -> ConfigurationError | None:
    """Say why a file cannot be read, if so. It is opened: nothing else tells for sure. A pipe is
    not: whoever writes to it would lose its reader."""
    if item.trouble or item.path is None or item.size is None:
        return item.trouble
    try:
        item.path.open("rb").close()
    except OSError as error:
        return _unreadable(item.name, error)
    return None


def _named(word: str, relative: str | None, extra: Mapping[str, str | None]) -> Item:
    """A file that was named itself: a symbolic link is followed."""
    try:
        state = os.stat(word)
    except FileNotFoundError:
        return Item(word, trouble=ConfigurationError(f"There is no file {word}."))
    except (OSError, ValueError) as error:
        return Item(word, trouble=_unreadable(word, error))
    if stat.S_ISDIR(state.st_mode):
        problem = ConfigurationError(f"{word} is a directory.", "Add -r for the files in it.")
        return Item(word, trouble=problem)
    size = state.st_size if stat.S_ISREG(state.st_mode) else None
    return _item(word, size, relative, extra)


def _item(
    path: str, size: int | None, relative: str | None, extra: Mapping[str, str | None]
) -> Item:
    name = PurePath(path).name
    metadata: Metadata = {"filename": name}
    kind = type_of(name)
    if kind is not None:
        metadata["filetype"] = kind
    if relative is not None:
        metadata["relativePath"] = relative
    return Item(path, Path(path), metadata | dict(extra), size)


def type_of(name: str) -> str | None:
    """Guess a file's type by its name."""
    import mimetypes

    # With the dot and the slash it is never taken for a URL, such as data:text/plain,x.
    kind, coding = mimetypes.guess_type(f"./{name}")
    if coding is not None:
        return _CODED.get(coding)
    return kind


_CODED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def _find_below(word: str, extra: Mapping[str, str | None], found: Found) -> None:
    """All files below a directory, in the order of their names; no link is followed."""
    top = Path(os.path.abspath(word)).name
    for path, entry in _walk(word, found):
        if isinstance(entry, OSError):
            found.items.append(Item(path, trouble=_unreadable(path, entry)))
            continue
        inside = PurePath(os.path.relpath(path, word))
        relative = PurePath(top, inside).as_posix()
        found.items.append(_item(path, entry, relative, extra))


def _walk(top: str, found: Found) -> Iterator[tuple[str, int | OSError]]:
    """Yield each file's path and size, or what went wrong there."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield folder, error
            continue
        for entry in inside:
            if _is_link(entry):
                found.links += 1
            elif entry.is_file(follow_symlinks=False):
                yield entry.path, _size(entry)
            elif not entry.is_dir(follow_symlinks=False):
                found.others += 1
        folders = [e.path for e in inside if not _is_link(e) and e.is_dir(follow_symlinks=False)]
        waiting.extend(reversed(folders))


def _size(entry: os.DirEntry[str]) -> int | OSError:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError as error:
        return error


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Whether it leads elsewhere; Windows has junctions as well, known to Python from 3.12 on."""
    junction = getattr(entry, "is_junction", None)
    return entry.is_symlink() or (junction is not None and junction())


def _unreadable(name: str, error: OSError | ValueError) -> ConfigurationError:
    why = (getattr(error, "strerror", None) or str(error)).lower()
    return ConfigurationError(f"{name} cannot be read: {why}.")
