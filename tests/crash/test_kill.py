"""kill -9 in the middle of a body: nothing acknowledged is lost, and nothing is made up.

Every round kills the server while a body is arriving, starts it again and resumes. Of a request
whose bytes count only once they are judged (checksummed, or able to overrun) the bytes that were
sent before the kill are wrong ones on purpose: if one of them survives, the finished file shows it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from homes import HOMES, OFTEN, S3, THOROUGH, Home

from server import OCTETS, PATIENCE, Server, Wire, chunk, process_of, until

WRONG = bytes(byte ^ 0xFF for byte in range(256))
"""Turns every byte into another."""

Fields = Callable[[bytes], dict[str, object]]


def sized(data: bytes) -> dict[str, object]:
    return {"content_length": len(data)}


def chunked(data: bytes) -> dict[str, object]:
    return {"transfer_encoding": "chunked"}


def checksum(data: bytes) -> str:
    return f"sha1 {base64.b64encode(hashlib.sha1(data).digest()).decode()}"


@dataclass(frozen=True, slots=True)
class Kind:
    """How an upload's bytes are sent, and what is promised of a request that is cut.

    Args:
        fields: header fields of the PATCH that carries these bytes.
        kept: whether the bytes that arrived before a cut count.
        deferred: whether the length is declared with the bytes only.
        trailing: whether a checksum follows the bytes.
        created: further header fields of the POST.
    """

    fields: Fields
    kept: bool
    deferred: bool = False
    trailing: bool = False
    created: Mapping[str, object] | None = None


KINDS = {
    "plain": Kind(sized, kept=True),
    "chunked": Kind(chunked, kept=False),
    "checksummed": Kind(lambda d: sized(d) | {"upload_checksum": checksum(d)}, kept=False),
    "trailing": Kind(
        lambda d: chunked(d) | {"trailer": "Upload-Checksum"}, kept=False, trailing=True
    ),
    "deferred": Kind(sized, kept=True, deferred=True),
    "deferred-chunked": Kind(chunked, kept=True, deferred=True),
    "partial": Kind(sized, kept=True, created={"upload_concat": "partial"}),
}

ROUNDS = {
    "plain": 4,
    "chunked": 3,
    "checksummed": 4,
    "trailing": 2,
    "deferred": 3,
    "deferred-chunked": 3,
}
"""How often each kind is killed; each time in the middle of a body, which every round asserts."""

S3_ROUNDS = ROUNDS if THOROUGH else {kind: 1 for kind in ROUNDS if kind != "deferred-chunked"}
"""The same, of uploads in buckets."""


class Transfer:
    """One upload, from its creation to the comparison of its bytes."""

    def __init__(self, server: Server, home: Home, kind: Kind, rng: random.Random) -> None:
        self.server = server
        self.home = home
        self.kind = kind
        self.rng = rng
        self.data = rng.randbytes(rng.randrange(*home.sizes))
        length = None if kind.deferred else len(self.data)
        self.path = server.create(length, **(kind.created or {}))
        self.acknowledged = 0

    def append(self, stop: int) -> None:
        """Send bytes up to ``stop`` in one request, and have them acknowledged."""
        with self.server.connect() as wire:
            body = self.data[self.acknowledged : stop]
            self.begin(wire, body, last=stop == len(self.data))
            for piece in self.pieces(body):
                wire.send(self.worded(piece))
            wire.send(self.closing(body))
            answer = wire.answer()
        assert answer.status == 204, answer
        assert answer.offset == stop
        self.acknowledged = stop

    def begin(self, wire: Wire, body: bytes, *, last: bool) -> None:
        """Send the head of a request that carries these bytes."""
        fields = self.kind.fields(body)
        if self.kind.deferred and last:
            fields["upload_length"] = len(self.data)
        wire.head(
            "PATCH", self.path, content_type=OCTETS, upload_offset=self.acknowledged, **fields
        )

    def pieces(self, body: bytes) -> list[bytes]:
        """Cut bytes into pieces of random sizes."""
        found, at = [], 0
        while at < len(body):
            size = self.rng.choice((1, 100, 4096, 65536, 200_000))
            found.append(body[at : at + size])
            at += size
        return found

    def worded(self, piece: bytes) -> bytes:
        """A piece as it goes over the wire."""
        return chunk(piece) if "transfer_encoding" in self.kind.fields(b"") else piece

    def closing(self, body: bytes) -> bytes:
        """What ends a body."""
        if self.kind.trailing:
            return f"0\r\nUpload-Checksum: {checksum(body)}\r\n\r\n".encode()
        return chunk(b"") if "transfer_encoding" in self.kind.fields(b"") else b""

    def break_off(self, kill: Callable[[Wire], None]) -> None:
        """Send the rest but for its last byte, kill the server in the middle of it, and say by
        ``least`` and ``most`` where the upload must be afterwards."""
        rest = self.data[self.acknowledged :]
        shown = self.home.shows(self.acknowledged + len(rest) * 9 // 10)
        target = self.rng.randrange(self.acknowledged + 1, shown + 1)
        with self.server.connect() as wire:
            # A chunked body of a known length may overrun, and would be kept no more.
            overruns = self.kind.deferred and "transfer_encoding" in self.kind.fields(b"")
            self.begin(wire, rest, last=not overruns)
            sender = Sender(self, wire, rest[:-1])
            sender.start()
            try:
                until(lambda: self.home.size(self.path) >= target, "enough of the body")
            finally:
                kill(wire)
                sender.join(PATIENCE)
        arrived = self.home.size(self.path) - self.acknowledged
        assert 0 < arrived <= sender.sent < len(rest), "not in the middle of the body"
        self.least = self.most = self.acknowledged
        if self.kind.kept:
            self.least = self.home.kept(self.path)
            self.most = self.least if self.home.exact else self.acknowledged + sender.sent

    def resume(self) -> None:
        """Ask how far it is, send what is missing, and compare everything."""
        offset = self.server.offset(self.path)
        assert offset >= self.acknowledged, "something acknowledged is lost"
        assert self.least <= offset <= self.most
        self.acknowledged = offset
        for stop in sorted(self.rng.randrange(offset, len(self.data)) for _ in range(2)):
            self.append(stop)
        self.append(len(self.data))
        assert self.home.stored(self.path) == self.data
        assert self.server.get(self.path) == self.data


class Sender(threading.Thread):
    """Sends a body piece by piece until it is done or the connection breaks.

    ``sent`` is the most that can have left this end.
    """

    def __init__(self, transfer: Transfer, wire: Wire, body: bytes) -> None:
        super().__init__(daemon=True)
        self.sent = 0
        self._transfer = transfer
        self._wire = wire
        self._body = body if transfer.kind.kept else body.translate(WRONG)

    def run(self) -> None:
        """Send."""
        for piece in self._transfer.pieces(self._body):
            self.sent += len(piece)
            try:
                self._wire.send(self._transfer.worded(piece))
            except OSError:
                return


@pytest.fixture
def rng() -> random.Random:
    """Random numbers that pytest-randomly's seed decides on."""
    return random.Random(random.getrandbits(32))


