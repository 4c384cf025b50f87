"""What the file store syncs, and in which order."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from store_faults import DATA, WHOLE, Durability

from vectus.stores.file import FileStore
from vectus.testing.joins import JoinSuite, parts_of
from vectus.testing.stores import ID, give, plan, put


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    """A store with the usual durability."""
    store = FileStore(tmp_path / "data")
    yield store
    await store.aclose()


class Diary:
    """What was done to the disk, in words: calls and the kind of file they were about."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.lines: list[str] = []
        for name in ("fdatasync", "fsync", "pwrite", "ftruncate", "copy_file_range", "rename"):
            patch.setattr(os, name, self._noting(name, getattr(os, name)))

    def _noting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def note(*args: Any) -> Any:
            about = args[1] if name in {"rename", "copy_file_range"} else args[0]
            path = about if isinstance(about, str) else os.readlink(f"/proc/self/fd/{about}")
            self.lines.append(f"{name.replace('fdata', '')} {_kind(path)}")
            return call(*args)

        return note

    def since(self) -> list[str]:
        """Return what was done since the last time."""
        lines, self.lines = self.lines, []
        return lines


def _kind(path: str) -> str:
    if os.path.isdir(path):
        return "folder"
    if ".joins" in path:
        return "note"
    return "record" if ".info" in path else "data"


@pytest.mark.platform("linux")
@pytest.mark.parametrize("durability", ["none", "finish", "always"])
async def test_the_order_of_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Durability
) -> None:
    """D12: data, record, name, folder, in this order, and then the answer; never without cause."""
    store, diary = FileStore(tmp_path, durability), Diary(monkeypatch)
    replaced = ["sync record", "rename record", "sync folder"]
    unsynced = ["rename record"]
    always, ordered = durability == "always", durability != "none"

    await store.create(WHOLE)
    assert diary.since() == (replaced if always else unsynced)

    upload = await put(store, ID, DATA[:10])
    assert diary.since() == ["pwrite data", *(["sync data"] if always else [])]

    await store.save(upload := replace(upload, expires=5.0))
    assert diary.since() == (replaced if always else unsynced)

    upload = await put(store, ID, DATA[10:20], revocable=True)
    judged = ["sync data", *replaced] if always else unsynced
    assert diary.since() == [*(replaced if ordered else unsynced), "pwrite data", *judged]

    async with store.append(upload, plan(20, revocable=True)) as sink:
        await give(sink, b"wrong")
    marked = replaced if ordered else unsynced
    unmarked = ["sync data", *replaced] if ordered else unsynced
    assert diary.since() == [*marked, "pwrite data", "ftruncate data", *unmarked]

    await put(store, ID, DATA[20:])
    assert diary.since() == ["pwrite data", *(["sync data"] if ordered else [])]

    await store.save(replace(upload, offset=len(DATA), finished=True))
    assert diary.since() == (replaced if ordered else unsynced)


@pytest.mark.platform("linux")
@pytest.mark.parametrize("durability", ["none", "finish", "always"])
@pytest.mark.parametrize("size", [10, len(DATA)])
async def test_a_creation_with_bytes_is_synced_before_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Durability, size: int
) -> None:
    """D12: a record gets its name once it and its bytes are safe, and what is not finished is not
    waited for."""
    store, diary = FileStore(tmp_path, durability), Diary(monkeypatch)
    whole = size == len(DATA)
    await store.create(replace(WHOLE, offset=size, finished=whole), DATA[:size])
    synced = durability == "always" or (whole and durability == "finish")
    safe = ["sync record", "sync data", "rename record", "sync folder"]

    assert diary.since() == (safe if synced else ["rename record"])


@pytest.mark.platform("linux")
async def test_bytes_that_were_synced_at_creation_are_not_synced_again(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D12: an upload that was complete from the start, and is finished later, pays once."""
    upload = replace(WHOLE, offset=len(DATA))
    await store.create(upload, DATA)
    diary = Diary(monkeypatch)
    await store.save(replace(upload, finished=True))

    assert diary.since() == ["sync record", "rename record", "sync folder"]


@pytest.mark.platform("linux")
async def test_a_move_is_noted_durably_step_by_step(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D8: the moved name is durable before it is counted on, and the bytes before they count."""
    final, _ = await JoinSuite().prepare(store, (10, 20), take_over=True)
    parts = await parts_of(store, final)
    diary = Diary(monkeypatch)
    await store.join(final, parts, take_over=True)
    noted = ["sync note", "rename note", "sync folder"]

    assert diary.since() == [
        *("rename data", "sync folder"),
        *noted,
        *("copy_file_range data", "ftruncate data", "sync data"),
        *noted,
    ]
    await store.join(final, parts, take_over=True)
    assert diary.since() == []
