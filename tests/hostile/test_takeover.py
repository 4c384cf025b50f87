"""The newest request wins: whoever hangs on an upload is out within a second (invariant 3)."""

from __future__ import annotations

import base64
import hashlib
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from statistics import median

import pytest

from server import OCTETS, PATIENCE, Server, Wire, chunk, process_of, until

Serve = Callable[..., Server]

SOON = 1.0
"""Seconds within which a newcomer has the upload. Not each of many, as a busy machine may stop for
longer than that, but most; and each before its patience for the lock is at an end."""


@pytest.fixture
def rng() -> random.Random:
    """Random numbers that pytest-randomly's seed decides on."""
    return random.Random(random.getrandbits(32))


def hang(server: Server, wire: Wire, path: str, offset: int, rest: bytes, sent: int) -> None:
    """Send a part of a PATCH, have it arrive, and send no more."""
    wire.patch(path, offset, len(rest))
    wire.send(rest[:sent])
    until(lambda: server.size(path) == offset + sent, "the arrival of what was sent")


class Watch:
    """Takes the times of takeovers."""

    def __init__(self) -> None:
        self.took: list[float] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Take the time of one."""
        began = time.monotonic()
        yield
        self.took.append(time.monotonic() - began)


@pytest.fixture
def watch() -> Iterator[Watch]:
    """A watch, and in the end the verdict on what it saw."""
    watch = Watch()
    yield watch
    assert median(watch.took) < SOON, watch.took


def take_over(server: Server, newcomer: Wire, path: str, offset: int, data: bytes) -> int:
    """Ask for an upload that somebody hangs on, and return its new offset."""
    if offset % 2:
        newcomer.head("HEAD", path)
        answer = newcomer.answer("HEAD")
        assert answer.status == 200, answer
    else:
        newcomer.patch(path, offset, 1)
        newcomer.send(data[offset : offset + 1])
        answer = newcomer.answer()
        assert answer.status == 204, answer
    return answer.offset


def test_within_one_worker(server: Server, rng: random.Random, watch: Watch) -> None:
    """Twenty times a HEAD or a PATCH gets an upload that a PATCH hangs on, in under a second, with
    all that had arrived; the displaced one hears 423 with its Upload-Offset (C36, D3)."""
    data = rng.randbytes(400_000)
    path, offset = server.create(len(data)), 0
    for _ in range(20):
        with server.connect() as holder, server.connect() as newcomer:
            sent = rng.randrange(1, 10_000)
            hang(server, holder, path, offset, data[offset:], sent)
            offset += sent
            with watch():
                reached = take_over(server, newcomer, path, offset, data)
            told = holder.answer()
            assert (told.status, told.offset) == (423, offset), told
            assert "retry-after" in told.headers
            offset = reached
    assert server.patch(path, offset, data[offset:]).status == 204
    assert server.get(path) == data


@pytest.mark.platform("linux")
def test_across_two_workers(serve: Serve, rng: random.Random, watch: Watch) -> None:
    """The same between the workers of one server, twenty times, each time from the one that does
    not hold the upload."""
    server = serve("--workers", 2)
    data = rng.randbytes(400_000)
    path, offset = server.create(len(data)), 0
    for _ in range(20):
        with server.connect() as holder:
            sent = rng.randrange(1, 10_000)
            hang(server, holder, path, offset, data[offset:], sent)
            offset += sent
            with elsewhere(server, holder) as newcomer, watch():
                reached = take_over(server, newcomer, path, offset, data)
            told = holder.answer()
            assert (told.status, told.offset) == (423, offset), told
            offset = reached
    assert server.patch(path, offset, data[offset:]).status == 204
    assert server.get(path) == data


def elsewhere(server: Server, wire: Wire) -> Wire:
    """Connect to another worker than this connection's."""
    workers = server.workers()
    here = process_of(wire, workers)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        candidate = server.connect()
        candidate.head("OPTIONS", "/files/")  # answered, so surely accepted
        assert candidate.answer("OPTIONS").status == 204
        if process_of(candidate, workers) != here:
            return candidate
        candidate.close()
    raise AssertionError("the other worker takes no connections")


def test_across_two_servers(serve: Serve, rng: random.Random, watch: Watch) -> None:
    """The same between two servers on one directory, in both directions."""
    servers = [serve(), serve()]
    data = rng.randbytes(400_000)
    path, offset = servers[0].create(len(data)), 0
    for number in range(20):
        mine, other = servers[number % 2], servers[1 - number % 2]
        with mine.connect() as holder, other.connect() as newcomer:
            sent = rng.randrange(1, 10_000)
            hang(mine, holder, path, offset, data[offset:], sent)
            offset += sent
            with watch():
                reached = take_over(other, newcomer, path, offset, data)
            assert holder.answer().status == 423
            offset = reached
    assert servers[0].patch(path, offset, data[offset:]).status == 204
    assert servers[1].get(path) == data


def test_displaced_by_delete(server: Server, watch: Watch) -> None:
    """A DELETE takes over as well, and what is deleted is gone for the displaced one (C37)."""
    for _ in range(5):
        path = server.create(1000)
        with server.connect() as holder:
            hang(server, holder, path, 0, b"x" * 1000, 500)
            with watch():
                assert server.ask("DELETE", path).status == 204
            assert holder.answer().status == 423
        assert server.ask("HEAD", path).status in {404, 410}
        assert not server.file(path).exists()


