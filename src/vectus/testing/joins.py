"""What every store must do that can be scanned and that can join: suites to inherit from.

They are used as ``vectus.testing.stores`` says, and beside its suite.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Protocol

import pytest

from vectus.contracts import Joins, Scans, Store
from vectus.errors import UploadExists, UploadNotFound
from vectus.protocol.upload import Role, Stage, Upload
from vectus.testing.stores import (
    FULL,
    ID,
    ODD_SIZES,
    Suite,
    bytes_of,
    cancel_when,
    fill,
    pattern,
    put,
)


class Joining(Store, Joins, Protocol):
    """A store that can join."""


class Scanning(Store, Scans, Protocol):
    """A store that can be scanned."""


class ScanSuite(Suite):
    """What is true of every store that is ``Scans``."""

    async def test_a_scan_finds_everything(self, store: Scanning) -> None:
        """Every upload comes once, as ``load`` returns it."""
        ids = [f"upload-{number}" for number in range(300)]
        for id in ids:
            await store.create(replace(FULL, id=id))
        await put(store, ids[7], b"some bytes")
        found = {upload.id: upload for upload in await scanned(store)}

        assert sorted(found) == sorted(ids)
        assert all([found[id] == await store.load(id) for id in ids])

    async def test_a_scan_of_nothing_ends(self, store: Scanning) -> None:
        """An empty store has no uploads."""
        assert await scanned(store) == []

    async def test_uploads_may_go_during_a_scan(self, store: Scanning) -> None:
        """A scan may be used to remove what it finds."""
        for number in range(5):
            await store.create(replace(FULL, id=f"upload-{number}"))
        async for upload in store.scan():
            await store.remove(upload.id)

        assert await scanned(store) == []

    async def test_a_scan_may_be_left(self, store: Scanning) -> None:
        """Nobody has to hear a scan to its end."""
        for number in range(5):
            await store.create(replace(FULL, id=f"upload-{number}"))
        scan = store.scan()

        assert (await anext(scan)).id.startswith("upload-")
        if isinstance(scan, AsyncGenerator):
            await scan.aclose()


async def scanned(store: Scans) -> list[Upload]:
    """Return what a scan finds."""
    return [upload async for upload in store.scan()]


class JoinSuite(Suite):
    """What is true of every store that is ``Joins``."""

    @pytest.mark.parametrize(
        "sizes",
        [
            (1,),
            (0,),
            (0, 0, 5),
            (4096, 8192, 3),
            (1_000_003, 1, 0, 5_000_011),
            (*ODD_SIZES, 1 << 20, 1 << 20),
        ],
    )
    @pytest.mark.parametrize("take_over", [False, True])
    async def test_a_join_has_all_bytes(
        self, store: Joining, *, sizes: tuple[int, ...], take_over: bool
    ) -> None:
        """The final upload's bytes are its partials' bytes in order, and no other."""
        final, data = await self.prepare(store, sizes, take_over=take_over)
        await self.join(store, final, take_over=take_over)

        assert await store.load(final.id) == final_of(final, data)
        assert await bytes_of(store, final.id) == data
        assert await bytes_of(await self.reopen(store), final.id) == data

    @pytest.mark.parametrize("take_over", [False, True])
    async def test_a_partial_may_come_twice(self, store: Joining, *, take_over: bool) -> None:
        """D8: a partial named twice is copied, never moved."""
        final, _ = await self.prepare(store, (70_001, 5), take_over=take_over)
        a, b = final.parts
        final = replace(final, parts=(a, b, a), length=140_007)
        await store.save(final)
        await self.join(store, final, take_over=take_over)

        assert await bytes_of(store, final.id) == pattern(70_001, 0) + pattern(5, 1) + pattern(
            70_001, 0
        )

    async def test_copied_partials_stay_as_they_are(self, store: Joining) -> None:
        """Without taking over, a client may use its partials again."""
        final, _ = await self.prepare(store, (70_001, 5))
        before = await parts_of(store, final)
        await self.join(store, final, take_over=False)

        assert await parts_of(store, final) == before
        assert await bytes_of(store, final.parts[0]) == pattern(70_001, 0)

    @pytest.mark.parametrize("take_over", [False, True])
    async def test_a_join_can_be_repeated(self, store: Joining, *, take_over: bool) -> None:
        """A join whose end was not recorded is called again, and ends the same."""
        final, data = await self.prepare(store, (300_007, 1_000_003), take_over=take_over)
        await store.join(final, await parts_of(store, final), take_over=take_over)
        after = await self.reopen(store)
        assert isinstance(after, Joins)
        await after.join(final, await parts_of(after, final), take_over=take_over)
        await after.save(final_of(final, data))

        assert await bytes_of(after, final.id) == data

    @pytest.mark.parametrize("turns", [1, 2, 3, 5])
    @pytest.mark.parametrize("take_over", [False, True])
    async def test_a_cancelled_join_goes_on(
        self, store: Joining, *, turns: int, take_over: bool
    ) -> None:
        """A join that was cancelled can be called again; until it is done nothing counts."""
        final, data = await self.prepare(store, (3_000_017, 6_000_011), take_over=take_over)
        parts = await parts_of(store, final)
        await cancel_when(lambda: store.join(final, parts, take_over=take_over), turns)

        assert await store.load(final.id) == final
        assert await parts_of(store, final) == parts
        await self.join(store, final, take_over=take_over)
        assert await bytes_of(store, final.id) == data

    async def test_room_is_made_sure_of(self, store: Joining) -> None:
        """``reserve`` changes nothing that can be seen, and may be called again."""
        final, data = await self.prepare(store, (300_007, 1_000_003))
        for _ in range(2):
            await store.reserve(final, await parts_of(store, final))

        assert await store.load(final.id) == final
        await self.join(store, final, take_over=False)
        assert await bytes_of(store, final.id) == data

    async def test_a_missing_partial_is_told(self, store: Joining) -> None:
        """A join cannot make up what is gone."""
        final, _ = await self.prepare(store, (10, 20))
        parts = await parts_of(store, final)
        await store.remove(final.parts[1])

        with pytest.raises(UploadNotFound):
            await store.join(final, parts, take_over=False)
        assert (await store.load(final.id)).offset == 0

    async def test_finals_are_known_from_their_creation(self, store: Joining) -> None:
        """``finals`` tells who names a partial, also in another process."""
        await self.prepare(store, (10, 20))
        await store.create(Upload("second", role=Role.FINAL, parts=("part-1", "missing")))
        for asked in (store, await self.reopen(store)):
            assert isinstance(asked, Joins)
            assert await asked.finals("part-0") == ["final"]
            assert sorted(await asked.finals("part-1")) == ["final", "second"]
            assert list(await asked.finals("missing")) == ["second"]
            assert list(await asked.finals("unnamed")) == []

    @pytest.mark.parametrize("end", ["finished", "failed", "removed"])
    async def test_finals_count_until_they_are_closed(self, store: Joining, end: str) -> None:
        """A final upload pins its partials until it is finished, failed or removed, no shorter."""
        final, data = await self.prepare(store, (10, 20))
        await store.save(final := replace(final, joining=True))
        assert list(await store.finals("part-0")) == ["final"]
        await store.join(final, await parts_of(store, final), take_over=False)
        assert list(await store.finals("part-0")) == ["final"]
        await store.save(final := final_of(final, data))
        assert list(await store.finals("part-0")) == ["final"]
        if end == "removed":
            await store.remove(final.id)
        elif end == "failed":
            await store.save(replace(final, offset=0, failed="why not"))
        else:
            await store.save(replace(final, finished=True))

        assert list(await store.finals("part-0")) == []

    async def test_a_buried_partial_is_a_tombstone(self, store: Joining) -> None:
        """D8: what was taken over keeps its record, which names its final upload."""
        final, data = await self.prepare(store, (10, 20), take_over=True)
        await self.join(store, final, take_over=True)
        for part in final.parts:
            await store.bury(part)
            await store.bury(part)
        tombstones = await parts_of(store, final)

        assert {part.taken_by for part in tombstones} == {final.id}
        assert {part.stage for part in tombstones} == {Stage.GONE}
        assert await bytes_of(store, final.id) == data
        for part in final.parts:
            with pytest.raises(UploadExists):
                await store.create(Upload(part))
            await store.remove(part)
            with pytest.raises(UploadNotFound):
                await store.load(part)

    async def test_only_what_was_taken_over_is_buried(self, store: Joining) -> None:
        """Burying an upload that owns its bytes, or is not there, does nothing."""
        await fill(store, FULL, b"mine")
        await store.bury(ID)
        await store.bury("missing")

        assert await bytes_of(store, ID) == b"mine"

    # --- Steps --------------------------------------------------------------------------------

    async def prepare(
        self, store: Joining, sizes: Sequence[int], *, take_over: bool = False
    ) -> tuple[Upload, bytes]:
        """Make finished partials of these sizes and a final upload that names them.

        With ``take_over`` their records say that their bytes are its, as the engine's do then.
        """
        pieces = [pattern(size, number) for number, size in enumerate(sizes)]
        ids = tuple(f"part-{number}" for number in range(len(sizes)))
        final = Upload("final", Role.FINAL, sum(sizes), parts=ids, joining=True)
        await store.create(final)
        for id, piece in zip(ids, pieces, strict=True):
            part = await fill(store, Upload(id, role=Role.PARTIAL), piece)
            if take_over:
                await store.save(replace(part, taken_by=final.id))
        return final, b"".join(pieces)

    async def join(self, store: Joining, final: Upload, *, take_over: bool) -> None:
        """Join and record it."""
        await store.join(final, await parts_of(store, final), take_over=take_over)
        await store.save(replace(final, offset=final.length or 0, joining=False))


async def parts_of(store: Store, final: Upload) -> list[Upload]:
    """Load a final upload's partials."""
    return [await store.load(part) for part in final.parts]


def final_of(final: Upload, data: bytes) -> Upload:
    """Return the record of a final upload that is joined."""
    return replace(final, offset=len(data), joining=False)
