"""From a URL to the adapter behind it; the only module that names concrete adapters.

Adapters are imported inside functions, so that nobody pays for what he does not use. Nothing of
the application or the command line in here.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from vectus.errors import ConfigurationError
from vectus.settings import DURABILITIES, Durability

if TYPE_CHECKING:
    import asyncio

    from vectus.contracts import Locker, Store
    from vectus.findings import Change, Finding, Mend, Probe, Question
    from vectus.protocol.policy import Cors

LOCKS = ".locks"
"""The directory inside a file store that its locks live in."""

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class Across:
    """What several machines need that use one place.

    Args:
        store: opens the store there, with a durability.
        presence: a context in which this process is one of those that use it; nobody gets in who
            does not see the others' locks.
    """

    store: Callable[[str, Durability], Store]
    presence: Callable[[str], AbstractAsyncContextManager[object]]


@dataclass(frozen=True, slots=True)
class Scheme:
    """What stands behind a URL scheme.

    Args:
        check: raises ConfigurationError where the place cannot be used; opens nothing for long.
        store: opens the store there, with a durability.
        locker: opens the locks that go with it.
        shared: whether several processes may use it at once.
        across: what is different where several machines use it and the locks that go with it, the
            kernel's, are held as well as theirs.
        probes: what `vectus check` looks at, in this order.
        mend: what `vectus check --fix` sets right, if anything.
    """

    check: Callable[[str], None]
    store: Callable[[str, Durability], Store]
    locker: Callable[[str], Locker]
    shared: bool
    across: Across | None = None
    probes: tuple[Probe, ...] = ()
    mend: Mend | None = None


@dataclass(frozen=True, slots=True)
class Locks:
    """What stands behind the URL scheme of locks that several machines share.

    Args:
        check: raises ConfigurationError where that can be no such URL, or a library is missing;
            does not look whether anybody is there.
        locker: opens them.
    """

    check: Callable[[str], None]
    locker: Callable[[str], Locker]


def open_store(
    where: str | os.PathLike[str], durability: str = "finish", locks: str | None = None
) -> Store:
    """Open the store at a directory or URL, for one machine, or with locks elsewhere for several.

    Raises:
        ConfigurationError: there is no such kind of store, or the place cannot be used.
    """
    if durability not in DURABILITIES:
        raise ConfigurationError(
            f"{durability!r} is not a durability.", f"Use one of {', '.join(DURABILITIES)}."
        )
    scheme = _find(where)
    scheme.check(os.fspath(where))
    across = scheme.across if locks is not None else None
    return (across or scheme).store(os.fspath(where), durability)


def presence(
    where: str | os.PathLike[str], locks: str | None
) -> AbstractAsyncContextManager[object]:
    """Return a context in which this process is one of those that use a place, whose entrance
    raises ConfigurationError where they do not see each other's locks. Alone on its machine, or
    where the locks elsewhere are all there is, it does nothing.
    """
    across = _find(where).across
    if locks is None or across is None:
        return contextlib.nullcontext()
    return across.presence(os.fspath(where))


def open_locker(where: str | os.PathLike[str], locks: str | None = None) -> Locker:
    """Open the locks for the store at a directory or URL: its own, or those at a URL that several
    machines share. Where the machines share the files, both are held.

    Raises:
        ConfigurationError: there is no such kind of store or of locks, or the place cannot be used.
    """
    scheme, place = _find(where), os.fspath(where)
    scheme.check(place)
    if locks is None:
        return scheme.locker(place)
    _check_shared(scheme, place)
    if scheme.across is None:
        return open_shared_locker(locks)
    from vectus.locks.together import BothLocker

    return BothLocker(open_shared_locker(locks), scheme.locker(place))


def open_shared_locker(locks: str) -> Locker:
    """Open the locks at a URL, that several machines share.

    Raises:
        ConfigurationError: there is no such kind of locks, or what it needs is missing.
    """
    return _find_locks(locks).locker(locks)


def check_locks(where: str | os.PathLike[str], locks: str) -> None:
    """Make sure that such locks are there for a store, as far as can be told without a look at who
    keeps them: a server may start before they do.

    Raises:
        ConfigurationError: they are not.
    """
    _check_shared(_find(where), os.fspath(where))
    _find_locks(locks).check(locks)


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


def probe(question: Question) -> Generator[Finding, None, None]:
    """Look at a store, and at the locks that it is to be used with, and yield what is found.

    Raises:
        ConfigurationError: there is no such kind of store or of locks, or an option makes no sense.
    """
    scheme = _find(question.store)
    if question.locks is not None:
        check_locks(question.store, question.locks)
    for look in scheme.probes:
        yield from look(question)
    if question.locks is not None:
        yield from _probe_locks(question.locks)


def mend(question: Question) -> Change | Finding:
    """Say what could be set right at a store, without doing it yet.

    Raises:
        ConfigurationError: there is no such kind of store, or nothing of it can be set right.
    """
    scheme = _find(question.store)
    if scheme.mend is None:
        raise ConfigurationError(
            f"There is nothing in {question.store} that could be set right.", "Leave out --fix."
        )
    return scheme.mend(question)


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
            "Give a directory, a file:///… URL, s3://bucket/prefix, or memory://.",
        )
    return SCHEMES[name]


def _check_shared(scheme: Scheme, place: str) -> None:
    if not scheme.shared:
        raise ConfigurationError(
            f"{place} lives in one process and needs no locks elsewhere.",
            "Leave --locks out, or keep the uploads where several machines find them.",
        )


def _find_locks(locks: str) -> Locks:
    name = locks.partition("://")[0].lower() if "://" in locks else ""
    if name not in LOCKS_ELSEWHERE:
        raise ConfigurationError(
            # Not the URL: there may be a password in it.
            f"There are no locks for {name}:// URLs." if name else "Locks are named by a URL.",
            "Give one like redis://localhost:6379/0 or postgresql://user@localhost/uploads.",
        )
    return LOCKS_ELSEWHERE[name]


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


def _shared_file_store(where: str, durability: Durability) -> Store:
    from vectus.stores.file import FileStore
    from vectus.stores.reach import ManyMachines

    return FileStore(_directory(where), durability=durability, reach=ManyMachines())


def _presence(where: str) -> AbstractAsyncContextManager[object]:
    from vectus.locks.watch import Watch

    return Watch(str(_directory(where)))


def _file_locker(where: str) -> Locker:
    from vectus.locks.file import FileLocker

    return FileLocker(_directory(where) / LOCKS)


def _probe_directory(question: Question) -> Iterator[Finding]:
    from vectus.stores import check

    return check.probe(_directory(question.store))


def _probe_kernel_locks(question: Question) -> Iterator[Finding]:
    """Try the kernel's locks in a directory of their own, beside those that are in use."""
    import tempfile

    from vectus.locks import check
    from vectus.locks.file import FileLocker
    from vectus.stores.check import PREFIX, enter

    place = _directory(question.store)
    with contextlib.ExitStack() as cleaning, contextlib.suppress(OSError):
        enter(place, cleaning)
        made = tempfile.TemporaryDirectory(prefix=PREFIX, dir=place)
        where = Path(cleaning.enter_context(made))
        yield from check.probe(lambda: FileLocker(where))