def test_displaced_before_its_first_byte(server: Server, watch: Watch) -> None:
    """A client that was asked for its body, and does not send it, is displaced like any other."""
    path = server.create(1000)
    for _ in range(5):
        with server.connect() as holder:
            holder.patch(path, 0, 1000, expect="100-continue")
            assert holder.socket.recv(100).startswith(b"HTTP/1.1 100 ")
            with watch():
                assert server.offset(path) == 0
            told = holder.answer()
            assert (told.status, told.offset) == (423, 0)


def test_displaced_before_its_verdict(server: Server) -> None:
    """A displaced request whose bytes are not verified leaves none of them, and hears 423 with the
    offset from before (C20, C36)."""
    data = b"x" * 1000
    digest = base64.b64encode(hashlib.sha1(data).digest()).decode()
    path = server.create(len(data))
    with server.connect() as holder:
        wire = {"upload_checksum": f"sha1 {digest}"}
        holder.patch(path, 0, len(data), **wire)
        holder.send(data[:500])
        until(lambda: server.size(path) == 500, "the arrival of what was sent")
        assert server.offset(path) == 0
        told = holder.answer()
        assert (told.status, told.offset) == (423, 0)
    assert server.size(path) == 0
    assert server.patch(path, 0, data, **wire).status == 204


def test_head_tells_what_arrived(server: Server, rng: random.Random) -> None:
    """A HEAD during a hanging PATCH tells the offset of every byte that arrived, whichever way the
    body is framed (D1)."""
    data = rng.randbytes(300_000)
    path = server.create(None)
    with server.connect() as holder:
        hang(server, holder, path, 0, data, 123_456)
        assert server.offset(path) == 123_456
        assert holder.answer().offset == 123_456
    with server.connect() as holder:
        fields = {"content_type": OCTETS, "transfer_encoding": "chunked"}
        holder.head("PATCH", path, upload_offset=123_456, **fields)
        holder.send(chunk(data[123_456:200_000]))
        until(lambda: server.size(path) == 200_000, "the arrival of what was sent")
        assert server.offset(path) == 200_000
        assert holder.answer().offset == 200_000
    last = server.patch(path, 200_000, data[200_000:], upload_length=len(data))
    assert last.status == 204
    assert server.get(path) == data


@pytest.mark.parametrize("workers", [1, 2])
def test_fifty_clients_fight(workers: int, serve: Serve, rng: random.Random) -> None:
    """Fifty clients that all upload the same file to the same upload, each going on wherever it
    is, and each throwing the others out, end with exactly that file."""
    server = serve("--workers", workers)
    data = rng.randbytes(300_000)
    path = server.create(len(data))
    fight([server], path, data)
    assert server.stored(path) == data
    assert server.get(path) == data


def test_a_fight_finishes_once(guarding: Serve, control: Path, rng: random.Random) -> None:
    """However many fight, on two servers at once, the upload's finish is told once (D2)."""
    servers = [guarding(), guarding()]
    data = rng.randbytes(200_000)
    path = servers[0].create(len(data))
    fight(servers, path, data)
    assert servers[0].get(path) == data
    events = (control / "events").read_text().splitlines()
    assert [line.split()[0] for line in events].count("Finished") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_deleted_in_the_middle_of_a_fight(workers: int, serve: Serve, rng: random.Random) -> None:
    """An upload that is deleted while many write to it is gone for all of them, and no late write
    brings anything of it back (C37, T64)."""
    server = serve("--workers", workers)
    data = rng.randbytes(10_000_000)
    path = server.create(len(data))

    def write_until_gone(seed: int) -> None:
        mine = random.Random(seed)
        while (answer := server.ask("HEAD", path)).status not in {404, 410}:
            if answer.status == 200:
                push(server, path, data, answer.offset, mine)

    with ThreadPoolExecutor(10) as clients:
        writing = [clients.submit(write_until_gone, seed) for seed in range(10)]
        until(lambda: server.size(path) > 100_000, "some bytes")
        until(lambda: server.ask("DELETE", path).status == 204, "the removal")
        for each in writing:
            each.result(PATIENCE)
    id = path.rpartition("/")[2]
    # A request whose client left may have its lock a moment longer.
    until(lambda: not [*server.store.rglob(f"{id}*")], "the removal of everything")


def fight(servers: list[Server], path: str, data: bytes) -> None:
    """Have fifty clients upload the same bytes to the same upload, until it is complete."""
    deadline = time.monotonic() + 40

    def upload(number: int) -> None:
        server, mine = servers[number % len(servers)], random.Random(number)
        while (offset := look(server, path)) != len(data):
            assert time.monotonic() < deadline, f"still at {offset}"
            if offset is not None:
                push(server, path, data, offset, mine)

    with ThreadPoolExecutor(50) as clients:
        list(clients.map(upload, range(50)))


def look(server: Server, path: str) -> int | None:
    """Ask for the offset; None where the upload is busy."""
    answer = server.ask("HEAD", path)
    assert answer.status in {200, 423}, answer
    return answer.offset if answer.status == 200 else None


def push(server: Server, path: str, data: bytes, offset: int, rng: random.Random) -> None:
    """Send some bytes, perhaps fewer than promised."""
    promised = data[offset : offset + rng.randrange(1, 60_000)]
    with server.connect() as wire:
        wire.patch(path, offset, len(promised))
        with suppress(OSError, HTTPException):
            if rng.random() < 0.2:
                wire.send(promised[: len(promised) // 2])
                return
            wire.send(promised)
            answer = wire.answer()
            assert answer.status in {204, 404, 409, 410, 423}, answer
            if answer.status == 204:
                assert answer.offset == offset + len(promised)
