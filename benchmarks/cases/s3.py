"""Uploads that end up in S3: speed and CPU beside what they are made of, and memory.

What they are made of: the floor receives the bytes and writes them, a bare boto3 reads them from a
file and sends them in as many parts. Nobody can do with less than the sum of the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from benchmarks import buckets, known, measure
from benchmarks.bench import GIB, MIB, Bench, charged, overall
from benchmarks.buckets import Bucket
from benchmarks.cases.memory import allow_files, created
from benchmarks.load import Errand, Job, Stream
from benchmarks.servers import Contender, Server, started
from benchmarks.table import FLOOR, OURS, Bound, Row, Sheet
from benchmarks.wire import Connection

CPU, SPEED = "CPU", "throughput"
SUM = f"{FLOOR} + {known.BOTO3}"
TUSD = "tusd"

LOADS = {"one upload": 1, "four uploads": 4}


def into_sink(bench: Bench) -> Sequence[Row]:
    """Parts are thrown away: what is in front of S3 is all there is to wait for."""
    with buckets.sink(bench.directory) as bucket:
        return compared(bench, bucket, bench.scale.stored, Bound("≥", 1.5, TUSD))


def into_rgw(bench: Bench) -> Sequence[Row]:
    """Parts are kept by a real server, whose own CPU fills the machine; half as many of them."""
    with buckets.rgw(bench.directory) as bucket:
        return compared(bench, bucket, bench.scale.stored // 2, Bound("≥", 1, TUSD))


def compared(bench: Bench, bucket: Bucket, size: int, faster: Bound) -> list[Row]:
    """Measure one upload and four, and say what each must reach."""
    rows: list[Row] = []
    for title, count in LOADS.items():
        sheet = measured(bench, bucket, size, count)
        rows += [
            sheet.row(CPU, "s/GiB", Bound("≤", 1.25, SUM), f"{title}: {CPU}"),
            sheet.row(CPU, "s/GiB", Bound("≤", 0.5, TUSD), f"{title}: beside {TUSD}"),
            sheet.row(SPEED, "MiB/s", faster, f"{title}: {SPEED}"),
        ]
    return rows


def measured(bench: Bench, bucket: Bucket, size: int, count: int) -> Sheet:
    """Measure everybody with so many uploads at once, of so many bytes in all."""

    def one(server: Server) -> dict[str, float]:
        spans, used = charged(bench, server, jobs(server, size // count, count))
        bucket.settle()
        return {CPU: used / (size / GIB), SPEED: size / MIB / overall(spans).seconds}

    mine = (known.boto3(), known.vectus_on_s3())
    contenders = [known.FLOOR, *map(bucket.given_to, (*mine, *bench.s3_peers))]
    sheet = bench.interleaved(contenders, one, min(3, bench.scale.rounds))
    pairs = zip(sheet.figures[CPU][FLOOR], sheet.figures[CPU][known.BOTO3], strict=True)
    sheet.figures[CPU][SUM] = [floor + boto3 for floor, boto3 in pairs]
    return sheet


def jobs(server: Server, size: int, count: int) -> list[Job]:
    """Return what makes uploads of a size come to S3; the floor just keeps them."""
    if server.name != known.BOTO3:
        return [Stream(server.target, size, size)] * count
    from vectus.stores.s3.parts import choose  # the same parts

    part = choose(size).size
    return [Errand(server.target, json.dumps({"uploads": count, "size": size, "part": part}))]


# Memory.

SENT = 3 * MIB
BODY = 2 * SENT
MEMORY, SPOOL, PEAK = "memory", "spool", "peak"


def half_sent(bench: Bench) -> Sequence[Row]:
    """Many PATCHes, each half-sent: with room for all in the spool, and with room for few."""
    allow_files()
    sheet = Sheet()
    with buckets.sink(bench.directory) as bucket:
        ours = (known.vectus_on_s3(), known.vectus_on_s3(FEW, spool=f"{FEW_MIB}MiB"))
        for contender in map(bucket.given_to, (*ours, *bench.s3_peers)):
            held = bench.attempt(contender.name, partial(remembered, bench, contender))
            sheet.note(contender.name, held or {})
    return [
        sheet.row(MEMORY, "MiB", Bound("≤", 100), "memory of the process"),
        sheet.row(MEMORY, "MiB", Bound("≤", 100 + FEW_MIB, subject=FEW), FEW),
        sheet.row(PEAK, "MiB", title="at most before"),
        sheet.row("rest", "MiB", title="with none open"),
        sheet.row(SPOOL, "MiB", title="spool, on the disk"),
    ]


FEW_MIB = 64
FEW = f"{OURS}, spool of {FEW_MIB} MiB"


def remembered(bench: Bench, contender: Contender) -> Mapping[str, float]:
    """Return what a server keeps in memory and on the disk while many uploads are half-sent."""
    with started(contender, bench.directory) as server:
        measure.rest(server.pid)
        idle = measure.resident(server.pid)
        with poured(server, bench.scale.half):
            measure.rest(server.pid, quiet=1.0)
            return {
                MEMORY: measure.resident(server.pid) / MIB,
                PEAK: measure.peak(server.pid) / MIB,
                SPOOL: measure.open_files(server.pid) / MIB,
                "rest": idle / MIB,
            }


@contextmanager
def poured(server: Server, number: int) -> Iterator[None]:
    """Have uploads open of whose bodies one half has come."""
    connections: list[Connection] = []
    try:
        for upload in created(server, number, BODY):
            connections.append(Connection(server.target))
            connections[-1].send(connections[-1].language.append(upload, 0, BODY))
            connections[-1].pour(SENT)
        yield
    finally:
        for connection in connections:
            connection.close()
