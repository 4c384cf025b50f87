"""The client and our own server in one process: no socket, or one in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from sides import SIDES

import vectus

DATA = bytes(range(256)) * 5000

WAYS: list[dict[str, Any]] = [
    {},
    {"chunk_size": 300_000},
    {"checksum": "auto", "chunk_size": 500_000},
    {"parallel": 3},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("kind", ["bytes", "async-iterator"])
async def test_without_a_socket(kind: str, way: dict[str, Any], tmp_path: Path) -> None:
    """Over httpx2's ASGI transport every way of uploading arrives whole."""

    async def pieces() -> Any:
        for at in range(0, len(DATA), 70_000):
            yield DATA[at : at + 70_000]

    uploads = vectus.Uploads(tmp_path)
    transport = httpx2.ASGITransport(app=uploads)
    async with (
        uploads,
        httpx2.AsyncClient(transport=transport) as http,
        vectus.AsyncClient("http://here/", http=http) as client,
    ):
        source: Any = DATA if kind == "bytes" else pieces()
        result = await client.upload(source, **way)
        copy = (await http.get(result.url)).content
        gone = await client.terminate(result.url)

    assert (result.length, gone) == (len(DATA), True)
    assert copy == DATA


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[str]:
    """``Uploads`` on uvicorn in a thread of this process: its URL."""
    config = uvicorn.Config(vectus.Uploads(tmp_path), lifespan="on", log_level="warning")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.mark.parametrize("side", SIDES.values(), ids=list(SIDES))
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_in_a_thread(side: Any, way: dict[str, Any], inside: str, tmp_path: Path) -> None:
    """The same over a socket within the process, read back and compared."""
    result = side.upload(DATA, inside, verify="download", **way)

    assert result.length == len(DATA)
    assert httpx2.get(result.url).content == DATA
