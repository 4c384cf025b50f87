"""The players, by name. Servers live as long as the session, one for each set of options."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from players import AppPlayer, EnginePlayer, Player, ServerPlayer, ServerProcess

from vectus.stores.file import FileStore
from vectus.stores.memory import MemoryStore


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ServerProcess]]:
    """Give the server with some options, started when it is first wanted."""
    servers: dict[str, ServerProcess] = {}
    with ExitStack() as stack:

        def start(options: dict[str, Any]) -> ServerProcess:
            key = repr(sorted(options.items()))
            if key not in servers:
                directory = tmp_path_factory.mktemp("served")
                servers[key] = ServerProcess(directory, options)
                stack.callback(servers[key].stop)
            return servers[key]

        yield start


@pytest.fixture
async def player(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Player]:
    """The player that a parameter names."""
    level, _, kind = request.param.partition("-")
    if level == "server":
        yield ServerPlayer(request.getfixturevalue("serve"))
        return
    store = MemoryStore() if kind == "memory" else FileStore(tmp_path / "store", "none")
    yield (EnginePlayer if level == "engine" else AppPlayer)(store)
    await store.aclose()
