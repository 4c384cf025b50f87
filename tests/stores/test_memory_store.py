"""The memory store, by the suites and for what is its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from vectus.contracts import Joins, Scans, Store
from vectus.errors import StoreFull
from vectus.stores.memory import MemoryStore
from vectus.testing.joins import JoinSuite, ScanSuite, parts_of
from vectus.testing.stores import FULL, ID, StoreSuite, bytes_of, fill, give, plan


class TestMemoryStore(StoreSuite, ScanSuite, JoinSuite):
    """The conformance suites over ``MemoryStore``."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryStore]:
        """A store without limits."""
        store = MemoryStore()
        yield store
        await store.aclose()

    async def test_it_can_do_everything(self, store: MemoryStore) -> None:
        """The memory store can be scanned and can join, as the type checker sees too."""
        able: tuple[Store, Scans, Joins] = (store, store, store)

        assert isinstance(able[1], Scans)
        assert isinstance(able[2], Joins)


async def test_a_full_store_keeps_what_fitted() -> None:
    """D12: when the room ends, the prefix that fitted is kept and counted."""
    store = MemoryStore(capacity=6)
    await store.create(FULL)
    async with store.append(FULL, plan(0)) as sink:
        await give(sink, b"1234")
        with pytest.raises(StoreFull):
            await give(sink, b"5678")
        assert sink.count == 6
        await sink.commit(replace(FULL, offset=6))

    assert await bytes_of(store, ID) == b"123456"


async def test_a_join_needs_room() -> None:
    """D8: room for the joined bytes is made sure of before the join."""
    store = MemoryStore(capacity=15)
    final, _ = await JoinSuite().prepare(store, (4, 6))
    with pytest.raises(StoreFull):
        await store.reserve(final, await parts_of(store, final))
    with pytest.raises(StoreFull):
        await store.join(final, await parts_of(store, final), take_over=False)


async def test_removing_makes_room() -> None:
    """What was removed takes no room any more."""
    store = MemoryStore(capacity=5)
    await fill(store, FULL, b"12345")
    await store.remove(ID)
    await fill(store, replace(FULL, id="next"), b"67890")

    assert await bytes_of(store, "next") == b"67890"