def killed(transfer: Transfer) -> None:
    """One round: a request that is acknowledged, one that is killed, and a restart."""
    transfer.append(transfer.rng.randrange(len(transfer.data) // 2))
    transfer.break_off(lambda _: transfer.server.kill())
    transfer.server.restart()


def gone(pid: int) -> bool:
    """Whether a process runs no more; nobody may have asked for its exit code yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in {"Z", "X"}


def test_there_are_rounds_enough() -> None:
    """At least 20 of the rounds land in the middle of a body, and there are 30 with those of
    workers (here) and of joins and finishes (``test_finish.py``)."""
    assert sum(ROUNDS.values()) + 3 >= 20


@pytest.mark.parametrize(
    ("home", "kind", "rounds"),
    [
        *(pytest.param("files", kind, count) for kind, count in ROUNDS.items()),
        *(
            pytest.param(*S3.values, kind, count, marks=S3.marks)
            for kind, count in S3_ROUNDS.items()
        ),
    ],
    indirect=["home"],
)
def test_killed_in_mid_body(
    kind: str, rounds: int, home: Home, serve: Callable[..., Server], rng: random.Random
) -> None:
    """After kill -9 in the middle of a body an upload is where its last byte that counts is, and
    the resumed file is exact (D1, D10, invariant 1)."""
    server = serve()
    for _ in range(rounds):
        transfer = Transfer(server, home, KINDS[kind], rng)
        killed(transfer)
        transfer.resume()


@pytest.mark.parametrize("home", HOMES, indirect=True)
def test_killed_before_joining(
    home: Home, serve: Callable[..., Server], rng: random.Random
) -> None:
    """Partials that a waiting final upload names survive kill -9 in the middle of their bodies,
    and once they are whole they are joined exactly (D8)."""
    server = serve()
    parts = [Transfer(server, home, KINDS["partial"], rng) for _ in range(3)]
    final = server.ask(
        "POST", "/files/", upload_concat="final;" + " ".join(part.path for part in parts)
    ).headers["location"]
    for part in parts:
        killed(part)
        part.resume()
    until(lambda: "upload-offset" in server.ask("HEAD", final).headers, "the joining")
    assert server.get(final) == b"".join(part.data for part in parts)


@pytest.mark.platform("linux")
@pytest.mark.parametrize("kind", ["plain", "checksummed"])
@pytest.mark.parametrize("home", OFTEN, indirect=True)
def test_parent_of_workers_killed(
    kind: str, home: Home, serve: Callable[..., Server], rng: random.Random
) -> None:
    """Workers die with their parent, a killed one included, so that a restart finds the port free;
    their uploads are as after any other kill."""
    server = serve("--workers", 2)
    for _ in range(2):
        transfer = Transfer(server, home, KINDS[kind], rng)
        transfer.append(transfer.rng.randrange(len(transfer.data) // 2))
        workers = server.workers()
        assert len(workers) == 2

        def kill(_: Wire, workers: list[int] = workers) -> None:
            server.kill()
            try:
                until(lambda: all(map(gone, workers)), "the workers' end")
            finally:
                for pid in workers:  # nobody else would
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

        transfer.break_off(kill)
        server.restart()
        transfer.resume()


@pytest.mark.platform("linux")
@pytest.mark.parametrize("kind", ["plain", "chunked", "checksummed"])
@pytest.mark.parametrize("home", OFTEN, indirect=True)
def test_one_worker_killed(
    kind: str, home: Home, serve: Callable[..., Server], rng: random.Random
) -> None:
    """When one of two workers is killed in the middle of a body, its lock is free at once, and the
    other worker goes on with the upload (D6)."""
    server = serve("--workers", 2)
    transfer = Transfer(server, home, KINDS[kind], rng)
    transfer.append(transfer.rng.randrange(len(transfer.data) // 2))

    def kill(wire: Wire) -> None:
        pid = process_of(wire, server.workers())
        os.kill(pid, signal.SIGKILL)
        until(lambda: gone(pid), "the worker's end")

    transfer.break_off(kill)
    transfer.resume()
    assert server.alive
    until(lambda: len(server.workers()) == 2, "another worker")
