"""The players, by name. Servers live as long as the session, one for each set of options."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ceph
import pytest
from players import AppPlayer, EnginePlayer, Player, ServerPlayer, ServerProcess
from s3_memory import MemoryS3
from s3_places import make_url
from s3_seen import SeenS3, make_place

from vectus.contracts import Store
from vectus.stores.file import FileStore
from vectus.stores.memory import MemoryStore
from vectus.stores.s3.store import S3Store

credentials, brief_rgw = ceph.credentials, ceph.brief_rgw


def in_memory(_: Path) -> tuple[Store, Store]:
    """A store in memory."""
    store = MemoryStore()
    return store, store


def in_files(directory: Path) -> tuple[Store, Store]:
    """A store in files."""
    store = FileStore(directory, "none")
    return store, store


def in_s3(_: Path, *, conditional: bool) -> tuple[Store, Store]:
    """A store in a bucket in memory."""
    server, place = MemoryS3(conditional=conditional), make_place(conditional=conditional)
    return S3Store(place, server), SeenS3(place, server)


STORES: dict[str, Callable[[Path], tuple[Store, Store]]] = {
    "memory": in_memory,
    "file": in_files,
    "s3": partial(in_s3, conditional=False),
    "s3conditional": partial(in_s3, conditional=True),
}
"""What makes a store, and by what to look into it, by the names that players have."""


Serve = Callable[[dict[str, Any]], ServerProcess]


@contextmanager
def serving(new: Callable[[dict[str, Any]], ServerProcess]) -> Iterator[Serve]:
    """Give out a server for each set of options, started when it is first wanted."""
    servers: dict[str, ServerProcess] = {}
    with ExitStack() as stack:

        def serve(options: dict[str, Any]) -> ServerProcess:
            key = repr(sorted(options.items()))
            if key not in servers:
                servers[key] = new(options)
                stack.callback(servers[key].stop)
            return servers[key]

        yield serve


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Give the server with some options on a directory."""
    with serving(
        lambda options: ServerProcess(str(tmp_path_factory.mktemp("served")), options, {})
    ) as serve:
        yield serve


@pytest.fixture(scope="module")
def serve_s3(brief_rgw: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Give the server with some options on a bucket of a real S3 server."""
    locks = {"XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("locks"))}
    with serving(lambda options: ServerProcess(make_url(brief_rgw), options, locks)) as serve:
        yield serve


@pytest.fixture
async def player(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Player]:
    """The player that a parameter names."""
    level, _, kind = request.param.partition("-")
    if level == "server":
        yield ServerPlayer(request.getfixturevalue("serve"))
        return
    store, seen = STORES[kind](tmp_path / "store")
    yield (EnginePlayer if level == "engine" else AppPlayer)(store, seen)
    await store.aclose()
    if seen is not store:
        await seen.aclose()
