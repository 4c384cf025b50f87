"""From a URL to the adapter behind it; the only module that names concrete adapters.

Adapters are imported inside functions, so that nobody pays for what he does not use. Nothing of
the application or the command line in here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote, urlsplit

from vectus.errors import ConfigurationError
from vectus.settings import DURABILITIES, Durability

if TYPE_CHECKING:
    import asyncio

    from vectus.contracts import Locker, Store
    from vectus.protocol.policy import Cors

LOCKS = ".locks"
"""The directory inside a file store that its locks live in."""

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class Scheme:
    """What stands behind a URL scheme.

    Args:
        check: raises ConfigurationError where the place cannot be used; opens nothing for long.
        store: opens the store there, with a durability.
        locker: opens the locks that go with it.
        shared: whether several processes may use it at once.
    """

    check: Callable[[str], None]
    store: Callable[[str, Durability], Store]
    locker: Callable[[str], Locker]
    shared: bool


def open_store(where: str | os.PathLike[str], durability: str = "finish") -> Store:
    """Open the store at a directory or URL.

    Raises:
        ConfigurationError: there is no such kind of store, or the place cannot be used.
    """
    if durability not in DURABILITIES:
        raise ConfigurationError(
            f"{durability!r} is not a durability.", f"Use one of {', '.join(DURABILITIES)}."
        )
    scheme = _find(where)
    scheme.check(os.fspath(where))
    return scheme.store(os.fspath(where), durability)


def open_locker(where: str | os.PathLike[str]) -> Locker:
    """Open the locks that belong to the store at a directory or URL.

    Raises:
        ConfigurationError: there is no such kind of store, or the place cannot be used.
    """
    scheme = _find(where)
    scheme.check(os.fspath(where))
    return scheme.locker(os.fspath(where))


def check_store(where: str | os.PathLike[str], processes: int = 1) -> None:
    """Make sure that so many processes could open the store, without keeping anything open.

    Raises:
        ConfigurationError: they could not.
    """
    scheme = _find(where)
    if processes > 1 and not scheme.shared:
        raise ConfigurationError(
            f"{os.fspath(where)} lives in one process and cannot serve {processes}.",
            "Leave --workers out, or keep the uploads in a directory.",
        )
    scheme.check(os.fspath(where))


def http_protocol() -> type[asyncio.BaseProtocol]:
    """Return the uvicorn protocol class that receives uploads on the fast path."""
    from vectus.direct import DirectProtocol

    return DirectProtocol


def cors(origins: Sequence[str]) -> Cors | None:
    """Return who may use the server from other origins: ``*``, a list of them, or nobody.

    Raises:
        ConfigurationError: one of them is no origin.
    """
    from vectus.protocol.policy import Cors

    for origin in origins:
        if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s/?#,@]+", origin):
            raise ConfigurationError(
                f"{origin!r} is not an origin.",
                "Write it like https://example.org, without a path.",
            )
    return Cors(origins=tuple(origins)) if origins else None


def _find(where: str | os.PathLike[str]) -> Scheme:
    match = _SCHEME.match(os.fspath(where))
    name = match["scheme"].lower() if match else "file"
    if name not in SCHEMES:
        raise ConfigurationError(
            f"There is no store for {name}:// URLs.",
            "Give a directory, a file:///… URL, or memory://.",
        )
    return SCHEMES[name]


# directories


def _directory(where: str) -> Path:
    if not _SCHEME.match(where):
        return _clean(where)
    url = urlsplit(where)
    if url.netloc not in {"", "localhost"} or not url.path.startswith("/"):
        raise ConfigurationError(
            f"{where} names a host, not a directory.",
            "Use three slashes, as in file:///srv/uploads.",
        )
    if url.query or url.fragment:
        raise ConfigurationError(
            f"{where} has a query or fragment in it.", "Write ? as %3F and # as %23 in a file name."
        )
    return _clean(unquote(url.path))


def _clean(path: str) -> Path:
    if not path or "\0" in path:
        raise ConfigurationError(
            "The directory's name is empty.", "Name a directory, or leave it out for ./data."
        )
    return Path(path)


def _check_directory(where: str) -> None:
    """Create the directory and its locks' directory where missing, and try to write there."""
    import tempfile

    directory = _directory(where)
    try:
        for path in (directory, directory / LOCKS):
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
    except OSError as error:
        raise ConfigurationError(
            f"Uploads cannot be kept in {directory}: {_lower(error.strerror or str(error))}.",
            "Name a directory that this user may write to.",
        ) from error


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _file_store(where: str, durability: Durability) -> Store:
    from vectus.stores.file import FileStore

    return FileStore(_directory(where), durability=durability)


def _file_locker(where: str) -> Locker:
    from vectus.locks.file import FileLocker

    return FileLocker(_directory(where) / LOCKS)


# memory


def _check_memory(where: str) -> None:
    if where.partition("://")[2].strip("/"):
        raise ConfigurationError(f"{where} has a name in it.", "Write just memory://.")


def _memory_store(where: str, durability: Durability) -> Store:
    from vectus.stores.memory import MemoryStore

    return MemoryStore()


def _memory_locker(where: str) -> Locker:
    from vectus.locks.memory import MemoryLocker

    return MemoryLocker()


# not there yet


def _not_yet(*_: str) -> NoReturn:
    raise ConfigurationError(
        "Uploads cannot be kept in S3 yet.", "Use a directory; S3 comes with a later release."
    )


SCHEMES = {
    "file": Scheme(_check_directory, _file_store, _file_locker, shared=True),
    "memory": Scheme(_check_memory, _memory_store, _memory_locker, shared=False),
    "s3": Scheme(_not_yet, _not_yet, _not_yet, shared=True),
}
"""Which kinds of place there are; a path without a scheme is a ``file``."""
