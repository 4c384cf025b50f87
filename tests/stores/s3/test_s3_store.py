"""The S3 store, by the suites, on a real server and on a quick one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from s3_places import make_place

from vectus.contracts import Joins, Scans, Store
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store
from vectus.testing.joins import JoinSuite, ScanSuite
from vectus.testing.stores import StoreSuite


class S3Suite(StoreSuite, ScanSuite, JoinSuite):
    """The conformance suites over ``S3Store``."""

    keeps_writes = False

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


class TestOnRGW(S3Suite):
    """Ceph's, which is strict."""

    @pytest.fixture
    def where(self, rgw: str) -> Place:
        """A place there."""
        return make_place(rgw)


class TestOnConditions(S3Suite):
    """A quick one, whose conditional puts are made use of."""

    @pytest.fixture
    def where(self, moto: str) -> Place:
        """A place there."""
        return replace(make_place(moto), conditional_put=True)