def _probe_mounts(question: Question) -> Iterator[Finding]:
    """Look whether the kernel's locks are seen by all machines that are to share a directory."""
    if question.locks is not None:
        from vectus.locks import watch

        yield from watch.probe(str(_directory(question.store)))


# memory


def _probe_memory(question: Question) -> Iterator[Finding]:
    from vectus.findings import Finding, Grade

    _check_memory(question.store)
    says = "Uploads are in this process's memory, and gone when it ends."
    yield Finding("memory", Grade.OK, says)


def _check_memory(where: str) -> None:
    if where.partition("://")[2].strip("/"):
        raise ConfigurationError(f"{where} has a name in it.", "Write just memory://.")


def _memory_store(where: str, durability: Durability) -> Store:
    from vectus.stores.memory import MemoryStore

    return MemoryStore()


def _memory_locker(where: str) -> Locker:
    from vectus.locks.memory import MemoryLocker

    return MemoryLocker()


# buckets


def _check_s3(where: str) -> None:
    from vectus.stores.s3.place import parse

    parse(where)
    _look_at_bucket(where)


@cache
def _look_at_bucket(where: str) -> None:
    """Make one call: whoever starts a server wants to know of a wrong name or key at once."""
    from vectus.errors import StoreError
    from vectus.stores.s3.client import Gateway
    from vectus.stores.s3.place import parse

    gateway = None
    try:
        gateway = Gateway(parse(where))
        gateway.call("list_objects_v2", MaxKeys=1)
    except StoreError as error:
        raise ConfigurationError(
            f"Uploads cannot be kept in {where}: {_lower(str(error))}",
            "Look at the bucket's name, the endpoint, and AWS's usual variables and files.",
        ) from error
    finally:
        if gateway is not None:
            gateway.close()


