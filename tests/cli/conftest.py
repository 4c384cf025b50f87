"""The command line as a process, and the servers that it serves with or talks to."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from faking import Fake, Handler

from server import Port, Server, vectus_serve

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


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    """Where unfinished uploads are remembered, for each test its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path / "state" / "vectus" / "uploads.json"


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


@pytest.fixture
def tus(start, tmp_path) -> Iterator[Server]:
    """A real server on a directory."""
    with closing(Port()) as port:
        yield vectus_serve(start, port.number, tmp_path / "store")


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
