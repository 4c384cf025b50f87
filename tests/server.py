"""A real server process that can die and come back, and raw connections to trouble it with.

For tests that need a process of their own and every byte under control. Nothing in here knows what
a test wants to prove, nor any part of vectus but its command.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Self

PATIENCE = 30.0
"""Seconds after which anything that should have happened has not; more than a request waits for a
lock, so that its 423 is heard."""

OCTETS = "application/offset+octet-stream"

Start = Callable[..., Any]
"""The ``start`` fixture: runs a program until the test is over."""


def until(holds: Callable[[], Any], what: str = "it", patience: float = PATIENCE) -> None:
    """Wait for what no event tells of, such as a file's growth in another process's hands."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"{what} has not happened in {patience} seconds"
        time.sleep(0.001)


class Port:
    """A port of our own: it stays ours while the server behind it is dead."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Give it back."""
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def offset(self) -> int:
        """The upload's offset, as the server tells it."""
        return int(self.headers["upload-offset"])


class Server:
    """A server process on one directory and one port.

    Args:
        launch: starts the program and returns it once it is ready.
        port: where it listens.
        store: the directory it keeps uploads in.
    """

    def __init__(self, launch: Callable[[], Any], port: int, store: Path) -> None:
        self._launch = launch
        self.port = port
        self.store = store
        self.program = launch()

    @property
    def url(self) -> str:
        """The URL uploads are created at."""
        return f"http://127.0.0.1:{self.port}/files/"

    @property
    def pid(self) -> int:
        """The process that was started; the parent, where there are workers."""
        return int(self.program.process.pid)

    @property
    def output(self) -> str:
        """Everything it has said, on standard output and standard error."""
        return str(self.program.output)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.program.process.poll() is None

    def kill(self) -> None:
        """SIGKILL the process, and wait for its end."""
        self.program.process.kill()
        self.program.process.wait(PATIENCE)

    def restart(self) -> None:
        """Start it anew, on the same port and the same directory."""
        self.program = self._launch()

    def workers(self) -> list[int]:
        """The processes it has forked."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    # --- Talking to it ----------------------------------------------------------------------------

    def connect(self) -> Wire:
        """Open a raw connection."""
        return Wire(self.port)

    def ask(self, method: str, path: str, body: bytes = b"", **fields: object) -> Answer:
        """Make one request on a connection of its own."""
        if body:
            fields = {"content_length": len(body), "content_type": OCTETS, **fields}
        with self.connect() as wire:
            # In one go: a refusal of the head leaves a body that comes late little time.
            wire.send(request(method, path, **fields) + body)
            return wire.answer(method)

    def create(self, length: int | None, **fields: object) -> str:
        """Create an upload, and return its path."""
        how = {"upload_defer_length": 1} if length is None else {"upload_length": length}
        answer = self.ask("POST", "/files/", **(how | fields))
        assert answer.status == 201, answer
        return answer.headers["location"]

    def patch(self, path: str, offset: int, body: bytes, **fields: object) -> Answer:
        """Append to an upload."""
        fields = {"content_type": OCTETS, "content_length": len(body), **fields}
        return self.ask("PATCH", path, body, upload_offset=offset, **fields)

    def offset(self, path: str) -> int:
        """Ask how far an upload is."""
        answer = self.ask("HEAD", path)
        assert answer.status == 200, answer
        return answer.offset

    def get(self, path: str) -> bytes:
        """Read a finished upload back."""
        answer = self.ask("GET", path)
        assert answer.status == 200, answer
        return answer.body

    # --- Looking behind it ------------------------------------------------------------------------

    def file(self, path: str) -> Path:
        """Where the bytes of an upload lie."""
        return self.store / path.rpartition("/")[2]

    def size(self, path: str) -> int:
        """How many bytes lie there, counting or not."""
        return self.file(path).stat().st_size

    def stored(self, path: str) -> bytes:
        """The bytes that lie there."""
        return self.file(path).read_bytes()


def vectus_serve(
    start: Start, port: int, store: Path, *flags: object, prefix: tuple[str, ...] = ()
) -> Server:
    """Run ``vectus serve`` on a directory; ``prefix`` is what its command is given to."""
    command = [*prefix, sys.executable, "-m", "vectus", "serve", store, "--port", port, *flags]
    ready = r"Listening on http://"
    return Server(lambda: start(*map(str, command), ready=ready), port, store)


def uvicorn_serve(
    start: Start, port: int, store: Path, app: Path, *flags: str, **environ: object
) -> Server:
    """Run an application's module, whose ``make`` returns it, the way its author would; it may
    import what stands beside this file."""
    command = [
        *(sys.executable, "-m", "uvicorn", "--factory", f"{app.stem}:make"),
        *("--app-dir", str(app.parent), "--port", str(port), "--no-access-log"),
        *("--http", "vectus.direct:DirectProtocol", *flags),
    ]
    known = filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
    variables = {"STORE": store, "PYTHONPATH": os.pathsep.join(known), **environ}
    environ = {name: str(value) for name, value in variables.items()}
    ready = r"Uvicorn running on http://"
    return Server(lambda: start(*command, ready=ready, environ=environ), port, store)


class Wire:
    """One raw connection to a server. It closes, as a polite client's would, with its context."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._responses: list[HTTPResponse] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> int:
        """The port of our end, which tells this connection from all others."""
        return int(self.socket.getsockname()[1])

    def head(self, method: str, path: str, **fields: object) -> None:
        """Send a request's head; ``upload_offset=3`` becomes ``Upload-Offset: 3``, and a None
        leaves the field out."""
        self.send(request(method, path, **fields))

    def patch(self, path: str, offset: int, length: int, **fields: object) -> None:
        """Send the head of a PATCH whose body has a length; its bytes are to follow."""
        self.send(patch(path, offset, length, **fields))

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def send_some(self, data: bytes) -> int:
        """Send what goes, and return how much that was; 0 once the connection is broken."""
        with suppress(OSError):
            return self.socket.send(data)
        return 0

    def answer(self, method: str = "PATCH", patience: float = PATIENCE) -> Answer:
        """Read the next final reply."""
        self.socket.settimeout(patience)
        response = HTTPResponse(self.socket, method=method)
        self._responses.append(response)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())

    def everything(self, patience: float = PATIENCE) -> bytes:
        """Read until the server ends the connection; it is an error if it does not."""
        self.socket.settimeout(patience)
        found = b""
        with suppress(ConnectionError):
            while data := self.socket.recv(65536):
                found += data
        return found

    def ended(self, patience: float = PATIENCE) -> bool:
        """Whether the server ends the connection within that time."""
        try:
            self.everything(patience)
        except TimeoutError:
            return False
        return True

    def half_close(self) -> None:
        """Say that nothing more is sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection the hard way."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close the connection."""
        for response in self._responses:
            with suppress(OSError, HTTPException):
                response.close()
        self.socket.close()


