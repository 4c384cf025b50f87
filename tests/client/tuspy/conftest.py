"""A server that does as it is told, a real one, and both kinds of uploader."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_tus import ScriptedTus

from server import Port, Server, vectus_serve
from vectus.client.tuspy import TusClient


@pytest.fixture
def tus() -> Iterator[ScriptedTus]:
    """A server that does as it is told."""
    server = ScriptedTus()
    yield server
    server.close()


@pytest.fixture
def real(start: Callable[..., Any], tmp_path: Path) -> Iterator[Server]:
    """A real ``vectus serve``."""
    port = Port()
    yield vectus_serve(start, port.number, tmp_path / "store")
    port.close()


class Kind:
    """One kind of uploader: its name makes it, and its methods are awaited if they must be."""

    def __init__(self, factory: str) -> None:
        self.factory = factory

    def make(self, client: TusClient | ScriptedTus, *arguments: Any, **options: Any) -> Any:
        """Make an uploader for a client, or for a server."""
        client = client if isinstance(client, TusClient) else TusClient(client.url)
        return getattr(client, self.factory)(*arguments, **options)

    async def do(self, result: Any) -> Any:
        """Wait for what a method returned, if that is to be waited for."""
        return await result if inspect.isawaitable(result) else result


@pytest.fixture(params=["uploader", "async_uploader"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Either kind of uploader."""
    return Kind(request.param)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A small file."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(range(250)) * 4)
    return path
