"""The command line as a process, and a server that misbehaves as a test wants it to."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

PATIENCE = 30.0
"""Seconds after which anything that should have happened has not."""

STUB = Path(__file__).with_name("stub.py")

Vectus = Callable[..., "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def one_sentence(self) -> bool:
        """Whether it complained in one line, without a traceback."""
        return self.err.count("\n") == 1 and "Traceback" not in self.err


@pytest.fixture
def vectus(tmp_path) -> Vectus:
    """Run ``vectus`` to its end."""

    def run(*arguments: object, **options: Any) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "vectus", *map(str, arguments)],
            capture_output=True,
            cwd=options.pop("cwd", tmp_path),
            text=True,
            timeout=40,
            check=False,
            **options,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


class Running:
    """A server process, its two outputs apart, killed with its workers when the test is over."""

    def __init__(self, command: list[str], folder: Path, **options: Any) -> None:
        self._folder = folder
        self._said = folder / f"stderr-{uuid.uuid4().hex}"
        with self._said.open("w") as errors:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True, **options
            )
        self.line = ""

    def wait_until_ready(self) -> Self:
        """Wait for the line that says where it listens."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE)[0], self.said
        self.line = self.process.stdout.readline()
        assert self.line.startswith("Listening on "), (self.line, self.said)
        return self

    @property
    def silent(self) -> bool:
        """Whether nothing has come to standard output since the last line that was read."""
        assert self.process.stdout is not None
        return not select.select([self.process.stdout], [], [], 0)[0]

    @property
    def url(self) -> str:
        """Where it says that it listens."""
        return self.line.removeprefix("Listening on ").strip()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return urlsplit(self.url).port or 0

    @property
    def said(self) -> str:
        """What it has written to standard error."""
        return self._said.read_text()

    @property
    def workers(self) -> list[int]:
        """The processes it has forked (Linux only)."""
        pid = self.process.pid
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end and return the exit code."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it in any case; its workers die with it."""
        self.process.kill()
        self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def run(tmp_path) -> Iterator[Callable[..., Running]]:
    """Start a Python program that serves."""
    with ExitStack() as running:

        def start(*arguments: object, **options: Any) -> Running:
            program = Running([sys.executable, *map(str, arguments)], tmp_path, **options)
            running.callback(program.close)
            return program

        yield start


@pytest.fixture
def stub(run) -> Callable[..., Running]:
    """Serve the stub application with options of ``Site``."""
    return lambda start={}, **options: run(STUB, json.dumps(options), **start)


@pytest.fixture
def serve(run) -> Callable[..., Running]:
    """Run ``vectus serve`` on a free port, until it is ready."""

    def start(*arguments: object, **options: Any) -> Running:
        return run("-m", "vectus", "serve", "--port", "0", *arguments, **options).wait_until_ready()

    return start


@dataclass
class Fake:
    """A tus server of one upload, and what it does instead of its duty.

    ``tricks`` maps a method to what is done to its next requests, one after the other: a status to
    answer, a number of bytes after which the connection is cut (negative), or a function that is
    called with the handler after 64 KiB of the body.
    """

    url: str = ""
    stored: bytearray = field(default_factory=bytearray)
    length: int | None = None
    metadata: str = ""
    requests: list[str] = field(default_factory=list)
    tricks: dict[str, list[Any]] = field(default_factory=dict)
    release: threading.Event = field(default_factory=threading.Event)

    def trick(self, method: str) -> Any:
        """Return what to do to this request, None being its duty."""
        self.requests.append(method)
        left = self.tricks.get(method, [])
        return left.pop(0) if left else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: Fake

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, **fields: object) -> None:
        text = b"" if status < 400 or self.command == "HEAD" else b"trick: Because I say so.\n"
        self.send_response(status)
        for name, value in {"tus_resumable": "1.0.0", **fields}.items():
            self.send_header(name.replace("_", "-"), str(value))
        if text:
            self.send_header("content-type", "text/plain; charset=utf-8")
        if status != 204:
            self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def refuse(self, trick: int) -> None:
        self.close_connection = True
        self.answer(trick, retry_after=0)

    def do_POST(self) -> None:
        trick = self.fake.trick("POST")
        if trick is not None:
            return self.refuse(trick)
        self.fake.length = int(self.headers["upload-length"])
        self.fake.metadata = self.headers["upload-metadata"]
        return self.answer(201, location="/files/one")

    def do_HEAD(self) -> None:
        trick = self.fake.trick("HEAD")
        if trick is not None:
            return self.refuse(trick)
        return self.answer(200, upload_offset=len(self.fake.stored), upload_length=self.fake.length)

    def do_PATCH(self) -> None:
        trick = self.fake.trick("PATCH")
        if isinstance(trick, int) and trick > 0:
            return self.refuse(trick)
        if int(self.headers["upload-offset"]) != len(self.fake.stored):
            return self.refuse(409)
        left = int(self.headers["content-length"])
        wanted = -trick if isinstance(trick, int) else left
        while wanted and (data := self.rfile.read(min(wanted, 65536))):
            self.fake.stored += data
            wanted -= len(data)
            left -= len(data)
            if callable(trick):
                trick, _ = None, trick(self)
        if left:
            self.close_connection = True
            return None
        return self.answer(204, upload_offset=len(self.fake.stored))


@pytest.fixture
def fake() -> Iterator[Fake]:
    """A server that misbehaves on demand."""
    fake = Fake()
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Bound", (Handler,), {"fake": fake}), bind_and_activate=True
    )
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # a client that is cut off is what the tests are about
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/files/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield fake
    fake.release.set()
    server.shutdown()
    server.server_close()
    thread.join(10)
