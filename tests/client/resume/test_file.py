"""The file store: what is on the disk, and what it does with a file that is not as it should be."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from vectus.client.contracts import Entry
from vectus.client.resume import FileResume, file as module, locking
from vectus.errors import ConfigurationError

ENTRY = Entry("https://host/files/1", 1000, 1795430000.5, {"part": "1"})
BROKEN = {
    "cut": b'{"_default": {"1": {"key": "film", "ur',
    "zeros": b"\0" * 100,
    "list": b"[]",
    "number": b"7",
    "no table": b'{"_default": []}',
    "no text": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "some" / "where" / "uploads.json"


@pytest.fixture
def store(path: Path) -> FileResume:
    """The store."""
    return FileResume(path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nothing_is_made_before_it_is_needed(store: FileResume, path: Path) -> None:
    """Asking and forgetting make no file and no folder."""
    assert store.get("film") is None
    store.remove("film")

    assert list(path.parents[2].iterdir()) == []


@pytest.mark.platform("linux", "darwin")
def test_it_is_its_owners_only(store: FileResume, path: Path) -> None:
    """Whoever has the URL may write there: nobody else can read file, lock, claims or folder."""
    old = os.umask(0)
    try:
        store.set("film", ENTRY)
        with store.claim("film"):
            [claim] = path.parent.glob("*.claims/*")
            assert (mode(claim), mode(claim.parent)) == (0o600, 0o700)
    finally:
        os.umask(old)

    assert mode(path) == mode(Path(f"{path}.lock")) == 0o600
    assert mode(path.parent) == 0o700


@pytest.mark.platform("linux", "darwin")
def test_an_open_file_is_closed_to_others(store: FileResume, path: Path) -> None:
    """A file that others could read, and a draft that somebody left, are none after a change."""
    path.parent.mkdir(parents=True)
    for name in (path, Path(f"{path}.new")):
        name.write_text("{}")
        name.chmod(0o666)
    store.set("film", ENTRY)

    assert mode(path) == 0o600
    assert not Path(f"{path}.new").exists()


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_a_broken_file(store: FileResume, path: Path, raw: bytes) -> None:
    """A broken file is told with a hint, and never overwritten; claims work without it."""
    path.parent.mkdir(parents=True)
    path.write_bytes(raw)
    acts = (
        lambda: store.get("film"),
        lambda: store.set("film", ENTRY),
        lambda: store.remove("film"),
    )
    for act in acts:
        with pytest.raises(ConfigurationError, match=r"uploads\.json") as caught:
            act()
        assert "Move it away" in caught.value.hint
    with store.claim("film") as claim:
        assert claim is not None

    assert path.read_bytes() == raw


@pytest.mark.parametrize("url", [None, "", 7, [], "missing"])
def test_rows_without_a_url(store: FileResume, path: Path, url: object) -> None:
    """A row that names no URL counts as nothing, and is filled when there is one."""
    row = {"key": "film"} | ({} if url == "missing" else {"url": url})
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"_default": {"1": row}}))
    assert store.get("film") is None

    store.set("film", ENTRY)
    assert store.get("film") == ENTRY
    assert list(json.loads(path.read_text())["_default"]) == ["1"]


def test_what_is_not_understood_is_kept(store: FileResume, path: Path) -> None:
    """Tables, rows and fields of others are there after a change as they were."""
    others = {
        "_default": {
            "7": {"key": "book", "url": "https://host/files/7", "note": [1, {"a": None}]},
            "x": {"key": 5, "url": "https://host/files/8"},
            "9": "no row",
        },
        "other table": {"1": {"key": "film", "url": "https://host/files/9"}},
        "version": 3,
    }
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(others))
    store.set("film", ENTRY)
    found = json.loads(path.read_text())
    assert found["_default"].pop("10")["key"] == "film"
    assert found == others

    store.set("book", ENTRY)
    assert json.loads(path.read_text())["_default"]["7"]["note"] == [1, {"a": None}]
    store.remove("film")
    store.remove("nobody's")
    assert store.get("book") == ENTRY


def test_several_rows_for_one_source(store: FileResume, path: Path) -> None:
    """The first one that names a URL counts, as for tuspy; a change leaves one."""
    urls = [None, "https://host/files/2", "https://host/files/3"]
    rows = {str(number): {"key": "film", "url": url} for number, url in enumerate(urls, 1)}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"_default": rows}))
    assert store.get("film") == Entry("https://host/files/2")

    store.set("film", ENTRY)
    assert store.get("film") == ENTRY
    assert len(json.loads(path.read_text())["_default"]) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("length", value) for value in (-1, "5", True, 1.5)),
        *(("created", value) for value in ("now", 1e999, 10**400, None)),
        *(("extra", value) for value in ([1], {"a": 1})),
        ("of", 7),
    ],
)
def test_fields_of_another_kind(store: FileResume, path: Path, field: str, value: object) -> None:
    """What cannot be right is left out, and the URL is used all the same."""
    path.parent.mkdir(parents=True)
    row = {"key": "film", "url": "https://host/files/1", field: value}
    path.write_text(json.dumps({"_default": {"1": row}}))

    assert store.get("film") == Entry("https://host/files/1")


@pytest.mark.platform("linux", "darwin")
def test_a_link_is_followed(tmp_path: Path) -> None:
    """A link to the file stays one; who uses the link and who uses the file share locks."""
    (tmp_path / "link").symlink_to(tmp_path / "real")
    by_link, by_name = FileResume(tmp_path / "link"), FileResume(tmp_path / "real")
    by_link.set("film", ENTRY)

    assert (tmp_path / "link").is_symlink()
    assert by_name.get("film") == ENTRY
    with by_link.claim("film"), by_name.claim("film") as second:
        assert second is None


def test_it_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is relative means the folder in which the store was made."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = FileResume("uploads.json")
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.set("film", ENTRY)

    assert (tmp_path / "uploads.json").exists()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk(
    store: FileResume, path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Where there is no room, the file stays as it was and nothing is left beside it."""
    store.set("film", ENTRY)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module.os, step, fail)
        with pytest.raises(OSError, match="No space"):
            store.set("book", ENTRY)

    assert (store.get("film"), store.get("book")) == (ENTRY, None)
    assert not Path(f"{path}.new").exists()
    store.set("book", ENTRY)


def test_a_lock_that_is_kept(
    store: FileResume, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who keeps the file's lock holds nobody up for ever, and nobody who only asks."""
    monkeypatch.setattr(locking, "PATIENCE", 0.05)
    store.set("film", ENTRY)
    with locking.locked(f"{path}.lock"):
        assert store.get("film") == ENTRY
        with pytest.raises(TimeoutError, match="kept locked"):
            store.set("film", ENTRY)

    store.set("film", ENTRY)
