"""Servers and clients in processes of their own, which are killed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from uploaders import Uploaders

from server_fixtures import port, serve, store

__all__ = ["port", "serve", "store"]

BLOCK = random.Random(5).randbytes(10 << 20)


@pytest.fixture
def uploaders(tmp_path: Path) -> Iterator[Uploaders]:
    """Clients that can be killed."""
    with Uploaders(tmp_path) as running:
        yield running


@pytest.fixture
def rng() -> random.Random:
    """Random numbers that pytest-randomly's seed decides on."""
    return random.Random(random.getrandbits(32))


@pytest.fixture
def make(tmp_path: Path, rng: random.Random) -> Callable[[int], Path]:
    """Make a file of so many bytes; each is another one."""
    made: list[Path] = []

    def make_one(size: int) -> Path:
        path = tmp_path / f"film-{len(made)}.mp4"
        at = rng.randrange(len(BLOCK) - size + 1)
        path.write_bytes(BLOCK[at : at + size])
        made.append(path)
        return path

    return make_one
