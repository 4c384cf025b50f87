"""The file store when the disk is full, slow or failing; faults are put in beneath ``os``."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest

from vectus.errors import StoreFull, StoreUnavailable, UploadNotFound
from vectus.protocol.upload import Stage
from vectus.stores import space
from vectus.stores.file import FileStore
from vectus.testing.stores import (
    FULL,
    ID,
    LIMIT,
    JoinSuite,
    bytes_of,
    fill,
    give,
    parts_of,
    pattern,
    plan,
    put,
)

DATA = pattern(10_000)
WHOLE = replace(FULL, length=len(DATA))

Durability = Literal["none", "finish", "always"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    """A store with the usual durability."""
    store = FileStore(tmp_path / "data")
    yield store
    await store.aclose()


@contextmanager
def failing(name: str, error: int, after: int = 0, of: ModuleType = os) -> Iterator[None]:
    """Make a call of ``os`` fail from the n-th time on."""
    call = getattr(of, name)
    left = after

    def fail(*args: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(error, os.strerror(error))
        return call(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of, name, fail)
        yield


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """Make data files take so many bytes and no more, as a disk does that is nearly full."""
    pwrite, left = os.pwrite, count

    def write(fd: int, data: memoryview, at: int) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = pwrite(fd, data[:left], at)
        left -= written
        return written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", write)
        yield


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


# --- Slow -----------------------------------------------------------------------------------------


class Held:
    """A ``pwrite`` that takes time: it goes on when it is released."""

    def __init__(self) -> None:
        self._pwrite = os.pwrite
        self.entered = threading.Event()
        self.released = threading.Event()
        self.done = 0

    def __call__(self, fd: int, data: memoryview, at: int) -> int:
        """Wait, then write."""
        self.entered.set()
        assert self.released.wait(LIMIT)
        written = self._pwrite(fd, data, at)
        self.done += 1
        return written


@pytest.fixture
def held(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """A disk that has just been slow, and whose writes wait."""
    monkeypatch.setattr(store._disk._pace, "slow_until", time.monotonic() + 600)
    held = Held()
    monkeypatch.setattr(os, "pwrite", held)
    yield held
    held.released.set()


async def until(event: threading.Event) -> None:
    """Wait for a thread without keeping the loop from its work."""
    for _ in range(int(LIMIT * 200)):
        if event.is_set():
            return
        await asyncio.sleep(0.005)
    pytest.fail("the thread never came there")


async def test_a_slow_write_moves_writes_to_threads(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that took long on the loop is the last there for some seconds."""
    pwrite = os.pwrite

    def slow(fd: int, data: memoryview, at: int) -> int:
        time.sleep(0.03)
        return pwrite(fd, data, at)

    await store.create(WHOLE)
    async with store.append(WHOLE, plan(0)) as sink:
        monkeypatch.setattr(os, "pwrite", slow)
        monkeypatch.setattr(store._disk._pace, "slow_until", 0.0)
        assert sink.write(memoryview(DATA[:10])) is None
        waiting = sink.write(memoryview(DATA[10:]))
        assert waiting is not None
        await waiting

    assert await bytes_of(store, ID) == DATA


async def test_a_large_piece_goes_to_a_thread(store: FileStore) -> None:
    """What takes long even on a fast disk is not written on the loop."""
    data = pattern(5 << 20)
    await store.create(replace(FULL, length=len(data)))
    async with store.append(FULL, plan(0)) as sink:
        waiting = sink.write(memoryview(data))
        assert waiting is not None
        await waiting

    assert await bytes_of(store, ID) == data


async def test_the_loop_goes_on_during_a_slow_write(store: FileStore, held: Held) -> None:
    """Nothing blocks the loop: other uploads are served while a write hangs."""
    await store.create(WHOLE)
    async with store.append(WHOLE, plan(0)) as sink:
        writing = asyncio.ensure_future(give(sink, DATA))
        await until(held.entered)
        await store.create(replace(FULL, id="other"))
        assert (await store.load("other")).id == "other"
        assert not writing.done()
        held.released.set()
        await writing

    assert await bytes_of(store, ID) == DATA


@pytest.mark.parametrize("revocable", [False, True])
async def test_a_context_outlives_its_write(
    store: FileStore, held: Held, *, revocable: bool
) -> None:
    """D5: a cancelled request is over when its write is, and not before, however often it is
    cancelled."""
    await store.create(WHOLE)

    async def append() -> None:
        async with store.append(WHOLE, plan(0, revocable=revocable)) as sink:
            await give(sink, DATA)

    task = asyncio.ensure_future(append())
    await until(held.entered)
    for _ in range(3):
        task.cancel()
        await asyncio.wait((task,), timeout=0.02)
        assert not task.done()
    held.released.set()
    await asyncio.wait((task,), timeout=LIMIT)

    assert task.cancelled()
    assert held.done == 1
    assert await store.load(ID) == replace(WHOLE, offset=0 if revocable else len(DATA))


