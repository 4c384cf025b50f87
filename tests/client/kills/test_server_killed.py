"""kill -9 of the server at random points: the client, unaware, tries until it is back."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fault_proxy import Edit, Hold, Proxy
from sides import SIDES

from server import Server
from server_fixtures import Run

pytestmark = pytest.mark.timeout(240)

MIB = 1 << 20

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("path", {}),
    "chunked": ("path", {"chunk_size": MIB}),
    "checksummed": ("path", {"chunk_size": MIB, "checksum": "sha1"}),
    "deferred": ("iterator", {"chunk_size": MIB}),
    "parallel": ("path", {"parallel": 3}),
}

ROUNDS = {
    ("blocking", "plain"): 4,
    ("blocking", "chunked"): 3,
    ("blocking", "checksummed"): 2,
    ("blocking", "deferred"): 2,
    ("blocking", "parallel"): 2,
    ("asyncio", "plain"): 4,
    ("asyncio", "chunked"): 3,
    ("asyncio", "checksummed"): 2,
    ("asyncio", "deferred"): 2,
    ("asyncio", "parallel"): 2,
}
"""How often the server is killed in the middle of a body, which every round asserts."""

UNMET = 3
"""Rounds of each driver where nothing stands between it and the dead server."""

APART = {
    ("OPTIONS", None): Edit(
        {"Tus-Extension": "creation,creation-defer-length,termination,checksum,concatenation"}
    )
}
"""No bytes travel with the creation, as if the files were larger."""

PATIENT: dict[str, Any] = {"retry_delay": 0.05, "retries": 12, "timeout": 20}

Make = Callable[[int], Path]


def blocks(data: bytes, act: Callable[[int], object] = id) -> Any:
    """Bytes that cannot be read again; something may happen before each block."""
    for at in range(0, len(data), 100_000):
        act(at)
        yield data[at : at + 100_000]


class Killer(threading.Thread):
    """Kills a server when a request has come to a point, and starts it again a little later."""

    def __init__(self, server: Server, hold: Hold, away: float) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._hold = hold
        self._away = away
        self.reached = False

    def run(self) -> None:
        """Wait, kill, let go, wait, start."""
        self.reached = self._hold.reached.wait(20)
        self._server.kill()
        self._hold.go.set()
        threading.Event().wait(self._away)  # the client meets nobody for a while
        self._server.restart()


def test_there_are_rounds_enough() -> None:
    """There are 30, and 20 and more of them in the middle of a body."""
    assert sum(ROUNDS.values()) >= 20
    assert sum(ROUNDS.values()) + 2 * UNMET >= 30


@pytest.mark.parametrize(("side", "way"), ROUNDS)
def test_killed_in_mid_body(
    side: str, way: str, serve: Run, make: Make, rng: random.Random
) -> None:
    """After kill -9 of the server in the middle of a body the same call ends the upload: it is
    exact, made once, and nothing that the server kept is sent again."""
    server = serve("--durability", "none")
    kind, options = WAYS[way]
    for _ in range(ROUNDS[side, way]):
        before = set(server.store.glob("*.info"))
        file = make(rng.randrange(3 * MIB, 5 * MIB))
        data = file.read_bytes()
        number = rng.randrange(1, 4) if "chunk_size" in options else 1
        hold = Hold(rng.randrange(1, MIB))
        killer = Killer(server, hold, rng.random() / 2)
        killer.start()
        with Proxy(server.port, {**APART, ("PATCH", number): hold}) as proxy:
            source = file if kind == "path" else blocks(data)
            result = SIDES[side].upload(source, proxy.url, **options, **PATIENT)
            killer.join(20)

        assert killer.reached
        assert result.retries > 0
        broken = [seen for seen in proxy.of("PATCH") if seen.status == 0]
        assert broken
        assert 0 < broken[0].body < broken[0].announced, "not in the middle of the body"
        assert server.get(urlsplit(result.url).path) == data
        parts = options.get("parallel", 0)
        lost = sum(seen.status == 0 for seen in proxy.of("POST"))  # made, or not: nobody heard
        assert 0 <= len(set(server.store.glob("*.info")) - before) - (1 + parts) <= lost
        again = sum(seen.announced for seen in broken)  # at most all of what was broken
        assert proxy.body() <= len(data) + again


@pytest.mark.parametrize("side", SIDES)
def test_nobody_there_for_a_while(side: str, serve: Run, make: Make, rng: random.Random) -> None:
    """The same without a proxy between: connections are refused until the server is back, and the
    source, which cannot be read again, is none the worse for it."""
    server = serve("--durability", "none")
    for _ in range(UNMET):
        data = make(rng.randrange(2 * MIB, 3 * MIB)).read_bytes()
        at = rng.randrange(len(data))
        killers: list[threading.Thread] = []

        def act(position: int, at: int = at, killers: list[threading.Thread] = killers) -> None:
            if position <= at < position + 100_000:
                server.kill()
                killers.append(threading.Thread(target=server.restart, daemon=True))
                killers[0].start()

        result = SIDES[side].upload(blocks(data, act), server.url, chunk_size=400_000, **PATIENT)
        killers[0].join(20)

        assert server.get(urlsplit(result.url).path) == data