def _s3_store(where: str, durability: Durability) -> Store:
    from vectus.stores.s3.store import S3Store

    return S3Store(where)  # S3 always keeps what it acknowledged


def _probe_s3(question: Question) -> Iterator[Finding]:
    from vectus.stores.s3 import check

    return check.probe(question)


def _mend_s3(question: Question) -> Change | Finding:
    from vectus.stores.s3 import mending

    return mending.plan(question)


def _s3_locker(where: str) -> Locker:
    """Open locks among the processes of this machine; several machines need ``--locks``."""
    from hashlib import sha256

    from vectus.locks.file import FileLocker
    from vectus.stores.s3.place import parse

    place = parse(where)
    identity = "\n".join((place.endpoint or "", place.bucket, place.prefix))
    return FileLocker(_private_directory() / sha256(identity.encode()).hexdigest()[:32])


def _private_directory() -> Path:
    """Return a directory that all processes of this user share, and nobody else can write to."""
    import tempfile

    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    directory = Path(base) / f"vectus-{os.geteuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022 or directory.is_symlink():
        raise ConfigurationError(
            f"{directory} is not this user's alone, so locks are not safe there.",
            "Remove it, or set XDG_RUNTIME_DIR to a directory of this user.",
        )
    return directory


SCHEMES = {
    "file": Scheme(
        _check_directory,
        _file_store,
        _file_locker,
        shared=True,
        across=Across(_shared_file_store, _presence),
        probes=(_probe_directory, _probe_kernel_locks, _probe_mounts),
    ),
    "memory": Scheme(
        _check_memory, _memory_store, _memory_locker, shared=False, probes=(_probe_memory,)
    ),
    "s3": Scheme(
        _check_s3,
        _s3_store,
        _s3_locker,
        shared=True,
        probes=(_probe_s3,),
        mend=_mend_s3,
    ),
}
"""Which kinds of place there are; a path without a scheme is a ``file``."""


# locks that several machines share


def _probe_locks(locks: str) -> Iterator[Finding]:
    from vectus.locks import check

    return check.probe(lambda: open_shared_locker(locks))


def _check_redis(locks: str) -> None:
    from vectus.locks import redis

    redis.check(locks)


def _redis_locker(locks: str) -> Locker:
    from vectus.locks.redis import RedisLocker

    return RedisLocker(locks)


def _check_postgres(locks: str) -> None:
    from vectus.locks import postgres

    postgres.check(locks)


def _postgres_locker(locks: str) -> Locker:
    from vectus.locks.postgres import PostgresLocker

    return PostgresLocker(locks)


_REDIS = Locks(_check_redis, _redis_locker)
_POSTGRES = Locks(_check_postgres, _postgres_locker)

LOCKS_ELSEWHERE = {
    "redis": _REDIS,
    "rediss": _REDIS,
    "unix": _REDIS,
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
}
"""Which kinds of locks there are that several machines can share."""
