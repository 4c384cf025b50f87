"""Our resume stores under the published suites."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vectus.client.contracts import ResumeStore
from vectus.client.resume import FileResume, MemoryResume, RedisResume, SQLiteResume
from vectus.testing.resume import ClaimsSuite, ResumeSuite


class TestMemoryResume(ResumeSuite, ClaimsSuite):
    """In memory."""

    @pytest.fixture
    def store(self) -> Iterator[ResumeStore]:
        store = MemoryResume()
        yield store
        assert store._claimed == {}


class TestFileResume(ResumeSuite, ClaimsSuite):
    """In a file, by two stores that know nothing of each other."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[ResumeStore]:
        yield FileResume(tmp_path / "new" / "uploads.json")
        folder = tmp_path / "new"
        names = {"uploads.json", "uploads.json.lock", "uploads.json.claims"}
        assert {path.name for path in folder.glob("*")} <= names
        assert list(folder.glob("*.claims/*")) == []

    @pytest.fixture
    def other(self, tmp_path: Path) -> ResumeStore:
        return FileResume(f"{tmp_path}/./new/uploads.json")


class TestSQLiteResume(ResumeSuite, ClaimsSuite):
    """In an SQLite database, by two stores that know nothing of each other."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[ResumeStore]:
        yield SQLiteResume(tmp_path / "new" / "uploads.db")
        folder = tmp_path / "new"
        assert {path.name for path in folder.glob("*")} <= {"uploads.db", "uploads.db.claims"}
        assert list(folder.glob("*.claims/*")) == []

    @pytest.fixture
    def other(self, tmp_path: Path) -> ResumeStore:
        return SQLiteResume(f"{tmp_path}/./new/uploads.db")


class TestRedisResume(ResumeSuite, ClaimsSuite):
    """In Redis, by two stores that know nothing of each other."""

    @pytest.fixture
    def store(self, redis_url: str, prefix: str) -> Iterator[ResumeStore]:
        store = RedisResume(redis_url, prefix)
        yield store
        assert list(store._client.scan_iter(f"{prefix}claim:*")) == []
        store.close()

    @pytest.fixture
    def other(self, redis_url: str, prefix: str) -> Iterator[ResumeStore]:
        store = RedisResume(redis_url, prefix, ttl=None)
        yield store
        store.close()
