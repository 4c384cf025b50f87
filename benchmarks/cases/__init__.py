"""The rows of the speed table, one function each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.cases import (
    calls,
    checksums,
    clients,
    downloads,
    latency,
    memory,
    requests,
    s3,
    sweeps,
    throughput,
)
from benchmarks.table import Row


@dataclass(frozen=True, slots=True)
class Case:
    """Something to measure: its name on the command line, its title in the table."""

    name: str
    title: str
    measure: Callable[[Bench], Sequence[Row]]


CASES = (
    Case("stream", "one upload, one PATCH", throughput.one_stream),
    Case("streams", "four uploads at once", throughput.four_streams),
    Case("patches", "one upload, many PATCHes", throughput.many_patches),
    Case("tls", "the same over TLS", throughput.over_tls),
    Case("open", "open, half-sent PATCHes", memory.open_uploads),
    Case("requests", "small requests, two workers", requests.small),
    Case("checksum", "checksummed PATCHes", checksums.on_top),
    Case("download", "GET", downloads.fetches),
    Case("latency", "an unrelated HEAD during an upload", latency.at_full_speed),
    Case("slow", "an unrelated HEAD while a slow disk takes uploads", latency.on_slow_disk),
    Case("client", "the client: one large file", clients.one_file),
    Case("client-small", "the client: many small files", clients.small_files),
    Case("client-slow", "the client: a slow link", clients.slow_link),
    Case("s3", "into S3: a sink that throws parts away", s3.into_sink),
    Case("s3-rgw", "into S3: Ceph RGW", s3.into_rgw),
    Case("s3-memory", "into S3: 200 half-sent PATCHes", s3.half_sent),
    Case("s3-sweep", "into S3: a new process, with many uploads there", sweeps.looks),
    Case("s3-calls", "into S3: calls", calls.at_s3),
    Case("locks", "locks in Redis: commands", calls.at_redis),
)
