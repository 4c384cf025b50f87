"""What requests ask of others: S3's calls, counted by the sink, and commands to Redis.

Nothing is timed in here. Each request comes to another node than the one before it, so that nobody
profits from what he remembers.
"""

from __future__ import annotations

import re
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from typing import Self, TypeVar

from benchmarks import buckets, known
from benchmarks.bench import MIB, Absent, Bench
from benchmarks.buckets import Bucket
from benchmarks.load import SMALL
from benchmarks.servers import Contender, Server, started
from benchmarks.table import OURS, Bound, Row, Sheet
from benchmarks.wire import Connection, chunks

T = TypeVar("T")

Count = Callable[[], Counter[str]]
"""Tells how often each thing was done so far."""

PARTS = 16 * MIB
"""Of so many bytes everybody makes parts, and leaves none of them over."""

PIECE = 8 * MIB
"""A part as vectus makes them by itself, or a PATCH."""

UNCOUNTED = "what comes before"

QUIET = 0.1
"""After so many seconds without a call no more are coming."""

DEAR = {
    *("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"),
    *("ListParts", "ListObjectsV2", "ListMultipartUploads", "UploadPartCopy"),
}
"""What costs more at most S3 services, some ten times as much as the rest; deleting is free."""

OURS_DEAR = f"{OURS}: PUT, POST, LIST"

LIMITS = {
    "create": 2,
    "HEAD": 2,
    "HEAD, parts there": 2,
    "small PATCH": 4,
    "small PATCH, parts there": 4,
    "small PATCH onto a tail": 5,
    "small PATCH onto a tail, parts there": 5,
}
"""How many calls a request may make."""


def at_s3(bench: Bench) -> Sequence[Row]:
    """Count S3's calls, and ours that cost as much as a PUT once more."""
    sheet = Sheet()
    with buckets.sink(bench.directory) as bucket:
        for contender in map(bucket.given_to, (known.vectus_on_s3(), *bench.s3_peers)):
            made = bench.attempt(contender.name, partial(s3_calls, bench, bucket, contender))
            sheet.note(contender.name, {step: each.total() for step, each in (made or {}).items()})
            if contender.name == OURS and made:
                sheet.note(OURS_DEAR, {step: dear(each) for step, each in made.items()})
    bounds = {step: Bound("≤", limit) for step, limit in LIMITS.items()}
    return [sheet.row(what, "calls", bounds.get(what)) for what in sheet.figures]


def s3_calls(bench: Bench, bucket: Bucket, contender: Contender) -> dict[str, Counter[str]]:
    """Count the calls that every kind of request makes."""
    with pair(bench, contender, bucket.calls) as nodes:
        request_steps(nodes, bench.scale.stored)
        whole_steps(nodes, bench.scale.stored, bench.scale.seconds)
        return nodes.made


def request_steps(nodes: Nodes, size: int) -> None:
    """Make every kind of request."""
    upload = nodes.step("create", lambda node: node.create(size))
    nodes.step("HEAD", partial(look, upload))
    nodes.step("small PATCH", partial(send, upload, offset=0))
    nodes.step("small PATCH onto a tail", partial(send, upload, offset=SMALL))
    nodes.step("DELETE", partial(remove, upload))
    for name, tail, action in LATER:
        # One upload for each: a node that has seen its parts would not look for them again.
        upload = nodes.step(UNCOUNTED, partial(begun, PARTS + 2 * SMALL, PARTS + tail))
        nodes.step(name, partial(action, upload))
    upload = nodes.step("creation with 4 KiB that finishes", tiny)
    nodes.step("GET of 4 KiB", lambda node: node.fetch(upload, SMALL))
    del nodes.made[UNCOUNTED]


def whole_steps(nodes: Nodes, size: int, pause: float) -> None:
    """Upload from beginning to end: as fast as it goes, and as slow as clients are, when every part
    is recorded by itself. Two lengths tell what each part costs, and what all the rest."""
    for length in (2 * PIECE, 5 * PIECE):
        title = f"whole upload of {length // MIB} MiB"
        nodes.step(f"{title}, one slow PATCH", partial(slowly, length, pause))
        nodes.step(f"{title}, PATCHes of 8 MiB", partial(whole, length, PIECE))
    nodes.step(f"whole upload of {size // MIB} MiB, one PATCH", partial(whole, size, size))


def look(upload: str, node: Connection) -> None:
    """Ask how far an upload is."""
    node.ask(node.language.inspect(upload))


def send(upload: str, node: Connection, *, offset: int) -> None:
    """Send a small PATCH."""
    node.append(upload, offset, SMALL)


def remove(upload: str, node: Connection) -> None:
    """Remove an upload."""
    node.remove(upload)


def begun(length: int, sent: int, node: Connection) -> str:
    """Make an upload with some of its bytes."""
    upload = node.create(length)
    node.append(upload, 0, sent)
    return upload


def tiny(node: Connection) -> str:
    """Make an upload with all its bytes."""
    return node.ask(node.language.create(SMALL, bytes(SMALL))).upload


def whole(size: int, piece: int, node: Connection) -> None:
    """Upload from beginning to end."""
    upload = node.create(size)
    for offset, each in chunks(size, piece):
        node.append(upload, offset, each)


