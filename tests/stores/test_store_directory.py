"""A file store's directory: what lies in it, what of tusd's is served, what is tidied up."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from vectus.errors import ConfigurationError, RecordBroken, StoreUnavailable, UploadNotFound
from vectus.protocol.upload import Role, Stage, Upload
from vectus.stores.durable import Durability
from vectus.stores.file import FileStore
from vectus.stores.folder import Folder
from vectus.testing.joins import JoinSuite, parts_of, scanned
from vectus.testing.stores import FULL, ID, bytes_of, fill, give, plan, put

SHORT = replace(FULL, length=11)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    """A store on a directory that is made for it."""
    store = FileStore(tmp_path / "deep" / "data")
    yield store
    await store.aclose()


@pytest.fixture
def folder(store: FileStore) -> Path:
    """The store's directory."""
    return Path(store.directory)


def names(folder: Path) -> set[str]:
    """Return the names of all files below a directory."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def age(folder: Path) -> None:
    """Make everything in a directory old."""
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))


def write_as_tusd(folder: Path, data: bytes, **changes: object) -> None:
    """Write an upload as tusd does."""
    record = {
        "ID": ID,
        "Size": 11,
        "SizeIsDeferred": False,
        "Offset": 0,
        "MetaData": {"filename": "a.txt"},
        "IsPartial": False,
        "IsFinal": False,
        "PartialUploads": None,
        "Storage": {"InfoPath": f"data/{ID}.info", "Path": f"data/{ID}", "Type": "filestore"},
        **changes,
    }
    (folder / ID).write_bytes(data)
    (folder / f"{ID}.info").write_text(json.dumps(record))


# --- Layout ---------------------------------------------------------------------------------------


async def test_an_upload_is_two_files(store: FileStore, folder: Path) -> None:
    """The layout is tusd's: the data under the id, the record beside it."""
    await store.create(SHORT)
    await put(store, ID, b"hello")

    assert names(folder) == {ID, f"{ID}.info"}
    assert (folder / ID).read_bytes() == b"hello"
    assert json.loads((folder / f"{ID}.info").read_text())["Storage"] == {
        "Type": "filestore",
        "Path": str(folder / ID),
        "InfoPath": str(folder / f"{ID}.info"),
    }


async def test_modes_leave_the_rest_to_the_umask(store: FileStore, folder: Path) -> None:
    """Files are 664 and directories 775, less what the umask takes away."""
    umask = os.umask(0o027)
    try:
        await store.create(Upload("final", Role.FINAL, parts=("a",)))
    finally:
        os.umask(umask)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert modes.pop(".joins") == 0o750
    assert set(modes.values()) == {0o640}


async def test_nothing_is_left_open_or_behind(store: FileStore, folder: Path) -> None:
    """After its life an upload has left nothing, and no descriptor is held."""
    final, _ = await JoinSuite().prepare(store, (5, 6))
    await store.join(final, await parts_of(store, final), take_over=False)
    await store.save(replace(final, offset=11, joining=False, finished=True))
    assert await bytes_of(store, "final")
    for upload in await scanned(store):
        await store.remove(upload.id)

    assert names(folder) == set()
    opened = {os.path.realpath(f"/dev/fd/{fd}") for fd in os.listdir("/dev/fd")}
    assert not [path for path in opened if path.startswith(f"{folder}/")]


async def test_the_record_is_not_written_for_the_offset(store: FileStore, folder: Path) -> None:
    """A small append that changes nothing else leaves the record file alone."""
    await store.create(SHORT)
    before = (folder / f"{ID}.info").stat()
    await put(store, ID, b"hello")
    after = (folder / f"{ID}.info").stat()

    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_a_tombstone_keeps_its_id(store: FileStore, folder: Path) -> None:
    """The bytes of a buried partial are free at once."""
    final, _ = await JoinSuite().prepare(store, (5, 6), take_over=True)
    await store.join(final, await parts_of(store, final), take_over=True)
    await store.save(replace(final, offset=11, joining=False))
    assert "part-0" not in names(folder)
    await store.bury("part-1")

    assert "part-1" not in names(folder)
    assert {"part-0.info", "part-1.info", "final"} <= names(folder)