async def test_a_write_that_nobody_awaits_is_waited_for(store: FileStore, held: Held) -> None:
    """Leaving and committing wait for a write whose awaiting was given up."""
    await store.create(WHOLE)

    async def append() -> None:
        async with store.append(WHOLE, plan(0)) as sink:
            waiting = asyncio.ensure_future(give(sink, DATA))
            await until(held.entered)
            waiting.cancel()
            commit = asyncio.ensure_future(sink.commit(replace(WHOLE, offset=len(DATA), fence=8)))
            await asyncio.sleep(0.02)
            assert not commit.done()
            held.released.set()
            await commit

    await asyncio.wait_for(append(), LIMIT)
    assert await store.load(ID) == replace(WHOLE, offset=len(DATA), fence=8)


async def test_leaving_waits_for_a_write_that_nobody_awaits(store: FileStore, held: Held) -> None:
    """D5: whoever leaves in the middle of a write leaves after it."""
    await store.create(WHOLE)

    async def append() -> None:
        async with store.append(WHOLE, plan(0)) as sink:
            writing.append(asyncio.ensure_future(give(sink, DATA)))
            await until(held.entered)

    writing: list[asyncio.Future[None]] = []
    leaving = asyncio.ensure_future(append())
    await until(held.entered)
    await asyncio.wait((leaving,), timeout=0.02)
    assert not leaving.done()
    held.released.set()
    await leaving

    assert held.done == 1
    await writing[0]
    assert (await store.load(ID)).offset == len(DATA)


async def test_a_failed_write_in_a_thread_is_told(store: FileStore, held: Held) -> None:
    """The awaitable raises what the write raised, and what fitted counts."""
    held.released.set()
    await store.create(WHOLE)
    async with store.append(WHOLE, plan(0)) as sink:
        with room_for(100), pytest.raises(StoreFull):
            await give(sink, DATA)
        assert sink.count == 100

    assert (await store.load(ID)).offset == 100


async def test_a_join_stops_when_it_is_cancelled(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled join ends with the piece it is at, and has ended when its task has."""
    monkeypatch.setattr("vectus.stores.joining.PIECE", 100)
    final, data = await JoinSuite().prepare(store, (5000, 5000))
    parts = await parts_of(store, final)
    copying, entered, calls = space.copy, threading.Event(), 0

    def copy(*args: Any) -> int:
        nonlocal calls
        calls += 1
        entered.set()
        time.sleep(0.01)
        return copying(*args)

    monkeypatch.setattr(space, "copy", copy)
    join = asyncio.ensure_future(store.join(final, parts, take_over=False))
    await until(entered)
    join.cancel()
    await asyncio.wait((join,), timeout=LIMIT)
    stopped = calls

    assert join.cancelled()
    assert stopped < 100
    await asyncio.sleep(0.05)
    assert calls == stopped
    monkeypatch.setattr(space, "copy", copying)
    await store.join(final, parts, take_over=False)
    await store.save(replace(final, offset=len(data), joining=False))
    assert await bytes_of(store, "final") == data


async def test_a_waiting_join_can_be_cancelled(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A join that has no thread yet does not wait for one to be given up."""
    final, _ = await JoinSuite().prepare(store, (500, 500))
    parts = await parts_of(store, final)
    go_on, copying, entered = threading.Event(), space.copy, threading.Semaphore(0)

    def copy(*args: Any) -> int:
        entered.release()
        assert go_on.wait(LIMIT)
        return copying(*args)

    monkeypatch.setattr(space, "copy", copy)
    joins = [asyncio.ensure_future(store.join(final, parts, take_over=False)) for _ in range(2)]
    for _ in joins:
        assert await asyncio.to_thread(entered.acquire, timeout=LIMIT)
    third = asyncio.ensure_future(store.join(final, parts, take_over=False))
    await asyncio.sleep(0.01)
    third.cancel()
    await asyncio.wait((third,), timeout=LIMIT)

    assert third.cancelled()
    assert not any(join.done() for join in joins)
    go_on.set()
    await asyncio.gather(*joins)


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


# --- What is synced, and in which order -----------------------------------------------------------


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


async def test_a_removed_upload_is_not_looked_for_twice(store: FileStore) -> None:
    """A record that vanished between load and append is an upload that is not there."""
    await fill(store, FULL, DATA)
    upload = await store.load(ID)
    await store.remove(ID)
    with pytest.raises(UploadNotFound):
        async with store.append(upload, plan(0)):
            pass
