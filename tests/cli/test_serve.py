"""``vectus serve`` as a process, with clients that upload."""

from __future__ import annotations

import filecmp
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from fault_proxy import Hold, Proxy

from server import Port

PATIENCE = 30.0
MIB = 1 << 20


def until(holds: Callable[[], Any]) -> None:
    """Wait for what no event tells of."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.001)


class Tus:
    """Just enough of a client to see what the server does.

    Args:
        url: where uploads are created.
        tls: how to trust the server, for HTTPS.
        uds: a socket file to connect to instead.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None = None, uds: str = "") -> None:
        self.url = urlsplit(url)
        self._tls = tls
        self._uds = uds

    @contextmanager
    def connected(self) -> Iterator[http.client.HTTPConnection]:
        address = self.url.hostname or "", self.url.port
        if self._tls:
            line = http.client.HTTPSConnection(*address, timeout=PATIENCE, context=self._tls)
        else:
            line = http.client.HTTPConnection(*address, timeout=PATIENCE)
        if self._uds:
            line.sock = socket.socket(socket.AF_UNIX)
            line.sock.connect(self._uds)
        try:
            yield line
        finally:
            line.close()

    def ask(self, method: str, path: str = "", body: bytes = b"", **fields: object) -> Any:
        with self.connected() as line:
            line.request(method, path or self.url.path, body or None, _headers(fields))
            answer = line.getresponse()
            answer.body = answer.read()
            return answer

    def create(self, length: int, **fields: object) -> str:
        answer = self.ask("POST", upload_length=length, **fields)
        assert answer.status == 201
        return answer.headers["location"]

    def append(self, path: str, offset: int, body: bytes) -> Any:
        octets = "application/offset+octet-stream"
        return self.ask("PATCH", path, body, upload_offset=offset, content_type=octets)

    def offset(self, path: str) -> int:
        return int(self.ask("HEAD", path).headers["upload-offset"])

    @contextmanager
    def half_sent(self, path: str, offset: int, body: bytes, length: int) -> Iterator[Any]:
        """Send some of a longer body, and hold on."""
        octets = "application/offset+octet-stream"
        fields = _headers({"upload_offset": offset, "content_type": octets})
        with self.connected() as line:
            line.putrequest("PATCH", path)
            for name, value in {**fields, "Content-Length": str(length)}.items():
                line.putheader(name, value)
            line.endheaders(body)
            yield line


def _headers(fields: dict[str, object]) -> dict[str, str]:
    sent = {"tus_resumable": "1.0.0", **fields}
    return {name.replace("_", "-").title(): str(value) for name, value in sent.items()}


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_serves_data_without_being_told_anything(serve) -> None:
    """``vectus serve`` keeps uploads in ./data and gives them back, also after a restart."""
    running = serve()
    assert running.line == f"Listening on http://127.0.0.1:{running.port}/files/\n"
    tus = Tus(running.url)
    path = tus.create(11)
    assert tus.append(path, 0, b"hello ").headers["upload-offset"] == "6"
    assert Path("data").is_dir()

    running.signal(signal.SIGTERM)
    assert running.ended() == 0
    tus = Tus(serve().url)

    assert tus.offset(path) == 6
    assert tus.append(path, 6, b"world").status == 204
    assert tus.ask("GET", path).body == b"hello world"
    assert running.said == ""


def test_the_options_reach_the_server(serve) -> None:
    """What was asked for on the command line is what clients are told."""
    running = serve(
        *("file://" + str(Path("place").absolute()), "--base-path", "/up", "--max-size", "1KiB"),
        *("--expire-after", "never", "--public-url", "https://example.org/u"),
        *("--cors", "https://a.example", "--cors", "https://b.example"),
    )
    tus = Tus(running.url)
    assert tus.url.path == "/up/"

    offer = tus.ask("OPTIONS")
    assert offer.headers["tus-max-size"] == "1024"
    assert "expiration" not in offer.headers["tus-extension"]
    created = tus.ask("POST", upload_length=5, origin="https://b.example")
    assert created.headers["location"].startswith("https://example.org/u/")
    assert created.headers["access-control-allow-origin"] == "https://b.example"
    assert "upload-expires" not in created.headers
    assert tus.ask("POST", upload_length=1025).status == 413
    stranger = tus.ask("OPTIONS", origin="https://c.example")
    assert "access-control-allow-origin" not in stranger.headers
    assert len(list(Path("place").glob("*.info"))) == 1