def test_a_directory_that_cannot_be_had_is_said_so(tmp_path: Path) -> None:
    """Whoever gives a file for a directory gets one sentence and a hint."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError) as told:
        FileStore(tmp_path / "file")

    assert told.value.hint


async def test_an_unmounted_directory_is_not_an_empty_one(store: FileStore, folder: Path) -> None:
    """D3: when the whole directory is away, no client may conclude that its upload is gone."""
    await store.create(SHORT)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(StoreUnavailable):
        await store.load(ID)
    with pytest.raises(StoreUnavailable):
        await store.create(replace(FULL, id="next"))
    folder.mkdir()  # the empty directory that a disk is mounted on
    with pytest.raises(StoreUnavailable):
        await store.load(ID)
    with pytest.raises(StoreUnavailable):
        await store.remove(ID)


# --- Uploads of tusd's ----------------------------------------------------------------------------


async def test_an_upload_of_tusd_goes_on_here(store: FileStore, folder: Path) -> None:
    """An upload begun in tusd is finished here, and is ours from its first byte on."""
    write_as_tusd(folder, b"hello")
    upload = await store.load(ID)
    assert upload == Upload(ID, length=11, offset=5, metadata="filename YS50eHQ=", foreign=True)
    async with store.append(upload, plan(5)) as sink:
        await give(sink, b" world")
        # Killed here, it must not be taken for one that tusd finished: nobody was told.
        now = await store.load(ID)
        assert (now.stage, now.foreign) == (Stage.FINISHING, False)
        await sink.commit(replace(upload, offset=11, expires=5.0))

    assert await store.load(ID) == replace(upload, offset=11, expires=5.0, foreign=False)
    assert await bytes_of(store, ID) == b"hello world"


async def test_a_finished_upload_of_tusd_is_served(store: FileStore, folder: Path) -> None:
    """D2: it is finished, and nobody is told again; its record stays as it is."""
    write_as_tusd(folder, b"hello world")
    record = (folder / f"{ID}.info").read_bytes()
    upload = await store.load(ID)

    assert (upload.stage, upload.announced, upload.expires) == (Stage.FINISHED, True, None)
    assert await bytes_of(store, ID, 6, 11) == b"world"
    assert (folder / f"{ID}.info").read_bytes() == record


async def test_data_of_tusd_may_lie_deeper(store: FileStore, folder: Path) -> None:
    """A path that a hook gave is used by every method, as long as it stays inside."""
    (folder / "users").mkdir()
    write_as_tusd(folder, b"", Storage={"Path": "data/users/a.txt", "InfoPath": f"data/{ID}.info"})
    (folder / ID).rename(folder / "users" / "a.txt")
    await put(store, ID, b"hello")
    await put(store, ID, b" world")

    assert (folder / "users" / "a.txt").read_bytes() == b"hello world"
    assert await bytes_of(store, ID) == b"hello world"
    await store.remove(ID)
    assert names(folder) == set()


async def test_a_partial_of_tusd_can_be_joined(store: FileStore, folder: Path) -> None:
    """A final upload here may name partials from there."""
    write_as_tusd(folder, b"hello world", IsPartial=True)
    final = Upload("final", Role.FINAL, 22, parts=(ID, ID), joining=True)
    await store.create(final)
    await store.join(final, await parts_of(store, final), take_over=False)
    await store.save(replace(final, offset=22, joining=False))

    assert await bytes_of(store, "final") == b"hello world" * 2


async def test_a_join_that_tusd_left_is_known(store: FileStore, folder: Path) -> None:
    """A scan notes the final uploads that no note tells of."""
    write_as_tusd(folder, b"hel", IsFinal=True, PartialUploads=["part-0", "part-1"])
    assert (await scanned(store))[0].stage is Stage.AWAITING

    assert list(await store.finals("part-1")) == [ID]


async def test_surplus_bytes_do_not_count(store: FileStore, folder: Path) -> None:
    """Section 8: bytes beyond the declared length do not exist, and the next append cuts them."""
    write_as_tusd(folder, b"hello world and more")
    upload = await store.load(ID)
    assert (upload.offset, upload.finished) == (11, False)
    async with store.append(upload, plan(11)) as sink:
        await sink.commit(replace(upload, finished=True))

    assert (folder / ID).read_bytes() == b"hello world"


@pytest.mark.parametrize("raw", ["", "{", "[]", json.dumps({"ID": "another"})])
async def test_a_broken_record_harms_nobody_else(store: FileStore, folder: Path, raw: str) -> None:
    """tusd leaves half a record after a crash: it is told as broken, scans pass by, and it can be
    removed."""  # noqa: D403
    await fill(store, replace(FULL, id="other"), b"fine")
    (folder / ID).write_bytes(b"data")
    (folder / f"{ID}.info").write_text(raw)
    with pytest.raises(RecordBroken):
        await store.load(ID)
    with pytest.raises(RecordBroken):
        await store.save(FULL)
    assert [upload.id for upload in await scanned(store)] == ["other"]
    await store.remove(ID)

    assert names(folder) == {"other", "other.info"}


async def test_data_without_a_record_are_nothing(store: FileStore, folder: Path) -> None:
    """Somebody else's file in the directory is no upload."""
    (folder / "README").write_text("hello")

    with pytest.raises(UploadNotFound):
        await store.load("README")
    with pytest.raises(UploadNotFound):
        await store.remove("README")


async def test_a_record_without_data_is_nothing(store: FileStore, folder: Path) -> None:
    """Users move finished files away; what is left is not found, rather than made up."""
    await fill(store, FULL, b"data")
    (folder / ID).unlink()

    with pytest.raises(UploadNotFound):
        await store.load(ID)


