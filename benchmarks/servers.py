"""Contenders, and how one is started and ended.

A contender is a command line with ``{port}`` and ``{dir}`` in it. Which contenders there are is
``known.py``'s matter; what they used while they ran is ``measure.py``'s.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.wire import Speech, Target

PATIENCE = 30.0
PR_SET_PDEATHSIG = 1
ROOT = Path(__file__).resolve().parent.parent


class ServerFailed(Exception):
    """A contender did not start."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that can be started.

    Args:
        name: what it is called in the table.
        command: how it is started; ``{port}`` and ``{dir}`` are filled in.
        language: what it speaks.
        ready: what it prints when it is ready, or nothing where listening is being ready.
        ca: the certificate file to trust, when it speaks TLS.
        environment: what it finds in its environment besides.
    """

    name: str
    command: tuple[str, ...]
    language: Speech = "tus"
    ready: str = ""
    ca: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def with_options(self, *options: str) -> Contender:
        """Return the same contender with more options."""
        return replace(self, command=(*self.command, *options))

    @property
    def on_s3(self) -> bool:
        """Whether it keeps uploads in S3 and still has to be told where."""
        return any("{endpoint}" in part for part in self.command)


@dataclass(frozen=True, slots=True)
class Server:
    """A contender that runs."""

    name: str
    pid: int
    target: Target
    directory: Path


@contextlib.contextmanager
def started(contender: Contender, parent: Path) -> Iterator[Server]:
    """Run a contender in a new directory below ``parent``, which stays when the server has ended.

    Raises:
        ServerFailed: it did not start; the message has what it printed.
    """
    directory = Path(tempfile.mkdtemp(prefix="server-", dir=parent))
    port, files = free_port(), directory / "files"
    files.mkdir()
    with open(directory / "output", "w+b") as output:
        process = subprocess.Popen(
            filled(contender.command, port, files),
            cwd=ROOT,
            env={**os.environ, **contender.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_us,  # noqa: PLW1509 - this process has one thread
        )
        try:
            await_ready(contender, process, port, directory / "output")
            target = Target(port, contender.language, ca=contender.ca)
            yield Server(contender.name, process.pid, target, files)
        finally:
            end(process)


def die_with_us() -> None:
    """Have the kernel end this process when the one that started it ends, a killed one included;
    runs between fork and exec."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def filled(command: tuple[str, ...], port: int, directory: Path) -> list[str]:
    """Put port and directory into a command."""
    return [part.replace("{port}", str(port)).replace("{dir}", str(directory)) for part in command]


PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to whoever asks for any, so that nobody is given one of them
before the server takes it."""


def free_port() -> int:
    """Return a port that nobody listens on now."""
    chance = random.SystemRandom()  # other processes may have the same seed
    while True:
        port = chance.choice(PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def await_ready(
    contender: Contender, process: subprocess.Popen[bytes], port: int, output: Path
) -> None:
    """Wait until a server takes requests."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if contender.ready in output.read_text(errors="replace") and listens(port):
            return
        time.sleep(0.05)
    said = output.read_text(errors="replace")[-2000:]
    raise ServerFailed(f"{contender.name} did not start: {said or 'it printed nothing.'}")


def listens(port: int) -> bool:
    """Say whether somebody accepts connections."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server that we started, and what is left of its process group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
