"""Nodes behind HAProxy, which gives every request to another one, while they are killed in turn."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from cluster import Node, StartNodes
from leftovers import Leftovers

import vectus
from server import Server
from vectus.stores.s3.place import Place

MIB = 1 << 20
PART = 5 * MIB
SIZES = (0, 1, 5000, 300_000, MIB, PART - 1, PART, PART + 1, 2 * PART + 12_345, 20 * MIB)
CHUNKS = (None, MIB + 1, 3 * MIB, PART, 2 * PART + 1)
"""How long uploads are, and how much of them is sent at once; None is all."""

ALONG = 8 * MIB
"""How much travels with a creation at most, where nothing is said of chunks."""

BUSY = 2
"""How many connections a node has that is at work: with one HAProxy may just look if it lives."""

DATA = random.Random(4).randbytes(max(SIZES) + 5000)

Balance = Callable[[Sequence[Server]], Server]
Order = tuple[int, int, int | None]
"""The number of an upload, its length, and how much is sent at once."""


def content(number: int, size: int) -> memoryview:
    """Return the bytes of an upload, which no other one has."""
    return memoryview(DATA)[number : number + size]


async def upload_all(
    front: Server, orders: Sequence[Order], counts: Counter[type[object]]
) -> list[str]:
    """Upload so many files at once, each with its number in its metadata; return their URLs."""

    def count(event: object) -> None:
        counts[type(event)] += 1

    async with vectus.AsyncClient(front.url, retries=200, retry_delay=0.05) as client:
        uploads = [
            client.upload(
                bytes(content(number, size)),
                metadata={"number": number},
                chunk_size=chunk,
                fingerprint=f"{number}",
                on_event=count,
            )
            for number, size, chunk in orders
        ]
        return [result.url for result in await asyncio.gather(*uploads)]


def kill_in_turn(nodes: Sequence[Node], over: threading.Event) -> None:
    """Kill one node after the other, each when it is busy, and the last one is back."""
    for node in itertools.cycle(nodes):
        while node.connections < BUSY:
            if over.wait(0.001):
                return
        node.kill()
        node.restart()


async def upload_amid_kills(
    front: Server, nodes: Sequence[Node], orders: Sequence[Order]
) -> tuple[list[str], Counter[type[object]]]:
    """Upload all; return their URLs, and how often what happened to the clients."""
    counts: Counter[type[object]] = Counter()
    over = threading.Event()
    killing = asyncio.create_task(asyncio.to_thread(kill_in_turn, nodes, over))
    try:
        return await upload_all(front, orders, counts), counts
    finally:
        over.set()
        await killing


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("locks", "count"), [("redis_locks", 50), ("postgres_locks", 15)])
def test_every_file_is_exact(
    start_nodes: StartNodes,
    balance: Balance,
    store: str,
    place: Place,
    locks: str,
    count: int,
    request: pytest.FixtureRequest,
) -> None:
    """Uploads in chunks through three nodes, each request to another one, that are killed with
    SIGKILL and started again in turn: every file is exact, there once, and nothing is left over."""
    nodes = start_nodes(3, store, request.getfixturevalue(locks))
    front = balance(nodes)
    pairs = list(itertools.product(SIZES, CHUNKS))
    chosen = [pairs[number * len(pairs) // count] for number in range(count)]
    orders = [(number, *pair) for number, pair in enumerate(chosen)]
    urls, counts = asyncio.run(upload_amid_kills(front, nodes, orders))
    assert counts[vectus.client.Retrying], "nobody noticed"
    for (number, size, _), url in zip(orders, urls, strict=True):
        path = url.removeprefix(front.url.removesuffix("/files/"))
        assert front.get(path) == content(number, size), (number, size)
    left = Leftovers(place)
    finished = left.finished()
    for (number, size, chunk), url in zip(orders, urls, strict=True):
        mine = finished[str(number)]
        assert url.rpartition("/")[2] in mine
        # One that is complete with its creation may be made twice, if an answer was lost.
        assert len(mine) == 1 or size <= (chunk or ALONG), (number, size, mine)
    assert left.after_a_sweep() == []