async def test_lost_bytes_are_not_made_up(store: FileStore, folder: Path) -> None:
    """An append never leaves a hole where bytes got lost behind the store's back."""
    await store.create(FULL)
    upload = await put(store, ID, b"0123456789")
    os.truncate(folder / ID, 4)
    for revocable in (False, True):
        with pytest.raises(Exception, match="less"):
            async with store.append(upload, plan(10, revocable=revocable)):
                pass

    assert await bytes_of(store, ID) == b"0123"


# --- Tidying up -----------------------------------------------------------------------------------


async def test_what_a_kill_left_is_tidied_up_once_it_is_old(store: FileStore, folder: Path) -> None:
    """Drafts, ids claimed for nothing, and notes of uploads that are gone."""
    await store.create(FULL)
    leftovers = {
        f"{ID}.info.0123-0.tmp": "{",
        "claimed": "",
        "claimed.info.0123-1.tmp": "{}",
        "begun.info.new.0123-3.tmp": "{}",
        "begun": "its first bytes",
        ".joins/gone": '{"parts":["a"],"joined":0}',
        ".joins/gone.0123-2.tmp": "",
    }
    (folder / ".joins").mkdir()
    for name, text in leftovers.items():
        (folder / name).write_text(text)
    await scanned(store)
    assert names(folder) >= leftovers.keys()
    age(folder)
    await scanned(store)

    assert names(folder) == {ID, f"{ID}.info"}


async def test_bytes_older_than_the_draft_beside_them_are_a_strangers(
    store: FileStore, folder: Path
) -> None:
    """Section 8: a creation that met somebody's file and was killed does not cost him his file."""
    for name in ("his", "his.info.new.0123-4.tmp"):
        (folder / name).write_text("data")
    age(folder)
    os.utime(folder / "his", (1e9 - 5, 1e9 - 5))
    await scanned(store)

    assert names(folder) == {"his"}


async def test_an_interrupted_removal_is_finished(store: FileStore, folder: Path) -> None:
    """Removing first renames the record: what is then left belongs to nobody."""
    await fill(store, FULL, b"data")
    (folder / f"{ID}.info").rename(folder / f"{ID}.gone")
    with pytest.raises(UploadNotFound):
        await store.load(ID)
    assert await scanned(store) == []

    assert names(folder) == set()


async def test_what_cannot_be_removed_harms_nobody_else(store: FileStore, folder: Path) -> None:
    """One leftover that the system does not let go ends no scan: else nothing would expire."""
    await store.create(SHORT)
    (folder / "stuck.gone").touch()
    (folder / "stuck").mkdir()

    assert [upload.id for upload in await scanned(store)] == [ID]


async def test_strangers_files_are_left_alone(store: FileStore, folder: Path) -> None:
    """Section 8: whatever is not certainly ours stays, however old and however empty."""
    strangers = {
        "Makefile": "",
        "backup": "data",
        "a b.info": "{}",
        "notes.txt": "",
        "x.info.bak": "",
        f"{ID}.lock": "",
        f"{ID}.stop": "",
        "full": "data",
        "sub/claimed.info.0123-1.tmp": "{}",
    }
    (folder / "sub").mkdir()
    for name, text in strangers.items():
        (folder / name).write_text(text)
    (folder / "full.info.0123-1.tmp").write_text("{}")
    age(folder)
    assert await scanned(store) == []

    assert names(folder) == strangers.keys()


async def test_bytes_nobody_needs_any_more_are_freed(store: FileStore, folder: Path) -> None:
    """A crash between a join's record and the burial leaves data to the next scan, not sooner."""
    final, data = await JoinSuite().prepare(store, (5, 6), take_over=True)
    await store.join(final, await parts_of(store, final), take_over=True)
    await scanned(store)
    assert "part-1" in names(folder)
    await store.save(replace(final, offset=11, joining=False))
    await scanned(store)

    assert "part-1" not in names(folder)
    assert await bytes_of(store, "final") == data
    assert {part.taken_by for part in await parts_of(store, final)} == {"final"}


async def test_a_lost_note_is_written_again(store: FileStore, folder: Path) -> None:
    """A final upload whose note a power cut took is known again after a scan."""
    await store.create(Upload("final", Role.FINAL, parts=("a", "b")))
    for note in (folder / ".joins").iterdir():
        note.write_bytes(b"")
    assert list(await FileStore(folder).finals("a")) == []
    (folder / ".joins" / "final").unlink()
    again = FileStore(folder)
    await scanned(again)

    assert list(await again.finals("a")) == ["final"]


async def test_the_note_of_a_join_that_began_during_a_scan_stays(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is noted as joined may be all that a power cut leaves of it: partials go after it."""
    other, scandir = Folder(str(folder), Durability.FINISH), os.scandir

    @contextmanager
    def late(path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
        def entries() -> Iterator[os.DirEntry[str]]:
            other.create(Upload("final", Role.FINAL, parts=("a", "b")), b"")
            other.ledger.advance("final", ("a", "b"), 7)
            with scandir(path) as found:
                yield from found

        yield entries()

    monkeypatch.setattr(os, "scandir", late)

    assert [upload.id for upload in await scanned(store)] == ["final"]
    assert other.ledger.joined("final") == 7
