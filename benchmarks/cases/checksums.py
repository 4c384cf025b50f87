"""Checksummed PATCHes: what hashing adds, beside what hashing the same bytes costs by itself."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from benchmarks import known
from benchmarks.bench import GIB, Bench, charged
from benchmarks.load import Stream
from benchmarks.servers import Server
from benchmarks.table import Bound, Row
from benchmarks.wire import portions, source

ALGORITHMS = ("sha1", "sha256")

PIECE = 512 << 10


def on_top(bench: Bench) -> Sequence[Row]:
    """The CPU of a checksummed PATCH minus that of a plain one, in the same round."""

    def one(server: Server) -> dict[str, float]:
        plain = cost(bench, server, None)
        return {
            "plain": plain,
            **{name: cost(bench, server, name) - plain for name in ALGORITHMS},
        }

    sheet = bench.interleaved([known.vectus()], one)
    for _ in range(bench.scale.rounds):
        sheet.note("hashlib", {name: alone(bench, name) for name in ALGORITHMS})
    bound = Bound("≤", 1.6, "hashlib")
    return [
        sheet.row("plain", "CPU s/GiB", title="without a checksum"),
        *(sheet.row(name, "CPU s/GiB", bound, f"{name}, on top") for name in ALGORITHMS),
    ]


def cost(bench: Bench, server: Server, algorithm: str | None) -> float:
    """Return the server's CPU seconds per GiB of one PATCH."""
    size = bench.scale.hashed
    _, used = charged(bench, server, [Stream(server.target, size, size, algorithm)])
    return used / (size / GIB)


def alone(bench: Bench, algorithm: str) -> float:
    """Return hashlib's own CPU seconds per GiB over the same bytes in pieces of a read."""
    _, view = source()
    digest, size = hashlib.new(algorithm), bench.scale.hashed
    start = time.process_time()
    for index, count in enumerate(portions(size, PIECE)):
        at = index * PIECE % len(view)
        digest.update(view[at : at + count])
    return (time.process_time() - start) / (size / GIB)
