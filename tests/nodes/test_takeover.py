"""How soon another node has an upload that one was at work on."""

from __future__ import annotations

import random
import time

import pytest
from cluster import Node, StartNodes

from s3proxy import S3Proxy
from server import Wire, until

pytestmark = pytest.mark.timeout(240)

MIB = 1 << 20
DATA = random.Random(7).randbytes(6 * MIB)
ROUNDS = 4

SOON = 15.0
"""Seconds: less than a lock has left that nobody renews or lets go, and less than anybody waits for
one; and time enough for a busy machine. On one at rest a takeover takes some hundredths of a
second, and from a dead node in Redis three tenths."""


def hang(node: Node, wire: Wire, path: str, proxy: S3Proxy) -> None:
    """Send a part and more of a PATCH, have the part arrive in S3, and send no more."""
    sent = proxy.count("UploadPart")
    wire.patch(path, 0, len(DATA) - 1)
    wire.send(DATA[: 5 * MIB + 10_000])
    until(lambda: proxy.count("UploadPart") > sent, "the sending of a part")


@pytest.mark.parametrize("locks", ["lasting_redis_locks", "postgres_locks"])
def test_takeover(
    start_nodes: StartNodes,
    proxied_store: str,
    proxy: S3Proxy,
    locks: str,
    request: pytest.FixtureRequest,
) -> None:
    """A hanging PATCH is taken over at once, from a node that is alive and from one that was
    killed: long before its lock would have ended; with every byte that was recorded."""
    mine, theirs = start_nodes(2, proxied_store, request.getfixturevalue(locks))
    took = []
    for _ in range(ROUNDS):
        path = mine.create(len(DATA))
        with mine.connect() as wire:
            hang(mine, wire, path, proxy)
            began = time.monotonic()
            offset = theirs.offset(path)
            took.append(time.monotonic() - began)
            answer = wire.answer()
        assert (answer.status, answer.offset) == (423, offset)
        assert offset >= 5 * MIB
    path = mine.create(len(DATA))
    with mine.connect() as wire:
        hang(mine, wire, path, proxy)
        mine.kill()
        began = time.monotonic()
        offset = theirs.offset(path)
        from_dead = time.monotonic() - began
    print(f"from a living node {sorted(took)}, from a dead one {from_dead}")
    assert max(took) < SOON
    assert from_dead < SOON
    assert theirs.bring(path, DATA) >= offset
    assert theirs.get(path) == DATA
