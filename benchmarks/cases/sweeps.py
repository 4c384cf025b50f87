"""What a process costs before a bucket with uploads in it: its sweeper looks at every record once,
keeps in mind what it saw, and looks again now and then."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from urllib.parse import urlsplit

from benchmarks import buckets, known, measure
from benchmarks.bench import KIB, Bench
from benchmarks.buckets import BUCKET, Bucket
from benchmarks.load import SMALL
from benchmarks.servers import Contender, Server, ServerFailed, started
from benchmarks.table import OURS, Row, Sheet
from benchmarks.wire import Connection

PATIENCE = 180.0

LAST = "ListMultipartUploads"
"""What the sweeper does last."""

CALLS, MEMORY, CPU, NONE = "calls", "memory", "CPU", "none"
LATER = "later "
"""Before what a later look costs."""

SETTLED = "settled: "
"""Before what it is with uploads that are finished."""


def looks(bench: Bench) -> Sequence[Row]:
    """Start with one upload there, and with many, that are unfinished or finished."""
    sheet = Sheet()
    none, unfinished = each_costs(bench, 0)
    sheet.note(OURS, {NONE: none, **unfinished})
    _, finished = each_costs(bench, SMALL)
    sheet.note(OURS, {f"{SETTLED}{name}": value for name, value in finished.items()})
    return [
        sheet.row(NONE, CALLS, title="calls with nothing there"),
        sheet.row(CALLS, "each", title="calls for an upload that is there"),
        sheet.row(CPU, "ms each"),
        sheet.row(MEMORY, "KiB each", title="memory from then on"),
        sheet.row(f"{SETTLED}{LATER}{CALLS}", "each", title="a later look: calls, finished"),
        sheet.row(f"{SETTLED}{LATER}{CPU}", "ms each", title="a later look: CPU, finished"),
    ]


def each_costs(bench: Bench, content: int) -> tuple[float, Mapping[str, float]]:
    """Return the calls with none there, and what each costs: three quarters of them beside all,
    as the first ones have it make threads and connections.

    Args:
        bench: where, and how many.
        content: bytes of each, which is finished then; 0 for one that is not.
    """
    number, fewer = bench.scale.uploads, bench.scale.uploads // 4
    with buckets.sink(bench.directory) as bucket:
        contender = bucket.given_to(known.often_swept())
        seed(bench, bucket, contender, fewer, content)
        few = looked(bench, bucket, contender)
        seed(bench, bucket, contender, number, content)
        many = looked(bench, bucket, contender)
    each = {name: (many[name] - few[name]) / (number - fewer) for name in many}
    return few[CALLS] - fewer * each[CALLS], each


def looked(bench: Bench, bucket: Bucket, contender: Contender) -> Mapping[str, float]:
    """Return what a start took, and what the next look did."""
    before = bucket.calls()
    with started(contender, bench.directory) as server:
        first = after(bucket, server, before, 1)
        second = after(bucket, server, before, 2)
        last = after(bucket, server, before, 3)
    later = {f"{LATER}{name}": last[name] - second[name] for name in (CALLS, CPU)}
    return {**first, MEMORY: second[MEMORY], **later}


def after(bucket: Bucket, server: Server, before: Counter[str], times: int) -> Mapping[str, float]:
    """Return what a server has taken when it has looked so many times, and rests."""
    await_call(bucket, LAST, before[LAST] + times - 1)
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


def seed(bench: Bench, bucket: Bucket, contender: Contender, number: int, content: int) -> None:
    """Have so many uploads in the bucket: one that the server makes, and copies of it."""
    with started(contender, bench.directory) as server:
        connection = Connection(server.target)
        url = connection.create(content or 1 << 20)
        if content:
            connection.append(url, 0, content)
        id = url.rpartition("/")[2]
        record = Objects(bucket).get(f"{id}.info")
        connection.remove(f"/files/{id}")
        connection.close()
    objects = Objects(bucket)
    for each in range(number):
        name = f"{each:0{len(id)}}"
        objects.put(f"{name}.info", record.replace(id.encode(), name.encode()))
        if content:
            objects.put(name, bytes(content))


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