def test_cors_is_on_for_anybody_unless_it_is_turned_off(serve) -> None:
    """Any origin may upload by default; --no-cors says nothing of origins."""
    for flags, granted in (((), "*"), (("--no-cors",), None)):
        answer = Tus(serve("memory://", *flags).url).ask("OPTIONS", origin="https://a.example")
        assert answer.headers["access-control-allow-origin"] == granted


@pytest.fixture
def trust(tmp_path) -> ssl.SSLContext:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "both.pem"
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("way", ["tcp", "tls", "uds"])
def test_a_stop_keeps_what_arrived(serve, trust, loop, workers, way) -> None:
    """SIGTERM in the middle of a body: the client is answered, every byte that was sent counts
    after a restart, and the code is 0; on every kind of connection."""
    flags = {"tcp": [], "tls": ["--tls-cert", "both.pem"], "uds": ["--uds", "socket"]}[way]
    flags += ["--workers", workers, "--loop", loop]
    sent = os.urandom(3 * MIB + 17)

    def client(running: Any) -> Tus:
        url = running.url if way != "uds" else "http://127.0.0.1/files/"
        return Tus(url, trust if way == "tls" else None, "socket" if way == "uds" else "")

    running = serve(*flags)
    tus = client(running)
    path = tus.create(10 * MIB)
    stored = Path("data", path.rpartition("/")[2])
    with tus.half_sent(path, 0, sent, 10 * MIB) as line:
        until(lambda: stored.stat().st_size == len(sent))
        running.signal(signal.SIGTERM)
        answer = line.getresponse()
        answer.read()
    assert answer.status >= 500
    assert running.ended() == 0
    assert "Traceback" not in running.said

    tus = client(serve(*flags))
    assert tus.offset(path) == len(sent)
    assert tus.append(path, len(sent), bytes(10 * MIB - len(sent))).status == 204
    assert tus.ask("GET", path).body == sent + bytes(10 * MIB - len(sent))


def test_an_upload_may_hop_between_workers(serve) -> None:
    """With several workers every request may reach another one: all see the same upload, and a
    newcomer takes over from a body that hangs in another process at once."""
    running = serve("--workers", 3)
    tus = Tus(running.url)
    path = tus.create(16)
    stored = Path("data", path.rpartition("/")[2])
    for offset in range(8):
        assert tus.append(path, offset, b"x").status == 204
    for offset in range(8, 12):
        with tus.half_sent(path, offset, b"y", 3) as line:
            until(lambda size=offset + 1: stored.stat().st_size == size)
            assert tus.offset(path) == offset + 1
            assert line.getresponse().status == 423
    assert tus.append(path, 12, b"zzzz").status == 204
    assert tus.ask("GET", path).body == b"xxxxxxxxyyyyzzzz"


@pytest.mark.parametrize("workers", [1, 2])
def test_our_client_outlives_our_servers_death(serve, workers) -> None:
    """``vectus upload`` goes on after the server was killed in the middle and started again, and
    what arrives is the file."""
    with Path("big").open("wb") as big:
        for block in range(4):
            big.seek(block * 9 * MIB)
            big.write(os.urandom(MIB))
    hold = Hold(11 * MIB)
    with closing(Port()) as port, Proxy(port.number, {("PATCH", 1): hold}) as proxy:
        running = serve("--workers", workers, "--port", port.number)
        client = subprocess.Popen(
            [sys.executable, "-m", "vectus", "upload", "big", proxy.url, "--retry-delay", "0.1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert hold.reached.wait(PATIENCE)
            running.signal(signal.SIGKILL)
            running.ended()
            hold.go.set()
            serve("--workers", workers, "--port", port.number)
            out, err = client.communicate(timeout=PATIENCE)
        finally:
            client.kill()
            client.wait()

    assert client.returncode == 0, err
    assert "Trying again" in err
    assert out.startswith(proxy.url)
    assert filecmp.cmp("big", Path("data", out.strip().rpartition("/")[2]), shallow=False)


def test_requests_are_logged_when_asked(serve) -> None:
    """--access-log writes a line for each request on standard error."""
    running = serve("memory://", "--access-log")
    Tus(running.url).create(5)
    until(lambda: "POST /files/" in running.said)
    assert " 201" in running.said
