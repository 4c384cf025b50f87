"""The file store, by the suites, with every durability and on a slow disk too."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest

from vectus.contracts import Joins, Scans, Store
from vectus.stores.disk import Disk
from vectus.stores.file import FileStore
from vectus.stores.reach import ManyMachines
from vectus.testing.joins import JoinSuite, ScanSuite
from vectus.testing.stores import StoreSuite


class FileSuite(StoreSuite, ScanSuite, JoinSuite):
    """The conformance suites over ``FileStore``."""

    durability: Literal["none", "finish", "always"]

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[FileStore]:
        """A store on an empty directory."""
        store = FileStore(tmp_path / "data", self.durability)
        yield store
        await store.aclose()

    async def test_it_can_do_everything(self, store: FileStore) -> None:
        """The file store can be scanned and can join, as the type checker sees too."""
        able: tuple[Store, Scans, Joins] = (store, store, store)

        assert isinstance(able[1], Scans)
        assert isinstance(able[2], Joins)

    async def reopen(self, store: Store) -> Store:
        """Another process knows the directory only."""
        assert isinstance(store, FileStore)
        return FileStore(store.directory, self.durability)


class TestWithoutDurability(FileSuite):
    """Nothing is synced."""

    durability = "none"


class TestWithDurabilityAtTheFinish(FileSuite):
    """What is finished is synced."""

    durability = "finish"


class TestWithDurabilityAlways(FileSuite):
    """Everything is synced."""

    durability = "always"


class Mortal(ManyMachines):
    """A machine whose locks end with it, though its files stay open in this process."""

    def __init__(self) -> None:
        self._claimed: list[int] = []

    def claim(self, fd: int, id: str) -> None:
        super().claim(fd, id)
        self._claimed.append(fd)

    def die(self) -> None:
        """Let go of what the kernel would let go of."""
        for fd in self._claimed:
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)


class TestOnManyMachines(FileSuite):
    """Nothing is believed that a network file system only remembers."""

    durability = "finish"

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[FileStore]:
        """A store on an empty directory."""
        self.machine = Mortal()
        store = FileStore(tmp_path / "data", self.durability, reach=self.machine)
        yield store
        await store.aclose()

    async def reopen(self, store: Store) -> Store:
        """Another machine knows the directory only, after the end of the first."""
        assert isinstance(store, FileStore)
        self.machine.die()
        return FileStore(store.directory, self.durability, reach=ManyMachines())


class TestOnASlowDisk(FileSuite):
    """Every call goes to a thread."""

    durability = "finish"

    @pytest.fixture(autouse=True)
    def slow_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make the disk slow for good."""
        monkeypatch.setattr(Disk, "fast", False)
