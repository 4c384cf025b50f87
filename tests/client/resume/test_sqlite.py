"""The SQLite store: whose file it is, and what it does with one that is not its own."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vectus.client.contracts import Entry
from vectus.client.resume import SQLiteResume, sqlite
from vectus.errors import ConfigurationError

ENTRY = Entry("https://host/files/1", 1000, 1795430000.5, {"part": "1"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "some" / "where" / "uploads.db"


@pytest.fixture
def store(path: Path) -> SQLiteResume:
    """The store."""
    return SQLiteResume(path)


def execute(path: Path, *statements: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def refuse_all(store: SQLiteResume, why: str) -> None:
    """Fail unless whatever is done raises an error of the operator's that says why."""
    acts = (
        lambda: store.get("film"),
        lambda: store.set("film", ENTRY),
        lambda: store.remove("film"),
    )
    for act in acts:
        with pytest.raises(ConfigurationError, match=why) as caught:
            act()
        assert "Move it away" in caught.value.hint


def test_nothing_is_made_before_it_is_needed(store: SQLiteResume, path: Path) -> None:
    """Asking and forgetting make no file and no folder."""
    assert store.get("film") is None
    store.remove("film")

    assert list(path.parents[2].iterdir()) == []


@pytest.mark.platform("linux", "darwin")
def test_it_is_its_owners_only(store: SQLiteResume, path: Path) -> None:
    """Whoever has the URL may write there: nobody else can read it, nor what is beside it."""
    old = os.umask(0)
    try:
        store.set("film", ENTRY)
    finally:
        os.umask(old)

    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}


def test_an_empty_file(store: SQLiteResume, path: Path) -> None:
    """An empty file, as a killed process may leave it, is an empty store."""
    path.parent.mkdir(parents=True)
    path.touch()
    assert store.get("film") is None

    store.set("film", ENTRY)
    assert store.get("film") == ENTRY


@pytest.mark.parametrize("raw", [b"no database at all, but long enough " * 40, b"{}"])
def test_no_database(store: SQLiteResume, path: Path, raw: bytes) -> None:
    """What is no database is told with a hint, and left as it is."""
    path.parent.mkdir(parents=True)
    path.write_bytes(raw)

    refuse_all(store, "is no database")
    assert path.read_bytes() == raw


def test_a_broken_database(store: SQLiteResume, path: Path) -> None:
    """A database whose pages are rubbish is told with a hint."""
    store.set("film", ENTRY)
    raw = bytearray(path.read_bytes())
    raw[100:] = b"\xa5" * (len(raw) - 100)
    path.write_bytes(raw)

    refuse_all(store, "is broken")
    assert path.read_bytes() == raw


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE uploads (a)", "PRAGMA user_version = 7", "PRAGMA application_id = 7"],
)
def test_a_database_of_something_else(store: SQLiteResume, path: Path, statement: str) -> None:
    """A database of another program is not written to."""
    execute(path, statement)
    raw = path.read_bytes()

    refuse_all(store, "something else")
    assert path.read_bytes() == raw


def test_another_version(store: SQLiteResume, path: Path) -> None:
    """A database of a later vectus is not written to."""
    store.set("film", ENTRY)
    execute(path, "PRAGMA user_version = 2")

    refuse_all(store, "another version")


def test_another_fills_it_meanwhile(
    store: SQLiteResume, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks while another makes the database sees nothing of it, or all: never a half."""
    connect = sqlite3.connect
    others: list[threading.Thread] = []

    def fill(statement: str) -> None:
        if "user_version" in statement and not others:
            others.append(threading.Thread(target=SQLiteResume(path).set, args=("other", ENTRY)))
            others[0].start()
            others[0].join(0.5)  # it is through by then, or waits for who looks

    def watched(*args: Any, **more: Any) -> sqlite3.Connection:
        database = connect(*args, **more)
        if not others:
            database.set_trace_callback(fill)
        return database

    monkeypatch.setattr(sqlite3, "connect", watched)
    store.set("film", ENTRY)
    others[0].join()

    assert (store.get("film"), store.get("other")) == (ENTRY, ENTRY)


FORKING = """
import os, signal, sys
from vectus.client.contracts import Entry
from vectus.client.resume import SQLiteResume, sqlite

with sqlite._making:  # as another thread does that makes a database just now
    child = os.fork()
    if not child:
        signal.alarm(10)
        SQLiteResume(sys.argv[1]).set("film", Entry("https://host/files/1"))
        os._exit(0)
_, status = os.waitpid(child, 0)
sys.exit(status != 0)
"""


@pytest.mark.platform("linux", "darwin")
def test_a_fork_while_a_database_is_made(store: SQLiteResume, path: Path) -> None:
    """The child does not wait for a thread that it does not have."""
    subprocess.run([sys.executable, "-c", FORKING, str(path)], check=True, timeout=30)

    assert store.get("film") == Entry("https://host/files/1", created=0.0)


def test_a_database_that_is_none_does_not_stay_open(
    store: SQLiteResume, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is closed though nothing could be asked of it; Python 3.13 complains about others."""
    connect, opened = sqlite3.connect, list[sqlite3.Connection]()

    def watched(*args: Any, **more: Any) -> sqlite3.Connection:
        opened.append(connect(*args, **more))
        return opened[-1]

    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database" * 100)
    monkeypatch.setattr(sqlite3, "connect", watched)
    with pytest.raises(ConfigurationError):
        store.get("film")

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_somebody_writes(store: SQLiteResume, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot write in time says so, may try again, and can read meanwhile."""
    monkeypatch.setattr(sqlite, "PATIENCE", 0.05)
    store.set("film", ENTRY)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        assert store.get("film") == ENTRY
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            store.set("film", ENTRY)

    store.set("film", ENTRY)


def test_no_log_is_left(store: SQLiteResume, path: Path) -> None:
    """There is one file, before, while and after somebody reads."""
    store.set("film", ENTRY)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT url, length FROM uploads").fetchone() == (ENTRY.url, 1000)
        assert [file.name for file in path.parent.iterdir()] == ["uploads.db"]
