"""Small requests: CPU for each, and how many a second; with two workers where there are workers.

tusd never syncs, so vectus is held against it without syncing; what the default costs stands
beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks import known
from benchmarks.bench import Bench, charged
from benchmarks.load import KINDS, Requests
from benchmarks.servers import Server
from benchmarks.table import Bound, Row, Sheet

CPU, RATE = "CPU", "rate"

SYNCING = "vectus, finish"


def small(bench: Bench) -> Sequence[Row]:
    """POSTs with 4 KiB, HEADs, PATCHes of 4 KiB."""
    contenders = [
        known.FLOOR,
        known.vectus(workers=2),
        known.vectus(SYNCING, workers=2, durability="finish"),
        *bench.peers,
    ]
    sheet = Sheet()
    for kind in KINDS:
        one = partial(measured, bench, kind)
        sheet.figures.update(bench.afresh(contenders, one, min(3, bench.scale.rounds)).figures)
    return [
        *(sheet.row(f"{kind} {CPU}", "ms", Bound("≤", 1, "tusd")) for kind in KINDS),
        *(sheet.row(f"{kind} {RATE}", "per s", Bound("≥", 1, "tusd")) for kind in KINDS),
    ]


def measured(bench: Bench, kind: str, server: Server) -> dict[str, float]:
    """Measure one kind of request once, after as long a time that is not counted."""
    job = Requests(server.target, kind, bench.scale.seconds, bench.scale.connections)
    charged(bench, server, [job])
    (span,), used = charged(bench, server, [job])
    return {f"{kind} {CPU}": used * 1000 / span.times, f"{kind} {RATE}": span.times / span.seconds}
