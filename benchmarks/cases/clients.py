"""The client beside tuspy and a bare socket, all to ``vectus serve``: one large file, many small
ones, a slow link.

Every turn is a process of its own, as an upload from a command line is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import known
from benchmarks.bench import GIB, KIB, MIB, Bench
from benchmarks.servers import ROOT, Server, ServerFailed, started
from benchmarks.slow_link import LinkThread
from benchmarks.table import FLOOR, Bound, Row, Sheet

RATE, DELAY = 20e6, 0.050
"""Bytes per second of each connection of the slow link, and seconds that it adds each way: half
of these, as a request and its answer wait once each."""

BEST = "tuspy, best"


@dataclass(frozen=True, slots=True)
class Client:
    """A client, and how it is called."""

    name: str
    who: str
    options: tuple[str, ...] = ()


BARE = Client(FLOOR, "bare")
BLOCKING = Client("vectus", "blocking")
AIO = Client("vectus, asyncio", "aio")
TUSPY = Client("tuspy", "tuspy")
CHUNKED = tuple(
    Client(f"tuspy, {size} MiB", "tuspy", ("--chunk-size", str(size * MIB))) for size in (8, 16)
)


def one_file(bench: Bench) -> Sequence[Row]:
    """One large file over loopback."""
    size = bench.scale.size
    (file,) = files(bench, 1, size)
    sheet = Sheet()
    with started(known.vectus(), bench.directory) as server:
        for counted in (False, *[True] * bench.scale.rounds):
            figures = {
                client.name: large(server, client, file, size)
                for client in (BARE, BLOCKING, AIO, TUSPY, *CHUNKED)
            }
            figures[BEST] = best([figures[client.name] for client in CHUNKED])
            for name, each in figures.items() if counted else ():
                sheet.note(name, each)
    return [
        sheet.row("throughput", "MiB/s", Bound("≥", 1.2, BEST)),
        sheet.row("throughput", "MiB/s", Bound("≥", 2, TUSPY.name), "beside tuspy's default"),
        sheet.row("CPU", "s/GiB", Bound("≤", 0.40)),
        sheet.row("CPU", "s/GiB", Bound("≤", 0.40, subject=AIO.name), "asyncio's"),
        sheet.row("CPU", "s/GiB", Bound("≤", 0.7, BEST), "beside tuspy's best"),
        sheet.row("peak", "MiB", Bound("≤", 60), "peak memory"),
        sheet.row("peak", "MiB", Bound("≤", 60, subject=AIO.name), "asyncio's"),
    ]


def small_files(bench: Bench) -> Sequence[Row]:
    """Many small files, one after the other."""
    count = 1000 if bench.scale.kind == "full" else 20
    paths = files(bench, count, 4 * KIB)
    sheet = Sheet()
    for _ in range(min(3, bench.scale.rounds)):
        for client in (BLOCKING, AIO, TUSPY):
            with started(known.vectus(), bench.directory) as server:
                done = run(client, server.target.port, paths)
                sheet.note(
                    client.name,
                    {"files": count / done["seconds"], "CPU": 1000 * done["cpu"] / count},
                )
    return [
        sheet.row("files", "per s", Bound("≥", 3, TUSPY.name)),
        sheet.row("CPU", "ms/file"),
    ]


def slow_link(bench: Bench) -> Sequence[Row]:
    """Four connections, where each is slow, beside one."""
    size = 128 * MIB if bench.scale.kind == "full" else MIB
    (file,) = files(bench, 1, size)
    sheet = Sheet()
    with (
        started(known.vectus(), bench.directory) as server,
        LinkThread(server.target.port, RATE, DELAY / 2) as link,
    ):
        for _ in range(min(3, bench.scale.rounds)):
            for name, count in (("one stream", 1), ("vectus", 4)):
                client = Client(name, "blocking", ("--parallel", str(count)))
                done = run(client, link.port, [file])
                sheet.note(name, {"throughput": size / MIB / done["seconds"]})
                sweep(server)
    return [
        sheet.row("throughput", "MiB/s", Bound("≥", 3, "one stream"), "four connections beside one")
    ]


def large(server: Server, client: Client, file: Path, size: int) -> Mapping[str, float]:
    """Upload a large file once."""
    done = run(client, server.target.port, [file])
    sweep(server)
    return {
        "throughput": size / MIB / done["seconds"],
        "CPU": done["cpu"] / (size / GIB),
        "peak": done["peak"] / MIB,
    }


def best(all_figures: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The best of each figure, whichever chunk size it comes from."""
    return {
        "throughput": max(each["throughput"] for each in all_figures),
        "CPU": min(each["CPU"] for each in all_figures),
    }


def run(client: Client, port: int, paths: Sequence[Path]) -> Mapping[str, float]:
    """Have a client upload files, in a process of its own.

    Raises:
        ServerFailed: it came to nothing.
    """
    url = f"http://127.0.0.1:{port}/files/"
    command = [sys.executable, "-m", "benchmarks.peers.client", client.who, url, *map(str, paths)]
    done = subprocess.run(
        [*command, *client.options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        raise ServerFailed(f"{client.name} failed: {done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def files(bench: Bench, count: int, size: int) -> list[Path]:
    """Write files that differ."""
    folder = bench.directory / "sources"
    folder.mkdir()
    paths = [folder / f"file-{number}" for number in range(count)]
    for path in paths:
        with path.open("wb") as file:
            for start in range(0, size, MIB):
                file.write(os.urandom(min(MIB, size - start)))
    return paths


def sweep(server: Server) -> None:
    """Remove what was uploaded, outside the measurement."""
    for path in server.directory.iterdir():
        if path.is_file():
            path.unlink()
