"""What is done to a server: the jobs of the load generator.

A job prepares itself (connections, uploads), runs when told to, and cleans up; only running is
measured. Jobs are plain data, so that they can be sent to a process of their own (``crew.py``).
They must never measure anything of the server but how long it took to answer.
"""

from __future__ import annotations

import math
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any, Protocol

from benchmarks.wire import (
    Answer,
    Connection,
    Target,
    WireError,
    checksum,
    chunks,
    connect,
    receive,
)

SMALL = 4096
"""The body of a small request."""

BEYOND = 1 << 36
"""The length of an upload that is not to be finished."""

Stopped = Callable[[], bool]
"""Whether a job that has no end of its own should come to one."""


@dataclass(frozen=True, slots=True)
class Span:
    """When something ran (``time.monotonic`` is one clock for all processes), and how often."""

    start: float
    stop: float
    times: int = 1

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Delays:
    """How long answers took: pairs of when one was due to be asked for, and its seconds."""

    samples: tuple[tuple[float, float], ...]

    def within(self, span: Span) -> list[float]:
        """Return the seconds of those asked for while something ran; where it was over before one
        was due, of the one due nearest to its start."""
        during = [delay for due, delay in self.samples if span.start <= due < span.stop]
        if during or not self.samples:
            return during
        return [min(self.samples, key=lambda sample: abs(sample[0] - span.start))[1]]


class Job(Protocol):
    """Something to do to a server."""

    def prepare(self) -> Any:
        """Get ready and return what ``run`` and ``clean`` need."""

    def run(self, state: Any, stopped: Stopped) -> Any:
        """Do it."""

    def clean(self, state: Any) -> None:
        """Leave nothing behind."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One upload of ``size`` bytes in PATCHes of ``patch`` bytes, each checksummed if asked."""

    target: Target
    size: int
    patch: int
    algorithm: str | None = None

    def prepare(self) -> tuple[Connection, str, str | None]:
        """Connect, create the upload, and know the checksum."""
        connection = Connection(self.target)
        digest = checksum(self.algorithm, self.patch) if self.algorithm else None
        return connection, connection.create(self.size), digest

    def run(self, state: tuple[Connection, str, str | None], stopped: Stopped) -> Span:
        """Upload."""
        connection, upload, digest = state
        start = time.monotonic()
        for offset, size in chunks(self.size, self.patch):
            connection.append(upload, offset, size, digest)
        return Span(start, time.monotonic())

    def clean(self, state: tuple[Connection, str, str | None]) -> None:
        """Remove the upload."""
        connection, upload, _ = state
        connection.remove(upload)
        connection.close()


@dataclass(frozen=True, slots=True)
class Press:
    """An upload that never ends: sends as fast as the server takes it, until stopped."""

    target: Target

    def prepare(self) -> tuple[Connection, str]:
        """Connect and create the upload."""
        connection = Connection(self.target)
        return connection, connection.create(BEYOND)

    def run(self, state: tuple[Connection, str], stopped: Stopped) -> Span:
        """Send until told to stop."""
        connection, upload = state
        start = time.monotonic()
        connection.send(connection.language.append(upload, 0, BEYOND))
        connection.socket.settimeout(0.05)
        piece = bytes(1 << 16)
        while not stopped():
            try:
                connection.socket.send(piece)
            except TimeoutError:
                continue
        return Span(start, time.monotonic())

    def clean(self, state: tuple[Connection, str]) -> None:
        """Hang up, and remove what arrived; the server may still be writing it."""
        state[0].close()
        connection = Connection(self.target)
        connection.remove(state[1])
        connection.close()


@dataclass(frozen=True, slots=True)
class Fetch:
    """Downloads of one upload, one after the other."""

    target: Target
    upload: str
    size: int
    times: int

    def prepare(self) -> Connection:
        """Connect."""
        return Connection(self.target)

    def run(self, state: Connection, stopped: Stopped) -> Span:
        """Download."""
        start = time.monotonic()
        for _ in range(self.times):
            state.fetch(self.upload, self.size)
        return Span(start, time.monotonic(), self.times)

    def clean(self, state: Connection) -> None:
        """Hang up."""
        state.close()


