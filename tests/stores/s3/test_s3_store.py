"""The S3 store, by the suites, on a real server and on a quick one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from s3_places import make_place

from vectus.contracts import Joins, Scans, Store
from vectus.errors import Overtaken
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store
from vectus.testing.joins import JoinSuite, ScanSuite
from vectus.testing.stores import FULL, ID, StoreSuite, give, plan, put


class S3Suite(StoreSuite, ScanSuite, JoinSuite):
    """The conformance suites over ``S3Store``."""

    @pytest.fixture
    async def store(self, where: Place) -> AsyncIterator[S3Store]:
        """A store in an empty bucket."""
        store = S3Store(where)
        yield store
        await store.aclose()

    async def reopen(self, store: Store) -> Store:
        """Another process knows the place only."""
        assert isinstance(store, S3Store)
        return S3Store(store.place)

    async def test_it_can_do_everything(self, store: S3Store) -> None:
        """The S3 store can be scanned and can join, as the type checker sees too."""
        able: tuple[Store, Scans, Joins] = (store, store, store)

        assert isinstance(able[1], Scans)
        assert isinstance(able[2], Joins)

    async def test_plain_bytes_survive_a_crash(self, store: Store) -> None:
        """A crash costs what S3 has not acknowledged yet, and nothing that was there before."""
        await store.create(FULL)
        before = await put(store, ID, b"kept")
        async with AsyncExitStack() as never_left:
            sink = await never_left.enter_async_context(store.append(before, plan(4)))
            await give(sink, b"on its way")
            after = await self.reopen(store)

            assert await after.load(ID) == before

    @pytest.mark.parametrize("revocable", [False, True])
    async def test_an_overtaken_writer_cannot_commit(
        self, store: Store, *, revocable: bool
    ) -> None:
        """A commit under an earlier lease than the record's is refused, and none of its bytes
        count: locks that are not the kernel's can be lost."""
        await store.create(FULL)
        async with store.append(FULL, plan(0, revocable=revocable)) as sink:
            await give(sink, b"late")
            await store.save(replace(await store.load(ID), fence=8))
            with pytest.raises(Overtaken):
                await sink.commit(replace(FULL, offset=4, expires=None))

        assert await store.load(ID) == replace(FULL, fence=8)


class TestOnRGW(S3Suite):
    """Ceph's, which is strict."""

    @pytest.fixture
    def where(self, rgw: str) -> Place:
        """A place there."""
        return make_place(rgw)


class TestOnMoto(S3Suite):
    """A quick one."""

    @pytest.fixture
    def where(self, moto: str) -> Place:
        """A place there."""
        return make_place(moto)
