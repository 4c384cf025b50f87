"""GET of a large upload: speed, CPU, memory, and whether others have to wait for it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import known, measure
from benchmarks.bench import GIB, MIB, Bench, charged
from benchmarks.cases.latency import p99
from benchmarks.load import Fetch, Probe
from benchmarks.servers import Server
from benchmarks.table import Bound, Row
from benchmarks.wire import Connection


def fetches(bench: Bench) -> Sequence[Row]:
    """Downloads out of the page cache."""
    uploads: dict[str, str] = {}

    def one(server: Server) -> Mapping[str, float]:
        if server.name not in uploads:
            uploads[server.name] = uploaded(server, bench.scale.size)
        job = Fetch(server.target, uploads[server.name], bench.scale.size, bench.scale.fetches)
        return {**speed(bench, server, job), "p99": disturbance(bench, server, job)}

    contenders = [known.FLOOR, known.vectus(), *bench.peers]
    sheet = bench.interleaved(contenders, one, min(3, bench.scale.rounds))
    return [
        sheet.row("throughput", "GiB/s", Bound("≥", 3)),
        sheet.row("CPU", "s/GiB"),
        sheet.row("growth", "MiB", Bound("≤", 8), "peak memory above rest"),
        sheet.row("p99", "ms", Bound("<", 10), "p99 of an unrelated HEAD"),
    ]


def uploaded(server: Server, size: int) -> str:
    """Upload a file, see it on disk (so that no write-back disturbs), and return its URL."""
    connection = Connection(server.target)
    upload = connection.create(size)
    connection.append(upload, 0, size)
    connection.close()
    for file in server.directory.rglob("*"):
        if file.is_file():
            settle(file)
    return upload


def settle(path: Path) -> None:
    """Have a file written back."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def speed(bench: Bench, server: Server, job: Fetch) -> dict[str, float]:
    """Download undisturbed."""
    measure.forget_peak(server.pid)
    before = measure.peak(server.pid)
    (span,), used = charged(bench, server, [job])
    size = job.size * job.times
    return {
        "throughput": size / GIB / span.seconds,
        "CPU": used / (size / GIB),
        "growth": (measure.peak(server.pid) - before) / MIB,
    }


def disturbance(bench: Bench, server: Server, job: Fetch) -> float:
    """Return the p99 of HEADs while downloads run, in ms."""
    with bench.crew.prepared([job], [Probe(server.target)]) as run:
        outcome = run()
    (span,), (delays,) = outcome
    return p99(delays.within(span))
