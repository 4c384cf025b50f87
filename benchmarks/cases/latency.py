"""How long an unrelated HEAD waits while others upload."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmarks import known
from benchmarks.bench import Bench
from benchmarks.load import Press, Probe, Span, Stream
from benchmarks.servers import Contender, Server
from benchmarks.table import Bound, Row, Sheet

P99, WORST = "p99", "worst"

FIRST = 1.0
"""Seconds that a server may take to notice that its disk is slow; told of by the worst delay."""


def p99(delays: Sequence[float]) -> float:
    """Return the 99th percentile in ms."""
    return sorted(delays)[math.ceil(0.99 * len(delays)) - 1] * 1000


def at_full_speed(bench: Bench) -> Sequence[Row]:
    """One upload as fast as it goes, on a fast disk."""

    def one(server: Server) -> Mapping[str, float]:
        job = Stream(server.target, bench.scale.size, bench.scale.size)
        with bench.crew.prepared([job], [Probe(server.target)]) as run:
            (span,), (delays,) = run()
        during = delays.within(span)
        return {P99: p99(during), WORST: max(during) * 1000}

    sheet = bench.interleaved([known.FLOOR, known.vectus(), *bench.peers], one)
    return [sheet.row(P99, "ms", Bound("<", 5)), sheet.row(WORST, "ms")]


def on_slow_disk(bench: Bench) -> Sequence[Row]:
    """Two uploads without end into a disk that takes 200 ms for each write."""
    variants = {
        "a sink that sleeps": [known.slow_sink()],
        "a pwrite that sleeps": [known.slow_floor(), known.slow_pwrite()],
    }
    bound = Bound("<", 50)
    sheets = {name: watched(bench, contenders) for name, contenders in variants.items()}
    return [
        *(sheet.row(P99, "ms", bound, f"{name}: {P99}") for name, sheet in sheets.items()),
        *(sheet.row(WORST, "ms", None, f"{name}: {WORST}") for name, sheet in sheets.items()),
    ]


def watched(bench: Bench, contenders: Sequence[Contender]) -> Sheet:
    """Measure while uploads press against a disk that the server does not know to be slow yet."""
    seconds = FIRST + bench.scale.slow

    def one(server: Server) -> Mapping[str, float]:
        probe = Probe(server.target, seconds, interval=0.005)
        with bench.crew.prepared([probe], [Press(server.target)] * 2) as run:
            (delays,), (press, _) = run()
        during = delays.within(Span(press.start, math.inf))
        later = delays.within(Span(press.start + FIRST, math.inf))
        return {P99: p99(later), WORST: max(during) * 1000}

    return bench.afresh(contenders, one, rounds=1)
