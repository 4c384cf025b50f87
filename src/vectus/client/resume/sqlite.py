"""Remembers in an SQLite database of its own, for any number of processes of one machine.

A connection lives for one call: none is shared by threads or carried over a fork. No write-ahead
log: it needs shared memory, which network file systems lack, and one small row at a time gains
nothing by it. No descriptor of the database is ever opened here beside SQLite's own: closing it
would drop the locks that SQLite holds in this process.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Any

from vectus.client.contracts import Claim, Entry
from vectus.client.resume.claims import claim_file
from vectus.client.resume.rows import to_entry
from vectus.errors import ConfigurationError

PATIENCE = 20.0
"""Seconds to wait for others who write."""

_MARK = 0x76637472
"""The file's application id: it is ours, and not a database of something else."""
_VERSION = 1
_TABLE = """
CREATE TABLE uploads (
    fingerprint BLOB PRIMARY KEY,
    url TEXT NOT NULL,
    length INTEGER,
    created REAL NOT NULL,
    extra TEXT NOT NULL
) WITHOUT ROWID
"""
_GET = "SELECT url, length, created, extra FROM uploads WHERE fingerprint = ?"
_SET = "REPLACE INTO uploads VALUES (?, ?, ?, ?, ?)"
_REMOVE = "DELETE FROM uploads WHERE fingerprint = ?"

_making = threading.Lock()


def _free_in_child() -> None:
    """After a fork, in the child: whoever held the lock is not there."""
    global _making  # noqa: PLW0603
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_in_child)


class SQLiteResume:
    """A resume store in an SQLite database; beside it is the folder ``<path>.claims``.

    Nothing is made before something is remembered. A URL of an upload lets whoever has it write
    there, so the file is its owner's only.

    Args:
        path: the database; its folder is made on demand.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.path.realpath(os.fspath(path))

    def get(self, fingerprint: str) -> Entry | None:
        """Return what is known of a source, or None.

        Raises:
            ConfigurationError: the file is broken, or not ours.
            OSError, sqlite3.Error: it cannot be read.
        """
        if not os.path.exists(self._path):
            return None
        with self._open() as database:
            row = database.execute(_GET, [_key(fingerprint)]).fetchone()
        return row and _entry(*row)

    def set(self, fingerprint: str, entry: Entry) -> None:
        """Remember; durably, once it has returned.

        Raises:
            ConfigurationError: the file is broken, or not ours; it is left as it is.
            OSError, sqlite3.Error: it cannot be written.
        """
        extra = json.dumps(entry.extra)
        row = [_key(fingerprint), entry.url, entry.length, entry.created, extra]
        with self._open() as database:
            database.execute(_SET, row)

    def remove(self, fingerprint: str) -> None:
        """Forget; what is not there is forgotten already.

        Raises:
            ConfigurationError: the file is broken, or not ours; it is left as it is.
            OSError, sqlite3.Error: it cannot be written.
        """
        if not os.path.exists(self._path):
            return
        with self._open() as database:
            database.execute(_REMOVE, [_key(fingerprint)])

    def claim(self, fingerprint: str) -> AbstractContextManager[Claim | None]:
        """Claim an entry for the length of the ``with``; None if somebody else has it.

        It is free at once when its process dies.

        Raises:
            OSError: on entering: the claim's file cannot be made or locked.
        """
        return claim_file(f"{self._path}.claims", fingerprint)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        _make(self._path)
        try:
            database = sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None)
            with closing(database):
                self._prepare(database)
                yield database
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise  # no room, no permission, no patience left: another day it may work
            raise self._broken(f"is no database, or is broken ({error})") from error

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA synchronous = EXTRA")  # the journal's removal is the commit
        with _at_once(database, "BEGIN"):
            found = _signature(database)
        if found == (0, 0):
            with _at_once(database, "BEGIN IMMEDIATE"):  # another process may have been quicker
                found = _signature(database)
                if found == (0, 0) and _is_empty(database):
                    found = _fill(database)
        if found[0] != _MARK:
            raise self._broken("is a database of something else")
        if found[1] != _VERSION:
            raise self._broken("was made by another version of vectus")

    def _broken(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self._path} {why}.",
            "Move it away to start with an empty one, or choose another path.",
        )


def _make(path: str) -> None:
    """Make the file if it is missing: SQLite would let others read it.

    By one thread at a time, as its closing must come before anybody's first lock.
    """
    with _making:
        try:
            _create(path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            _create(path)


def _create(path: str) -> None:
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _signature(database: sqlite3.Connection) -> tuple[int, int]:
    [mark] = database.execute("PRAGMA application_id").fetchone()
    [version] = database.execute("PRAGMA user_version").fetchone()
    return mark, version


def _is_empty(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def _fill(database: sqlite3.Connection) -> tuple[int, int]:
    database.execute(_TABLE)
    database.execute(f"PRAGMA application_id = {_MARK}")
    database.execute(f"PRAGMA user_version = {_VERSION}")
    return _MARK, _VERSION


@contextmanager
def _at_once(database: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Do several things as one; closing the connection without a commit undoes them."""
    database.execute(begin)
    yield
    database.execute("COMMIT")


def _key(fingerprint: str) -> bytes:
    return fingerprint.encode("utf-8", "surrogatepass")


def _entry(url: Any, length: Any, created: Any, extra: str) -> Entry | None:
    return to_entry({"url": url, "length": length, "created": created, "extra": json.loads(extra)})