def request(method: str, path: str, **fields: object) -> bytes:
    """Word a request's head; see ``Wire.head``."""
    everywhere: dict[str, object] = {"host": "127.0.0.1", "tus_resumable": "1.0.0"}
    lines = [
        f"{name.replace('_', '-').title()}: {value}"
        for name, value in (everywhere | fields).items()
        if value is not None
    ]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def patch(path: str, offset: int, length: int, **fields: object) -> bytes:
    """Word the head of a PATCH; see ``Wire.patch``."""
    fields = {"content_length": length, **fields}
    return request("PATCH", path, content_type=OCTETS, upload_offset=offset, **fields)


def chunk(data: bytes, extension: str = "") -> bytes:
    """Word a chunk of a chunked body; of no bytes, it is the last one, without trailers."""
    return b"%x%s\r\n%s\r\n" % (len(data), extension.encode(), data)


def process_of(wire: Wire, candidates: list[int]) -> int:
    """Say which of several processes holds the other end of a connection (Linux only)."""
    # The kernel's table, read while others connect and leave, may lack a line for once.
    found: list[int] = []
    until(lambda: found.extend(_holders(wire, candidates)) or found, "somebody's holding it")
    return found[0]


def _holders(wire: Wire, candidates: list[int]) -> list[int]:
    inode = _inode(wire)
    return [pid for pid in candidates if inode is not None and f"socket:[{inode}]" in _open(pid)]


def _open(pid: int) -> list[str]:
    found = []
    with suppress(OSError):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.append(os.readlink(fd))
    return found


def _inode(wire: Wire) -> str | None:
    server = wire.socket.getpeername()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ends = tuple(int(end.partition(":")[2], 16) for end in (fields[1], fields[2]))
        if ends == (server, wire.name):
            return fields[9]
    return None
