"""One format for tuspy's FileStorage and our FileResume, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tusclient.storage.filestorage import FileStorage

from vectus.client.contracts import Entry
from vectus.client.resume import FileResume

ENTRY = Entry("https://host/files/ours", 1000, 1795430000.5, {"parts": "a b"})
ODD = "film-\udcff-\u00e9\U0001f4be"

Tuspy = Callable[[], "closing[FileStorage]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of both."""
    return tmp_path / "storage.json"


@pytest.fixture
def tuspy(path: Path) -> Callable[[], object]:
    """Open the file as tuspy does."""

    @contextmanager
    def use() -> Iterator[FileStorage]:
        with closing(FileStorage(str(path))) as storage:
            yield storage

    return use


def test_ours_reads_tuspys(path: Path, tuspy: Tuspy) -> None:
    """What tuspy has stored is known, and nothing is made up about it."""
    with tuspy() as storage:
        assert FileResume(path).get("film") is None  # an empty file
        storage.set_item("film", "https://host/files/1")
        storage.set_item(ODD, "https://host/files/2")
        storage.set_item("nothing yet", None)

    store = FileResume(path)
    assert store.get("film") == Entry("https://host/files/1")
    assert store.get(ODD) == Entry("https://host/files/2")
    assert store.get("nothing yet") is None


def test_tuspy_reads_ours(path: Path, tuspy: Tuspy) -> None:
    """What was stored here tuspy finds, changes and removes, and adds to it."""
    store = FileResume(path)
    for name in ("film", "book", ODD):
        store.set(name, ENTRY)
    store.remove("book")
    with tuspy() as storage:
        assert storage.get_item("film") == storage.get_item(ODD) == ENTRY.url
        assert storage.get_item("book") is None
        storage.remove_item("film")
        storage.set_item("book", "https://host/files/2")

    assert store.get("film") is None
    assert store.get("book") == Entry("https://host/files/2")
    assert store.get(ODD) == ENTRY


def test_in_turns(path: Path, tuspy: Tuspy) -> None:
    """Both write one after the other, and nobody's rows are lost."""
    store = FileResume(path)
    for turn in range(4):
        store.set(f"ours {turn}", ENTRY)
        with tuspy() as storage:
            storage.set_item(f"theirs {turn}", f"https://host/files/{turn}")

    assert [store.get(f"ours {turn}") for turn in range(4)] == [ENTRY] * 4
    found = [store.get(f"theirs {turn}") for turn in range(4)]
    assert found == [Entry(f"https://host/files/{turn}") for turn in range(4)]


def test_tuspy_changes_a_row_of_ours(path: Path, tuspy: Tuspy) -> None:
    """What was stored beside a URL is not told of the one that tuspy put in its place."""
    store = FileResume(path)
    store.set("film", ENTRY)
    with tuspy() as storage:
        storage.set_item("film", "https://host/files/theirs")
    assert store.get("film") == Entry("https://host/files/theirs")

    with tuspy() as storage:
        storage.set_item("film", None)
    assert store.get("film") is None

    store.set("film", ENTRY)
    assert store.get("film") == ENTRY
    with tuspy() as storage:
        assert storage.get_item("film") == ENTRY.url
