"""From a place to the adapters behind it."""

from __future__ import annotations

import os
import tempfile  # noqa: F401 - while it can still be read
from collections.abc import Iterator
from pathlib import Path

import pytest

from vectus import wiring
from vectus.errors import ConfigurationError
from vectus.protocol.upload import Upload


@pytest.mark.parametrize(
    "form", [str, Path, lambda path: path.as_uri()], ids=["str", "path", "url"]
)
async def test_a_directory_is_a_file_store(tmp_path, form) -> None:
    """A path and a file:// URL open the same directory, made if it is not there."""
    place = tmp_path / "new one" / "uploads"
    store = wiring.open_store(form(place))
    locker = wiring.open_locker(form(place))
    try:
        await store.create(Upload("one", length=3))
        async with locker.hold("one"):
            assert (place / "one.info").exists()
    finally:
        await locker.aclose()
        await store.aclose()
    assert (place / wiring.LOCKS).is_dir()


async def test_memory_is_a_store_without_a_place() -> None:
    """memory:// opens a store and locks that leave nothing behind."""
    store = wiring.open_store("memory://")
    locker = wiring.open_locker("memory://")
    await store.create(Upload("one", length=3))
    assert (await store.load("one")).length == 3
    await locker.aclose()
    await store.aclose()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("s3://", "no bucket"),
        ("s3://bucket/?colour=red", "colour"),
        ("s3://bucket/?part_size=1MiB", "Parts of 1048576 bytes"),
        ("gopher://place", "no store for gopher://"),
        ("memory://name", "name"),
        ("file://host/path", "host"),
        ("file:///path?query", "query"),
        ("", "empty"),
        ("a\0b", "empty"),
    ],
)
def test_what_is_no_place_is_refused_with_a_hint(where, words) -> None:
    """Nothing is opened, and the hint says what could be written instead."""
    with pytest.raises(ConfigurationError) as caught:
        wiring.open_store(where)
    assert words in caught.value.problem
    assert caught.value.hint


@pytest.mark.parametrize("where", ["under a file", "a file", "/proc/uploads"])
def test_an_impossible_directory_is_found_at_the_start(tmp_path, where) -> None:
    """A directory that cannot be made or written to is a ConfigurationError, not a later 500."""
    (tmp_path / "file").touch()
    place = {"under a file": tmp_path / "file" / "x", "a file": tmp_path / "file"}.get(where, where)

    with pytest.raises(ConfigurationError, match="cannot be kept in"):
        wiring.check_store(place)


@pytest.fixture
def nobody() -> Iterator[None]:
    """Be a user without privileges."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


@pytest.mark.usefixtures("nobody")
def test_a_directory_of_somebody_else_is_found_at_the_start() -> None:
    """A directory without leave to write is a ConfigurationError."""
    with pytest.raises(ConfigurationError, match="permission denied"):
        wiring.check_store("/uploads-of-nobody")


def test_memory_serves_one_process() -> None:
    """Two processes would each have their own uploads, so it is refused."""
    wiring.check_store("memory://", 1)
    with pytest.raises(ConfigurationError, match="one process"):
        wiring.check_store("memory://", 2)


def test_a_durability_that_is_none_is_refused(tmp_path) -> None:
    """Only the three words are taken."""
    with pytest.raises(ConfigurationError, match="durability"):
        wiring.open_store(tmp_path, "often")


def test_origins_are_checked() -> None:
    """Any, some or none; a URL with a path is no origin."""
    assert wiring.cors([]) is None
    assert wiring.cors(["*"]).origins == ("*",)
    assert wiring.cors(["https://a.example", "http://b:8080"]).origins[1] == "http://b:8080"
    with pytest.raises(ConfigurationError, match="not an origin"):
        wiring.cors(["https://a.example/"])
