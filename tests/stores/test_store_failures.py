"""The file store when the disk is full or failing."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from store_faults import DATA, WHOLE, Durability, failing, room_for

from vectus.errors import StoreFull, StoreUnavailable, UploadNotFound
from vectus.protocol.upload import Stage
from vectus.stores import durable, space
from vectus.stores.file import FileStore
from vectus.testing.joins import JoinSuite, parts_of
from vectus.testing.stores import FULL, ID, bytes_of, fill, give, plan, put


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    """A store with the usual durability."""
    store = FileStore(tmp_path / "data")
    yield store
    await store.aclose()


# --- Full -----------------------------------------------------------------------------------------


async def test_what_fitted_on_a_full_disk_is_kept(store: FileStore) -> None:
    """D12: the written prefix counts and is committed; the upload goes on when there is room."""
    await store.create(WHOLE)
    with room_for(7001):
        async with store.append(WHOLE, plan(0)) as sink:
            await give(sink, DATA[:4000])
            with pytest.raises(StoreFull):
                await give(sink, DATA[4000:])
            assert sink.count == 7001
            await sink.commit(replace(WHOLE, offset=7001))

    assert (await store.load(ID)).offset == 7001
    await put(store, ID, DATA[7001:])
    assert await bytes_of(store, ID) == DATA


async def test_nothing_unverified_is_kept_on_a_full_disk(store: FileStore) -> None:
    """A revocable append that did not fit leaves nothing."""
    await store.create(WHOLE)
    with room_for(7001):
        async with store.append(WHOLE, plan(0, revocable=True)) as sink:
            with pytest.raises(StoreFull):
                await give(sink, DATA)

    assert await store.load(ID) == WHOLE
    assert Path(store.directory, ID).stat().st_size == 0


@pytest.mark.parametrize("name", ["write", "open", "rename"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_takes_no_new_upload(store: FileStore, name: str, error: int) -> None:
    """An upload that cannot be kept leaves nothing, and its id is free."""
    with failing(name, error), pytest.raises(StoreFull):
        await store.create(WHOLE)
    assert os.listdir(store.directory) == []
    await store.create(WHOLE)

    assert await store.load(ID) == WHOLE


@pytest.mark.parametrize("after", [0, 1])
async def test_a_full_disk_takes_no_part_of_a_new_upload(store: FileStore, after: int) -> None:
    """An upload whose first bytes do not fit leaves nothing, wherever the room ended."""
    upload = replace(WHOLE, offset=len(DATA), finished=True)
    with failing("write", errno.ENOSPC, after), pytest.raises(StoreFull):
        await store.create(upload, DATA)
    assert os.listdir(store.directory) == []
    await store.create(upload, DATA)

    assert await bytes_of(store, ID) == DATA


@pytest.mark.platform("linux")
async def test_a_new_upload_that_cannot_be_synced_is_none(store: FileStore) -> None:
    """D12: what is finished by its creation is on stable storage, or is not there."""
    upload = replace(WHOLE, offset=len(DATA), finished=True)
    for after in range(3):
        with failing("fdatasync", errno.EIO, after), pytest.raises(OSError, match="Input"):
            await store.create(upload, DATA)
        assert os.listdir(store.directory) == []


@pytest.mark.parametrize("name", ["write", "rename"])
async def test_a_record_that_does_not_fit_stays_as_it_was(store: FileStore, name: str) -> None:
    """A full disk cannot make half a record of a whole one."""
    await store.create(WHOLE)
    with failing(name, errno.ENOSPC), pytest.raises(StoreFull):
        await store.save(replace(WHOLE, expires=5.0))

    assert await store.load(ID) == WHOLE
    assert len(os.listdir(store.directory)) == 2


@pytest.mark.parametrize("revocable", [False, True])
async def test_a_commit_that_does_not_fit_is_none(store: FileStore, *, revocable: bool) -> None:
    """When the record cannot be written, unverified bytes do not count, and plain ones do."""
    await store.create(WHOLE)
    async with store.append(WHOLE, plan(0, revocable=revocable)) as sink:
        await give(sink, DATA[:5000])
        with failing("write", errno.ENOSPC), pytest.raises(StoreFull):
            await sink.commit(replace(WHOLE, offset=5000, expires=5.0))

    assert await store.load(ID) == replace(WHOLE, offset=0 if revocable else 5000)


async def test_a_join_makes_sure_of_room(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """D8: a join that will not fit is refused before it begins."""
    final, _ = await JoinSuite().prepare(store, (50_000, 160_001))
    real = os.fstatvfs

    def crowded(fd: int) -> os.statvfs_result:
        found = real(fd)
        return os.statvfs_result((found.f_bsize, 4096, 1000, 20, 20, *found[5:]))

    monkeypatch.setattr(os, "fstatvfs", crowded)
    with pytest.raises(StoreFull):
        await store.reserve(final, await parts_of(store, final))


async def test_a_join_that_does_not_fit_goes_on_later(store: FileStore) -> None:
    """Room that vanished during a join costs nothing but time."""
    final, data = await JoinSuite().prepare(store, (50_000, 60_000))
    parts = await parts_of(store, final)
    with failing("copy", errno.ENOSPC, after=1, of=space), pytest.raises(StoreFull):
        await store.join(final, parts, take_over=False)
    await store.join(final, parts, take_over=False)
    await store.save(replace(final, offset=len(data), joining=False))

    assert await bytes_of(store, "final") == data


async def test_a_note_that_outlived_its_bytes_is_not_believed(store: FileStore) -> None:
    """After a power cut a join's note may say more than is there: what is missing is joined."""
    final, data = await JoinSuite().prepare(store, (50_000, 60_000))
    parts = await parts_of(store, final)
    await store.join(final, parts, take_over=False)
    os.truncate(Path(store.directory, "final"), 1000)
    await store.join(final, parts, take_over=False)
    await store.save(replace(final, offset=len(data), joining=False))

    assert await bytes_of(store, "final") == data