@dataclass(frozen=True, slots=True)
class Probe:
    """HEADs of an upload that nobody else asks for, one every ``interval`` seconds.

    They are due at fixed times, and a delay is counted from when a HEAD was due. Those that became
    due while one was waited for count as well, as if other clients had sent them and all were
    answered together: one answer that takes 200 ms harms many.
    """

    target: Target
    seconds: float = math.inf
    interval: float = 0.002

    def prepare(self) -> tuple[Connection, str]:
        """Connect, create the upload, and ask once."""
        connection = Connection(self.target)
        upload = connection.create(SMALL)
        connection.ask(connection.language.inspect(upload))
        return connection, upload

    def run(self, state: tuple[Connection, str], stopped: Stopped) -> Delays:
        """Ask until stopped, or until the time is over, but at least once."""
        connection, upload = state
        head = connection.language.inspect(upload)
        samples: list[tuple[float, float]] = []
        due = time.monotonic()
        end = due + self.seconds
        while not samples or (due < end and not stopped()):
            time.sleep(max(0.0, due - time.monotonic()))
            connection.ask(head)
            answered = time.monotonic()
            while due <= answered:
                samples.append((due, answered - due))
                due += self.interval
        return Delays(tuple(samples))

    def clean(self, state: tuple[Connection, str]) -> None:
        """Remove the upload."""
        connection, upload = state
        connection.remove(upload)
        connection.close()


@dataclass(frozen=True, slots=True)
class Errand:
    """Work that a contender does by itself, told to in a line; it answers with one when it is
    done."""

    target: Target
    line: str

    def prepare(self) -> socket.socket:
        """Connect."""
        return connect(self.target)

    def run(self, state: socket.socket, stopped: Stopped) -> Span:
        """Have it done."""
        start = time.monotonic()
        state.sendall(f"{self.line}\n".encode())
        answer = receive(state)
        while not answer.endswith(b"\n"):
            answer += receive(state)
        if answer != b"done\n":
            raise WireError(answer.decode())
        return Span(start, time.monotonic())

    def clean(self, state: socket.socket) -> None:
        """Hang up."""
        state.close()


class Talk:
    """Several connections with one request under way on each."""

    def __init__(self, target: Target, connections: int) -> None:
        self.connections = [Connection(target) for _ in range(connections)]
        self.language = self.connections[0].language
        self.uploads: list[str] = []

    def converse(self, requests: Iterable[bytes]) -> list[Answer]:
        """Send requests round the connections, each when the one before it was answered."""
        waiting: deque[Connection] = deque()
        idle = deque(self.connections)
        answers = []
        for request in requests:
            if not idle:
                idle.append(waiting.popleft())
                answers.append(idle[0].answer())
            connection = idle.popleft()
            connection.send(request)
            waiting.append(connection)
        answers.extend(connection.answer() for connection in waiting)
        return answers

    def close(self) -> None:
        """Hang up."""
        for connection in self.connections:
            connection.close()


def posts(talk: Talk) -> Iterator[bytes]:
    """POSTs that each bring a whole small upload."""
    return (talk.language.create(SMALL, body) for body in repeat(bytes(SMALL)))


def heads(talk: Talk) -> Iterator[bytes]:
    """HEADs, each connection of an upload of its own."""
    requests = [talk.language.inspect(upload) for upload in talk.uploads]
    return (request for _ in count() for request in requests)


def patches(talk: Talk) -> Iterator[bytes]:
    """Small PATCHes, each connection to an upload of its own."""
    body = bytes(SMALL)
    return (
        talk.language.append(upload, offset, SMALL) + body
        for offset in count(0, SMALL)
        for upload in talk.uploads
    )


KINDS: dict[str, Callable[[Talk], Iterator[bytes]]] = {
    "POST": posts,
    "HEAD": heads,
    "PATCH": patches,
}


@dataclass(frozen=True, slots=True)
class Requests:
    """Small requests of one kind on several connections, as many as are answered in a time."""

    target: Target
    kind: str
    seconds: float
    connections: int = 16

    def prepare(self) -> Talk:
        """Connect, and create what is asked about."""
        talk = Talk(self.target, self.connections)
        if self.kind != "POST":
            talk.uploads = [connection.create(BEYOND) for connection in talk.connections]
        return talk

    def run(self, state: Talk, stopped: Stopped) -> Span:
        """Ask until the time is over."""
        start = time.monotonic()
        answers = state.converse(until(start + self.seconds, KINDS[self.kind](state)))
        return Span(start, time.monotonic(), len(answers))

    def clean(self, state: Talk) -> None:
        """Hang up. The uploads stay: see ``ground.py`` for what removing them would cost others."""
        state.close()


def until(deadline: float, requests: Iterator[bytes]) -> Iterator[bytes]:
    """Pass requests on until it is too late."""
    for request in requests:
        if time.monotonic() >= deadline:
            return
        yield request
