"""What an open upload costs while nothing comes: memory and descriptors."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator, Mapping, Sequence

from benchmarks import known, measure
from benchmarks.bench import KIB, Bench
from benchmarks.load import Talk
from benchmarks.servers import Server
from benchmarks.table import Bound, Row
from benchmarks.wire import Connection

BODY = 128 * KIB
SENT = BODY // 2

MEMORY, DESCRIPTORS = "memory", "descriptors"


def open_uploads(bench: Bench) -> Sequence[Row]:
    """Thousands of PATCHes, each half-sent; every contender freshly started."""
    allow_files()
    contenders = [known.FLOOR, known.vectus(), *bench.peers]

    def one(server: Server) -> Mapping[str, float]:
        return held(server, bench.scale.uploads)

    sheet = bench.afresh(contenders, one, rounds=1)
    return [
        sheet.row(MEMORY, "KiB each", Bound("≤", 24)),
        sheet.row(DESCRIPTORS, "each", Bound("≤", 3)),
    ]


def held(server: Server, number: int) -> Mapping[str, float]:
    """Return what one open upload costs when there are many."""
    with half_sent(server, min(10, number)):
        measure.rest(server.pid)
    measure.rest(server.pid)
    memory, files = measure.memory(server.pid), measure.descriptors(server.pid)
    with half_sent(server, number):
        measure.rest(server.pid)
        memory = measure.memory(server.pid) - memory
        files = measure.descriptors(server.pid) - files
    return {MEMORY: memory / number / KIB, DESCRIPTORS: files / number}


@contextlib.contextmanager
def half_sent(server: Server, number: int) -> Iterator[None]:
    """Have uploads open whose bodies do not go on."""
    uploads = created(server, number)
    connections: list[Connection] = []
    try:
        for upload in uploads:
            connections.append(Connection(server.target))
            connections[-1].send(connections[-1].language.append(upload, 0, BODY))
            connections[-1].pour(SENT)
        yield
    finally:
        for connection in connections:
            connection.close()


def created(server: Server, number: int, length: int = BODY) -> list[str]:
    """Create uploads, over a few connections that are closed again."""
    talk = Talk(server.target, min(8, number))
    answers = talk.converse(talk.language.create(length) for _ in range(number))
    talk.close()
    return [answer.upload for answer in answers]


def allow_files() -> None:
    """Open as many files as we may; a server started later inherits it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