def slowly(size: int, pause: float, node: Connection) -> None:
    """Upload with pauses."""
    upload = node.create(size)
    node.send(node.language.append(upload, 0, size))
    for _, each in chunks(size, PIECE):
        node.pour(each)
        time.sleep(pause)
    node.answer()


LATER: Sequence[tuple[str, int, Callable[[str, Connection], None]]] = (
    ("HEAD, parts there", SMALL, look),
    ("small PATCH, parts there", 0, partial(send, offset=PARTS)),
    ("small PATCH onto a tail, parts there", SMALL // 2, partial(send, offset=PARTS + SMALL // 2)),
    ("small PATCH that finishes, parts there", SMALL, partial(send, offset=PARTS + SMALL)),
    ("DELETE, parts there", SMALL, remove),
)
"""What is done to an upload that has parts, and how long a tail it has."""


def dear(made: Counter[str]) -> float:
    """Return how many of some calls cost as much as a PUT."""
    return sum(times for call, times in made.items() if call in DEAR)


class Nodes:
    """Two servers of one kind, and what each step made them ask for.

    Args:
        servers: they take turns.
        count: tells what was asked for so far.
    """

    def __init__(self, servers: Sequence[Server], count: Count) -> None:
        self.made: dict[str, Counter[str]] = {}
        self._count = count
        self._connections = [Connection(server.target) for server in servers]

    def step(self, name: str, action: Callable[[Connection], T]) -> T:
        """Do something at the other node, and note what it took."""
        before = self._quiet()
        self._connections.reverse()
        done = action(self._connections[0])
        self.made[name] = self._quiet() - before
        return done

    def _quiet(self) -> Counter[str]:
        """Return the count, when nothing more is coming."""
        counted, since = self._count(), time.monotonic()
        while time.monotonic() - since < QUIET:
            time.sleep(QUIET / 4)
            if (now := self._count()) != counted:
                counted, since = now, time.monotonic()
        return counted

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections:
            connection.close()


@contextmanager
def pair(bench: Bench, contender: Contender, count: Count) -> Iterator[Nodes]:
    """Run two nodes."""
    with started(contender, bench.directory) as one, started(contender, bench.directory) as other:
        nodes = Nodes((one, other), count)
        try:
            yield nodes
        finally:
            nodes.close()


# Redis.

REDIS = Contender(
    "Redis",
    ("redis-server", "--port", "{port}", "--bind", "127.0.0.1", "--dir", "{dir}", "--save", ""),
    ready="eady to accept connections",
)

COMMAND = re.compile(rb'^\+?[\d.]+ \[\d+ (?!lua)\S+\] "(\w+)"', re.MULTILINE)
"""A line of MONITOR's, but for what a script does."""


def at_redis(bench: Bench) -> Sequence[Row]:
    """Count commands, and connections of a server that has nothing to do."""
    if not shutil.which("redis-server") or find_spec("redis") is None:
        raise Absent("redis-server or the redis package is not installed")
    sheet = Sheet()
    with (
        buckets.sink(bench.directory) as bucket,
        started(REDIS, bench.directory) as redis,
        Monitor(redis.target.port) as monitor,
    ):
        locks = ("--locks", f"redis://127.0.0.1:{redis.target.port}")
        contender = bucket.given_to(known.vectus_on_s3().with_options(*locks))
        with pair(bench, contender, monitor.commands) as nodes:
            few_steps(nodes)
            sheet.note(OURS, {step: made.total() for step, made in nodes.made.items()})
            sheet.note(OURS, {IDLE: (monitor.connections() - 1) / 2})
    units = {IDLE: "each"}
    return [sheet.row(what, units.get(what, "commands")) for what in sheet.figures]


IDLE = "connections of a process"


def few_steps(nodes: Nodes) -> None:
    """Make the requests that take a lock, and one that needs none."""
    upload = nodes.step("create", lambda node: node.create(4 * SMALL))
    for name in (UNCOUNTED, UNCOUNTED, "HEAD"):  # a node's first lock brings its connections
        nodes.step(name, partial(look, upload))
    del nodes.made[UNCOUNTED]
    nodes.step("PATCH", partial(send, upload, offset=0))
    nodes.step("DELETE", partial(remove, upload))
    nodes.step("creation with 4 KiB that finishes", tiny)


class Monitor:
    """Watches what a Redis server is told.

    Args:
        port: where it is.
    """

    def __init__(self, port: int) -> None:
        self._watching = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._asking = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._said = b""

    def __enter__(self) -> Self:
        self._watching.sendall(b"MONITOR\r\n")
        self._said = self._watching.recv(1 << 16)
        self._watching.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        self._watching.close()
        self._asking.close()

    def commands(self) -> Counter[str]:
        """Return how often each command came, but for those of scripts."""
        with suppress(BlockingIOError):
            while data := self._watching.recv(1 << 16):
                self._said += data
        return Counter(name.decode().upper() for name in COMMAND.findall(self._said))

    def connections(self) -> int:
        """Return how many connections there are besides the one that asks."""
        self._asking.sendall(b"INFO clients\r\n")
        told = self._asking.recv(1 << 16)
        found = re.search(rb"connected_clients:(\d+)", told)
        assert found is not None
        return int(found[1]) - 1
