"""What was read is kept in mind no longer than it is true."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from vectus.errors import UploadNotFound
from vectus.stores import recall
from vectus.stores.file import FileStore
from vectus.stores.recall import Recall
from vectus.testing.stores import FULL, ID


class Reader:
    """Counts what is read."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, path: str, raw: bytes) -> bytes:
        self.times += 1
        return raw


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A file that has been there for a while."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return str(path)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time pass at once: every file counts as old enough."""
    monkeypatch.setattr(recall, "SETTLED", -60_000_000_000)


def replaced(path: str, raw: bytes) -> None:
    """Replace a file in one step."""
    Path(path + ".tmp").write_bytes(raw)
    os.rename(path + ".tmp", path)


@pytest.mark.usefixtures("settled")
def test_a_file_that_stays_is_read_once(path: str) -> None:
    """As long as the file is the same nobody reads it again."""
    reader = Reader()
    known = Recall(reader)

    assert [known.look(path) for _ in range(3)] == [b"old"] * 3
    assert reader.times == 1


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("raw", [b"new", b"longer"])
def test_a_file_that_was_replaced_is_read_again(path: str, raw: bytes) -> None:
    """A new file is told from the old one, also by a reader that still has the old one open."""
    known = Recall(Reader())
    with open(path, "rb"):
        assert known.look(path) == b"old"
        replaced(path, raw)

        assert known.look(path) == raw


@pytest.mark.usefixtures("settled")
def test_a_file_that_is_gone_is_gone(path: str) -> None:
    """Nothing is remembered of what is not there."""
    known = Recall(Reader())
    known.look(path)
    os.unlink(path)

    with pytest.raises(FileNotFoundError):
        known.look(path)


def test_a_young_file_is_not_kept_in_mind(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's number may be given to its second successor, and times pass in steps: so the next
    to come within a step could be taken for it."""
    monkeypatch.setattr(recall, "SETTLED", max(recall.SETTLED, 60_000_000_000))
    reader = Reader()
    known = Recall(reader)
    replaced(path, b"new")
    known.look(path)
    known.look(path)

    assert reader.times == 2


def test_a_file_is_kept_in_mind_once_it_has_settled(path: str) -> None:
    """After a moment its time tells a file from all later ones."""
    reader = Reader()
    known = Recall(reader)
    while time.time_ns() - os.stat(path).st_ctime_ns < 2 * recall.SETTLED:
        os.sched_yield()
    known.look(path)
    known.look(path)

    assert reader.times == 1


@pytest.mark.usefixtures("settled")
def test_times_in_whole_seconds_tell_nothing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file system has no fractions of a second, files are read every time."""
    real = recall._mark
    monkeypatch.setattr(recall, "_mark", lambda stat: (*real(stat)[:3], 1_000_000_000_000_000_000))
    reader = Reader()
    known = Recall(reader)
    known.look(path)
    known.look(path)

    assert reader.times == 2


@pytest.mark.usefixtures("settled")
def test_large_files_are_not_kept_in_mind(path: str) -> None:
    """What is kept is bounded in size, and in number."""
    reader = Reader()
    known = Recall(reader)
    replaced(path, bytes(recall.LARGE + 1))
    known.look(path)
    known.look(path)

    assert reader.times == 2


@pytest.mark.usefixtures("settled")
def test_not_every_file_is_kept_in_mind(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files there are, memory stays bounded, and answers stay right."""
    monkeypatch.setattr(recall, "MOST", 3)
    known = Recall(Reader())
    for number in range(10):
        (tmp_path / f"{number}").write_text(f"{number}")
        assert known.look(str(tmp_path / f"{number}")) == b"%d" % number
        assert len(known._known) <= 3
    assert known.look(path) == b"old"


async def test_two_processes_see_each_others_records(tmp_path: Path) -> None:
    """D1: however fast two workers take turns at an upload, each sees what the other wrote."""
    workers = [FileStore(tmp_path, "none") for _ in range(2)]
    await workers[0].create(FULL)
    for turn in range(300):
        one, other = workers[turn % 2], workers[(turn + 1) % 2]
        found = await one.load(ID)
        assert found.expires == (turn or FULL.expires)
        for expires in (7000 + turn, 1 + turn):
            await one.save(replace(found, expires=float(expires), fence=FULL.fence + turn))
            assert (await other.load(ID)).expires == expires
    await workers[0].remove(ID)

    with pytest.raises(UploadNotFound):
        await workers[1].load(ID)
    for worker in workers:
        await worker.aclose()
