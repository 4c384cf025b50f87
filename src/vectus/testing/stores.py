"""What every store must do: a suite to inherit from, for our stores and for yours.

It knows the contract only; how a store does it must never matter here. It runs under pytest with
pytest-asyncio in its automatic mode::

    class TestMyStore(StoreSuite, ScanSuite, JoinSuite):
        @pytest.fixture
        async def store(self):
            store = MyStore()
            yield store
            await store.aclose()

        async def reopen(self, store):
            return MyStore()  # on what the other process left

        keeps_writes = False  # if plain bytes count only once they are committed

``ScanSuite`` and ``JoinSuite``, of ``vectus.testing.joins``, are for stores that are ``Scans`` and
``Joins``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from vectus.contracts import Sink, Store
from vectus.errors import Overtaken, UploadExists, UploadNotFound
from vectus.protocol.exchange import Payload, Plan
from vectus.protocol.upload import Role, Upload

ID = "0123456789abcdef-_ABCDEF"
LIMIT = 20.0
"""Seconds that anything may take before the test fails."""

ODD_SIZES = (1, 4095, 65537, 1, 1_048_579, 300_007, 2_500_001)
"""Sizes of pieces that meet no boundary of a block, a page or a buffer."""

FULL = Upload(
    ID,
    length=1000,
    metadata="filename d29ybGQ=,is_confidential,raw gIGC/w==",
    created=1_700_000_000.25,
    expires=1_700_086_400.0,
    fence=7,
)
"""An upload that uses whatever a record can hold at its creation."""

CHANGES: dict[str, Upload] = {
    "length": replace(FULL, length=None),
    "largest length": replace(FULL, length=2**63 - 1),
    "metadata": replace(FULL, metadata=None),
    "empty values": replace(FULL, metadata="a,b ,c"),
    "bytes": replace(FULL, metadata="caf\xc3\xa9 w6k="),
    "expires": replace(FULL, expires=None),
    "failed": replace(FULL, failed='A partial is gone: "why?" – \u2603'),
    "pending": replace(FULL, pending=0),
    "fence": replace(FULL, fence=2**40),
    "partial": replace(FULL, role=Role.PARTIAL, concat="partial"),
    "taken by": replace(FULL, role=Role.PARTIAL, taken_by="final", offset=1000, finished=True),
    "final": replace(FULL, role=Role.FINAL, concat="final;/files/a b", parts=("a", "b", "a")),
    "joining": replace(FULL, role=Role.FINAL, parts=("a",), joining=True),
    "finished": replace(FULL, length=0, finished=True),
    "announced": replace(FULL, length=0, finished=True, announced=True),
}
"""Records that each differ in something, by what it is."""


def pattern(size: int, seed: int = 0) -> bytes:
    """Return bytes that nothing else has."""
    return hashlib.shake_128(seed.to_bytes(8)).digest(size)


def plan(start: int, room: int | None = None, *, revocable: bool = False) -> Plan:
    """Return a plan for an append at ``start``."""
    return Plan(start, room, None, Payload(None), revocable)


async def give(sink: Sink, data: bytes) -> None:
    """Write a piece from memory that is used again afterwards."""
    memory = bytearray(data)
    waiting = sink.write(memoryview(memory))
    if waiting is not None:
        await waiting
    memory[:] = bytes(len(memory))


async def put(store: Store, id: str, data: bytes, *, revocable: bool = False) -> Upload:
    """Append a piece to an upload as it is now, and commit it."""
    upload = await store.load(id)
    async with store.append(upload, plan(upload.offset, revocable=revocable)) as sink:
        await give(sink, data)
        await sink.commit(replace(upload, offset=upload.offset + len(data)))
    return await store.load(id)


async def fill(store: Store, upload: Upload, data: bytes) -> Upload:
    """Create an upload that is finished."""
    await store.create(replace(upload, length=len(data)))
    upload = await put(store, upload.id, data)
    upload = replace(upload, finished=True, announced=True)
    await store.save(upload)
    return await store.load(upload.id)


async def bytes_of(store: Store, id: str, start: int = 0, stop: int | None = None) -> bytes:
    """Return the bytes of an upload that count."""
    upload = await store.load(id)
    content = await store.read(upload, start, upload.offset if stop is None else stop)
    try:
        return b"".join([block async for block in content.blocks()])
    finally:
        await content.aclose()


async def cancel_when(
    work: Callable[[], Coroutine[object, object, None]], turns: int
) -> asyncio.Task[None]:
    """Run something, cancel it after so many turns of the loop, and wait for its end."""
    task = asyncio.ensure_future(work())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,), timeout=LIMIT)
    assert task.done()
    return task


class Suite:
    """What the suites share."""

    async def reopen(self, store: Store) -> Store:
        """Return a store on the same data, as it is after the process that used ``store`` died.

        Overwrite it if the store outlives its process.
        """
        return store


class Held:
    """A lease that is lost when a test says so.

    Args:
        fence: its number.
    """

    def __init__(self, fence: int) -> None:
        self.fence = fence
        self.lost = False

    def retire(self) -> None:
        """Do nothing."""


class StoreSuite(Suite):
    """What is true of every store."""

    keeps_writes = True
    """Whether plain bytes count from the moment that their ``write`` is done, so that they outlive
    the process, and a lock that was lost. Say False for a store that has to collect them first, or
    whose writers nothing but fences keeps apart: then bytes count when they are committed, or when
    the sink says so by itself, and those of a writer that was overtaken never do."""

    # --- Records ------------------------------------------------------------------------------

    async def test_an_upload_is_loaded_as_it_was_created(self, store: Store) -> None:
        """``create`` keeps a new upload without bytes."""
        await store.create(FULL)

        assert await store.load(ID) == FULL

    @pytest.mark.parametrize("what", CHANGES)
    async def test_a_record_keeps_whatever_it_says(self, store: Store, what: str) -> None:
        """``save`` replaces the record, every field of it, also for another process."""
        await store.create(replace(CHANGES[what], pending=None, finished=False, taken_by=None))
        await store.save(CHANGES[what])

        assert await store.load(ID) == CHANGES[what]
        assert await (await self.reopen(store)).load(ID) == CHANGES[what]

    @pytest.mark.parametrize("size", [1, 999, 1000])
    async def test_an_upload_may_begin_with_bytes(self, store: Store, size: int) -> None:
        """``create`` keeps the first bytes with the record, and more can follow."""
        data = pattern(1000)
        await store.create(replace(FULL, offset=size), data[:size])
        for each in (store, await self.reopen(store)):
            assert await each.load(ID) == replace(FULL, offset=size)
            assert await bytes_of(each, ID) == data[:size]
        await put(store, ID, data[size:])

        assert await bytes_of(store, ID) == data

    @pytest.mark.parametrize("role", [Role.PLAIN, Role.PARTIAL])
    async def test_an_upload_may_begin_finished(self, store: Store, role: Role) -> None:
        """``create`` keeps an upload that is finished by what it begins with."""
        data = pattern(16 << 10)
        upload = replace(
            FULL, role=role, length=len(data), offset=len(data), finished=True, announced=True
        )
        await store.create(upload, data)

        for each in (store, await self.reopen(store)):
            assert await each.load(ID) == upload
            assert await bytes_of(each, ID) == data

    @pytest.mark.parametrize("turns", range(1, 4))
    async def test_a_creation_is_whole_or_nothing(self, store: Store, turns: int) -> None:
        """A cancelled ``create`` has made the upload with all its bytes, or none."""
        data = pattern(1000)
        upload = replace(FULL, offset=len(data), finished=True)
        await cancel_when(lambda: store.create(upload, data), turns)
        try:
            assert await store.load(ID) == upload
            assert await bytes_of(store, ID) == data
        except UploadNotFound:
            await store.create(upload, data)
            assert await bytes_of(store, ID) == data

    async def test_an_id_is_given_out_once(self, store: Store) -> None:
        """Creating an upload that exists fails, and leaves the first one alone."""
        await store.create(FULL)
        await put(store, ID, b"first")

        with pytest.raises(UploadExists):
            await store.create(replace(FULL, length=3, offset=2), b"no")
        assert await store.load(ID) == replace(FULL, offset=5)
        assert await bytes_of(store, ID) == b"first"

    @pytest.mark.parametrize(
        "id", ["missing", "", ".", "..", "../" + ID, "a/b", "a.b", ID + "\n", "a\0b", "x" * 129]
    )
    async def test_what_is_not_there_is_not_found(self, store: Store, id: str) -> None:
        """D13: an id that names nothing, or cannot be one, is not found by any method."""
        upload = replace(FULL, id=id)

        with pytest.raises(UploadNotFound):
            await store.load(id)
        with pytest.raises(UploadNotFound):
            await store.save(upload)
        with pytest.raises(UploadNotFound):
            await store.read(upload, 0, 0)
        with pytest.raises(UploadNotFound):
            await store.remove(id)
        with pytest.raises(UploadNotFound):
            async with store.append(upload, plan(0)):
                pass

    async def test_no_upload_is_made_under_what_is_no_id(self, store: Store) -> None:
        """D13: ids are checked again where they become names of something."""
        with pytest.raises(ValueError, match="id"):
            await store.create(replace(FULL, id="../" + ID))

    async def test_saving_keeps_the_bytes(self, store: Store) -> None:
        """``save`` changes the record only."""
        await store.create(FULL)
        upload = await put(store, ID, b"bytes")
        await store.save(replace(upload, expires=None, fence=9))

        assert await store.load(ID) == replace(upload, expires=None, fence=9)
        assert await bytes_of(store, ID) == b"bytes"

    async def test_an_overtaken_writer_cannot_save(self, store: Store) -> None:
        """A record under a later lease's number is not replaced by an earlier one's."""
        await store.create(FULL)
        await store.save(replace(FULL, fence=8))

        with pytest.raises(Overtaken):
            await store.save(replace(FULL, expires=None))
        assert await store.load(ID) == replace(FULL, fence=8)

    # --- Appending ----------------------------------------------------------------------------

    @pytest.mark.parametrize("revocable", [False, True])
    async def test_committed_bytes_count(self, store: Store, *, revocable: bool) -> None:
        """Bytes in odd pieces over several appends come out as they went in."""
        data = pattern(sum(ODD_SIZES))
        await store.create(replace(FULL, length=len(data)))
        at = 0
        for size in ODD_SIZES:
            upload = await put(store, ID, data[at : at + size], revocable=revocable)
            at += size
            assert upload == replace(FULL, length=len(data), offset=at)

        assert await bytes_of(store, ID) == data
        assert await bytes_of(await self.reopen(store), ID) == data

    async def test_pieces_of_one_append_follow_each_other(self, store: Store) -> None:
        """Writes go behind one another, and ``count`` says how many bytes were taken."""
        data = pattern(sum(ODD_SIZES))
        await store.create(replace(FULL, length=len(data)))
        async with store.append(FULL, plan(0)) as sink:
            for size in ODD_SIZES:
                await give(sink, data[sink.count : sink.count + size])
            assert sink.count == len(data)
            await sink.commit(replace(FULL, length=len(data), offset=len(data)))

        assert await bytes_of(store, ID) == data

    async def test_an_empty_piece_is_taken(self, store: Store) -> None:
        """A write of nothing changes nothing."""
        await store.create(FULL)

        assert await put(store, ID, b"") == FULL

    async def test_a_commit_replaces_the_record(self, store: Store) -> None:
        """What the request declared or moved on is kept with its bytes."""
        await store.create(replace(FULL, length=None))
        upload = await store.load(ID)
        committed = replace(upload, offset=3, length=3, expires=9.0, fence=8, finished=True)
        async with store.append(upload, plan(0)) as sink:
            await give(sink, b"abc")
            await sink.commit(committed)

        assert await store.load(ID) == committed
        assert await (await self.reopen(store)).load(ID) == committed

    @pytest.mark.parametrize("revocable", [False, True])
    async def test_a_commit_may_keep_fewer_bytes(self, store: Store, *, revocable: bool) -> None:
        """What lies beyond the offset that is committed does not count, and is not seen again."""
        await store.create(FULL)
        async with store.append(FULL, plan(0, revocable=revocable)) as sink:
            await give(sink, b"0123456789")
            await sink.commit(replace(FULL, offset=4))

        assert await store.load(ID) == replace(FULL, offset=4)
        await put(store, ID, b"!")
        assert await bytes_of(store, ID) == b"0123!"

    async def test_abandoned_plain_bytes_stay(self, store: Store) -> None:
        """D1: each plain write that returned is a commit."""
        await store.create(FULL)
        async with store.append(FULL, plan(0)) as sink:
            await give(sink, b"kept")

        assert await store.load(ID) == replace(FULL, offset=4)
        assert await bytes_of(store, ID) == b"kept"

    async def test_abandoned_revocable_bytes_never_came(self, store: Store) -> None:
        """D10: what is not verified leaves the upload exactly as it was."""
        await store.create(FULL)
        before = await put(store, ID, b"kept")
        async with store.append(before, plan(4, revocable=True)) as sink:
            await give(sink, b"wrong")

        assert await store.load(ID) == before
        assert await bytes_of(store, ID) == b"kept"
        assert await put(store, ID, b"!") == replace(before, offset=5)
        assert await bytes_of(store, ID) == b"kept!"

    @pytest.mark.parametrize("revocable", [False, True])
    async def test_a_failure_inside_abandons(self, store: Store, *, revocable: bool) -> None:
        """An exception leaves the context like any other end, and goes on."""
        await store.create(FULL)

        async def append() -> None:
            async with store.append(FULL, plan(0, revocable=revocable)) as sink:
                await give(sink, b"data")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await append()
        assert await store.load(ID) == replace(FULL, offset=0 if revocable else 4)

    async def test_plain_bytes_survive_a_crash(self, store: Store) -> None:
        """D1: kill -9 loses nothing that was committed; and nothing that ``write`` returned for,
        where that is a promise."""
        await store.create(FULL)
        before = await put(store, ID, b"kept")
        async with AsyncExitStack() as never_left:
            sink = await never_left.enter_async_context(store.append(before, plan(4)))
            await give(sink, b", on its way")
            after = await self.reopen(store)

            assert await after.load(ID) == replace(before, offset=16 if self.keeps_writes else 4)

    @pytest.mark.parametrize("revocable", [False, True])
    async def test_unverified_bytes_do_not_survive_a_crash(
        self, store: Store, *, revocable: bool
    ) -> None:
        """D1: after kill -9 an upload is where its unjudged append began, and goes on there."""
        await store.create(FULL)
        before = await put(store, ID, b"kept")
        never_left = store.append(before, plan(4, revocable=True))
        await give(await never_left.__aenter__(), b"unverified and long")
        after = await self.reopen(store)
        found = await after.load(ID)

        assert replace(found, pending=None) == before
        async with after.append(found, plan(4, revocable=revocable)) as sink:
            await give(sink, b", new")
            await sink.commit(replace(found, offset=9))
        assert await after.load(ID) == replace(before, offset=9)
        assert await bytes_of(after, ID) == b"kept, new"

    async def test_a_plain_append_after_a_crash_counts_as_it_comes(self, store: Store) -> None:
        """What a crash left pending does not hide later plain bytes, whose append is abandoned."""
        await store.create(FULL)
        never_left = store.append(FULL, plan(0, revocable=True))
        await give(await never_left.__aenter__(), b"unverified")
        after = await self.reopen(store)
        async with after.append(await after.load(ID), plan(0)) as sink:
            await give(sink, b"plain")

        assert await after.load(ID) == replace(FULL, offset=5)
        assert await bytes_of(after, ID) == b"plain"

    @pytest.mark.parametrize("revocable", [False, True])
    async def test_an_overtaken_writer_cannot_commit(
        self, store: Store, *, revocable: bool
    ) -> None:
        """A commit under an earlier lease than the record's is refused, and changes nothing."""
        await store.create(FULL)
        async with store.append(FULL, plan(0, revocable=revocable)) as sink:
            await give(sink, b"late")
            now = await store.load(ID)
            await store.save(replace(now, fence=8))
            with pytest.raises(Overtaken):
                await sink.commit(replace(FULL, offset=4, expires=None))

        found = await store.load(ID)
        assert (found.fence, found.expires) == (8, FULL.expires)
        assert found.offset == (4 if self.keeps_writes and not revocable else 0)

    async def test_an_overtaken_writer_cannot_begin(self, store: Store) -> None:
        """An append under an earlier lease than the record's is refused before its first byte."""
        await store.create(replace(FULL, fence=8))

        with pytest.raises(Overtaken):
            await store.append(FULL, plan(0)).__aenter__()
        assert (await store.load(ID)).fence == 8

    async def test_a_commit_has_the_number_of_its_lease(self, store: Store) -> None:
        """Whoever was overtaken finds a later number once the later holder has committed."""
        await store.create(FULL)
        now = replace(FULL, fence=8)
        async with store.append(now, plan(0), Held(8)) as sink:
            await give(sink, b"later")
            await sink.commit(replace(now, offset=5, expires=9.0))

        assert await store.load(ID) == replace(now, offset=5, expires=9.0)
        with pytest.raises(Overtaken):
            await store.save(FULL)

    @pytest.mark.parametrize("revocable", [False, True])
    async def test_whoever_lost_its_lock_commits_nothing(
        self, store: Store, *, revocable: bool
    ) -> None:
        """Once its lease is lost a sink changes nothing any more. A store whose lease the kernel
        keeps need not look, and keeps what was written."""
        await store.create(FULL)
        lease = Held(FULL.fence)
        async with store.append(FULL, plan(0, revocable=revocable), lease) as sink:
            await give(sink, b"late")
            lease.lost = True
            if not self.keeps_writes:
                with pytest.raises(Overtaken):
                    await sink.commit(replace(FULL, offset=4))

        found = await store.load(ID)
        assert found.offset == (4 if self.keeps_writes and not revocable else 0)

    async def test_uploads_do_not_mix(self, store: Store) -> None:
        """Two uploads written in turns keep their own bytes."""
        pieces = {id: [pattern(70_001, seed) for seed in range(9)] for id in ("a", "b")}
        for id in pieces:
            await store.create(replace(FULL, id=id))
        async with (
            store.append(replace(FULL, id="a"), plan(0)) as a,
            store.append(replace(FULL, id="b"), plan(0, revocable=True)) as b,
        ):
            for left, right in zip(pieces["a"], pieces["b"], strict=True):
                await asyncio.gather(give(a, left), give(b, right[::-1]))
            for id, sink in (("a", a), ("b", b)):
                await sink.commit(replace(FULL, id=id, length=10**6, offset=sink.count))

        assert await bytes_of(store, "a") == b"".join(pieces["a"])
        assert await bytes_of(store, "b") == b"".join(piece[::-1] for piece in pieces["b"])

    # --- Cancellation -------------------------------------------------------------------------

    @pytest.mark.parametrize("turns", range(1, 6))
    @pytest.mark.parametrize("revocable", [False, True])
    async def test_a_commit_is_not_interrupted(
        self, store: Store, *, turns: int, revocable: bool
    ) -> None:
        """A commit that has begun is whole when its task ends, cancelled or not."""
        data, begun = pattern(700_001), False
        committed = replace(FULL, length=len(data), offset=len(data), finished=True)
        await store.create(FULL)

        async def append() -> None:
            nonlocal begun
            async with store.append(FULL, plan(0, revocable=revocable)) as sink:
                await give(sink, data)
                begun = True
                await sink.commit(committed)

        task = await cancel_when(append, turns)
        found = await store.load(ID)

        assert task.cancelled() or task.exception() is None
        if begun:
            assert found == committed
        else:
            assert not revocable or found.offset == 0

    @pytest.mark.parametrize("turns", range(1, 8))
    @pytest.mark.parametrize("revocable", [False, True])
    async def test_nothing_is_written_after_the_context(
        self, store: Store, *, turns: int, revocable: bool
    ) -> None:
        """D5: a cancelled append has ended for good when its task has, and the next goes on."""
        data = pattern(900_001)
        await store.create(replace(FULL, length=None))

        async def append() -> None:
            async with store.append(FULL, plan(0, revocable=revocable)) as sink:
                for _ in range(4):
                    await give(sink, data)
                await asyncio.sleep(LIMIT)

        await cancel_when(append, turns)
        found = await store.load(ID)
        assert found.pending is None
        assert await put(store, ID, b"next") == replace(found, offset=found.offset + 4)
        whole = data * 4
        assert await bytes_of(store, ID) == whole[: found.offset] + b"next"
        assert not revocable or found.offset == 0

    # --- Reading and removing -----------------------------------------------------------------

    @pytest.mark.parametrize(
        ("start", "stop"), [(0, 2_000_003), (0, 0), (0, 1), (2_000_002, 2_000_003), (7, 1_999_999)]
    )
    async def test_a_range_is_read(self, store: Store, start: int, stop: int) -> None:
        """``read`` gives the bytes from ``start`` up to ``stop``, not included."""
        data = pattern(2_000_003)
        upload = await fill(store, FULL, data)
        content = await store.read(upload, start, stop)

        assert content.length == stop - start
        assert b"".join([block async for block in content.blocks()]) == data[start:stop]
        await content.aclose()
        await content.aclose()

    async def test_a_file_holds_the_range(self, store: Store) -> None:
        """Content that offers a descriptor has the same bytes there."""
        upload = await fill(store, FULL, b"0123456789")
        content = await store.read(upload, 3, 8)
        file = content.file()
        if file is not None:
            with open(file[0], "rb", closefd=False) as opened:
                opened.seek(file[1])
                assert opened.read(content.length) == b"34567"
        await content.aclose()

    async def test_what_was_opened_stays_readable(self, store: Store) -> None:
        """A download outlives the removal of its upload."""
        data = pattern(1_500_001)
        upload = await fill(store, FULL, data)
        content = await store.read(upload, 0, len(data))
        await store.remove(ID)

        assert b"".join([block async for block in content.blocks()]) == data
        await content.aclose()

    async def test_a_removed_upload_is_gone(self, store: Store) -> None:
        """``remove`` forgets record and bytes, of this upload only."""
        await fill(store, FULL, b"one")
        await fill(store, replace(FULL, id="other"), b"two")
        upload = await store.load(ID)
        await store.remove(ID)

        for gone in (store, await self.reopen(store)):
            with pytest.raises(UploadNotFound):
                await gone.load(ID)
        with pytest.raises(UploadNotFound):
            await store.remove(ID)
        with pytest.raises(UploadNotFound):
            await store.save(upload)
        with pytest.raises(UploadNotFound):
            await store.read(upload, 0, 3)
        assert await bytes_of(store, "other") == b"two"
