"""What becomes of a body that nobody wants: rule D9, with raw sockets and with real clients."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import requests
from wires import AGES, LIMIT, Recorder, Running, text, until

from vectus.asgi import FrontEnd
from vectus.contracts import Body
from vectus.protocol.messages import Head, Reply

Serve = Callable[..., Running]

MIB = 1024 * 1024
LARGE = 200 * MIB


@pytest.fixture
def refusing(recorder: Recorder) -> Recorder:
    """A handler that refuses what goes to ``/a``, unread."""

    async def refuse(head: Head, body: Body) -> Reply:
        if head.uri == "/a":
            return text("no", 409)
        return await recorder.pour(head, body)

    recorder.act = refuse
    return recorder


def put(length: int, path: str = "/a", *fields: str) -> bytes:
    lines = "".join(f"{field}\r\n" for field in (f"Content-Length: {length}", *fields))
    return f"PUT {path} HTTP/1.1\r\nHost: h\r\n{lines}\r\n".encode()


def test_a_small_rest_is_read_and_the_connection_used_again(
    running: Running, refusing: Recorder
) -> None:
    """Of a body whose rest is worth it the rest is dropped; what follows is understood."""
    with running.connect() as client:
        for length in (10, 100_000, MIB):
            client.send(put(length))
            status, headers, _ = client.answer()
            assert status == 409
            assert "connection" not in headers
            client.send(b"x" * length + put(3, "/b") + b"abc")
            assert client.answer()[2] == b"3 COMPLETE"


def test_so_is_that_of_a_chunked_one(running: Running, refusing: Recorder) -> None:
    """Where its end is not known beforehand."""
    with running.connect() as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab")
        assert client.answer()[0] == 409
        client.send(b"c\r\n" + b"1000\r\n%b\r\n" % (b"x" * 4096) * 100 + b"0\r\n\r\n")
        client.send(put(3, "/b") + b"abc")
        assert client.answer()[2] == b"3 COMPLETE"


def test_a_large_rest_ends_the_connection(running: Running, refusing: Recorder) -> None:
    """It is told so, and the client sees the answer and then the end, not a reset."""
    with running.connect() as client:
        client.send(put(LARGE) + b"x" * 1000)
        status, headers, _ = client.answer()
        assert (status, headers["connection"]) == (409, "close")
        assert client.ended() == b""


def test_an_endless_chunked_body_ends_the_connection(plain: Running, refusing: Recorder) -> None:
    """After 1 MiB of it nothing more is written; it is drained for a while, then cut off."""
    with plain.connect() as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert client.answer()[0] == 409
        client.send(b"10000\r\n%b\r\n" % (b"x" * 65536) * 40)
        assert client.ended() == b""
        client.send(b"10000\r\n%b\r\n" % (b"x" * 65536) * 40)


def test_a_rest_that_does_not_come_ends_the_connection(
    serve: Serve, refusing: Recorder, loop_name: str
) -> None:
    """It is waited for, but not for long."""
    limits = {"drain_timeout": 0.3, "linger_timeout": 0.3}
    running = serve(FrontEnd(refusing), loop=loop_name, limits=limits)
    with running.connect() as client:
        began = time.monotonic()
        client.send(put(1000))
        assert client.answer()[0] == 409
        assert client.ended() == b""
        assert time.monotonic() - began >= 0.2
        until(lambda: not running.connections)


def test_a_client_that_was_not_asked_is_not_read(running: Running, refusing: Recorder) -> None:
    """C33: with ``Expect: 100-continue`` there is no 100, and the connection ends."""
    with running.connect() as client:
        client.send(put(1000, "/a", "Expect: 100-continue"))
        status, headers, _ = client.answer()
        assert (status, headers["connection"]) == (409, "close")
        assert client.ended() == b""


def test_a_client_that_did_not_wait_to_be_asked_may_go_on(
    running: Running, refusing: Recorder
) -> None:
    """If its whole body is there already, there is nothing to doubt."""
    with running.connect() as client:
        client.send(put(3, "/a", "Expect: 100-continue") + b"abc")
        assert client.answer()[0] == 409
        client.send(put(3, "/b") + b"abc")
        assert client.answer()[2] == b"3 COMPLETE"


def pieces() -> Iterator[bytes]:
    """200 MiB, piece by piece."""
    piece = b"x" * MIB
    for _ in range(LARGE // MIB):
        yield piece


async def async_pieces() -> AsyncIterator[bytes]:
    """The same, asynchronously."""
    for piece in pieces():
        yield piece


def with_requests(running: Running, headers: dict[str, str], path: Path) -> int:
    with requests.Session() as session, path.open("rb") as file:
        session.trust_env = False
        session.verify = str(running.authority)
        data = pieces() if "Transfer-Encoding" in headers else file
        return session.patch(running.url + "a", data=data, timeout=LIMIT).status_code


def with_httpx(running: Running, headers: dict[str, str], path: Path) -> int:
    trust = running.context or True
    with httpx2.Client(trust_env=False, timeout=LIMIT, verify=trust) as client:
        return client.patch(running.url + "a", content=pieces(), headers=headers).status_code


def with_async_httpx(running: Running, headers: dict[str, str], path: Path) -> int:
    async def ask() -> int:
        trust = running.context or True
        async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT, verify=trust) as client:
            url = running.url + "a"
            return (await client.patch(url, content=async_pieces(), headers=headers)).status_code

    return asyncio.run(ask())


def with_curl(running: Running, headers: dict[str, str], path: Path) -> int:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    fields = [part for n, v in {**headers, "Expect": ""}.items() for part in ("-H", f"{n}: {v}")]
    argv = ["curl", "-sS", "--noproxy", "*", "-m", str(AGES), "-X", "PATCH", "-w", "%{http_code}"]
    trust = ["--cacert", str(running.authority)] if running.authority else []
    done = subprocess.run(
        [*argv, *trust, "-o", "/dev/null", *fields, "--data-binary", f"@{path}", running.url + "a"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


CLIENTS = (with_requests, with_httpx, with_async_httpx, with_curl)
LENGTH, CHUNKS = {"Content-Length": str(LARGE)}, {"Transfer-Encoding": "chunked"}


def ask_everywhere(running: Running, headers: dict[str, str], folder: Path) -> list[int]:
    """Send 200 MiB with each client, without ``Expect``, and return what they saw."""
    path = folder / "large"
    with path.open("wb") as file:
        file.truncate(LARGE)
    return [ask(running, headers, path) for ask in CLIENTS]


@pytest.mark.parametrize("headers", [LENGTH, CHUNKS], ids=["length", "chunks"])
def test_real_clients_see_the_refusal(
    plain: Running, refusing: Recorder, tmp_path: Path, headers: dict[str, str]
) -> None:
    """D9: while they send 200 MiB."""
    assert ask_everywhere(plain, headers, tmp_path) == [409] * len(CLIENTS)


def test_real_clients_see_the_refusal_under_tls(
    serve: Serve, loop_name: str, refusing: Recorder, tmp_path: Path
) -> None:
    """D9: where a connection cannot be shut one way. Clients that read nothing before they have
    sent everything must do so in time; they get more of it here, as the machine may be busy."""
    running = serve(FrontEnd(refusing), tls=True, loop=loop_name, limits={"quiet_timeout": LIMIT})
    assert ask_everywhere(running, LENGTH, tmp_path) == [409] * len(CLIENTS)
