"""What a process costs that has only just started before a bucket with uploads in it: its sweeper
looks at every record once, and keeps in mind what it saw."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from urllib.parse import urlsplit

from benchmarks import buckets, known, measure
from benchmarks.bench import KIB, Bench
from benchmarks.buckets import BUCKET, Bucket
from benchmarks.servers import Contender, ServerFailed, started
from benchmarks.table import OURS, Row, Sheet
from benchmarks.wire import Connection

PATIENCE = 180.0

LAST = "ListMultipartUploads"
"""What the sweeper does last."""

CALLS, MEMORY, CPU, NONE = "calls", "memory", "CPU", "none"


def first_look(bench: Bench) -> Sequence[Row]:
    """Start with one upload there, and with many."""
    number = bench.scale.uploads
    with buckets.sink(bench.directory) as bucket:
        contender = bucket.given_to(known.vectus_on_s3())
        seed(bench, bucket, contender, 1)
        few = looked(bench, bucket, contender)
        seed(bench, bucket, contender, number)
        many = looked(bench, bucket, contender)
    more = number - 1
    sheet = Sheet()
    sheet.note(OURS, {name: (many[name] - few[name]) / more for name in many})
    sheet.note(OURS, {NONE: few[CALLS] - 1})
    return [
        sheet.row(NONE, CALLS, title="calls with nothing there"),
        sheet.row(CALLS, "each", title="calls for an upload that is there"),
        sheet.row(CPU, "ms each"),
        sheet.row(MEMORY, "KiB each", title="memory from then on"),
    ]


def looked(bench: Bench, bucket: Bucket, contender: Contender) -> Mapping[str, float]:
    """Return what a start took, until nothing more is done."""
    before = bucket.calls()
    with started(contender, bench.directory) as server:
        await_call(bucket, LAST, before[LAST])
        measure.rest(server.pid)
        return {
            CALLS: (bucket.calls() - before).total(),
            CPU: measure.cpu(server.pid) * 1000,
            MEMORY: measure.resident(server.pid) / KIB,
        }


def await_call(bucket: Bucket, name: str, times: int) -> None:
    """Wait until a call was made once more."""
    deadline = time.monotonic() + PATIENCE
    while bucket.calls()[name] <= times:
        if time.monotonic() > deadline:
            raise ServerFailed(f"There was no {name}.")
        time.sleep(0.1)


def seed(bench: Bench, bucket: Bucket, contender: Contender, number: int) -> None:
    """Have so many uploads in the bucket: one that the server makes, and copies of its record."""
    with started(contender, bench.directory) as server:
        connection = Connection(server.target)
        id = connection.create(1 << 20).rpartition("/")[2]
        record = Objects(bucket).get(f"{id}.info")
        connection.remove(f"/files/{id}")
        connection.close()
    objects = Objects(bucket)
    for each in range(number):
        name = f"{each:0{len(id)}}"
        objects.put(f"{name}.info", record.replace(id.encode(), name.encode()))


class Objects:
    """The objects that vectus keeps in the sink.

    Args:
        bucket: the sink.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._connection = HTTPConnection(urlsplit(bucket.endpoint).netloc, timeout=30)

    def get(self, name: str) -> bytes:
        """Return an object's bytes."""
        return self._ask("GET", name, b"")

    def put(self, name: str, data: bytes) -> None:
        """Make or replace an object."""
        self._ask("PUT", name, data)

    def _ask(self, method: str, name: str, data: bytes) -> bytes:
        self._connection.request(method, f"/{BUCKET}/{known.PREFIX}/{name}", body=data)
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, answer.status
        return body
