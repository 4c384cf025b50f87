"""Servers in threads of this process, connections without a library, a handler that records."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import trustme
import uvicorn

from vectus.contracts import Body
from vectus.direct import DirectProtocol
from vectus.protocol.exchange import Ending
from vectus.protocol.messages import Head, Reply

LIMIT = 20.0
"""Seconds that anything may take at most."""

AGES = 3 * LIMIT
"""Seconds after which a test has failed long since: for time-outs that it is not about."""

PATIENT = {
    "head_timeout": AGES,
    "body_timeout": AGES,
    "send_timeout": AGES,
    "drain_timeout": AGES,
    "linger_timeout": AGES,
}
"""Limits that a machine which stops for some seconds does not reach."""


def until(holds: Callable[[], object], what: str = "it") -> None:
    """Wait until something holds that tells nobody."""
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline, f"{what} has not happened in {LIMIT} seconds"
        time.sleep(0.005)


def count_during(thread: threading.Thread, act: Callable[[], object]) -> int:
    """Start a thread, and say how often something could be done before it ended."""
    count = 0
    thread.start()
    while thread.is_alive():
        act()
        count += thread.is_alive()
    thread.join()
    return count


def patiently(trial: Callable[[float], None], *paces: float) -> None:
    """Try with ever longer times, until a try goes well or the last one fails: a machine that
    stops in the wrong moment spoils a short time, and a fault spoils each of them."""
    *short, last = paces
    for pace in short:
        with contextlib.suppress(AssertionError, OSError):
            trial(pace)
            return
    trial(last)


class Server(uvicorn.Server):
    """A uvicorn that tells when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.loop = asyncio.get_running_loop()
        self.ready.set()


@dataclass
class Running:
    """A server that runs, and where."""

    server: Server
    thread: threading.Thread
    port: int
    uds: str | None = None
    context: ssl.SSLContext | None = None
    authority: Path | None = None

    @property
    def url(self) -> str:
        scheme = "http" if self.context is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}/"

    @property
    def connections(self) -> list[Any]:
        """The connections that uvicorn counts."""
        return list(self.server.server_state.connections)

    def connect(self) -> Client:
        """Connect, without a library between."""
        if self.uds is not None:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(self.uds)
        else:
            sock = socket.create_connection(("127.0.0.1", self.port))
        sock.settimeout(LIMIT)
        if self.context is not None:
            sock = self.context.wrap_socket(sock, server_hostname="localhost")
        return Client(sock)

    def stop(self) -> None:
        """Stop it as SIGTERM does, and wait until it has."""
        self.server.should_exit = True
        self.thread.join(LIMIT)
        assert not self.thread.is_alive(), "the server did not stop"


class Client:
    """A connection, as bytes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def more(self) -> bool:
        """Receive; say whether anything came."""
        data = self.sock.recv(1 << 16)
        self.buffer += data
        return bool(data)

    def answer(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """Return the next answer: status, fields, body."""
        while b"\r\n\r\n" not in self.buffer:
            assert self.more(), f"the connection ended after {self.buffer!r}"
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        if method == "HEAD" or status in {204, 304} or status < 200:
            return status, fields, b""
        if fields.get("transfer-encoding") == "chunked":
            return status, fields, self._chunks()
        return status, fields, self._exactly(int(fields.get("content-length", "0")))

    def _exactly(self, count: int) -> bytes:
        pieces, have = [self.buffer], len(self.buffer)
        while have < count:
            data = self.sock.recv(1 << 20)
            assert data, f"the connection ended {count - have} bytes early"
            pieces.append(data)
            have += len(data)
        whole = b"".join(pieces)
        self.buffer = whole[count:]
        return whole[:count]

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self.buffer:
                assert self.more()
            size, _, self.buffer = self.buffer.partition(b"\r\n")
            body += self._exactly(int(size, 16))
            assert self._exactly(2) == b"\r\n"
            if int(size, 16) == 0:
                return body

    def ended(self) -> bytes:
        """Return what comes until the other side has ended the connection."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while self.more():
                pass
        return self.buffer

    def reset(self) -> None:
        """Leave with a reset."""
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
        )
        self.sock.close()


class Recorder:
    """A handler that records what it was asked, and pours every body.

    ``act`` may be replaced by a test; ``done`` is set after every request.
    """

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.bodies: list[Body] = []
        self.data: list[bytearray] = []
        self.endings: list[Ending] = []
        self.began = threading.Semaphore(0)
        self.done = threading.Semaphore(0)
        self.act: Callable[[Head, Body], Any] = self.pour

    async def __call__(self, head: Head, body: Body) -> Reply:
        self.heads.append(head)
        self.bodies.append(body)
        self.began.release()
        try:
            reply = await self.act(head, body)
            assert isinstance(reply, Reply)
            return reply
        finally:
            self.done.release()

    async def pour(self, head: Head, body: Body) -> Reply:
        kept = bytearray()
        self.data.append(kept)
        ending = await body.pour(kept.extend)
        self.endings.append(ending)
        return text(f"{len(kept)} {ending.name}")

    def wait(self, semaphore: threading.Semaphore | None = None) -> None:
        """Wait until a request more is done, or has begun."""
        assert (semaphore or self.done).acquire(timeout=LIMIT), "it never happened"


def text(what: str, status: int = 200, *, close: bool = False) -> Reply:
    """Return a reply of text."""
    data = what.encode()
    return Reply(status, (("Content-Length", str(len(data))),), data, close=close)


Serve = Callable[..., Running]


@contextlib.contextmanager
def served(
    app: Any,
    folder: Path,
    authority: trustme.CA | None = None,
    *,
    loop: str = "uvloop",
    uds: bool = False,
    limits: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[Running]:
    """Serve an application on a free port until the context is left.

    Args:
        app: the application.
        folder: where a socket and certificates may be put.
        authority: who signs its certificate, for TLS.
        loop: the kind of event loop.
        uds: whether it listens on a Unix socket.
        limits: class attributes of ``DirectProtocol``; those not given are patient.
        options: of uvicorn.
    """
    http = options.pop("http", type("Limited", (DirectProtocol,), PATIENT | (limits or {})))
    defaults = {"log_config": None, "lifespan": "off", "access_log": False, "ws": "wsproto"}
    options = {**defaults, "timeout_keep_alive": AGES, **options}
    context = trusted = None
    if authority is not None:
        trusted = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(trusted))
        context = ssl.create_default_context()
        authority.configure_trust(context)
        options |= {"ssl_certfile": str(folder / "server.pem")}
        blob = authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem
        blob.write_to_path(str(folder / "server.pem"))
    path = str(folder / "socket") if uds else None
    sock = socket.socket(socket.AF_UNIX if uds else socket.AF_INET)
    sock.bind(path or ("127.0.0.1", 0))
    server = Server(uvicorn.Config(app, http=http, loop=loop, **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    assert server.ready.wait(LIMIT), "the server did not start"
    port = 0 if uds else sock.getsockname()[1]
    running = Running(server, thread, port, path, context, trusted)
    try:
        yield running
    finally:
        running.stop()


def connectable(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "nobody ever listened"
            time.sleep(0.01)
        else:
            return
