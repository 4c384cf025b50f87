"""Bodies that are refused: real clients see the answer, and not a byte of them is stored (D9)."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from server import OCTETS, Server, patch, until

BIG = 200 << 20
"""Bytes of a body that is refused."""

DRAINED = 4.5
"""Seconds for which the server surely reads on what it has refused."""

FIELDS = {
    "Tus-Resumable": "1.0.0",
    "Upload-Offset": "7",
    "Content-Type": OCTETS,
    "Content-Length": str(BIG),
}
"""Of a PATCH at a wrong offset."""


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A file of 200 MiB, which takes no room."""
    path = tmp_path / "big.bin"
    with path.open("wb") as file:
        file.truncate(BIG)
    return path


def with_requests(url: str, big: Path) -> int:
    """PATCH with requests."""
    requests = pytest.importorskip("requests", reason="requests is not here")
    with requests.Session() as session, big.open("rb") as file:
        session.trust_env = False
        return session.patch(url, data=file, headers=FIELDS, timeout=20).status_code


def with_httpx2(url: str, big: Path) -> int:
    """PATCH with the blocking httpx2."""
    httpx2 = pytest.importorskip("httpx2")
    with httpx2.Client(trust_env=False, timeout=20) as client, big.open("rb") as file:
        return client.patch(url, content=file, headers=FIELDS).status_code


def with_async_httpx2(url: str, big: Path) -> int:
    """PATCH with the asynchronous httpx2."""
    httpx2 = pytest.importorskip("httpx2")

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(BIG >> 20):
            yield bytes(1 << 20)

    async def run() -> int:
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
            return (await client.patch(url, content=blocks(), headers=FIELDS)).status_code

    return asyncio.run(run())


def with_curl(url: str, big: Path) -> int:
    """PATCH with curl."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not here")
    fields = [part for pair in FIELDS.items() for part in ("-H", ": ".join(pair))]
    command = ["curl", "-s", "--noproxy", "*", "-X", "PATCH", "-T", str(big), "-H", "Expect:"]
    command += [*fields, "-o", "-", "-w", "%{http_code}", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=40)
    return int(done.stdout[-3:])


def seen(client: Callable[[str, Path], int], url: str, big: Path) -> int:
    """What a client sees. One that sends for longer than the server drains may see nothing, and
    tries again: on a machine that stops for some seconds."""
    for _ in range(4):
        began = time.monotonic()
        try:
            status = client(url, big)
        except Exception:
            if time.monotonic() - began < DRAINED:
                raise
        else:
            if status == 409 or time.monotonic() - began < DRAINED:
                return status
    raise AssertionError(f"it never was through within {DRAINED} seconds")


@pytest.mark.parametrize(
    "client", [with_requests, with_httpx2, with_async_httpx2, with_curl], ids=lambda c: c.__name__
)
def test_client_sees_the_refusal(
    client: Callable[[str, Path], int], server: Server, big: Path
) -> None:
    """A client that sends 200 MB without asking first still sees the 409, three times of three, and
    nothing of the body is stored."""
    path = server.create(BIG)
    url = f"http://127.0.0.1:{server.port}{path}"
    assert [seen(client, url, big) for _ in range(3)] == [409] * 3
    assert server.size(path) == 0
    assert server.offset(path) == 0


def test_no_hundred_for_a_refusal(server: Server) -> None:
    """A refused request that asked first never gets its 100, and an admitted one does (C33)."""
    path = server.create(10)
    expecting = {"expect": "100-continue"}
    with server.connect() as wire:
        wire.patch(path, 7, 10, **expecting)
        assert wire.everything().startswith(b"HTTP/1.1 409 ")
    with server.connect() as wire:
        wire.patch(path, 0, 10, **expecting)
        assert wire.socket.recv(1000).startswith(b"HTTP/1.1 100 ")
        wire.send(bytes(10))
        assert wire.answer().status == 204


def test_a_small_refused_body_keeps_the_connection(server: Server) -> None:
    """After a refused body that came whole, the same connection serves the next request."""
    path = server.create(10)
    with server.connect() as wire:
        wire.send(patch(path, 7, 10) + bytes(10))
        assert wire.answer().status == 409
        wire.send(patch(path, 0, 10) + b"0123456789")
        assert wire.answer().status == 204
    assert server.get(path) == b"0123456789"


def test_refused_and_never_silent(server: Server) -> None:
    """A client that goes on sending after its refusal for ever is cut off within seconds."""
    path = server.create(1 << 40)
    with server.connect() as wire:
        wire.patch(path, 7, 1 << 40)
        assert wire.answer().status == 409
        until(lambda: not wire.send_some(bytes(65536)), "the end of the connection")
    assert server.size(path) == 0


def test_vetoed_before_reading(guarding: Callable[..., Server], control: Path) -> None:
    """A request that an application's listener refuses stores nothing of its body, and hears the
    status, words and fields of the listener; with a password the same request succeeds."""
    server = guarding()
    path = server.create(3_000_000)
    (control / "guarded").touch()
    with server.connect() as wire:
        wire.patch(path, 0, 3_000_000)
        wire.send_some(bytes(3_000_000))
        refused = wire.answer()
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == "Basic"
    assert server.size(path) == 0
    allowed = {"authorization": "Basic x"}
    assert server.patch(path, 0, b"x" * 3_000_000, **allowed).status == 204
    assert server.size(path) == 3_000_000
