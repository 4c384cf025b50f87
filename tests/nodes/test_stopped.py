"""A node that stands still in the middle of a body, long enough to be overtaken, and goes on."""

from __future__ import annotations

import random
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest
from cluster import StartNodes
from leftovers import Leftovers
from pauses import again_if_paused

from s3proxy import S3Proxy
from server import Answer, Wire, until
from vectus.stores.s3.place import Place

pytestmark = pytest.mark.timeout(240)

MIB = 1 << 20
DATA = random.Random(5).randbytes(12 * MIB)


def hang(path: str, wire: Wire, *, sent: int) -> None:
    """Begin a PATCH of everything, and send a part of it."""
    wire.patch(path, 0, len(DATA))
    wire.send(DATA[:sent])


def heard(wire: Wire) -> Answer | None:
    """Return what a client hears at last, if anything."""
    with suppress(OSError, HTTPException):
        return wire.answer()
    return None


def test_overtaken_in_a_body(
    start_nodes: StartNodes,
    proxied_store: str,
    proxy: S3Proxy,
    place: Place,
    redis_locks: str,
) -> None:
    """A node stands still in the middle of a body for longer than its lock lasts, while the rest of
    the body comes; another one finishes the upload. Going on, the first one does not claim a byte,
    and harms none."""
    stopped, other = start_nodes(2, proxied_store, redis_locks)
    path = stopped.create(len(DATA))
    with stopped.connect() as wire:
        hang(path, wire, sent=11 * MIB)
        until(lambda: proxy.count("UploadPart") >= 2, "the sending of two parts")
        stopped.freeze()
        wire.send_some(DATA[11 * MIB :])
        other.bring(path, DATA)
        stopped.thaw()
        answer = heard(wire)
    assert answer is None or answer.status in {409, 423}, answer
    for node in (stopped, other):
        assert node.offset(path) == len(DATA)
        assert node.get(path) == DATA
    assert Leftovers(place).after_a_sweep() == []


@pytest.mark.parametrize("patience", ["500ms", "3500ms"], ids=["shortly", "longer than a lease"])
def test_stopped_with_a_session(
    start_nodes: StartNodes, store: str, place: Place, postgres_locks: str, patience: str
) -> None:
    """With PostgreSQL a node that stands still keeps its lock: others are told to come again (D3),
    and have the upload as soon as it goes on, with all that was recorded."""
    stopped, other = start_nodes(2, store, postgres_locks, "--lock-timeout", patience)
    path, left = stopped.create(len(DATA)), Leftovers(place)
    with stopped.connect() as wire:
        hang(path, wire, sent=6 * MIB)
        until(lambda: left.recorded(path), "the record of a part")
        stopped.freeze()
        told = [other.ask("HEAD", path), other.patch(path, 0, b"x")]
        stopped.thaw()
        offset = other.bring(path, DATA)
        answer = heard(wire)
    assert [each.status for each in told] == [423, 423]
    assert all("retry-after" in each.headers for each in told)
    assert not any("upload-offset" in each.headers for each in told)
    assert answer is not None
    assert answer.status == 423
    assert offset >= int(answer.headers.get("upload-offset", 5 * MIB))
    assert stopped.get(path) == DATA


@again_if_paused(0.7)
def test_stopped_on_a_shared_directory(
    start_nodes: StartNodes, tmp_path: Path, redis_locks: str
) -> None:
    """Where nodes share a directory, the kernel's lock keeps others out of the file while a node
    stands still that has lost its lock in Redis; then they have it, with all that had arrived."""
    directory = tmp_path / "shared"
    stopped, other = start_nodes(2, directory, redis_locks, "--lock-timeout", "4500ms")
    path = stopped.create(len(DATA))
    file = directory / path.rpartition("/")[2]
    with stopped.connect() as wire:
        hang(path, wire, sent=6 * MIB)
        until(lambda: file.stat().st_size == 6 * MIB, "the arrival")
        stopped.freeze()
        told = other.ask("HEAD", path)
        stopped.thaw()
        offset = other.bring(path, DATA)
        answer = heard(wire)
    assert told.status == 423
    assert offset == 6 * MIB
    assert answer is not None
    assert answer.status == 423
    assert stopped.get(path) == DATA
