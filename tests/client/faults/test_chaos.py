"""Troubles by chance, one upon the other: an upload comes to its exact end, or says that it did not
and comes to it in another call."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from fault_proxy import Cut, Edit, Farewell, Garble, Reset, Say, Swallow, TooLarge
from fault_wire import Fault
from ground import DATA, PATCHED, Ground
from sides import AGAIN, ONCE, Side

from vectus.client import MemoryResume
from vectus.errors import UploadError

ROUNDS = int(os.environ.get("VECTUS_CHAOS_ROUNDS", "8"))

STATUSES = (404, 408, 409, 410, 413, 423, 429, 460, 500, 502, 503)


def any_fault(rng: random.Random) -> Fault:
    at = rng.choice((0, 1, rng.randrange(len(DATA))))
    return rng.choice(
        (
            Cut(at),
            Reset(at),
            Swallow(),
            Farewell(),
            TooLarge(rng.randrange(50_000, 300_000)),
            Say(rng.choice(STATUSES), {"Retry-After": "0"}),
            Edit({"Upload-Offset": rng.choice((None, "banana", "-1", str(at)))}),
        )
    )


def any_script(rng: random.Random, *, protected: bool) -> dict[tuple[str, int | None], Fault]:
    """Troubles for about every third of the first requests."""
    script: dict[tuple[str, int | None], Fault] = {}
    for method in ("OPTIONS", "POST", "HEAD", "PATCH"):
        for number in range(1, 13):
            if rng.random() < 0.3:
                script[method, number] = any_fault(rng)
            elif protected and method == "PATCH" and rng.random() < 0.2:
                script[method, number] = Garble(rng.randrange(50_000))
    return script


def any_options(rng: random.Random) -> dict[str, Any]:
    sizes = (None, 50_000, 300_000)
    options = {"chunk_size": rng.choice(sizes), "parallel": rng.choice((1, 1, 3))}
    if rng.random() < 0.4:
        options["checksum"] = "sha256"
    return options


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("unhurried")
def test_chaos(side: Side, ground: Ground) -> None:
    """Whatever happens: the content is exact, or there is an error and another call ends it."""
    seed = random.getrandbits(32)
    for number in range(ROUNDS):
        rng = random.Random(f"{seed}-{number}")
        kind, options = rng.choice([*AGAIN, *ONCE]), any_options(rng)
        script = any_script(rng, protected="checksum" in options)
        proxy = ground.proxy(rng.choice((PATCHED, {})), script)
        told = f"round {number} of seed {seed}: {kind} {options} {script}"
        how: dict[str, Any] = {"resume": MemoryResume(), "retry_delay": 0.001, "timeout": 10}
        try:
            source = ground.source(kind)
            result = side.upload(source, proxy.url, retries=4, **options, **how)
        except UploadError:
            proxy.settle()
            proxy.script.clear()
            result = side.upload(ground.source(kind), proxy.url, **options, **how)
        assert ground.content(result.url) == DATA, told
        assert result.length == len(DATA), told
        proxy.close()
