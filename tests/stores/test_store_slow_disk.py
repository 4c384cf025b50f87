"""The file store when calls take long: what goes to threads, and who waits for it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from store_faults import DATA, WHOLE, room_for

from vectus.errors import StoreFull
from vectus.stores import disk, space
from vectus.stores.file import FileStore
from vectus.testing.joins import JoinSuite, parts_of
from vectus.testing.stores import FULL, ID, LIMIT, bytes_of, fill, give, pattern, plan


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    """A store with the usual durability."""
    store = FileStore(tmp_path / "data")
    yield store
    await store.aclose()


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
    pwrite, now = os.pwrite, 1000.0

    def slow(fd: int, data: memoryview, at: int) -> int:
        nonlocal now
        now += 0.03
        return pwrite(fd, data, at)

    await store.create(WHOLE)
    async with store.append(WHOLE, plan(0)) as sink:
        monkeypatch.setattr(os, "pwrite", slow)
        monkeypatch.setattr(disk, "monotonic", lambda: now)
        monkeypatch.setattr(disk, "_waits", iter(range(99)).__next__)
        monkeypatch.setattr(store._disk._pace, "slow_until", 0.0)
        assert sink.write(memoryview(DATA[:10])) is None
        waiting = sink.write(memoryview(DATA[10:]))
        assert waiting is not None
        await waiting

    assert await bytes_of(store, ID) == DATA


@pytest.mark.parametrize(
    ("took", "slow_for"), [(0.009, 0.0), (0.011, 1.1), (0.04, 4.0), (0.2, 5.0), (3.0, 5.0)]
)
async def test_a_hiccup_is_forgiven_sooner_than_a_stall(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, took: float, slow_for: float
) -> None:
    """Slow calls take a hundredth of the loop's time at most, and a short one does not send all
    work to threads for long."""
    now = 1000.0
    monkeypatch.setattr(disk, "monotonic", lambda: now)
    monkeypatch.setattr(disk, "_waits", iter(range(99)).__next__)

    def work() -> None:
        nonlocal now
        now += took

    store._disk.inline(work)
    for elapsed in (slow_for - 0.01, slow_for + 0.01):
        now = 1000.0 + took + elapsed
        assert store._disk.fast == (elapsed > slow_for or not slow_for)


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
            committed = replace(WHOLE, offset=len(DATA), expires=5.0)
            commit = asyncio.ensure_future(sink.commit(committed))
            await asyncio.sleep(0.02)
            assert not commit.done()
            held.released.set()
            await commit

    await asyncio.wait_for(append(), LIMIT)
    assert await store.load(ID) == replace(WHOLE, offset=len(DATA), expires=5.0)


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


async def test_freeing_a_removed_download_is_left_to_a_thread(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last descriptor of a removed file frees its blocks, which takes long."""
    upload = await fill(store, FULL, DATA)
    content = await store.read(upload, 0, 5)
    fd, close, closers = content.file()[0], os.close, {}

    def closing(closed: int) -> None:
        closers[closed] = threading.current_thread()
        close(closed)

    await store.remove(ID)
    monkeypatch.setattr(os, "close", closing)
    await content.aclose()

    assert closers[fd] is not threading.main_thread()


async def test_a_join_stops_when_it_is_cancelled(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled join ends with the piece it is at, and has ended when its task has."""
    monkeypatch.setattr("vectus.stores.joining.PIECE", 100)
    final, data = await JoinSuite().prepare(store, (5000, 5000))
    parts = await parts_of(store, final)
    copying, entered, go_on = space.copy, threading.Event(), threading.Event()
    calls = 0

    def copy(*args: Any) -> int:
        nonlocal calls
        calls += 1
        entered.set()
        assert go_on.wait(LIMIT)
        return copying(*args)

    monkeypatch.setattr(space, "copy", copy)
    join = asyncio.ensure_future(store.join(final, parts, take_over=False))
    await until(entered)
    join.cancel()
    await asyncio.wait((join,), timeout=0.02)
    assert not join.done()
    go_on.set()
    await asyncio.wait((join,), timeout=LIMIT)

    assert join.cancelled()
    await asyncio.sleep(0.05)
    assert calls == 1
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
