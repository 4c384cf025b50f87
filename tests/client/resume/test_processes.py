"""Several processes with one store, some of which are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vectus.client.contracts import Entry
from vectus.client.resume import FileResume, RedisResume, SQLiteResume

Driver = subprocess.Popen[str]
Drive = Callable[..., Driver]

KINDS = ("file", "sqlite", "redis")
LOCAL = ("file", "sqlite")
LIMIT = 20.0
SHORT, LONG = (
    Entry("https://host/churned", length, extra={"x": "x" * length}) for length in (1, 100_000)
)


class Shared:
    """A store that other processes use as well."""

    def __init__(self, kind: str, where: str, store: Any) -> None:
        self.argv = (kind, where)
        self.store = store

    def is_free(self) -> bool:
        with self.store.claim("film") as claim:
            return claim is not None

    def wait_until_free(self, patience: float = LIMIT) -> None:
        deadline = time.monotonic() + patience
        while not self.is_free():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Shared:
    """A store of the kind that the test asks for."""
    if request.param == "redis":
        url, prefix = (request.getfixturevalue(name) for name in ("redis_url", "prefix"))
        return Shared("redis", f"{url}#{prefix}", RedisResume(url, prefix, claim_ttl=2))
    make = {"file": FileResume, "sqlite": SQLiteResume}[request.param]
    path = tmp_path / "store"
    return Shared(request.param, str(path), make(path))


def line(driver: Driver) -> str:
    """Return the next line that a process prints."""
    assert driver.stdout is not None
    return driver.stdout.readline().strip()


@pytest.mark.parametrize("shared", KINDS, indirect=True)
def test_nothing_is_lost(shared: Shared, drive: Drive) -> None:
    """Four processes that begin at once, with a store that is not there yet, lose no entry."""
    drivers = [drive(*shared.argv, "fill", name, 25) for name in "abcd"]
    assert [line(driver) for driver in drivers] == ["done"] * 4

    found = [shared.store.get(f"{name}-{number}") for name in "abcd" for number in range(25)]
    wanted = [Entry(f"https://host/{name}/{number}") for name in "abcd" for number in range(25)]
    assert found == wanted


@pytest.mark.parametrize("shared", LOCAL, indirect=True)
def test_killed_while_it_stores(shared: Shared, drive: Drive, tmp_path: Path) -> None:
    """Whenever a process is killed, the entry is the old one or the new one, and can be changed."""
    shared.store.set("kept", SHORT)
    shared.store.set("churned", SHORT)
    for _ in range(10):
        driver = drive(*shared.argv, "churn")
        assert line(driver) == "churning"
        time.sleep(random.uniform(0, 0.04))
        driver.kill()
        driver.wait(LIMIT)
        assert shared.store.get("churned") in (SHORT, LONG)
        shared.store.set("churned", SHORT)

    assert shared.store.get("kept") == SHORT
    names = {path.name for path in tmp_path.iterdir()}
    assert names <= {"store", "store.lock"}
    if "store.lock" in names:
        json.loads((tmp_path / "store").read_bytes())


@pytest.mark.parametrize("shared", KINDS, indirect=True)
def test_a_claim_keeps_others_out(shared: Shared, drive: Drive) -> None:
    """What one process has claimed no other can, until it is released."""
    driver = drive(*shared.argv, "claim", "film")
    assert line(driver) == "claimed"
    assert line(drive(*shared.argv, "claim", "film")) == "refused"
    assert not shared.is_free()

    driver.communicate(timeout=LIMIT)
    assert shared.is_free()


@pytest.mark.parametrize("shared", LOCAL, indirect=True)
def test_a_killed_holder(shared: Shared, drive: Drive) -> None:
    """The claim of a process that is killed is free at once."""
    driver = drive(*shared.argv, "claim", "film")
    assert line(driver) == "claimed"
    driver.kill()
    driver.wait(LIMIT)

    assert shared.is_free()


@pytest.mark.parametrize("shared", ["redis"], indirect=True)
def test_a_killed_holder_elsewhere(shared: Shared, drive: Drive) -> None:
    """The claim in Redis of a process that is killed is free after its time."""
    key = f"{shared.argv[1].split('#')[1]}claim:film"
    shared.store._client.set(key, "dead", px=60_000)
    assert not shared.is_free()

    shared.store._client.pexpire(key, 100)
    shared.wait_until_free()


@pytest.mark.parametrize("shared", KINDS, indirect=True)
def test_one_at_a_time(shared: Shared, drive: Drive, tmp_path: Path) -> None:
    """Of four processes that claim and release as fast as they can one at a time has the claim."""
    rounds = 500
    drivers = [drive(*shared.argv, "race", "film", rounds, tmp_path / "inside") for _ in range(4)]
    told = [line(driver).split() for driver in drivers]

    assert [words[:1] for words in told] == [["had"]] * 4
    # Whoever is stopped with the claim in its hands keeps the others out for all their rounds;
    # but nobody keeps out the last.
    assert sum(int(words[1]) for words in told) > 0
    assert shared.is_free()


@pytest.mark.platform("linux", "darwin")
@pytest.mark.parametrize("shared", LOCAL, indirect=True)
def test_a_forked_child(shared: Shared, drive: Drive) -> None:
    """A child neither frees its parent's claim, nor keeps it when the parent is dead."""
    driver = drive(*shared.argv, "fork", "film")
    told = {line(driver), line(driver)}
    [child] = (int(each.split()[1]) for each in told if each != "left")
    try:
        assert "left" in told
        assert not shared.is_free()
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait(LIMIT)

        assert shared.is_free()
    finally:
        os.kill(child, signal.SIGKILL)
