"""Uploads at full speed: CPU per GiB, and GiB per second."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks import known
from benchmarks.bench import GIB, MIB, Bench, charged, overall
from benchmarks.certificates import certificate
from benchmarks.load import Stream
from benchmarks.servers import Contender, Server
from benchmarks.table import Bound, Row, Sheet
from benchmarks.wire import Target

CPU, SPEED = "CPU", "throughput"

Load = Callable[[Target, Bench], list[Stream]]
"""The uploads of one turn; together as long as the scale says."""


def whole(target: Target, bench: Bench) -> list[Stream]:
    """One upload in one PATCH."""
    return [Stream(target, bench.scale.size, bench.scale.size)]


def split(target: Target, bench: Bench) -> list[Stream]:
    """Four uploads at once."""
    size = bench.scale.size // 4
    return [Stream(target, size, size)] * 4


def pieces(target: Target, bench: Bench) -> list[Stream]:
    """One upload in many PATCHes."""
    return [Stream(target, bench.scale.size, bench.scale.patch)]


def one_stream(bench: Bench) -> Sequence[Row]:
    """One PATCH."""
    sheet = compare(bench, plain(bench), whole)
    return [
        sheet.row(CPU, "s/GiB", Bound("≤", 1.25, "floor")),
        sheet.row(SPEED, "MiB/s", Bound("≥", 0.8, "floor")),
    ]


def four_streams(bench: Bench) -> Sequence[Row]:
    """Four connections."""
    sheet = compare(bench, plain(bench), split)
    return [sheet.row(CPU, "s/GiB", Bound("≤", 1.4, "floor")), sheet.row(SPEED, "MiB/s")]


def many_patches(bench: Bench) -> Sequence[Row]:
    """PATCHes of 8 MiB."""
    sheet = compare(bench, plain(bench), pieces)
    return [sheet.row(CPU, "s/GiB", Bound("≤", 1.4, "floor")), sheet.row(SPEED, "MiB/s")]


def over_tls(bench: Bench) -> Sequence[Row]:
    """All three over TLS, beside vectus on an unchanged uvicorn."""
    pem = certificate(bench.directory)
    contenders = [
        known.encrypted(contender, pem)
        for contender in (known.FLOOR, known.vectus(), known.plain_asgi())
    ]
    loads = {"one PATCH": whole, "four uploads": split, "many PATCHes": pieces}
    bound = Bound("≥", 2, known.PLAIN)
    rounds = min(3, bench.scale.rounds)
    sheets = {name: compare(bench, contenders, load, rounds) for name, load in loads.items()}
    return [
        *(sheet.row(SPEED, "MiB/s", bound, name) for name, sheet in sheets.items()),
        *(sheet.row(CPU, "s/GiB", None, f"CPU, {name}") for name, sheet in sheets.items()),
    ]


def plain(bench: Bench) -> list[Contender]:
    """Return everybody."""
    return [known.FLOOR, known.vectus(), *bench.peers]


def compare(
    bench: Bench, contenders: Sequence[Contender], load: Load, rounds: int | None = None
) -> Sheet:
    """Measure one load on several contenders."""

    def one(server: Server) -> dict[str, float]:
        jobs = load(server.target, bench)
        size = sum(job.size for job in jobs)
        spans, used = charged(bench, server, jobs)
        return {CPU: used / (size / GIB), SPEED: size / MIB / overall(spans).seconds}

    return bench.interleaved(contenders, one, rounds)