@pytest.mark.platform("linux")
async def test_a_join_works_without_help_of_the_kernel(store: FileStore) -> None:
    """Where the kernel cannot copy between two files, they are read and written."""
    final, data = await JoinSuite().prepare(store, (1_500_000, 60_001))
    with failing("copy_file_range", errno.EXDEV):
        await store.join(final, await parts_of(store, final), take_over=False)
    await store.save(replace(final, offset=len(data), joining=False))

    assert await bytes_of(store, "final") == data


async def test_a_lack_of_descriptors_is_no_lack_of_uploads(store: FileStore) -> None:
    """EMFILE passes: a client is to try again, not to give up."""
    await store.create(WHOLE)
    with failing("open", errno.EMFILE), pytest.raises(StoreUnavailable):
        await store.load(ID)


# --- Failing --------------------------------------------------------------------------------------


@pytest.mark.platform("linux")
@pytest.mark.parametrize("durability", ["finish", "always"])
async def test_a_failed_sync_is_no_success_later(tmp_path: Path, durability: Durability) -> None:
    """D12: after a failed sync nobody knows what is on disk; it must be sent again."""
    store = FileStore(tmp_path, durability)
    await store.create(WHOLE)
    upload = await put(store, ID, DATA[:5000])
    async with store.append(upload, plan(5000)) as sink:
        await give(sink, DATA[5000:])
        with failing("fdatasync", errno.EIO), pytest.raises(OSError, match="rror"):
            await sink.commit(replace(upload, offset=len(DATA), finished=True))
    after = FileStore(tmp_path, durability)
    found = await after.load(ID)

    assert found.stage is Stage.RECEIVING
    assert found.offset == (5000 if durability == "always" else 0)
    await put(after, ID, DATA[found.offset :])
    assert await bytes_of(after, ID) == DATA


@pytest.mark.platform("linux")
async def test_data_of_a_process_that_died_are_synced_before_the_finish(tmp_path: Path) -> None:
    """D12: whoever drives a finish on after a crash syncs what the dead process did not."""
    await FileStore(tmp_path).create(WHOLE)
    dead = FileStore(tmp_path).append(WHOLE, plan(0))
    await give(await dead.__aenter__(), DATA)
    store = FileStore(tmp_path)
    upload = await store.load(ID)
    assert upload.stage is Stage.FINISHING
    with failing("fdatasync", errno.EIO), pytest.raises(OSError, match="rror"):
        await store.save(replace(upload, finished=True))

    assert (await store.load(ID)).stage is Stage.RECEIVING
    await put(store, ID, DATA)
    await store.save(replace(upload, finished=True))
    assert await bytes_of(store, ID) == DATA


async def test_a_failed_write_loses_nothing_that_was_there(store: FileStore) -> None:
    """A disk error ends the append; what was written before counts."""
    await store.create(WHOLE)
    async with store.append(WHOLE, plan(0)) as sink:
        await give(sink, DATA[:4000])
        with failing("pwrite", errno.EIO), pytest.raises(OSError, match="rror"):
            await give(sink, DATA[4000:])

    assert (await store.load(ID)).offset == 4000


async def test_a_mark_that_cannot_be_taken_away_stands(store: FileStore) -> None:
    """If the disk fails while unverified bytes are taken back, they do not count nevertheless."""
    await store.create(WHOLE)
    with failing("ftruncate", errno.EIO):
        async with store.append(WHOLE, plan(0, revocable=True)) as sink:
            await give(sink, DATA)

    assert await store.load(ID) == replace(WHOLE, pending=0)
    await put(store, ID, DATA)
    assert await bytes_of(store, ID) == DATA


@pytest.mark.parametrize("cuts", [True, False])
async def test_a_commit_whose_name_cannot_be_synced_is_none(
    store: FileStore, *, cuts: bool
) -> None:
    """Where the record was replaced already it is set back before the bytes go, so that a kill, or
    another fault, leaves no finished upload that has lost some of them."""
    await store.create(WHOLE)
    upload = await put(store, ID, DATA[:5000])
    with failing("ftruncate", errno.EIO, after=len(DATA) if cuts else 0):
        async with store.append(upload, plan(5000, revocable=True)) as sink:
            await give(sink, DATA[5000:])
            with (
                failing("sync_folder", errno.EIO, of=durable),
                pytest.raises(OSError, match="rror"),
            ):
                await sink.commit(replace(upload, offset=len(DATA), finished=True))

    assert await store.load(ID) == replace(upload, pending=None if cuts else 5000)
    await put(store, ID, DATA[5000:])
    assert await bytes_of(store, ID) == DATA


async def test_a_removed_upload_is_not_looked_for_twice(store: FileStore) -> None:
    """A record that vanished between load and append is an upload that is not there."""
    await fill(store, FULL, DATA)
    upload = await store.load(ID)
    await store.remove(ID)
    with pytest.raises(UploadNotFound):
        async with store.append(upload, plan(0)):
            pass
