"""Engines on each store, closed when the test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from vectus.stores.memory import MemoryStore
from world import World


@pytest.fixture(params=["memory", "file"])
async def build(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable]:
    """Make engines with options of a test's own, all on the same uploads."""
    place = MemoryStore() if request.param == "memory" else tmp_path / "store"
    worlds: list[World] = []

    def make(*args: object, restart: World | None = None, **options: object) -> World:
        world = restart.restarted(**options) if restart else World(place, *args, **options)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        await world.aclose()


@pytest.fixture
def world(build: Callable) -> World:
    """An engine with nothing but defaults."""
    return build()
