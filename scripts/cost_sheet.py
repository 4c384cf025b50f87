"""Writes the cost sheet of docs/scaling.md from the newest full results in benchmarks/results.

Only what stands between the marks is written; the rest of the page is prose. With ``--check``
nothing is written: it exits with 1 if the page is not what would be written. Every figure in it is
measured, a default of vectus', or one of the assumptions and example prices that stand in here and
in the sheet.
"""

from __future__ import annotations

import argparse
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark_page import RESULTS, Result, newest
from cost_calls import GET_PRICE, PUT_PRICE, Calls, called, words
from cost_words import (
    GIB,
    KIB,
    MIB,
    dollars,
    heading,
    number,
    plain,
    rate,
    seconds,
    size,
    span,
    table,
)

from vectus.locks import postgres, redis
from vectus.stores.disk import Disk
from vectus.stores.s3 import joining
from vectus.stores.s3.parts import choose, usual
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import SCAN_EVERY
from vectus.stores.s3.threads import READERS, Threads
from vectus.stores.s3.walk import MOST_KNOWN, MOST_SETTLED

PAGE = Path(__file__).resolve().parent.parent / "docs" / "scaling.md"
BEGIN = "<!-- Made by scripts/cost_sheet.py from benchmarks/results: measure anew, do not edit. -->"
END = "<!-- End of what is made. -->"

OURS, DEAR = "vectus", "vectus: PUT, POST, LIST"
FEW = "vectus, spool of 64 MiB"

AT_ONCE = (10, 1_000, 100_000)
SIZE = GIB
RATE = MIB
"""Of each client, bytes per second."""
EACH = 500
"""Uploads that one process has at once."""
SENDING = 0.2
"""Seconds that S3 takes for a part."""
OPEN = 200
"""How many uploads the benchmark had half-sent."""

PAGE_OF_KEYS = 1000
"""How many objects S3 lists in one call."""
FINISHED = 1_000_000
"""Finished uploads that nobody has moved away."""
SETTLED = 240
"""Bytes of memory for each of them during a look, at most; a test sees to it."""

STORED_PRICE = 0.023
"""Dollars for a GB in a month."""

STATEMENTS = 2
"""What PostgreSQL is told for a request with a lock: to try it, and to let it go."""


@dataclass(frozen=True, slots=True)
class Course:
    """What uploads of one kind need, by the number of their parts."""

    fixed: Calls
    part: Calls

    def of(self, parts: int) -> Calls:
        """Return the calls of one with so many."""
        return self.fixed + self.part.times(parts)


class Figures:
    """What was measured.

    Args:
        results: of each case.
    """

    def __init__(self, results: Mapping[str, Result]) -> None:
        self._results = results

    def value(self, case: str, what: str, name: str = OURS) -> float:
        """Return a median."""
        for row in self._results[case]["rows"]:
            if row["what"] == what:
                return float(row["medians"][name])
        raise KeyError(f"{case} has no figure {what!r}")

    def calls(self, what: str) -> Calls:
        """Return the calls of a request."""
        dear = self.value("s3-calls", what, DEAR)
        return Calls(dear, self.value("s3-calls", what) - dear)

    def course(self, how: str) -> Course:
        """Return what uploads of a kind need, from two of different lengths."""
        two, five = (self.calls(f"whole upload of {mib} MiB, {how}") for mib in (16, 40))
        part = (five + two.times(-1)).times(1 / 3)
        return Course(two + part.times(-2), part)

    @property
    def idle(self) -> float:
        """Bytes of memory of a process that has nothing to do."""
        return self.value("s3-memory", "with none open") * MIB

    @property
    def open(self) -> float:
        """Bytes of memory for an upload under way."""
        return (self.value("s3-memory", "memory of the process") * MIB - self.idle) / OPEN

    @property
    def crowded(self) -> float:
        """The same where there is no room for it in the spool."""
        return (self.value("s3-memory", FEW, FEW) * MIB - self.idle) / OPEN

    @property
    def record(self) -> float:
        """Bytes of memory for an upload that the sweeper has seen."""
        return self.value("s3-sweep", "memory from then on") * KIB

    @property
    def reading(self) -> float:
        """CPU seconds for a record that the sweeper reads."""
        return self.value("s3-sweep", "CPU") / 1000

    @property
    def passing(self) -> float:
        """CPU seconds for a finished upload that the sweeper passes by."""
        return self.value("s3-sweep", "a later look: CPU, finished") / 1000

    @property
    def cpu(self) -> float:
        """CPU seconds for a GiB."""
        return self.value("s3", "one upload: CPU")


NEEDED = ("s3", "s3-memory", "s3-sweep", "s3-calls", "locks")


def main() -> None:
    """Write the sheet, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, complain")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are")
    options = parser.parse_args()
    results = newest(options.results)
    if missing := set(NEEDED) - results.keys():
        sys.exit(f"There is no full result of {', '.join(sorted(missing))}: measure first.")
    text = PAGE.read_text(encoding="utf-8")
    made = put(text, "\n".join(render(Figures(results))))
    if not options.check:
        PAGE.write_text(made, encoding="utf-8")
    elif made != text:
        sys.exit("docs/scaling.md is not what was measured: python scripts/cost_sheet.py")


def put(text: str, sheet: str) -> str:
    """Put the sheet into its place on the page."""
    place = re.compile(f"(?s){re.escape(BEGIN)}\n.*?{re.escape(END)}\n")
    if len(place.findall(text)) != 1:
        sys.exit("docs/scaling.md must have one place for the sheet.")
    return place.sub(lambda _: f"{BEGIN}\n{sheet}\n{END}\n", text)


def render(figures: Figures) -> Iterator[str]:
    """Yield the sheet's lines."""
    yield from inputs(figures)
    yield from requests(figures)
    yield from single(figures)
    yield from many(figures)


# Inputs.


def inputs(figures: Figures) -> Iterator[str]:
    """What everything is reckoned from."""
    yield from heading("What it is reckoned from")
    yield from table(["", "", "from"], [[*row, source] for *row, source in known(figures)])
    yield from table(["", "replace it with yours"], assumed())


def known(figures: Figures) -> Iterator[list[str]]:
    """Yield what was measured, and what is a default."""
    slow, chunked = (figures.course(how) for how in (SLOW, CHUNKED))
    yield ["calls for each part, in a PATCH of many parts", words(slow.part), "`s3-calls`"]
    yield ["… and for all else, from POST to the end", words(slow.fixed), "`s3-calls`"]
    yield ["calls for each part, in a PATCH of its own", words(chunked.part), "`s3-calls`"]
    yield ["… and for all else", words(chunked.fixed), "`s3-calls`"]
    yield ["CPU", f"{figures.cpu:.2f} s/GiB", "`s3`"]
    yield ["memory of a process, nothing open", size(figures.idle), "`s3-memory`"]
    yield ["… for an upload under way", size(figures.open), "`s3-memory`"]
    yield ["… for one that waits for room in the spool", size(figures.crowded), "`s3-memory`"]
    yield ["… for an upload that the sweeper has seen", size(figures.record), "`s3-sweep`"]
    yield ["… of which it keeps in mind at most", number(MOST_KNOWN), "`MOST_KNOWN`"]
    yield ["… for a finished one, at most", size(SETTLED), "a test"]
    yield ["… of which it keeps in mind at most", number(MOST_SETTLED), "`MOST_SETTLED`"]
    yield ["CPU for a record that it reads", f"{figures.reading * 1000:.1f} ms", "`s3-sweep`"]
    yield ["… for a finished one, seen before", f"{figures.passing * 1000:.2f} ms", "`s3-sweep`"]
    yield ["commands to Redis for a PATCH", f"{commands(figures):.0f}", "`locks`"]
    yield ["connections to Redis", f"{connections(figures):.0f}", "`locks`"]
    yield ["a part", size(usual(SIZE)), "what is usual for its length"]
    yield ["parts sent at once by a process", str(PLACE.parts_in_flight), "`parts_in_flight`"]
    yield ["bytes in a process's spool", size(PLACE.spool), "default of `spool`"]
    yield ["a look at everything, by one process for all", f"every {scan():.0f} s", "the sweeper"]
    yield ["… and by each process", "at its start", "the sweeper"]
    yield ["threads of a process at most", f"{threads()}", "the store"]
    yield ["… more while it joins", f"{joiners()}", "the store"]


SLOW, CHUNKED = "one slow PATCH", "PATCHes of 8 MiB"
PLACE = Place("example")


def commands(figures: Figures) -> float:
    """Return what Redis is told for a PATCH."""
    return figures.value("locks", "PATCH")


def connections(figures: Figures) -> float:
    """Return how many connections a process has to Redis."""
    return figures.value("locks", "connections of a process")


def scan() -> float:
    """Return the seconds from one look of the sweeper's at everything to the next."""
    return SCAN_EVERY


def threads() -> int:
    """Return how many threads a store has at most: for parts, all other calls, joins, the sweeper,
    and the spool's files."""
    given = (int(default(Threads.__init__, name)) for name in ("small", "long"))
    spool = int(default(Disk.__init__, "threads"))
    return PLACE.parts_in_flight + sum(given) + READERS + spool


def joiners() -> int:
    """Return how many threads all joins have that are at work at once, for their parts."""
    return int(default(Threads.__init__, "long")) * joining.AT_ONCE


def default(function: Callable[..., Any], name: str) -> Any:
    """Return the default of an argument."""
    return inspect.signature(function).parameters[name].default


def assumed() -> Iterator[list[str]]:
    """Yield what the reader should replace."""
    yield ["an upload", size(SIZE)]
    yield ["a client sends", f"{size(RATE)}/s"]
    yield ["uploads at once in one process", number(EACH)]
    yield ["S3 takes a part in", f"{SENDING} s"]
    yield ["a million PUT, POST, COPY or LIST calls", f"{PUT_PRICE:.2f} $"]
    yield [
        "a million GET, HEAD or other calls; a DELETE is free, but is counted here",
        f"{GET_PRICE:.2f} $",
    ]
    yield ["a GB stored for a month", f"{STORED_PRICE} $"]


# One request, one upload.

REQUESTS = {
    "POST": "create",
    "POST that brings all 4 KiB": "creation with 4 KiB that finishes",
    "HEAD": "HEAD",
    "HEAD, after the first part": "HEAD, parts there",
    "PATCH of 4 KiB": "small PATCH",
    "PATCH of 4 KiB, after the first part": "small PATCH, parts there",
    "PATCH of 4 KiB onto a tail": "small PATCH onto a tail",
    "… after the first part": "small PATCH onto a tail, parts there",
    "PATCH of 4 KiB that finishes": "small PATCH that finishes, parts there",
    "DELETE": "DELETE",
    "DELETE, after the first part": "DELETE, parts there",
    "GET": "GET of 4 KiB",
}


def requests(figures: Figures) -> Iterator[str]:
    """What each request asks of S3."""
    yield from heading("One request")
    yield "Each at a process that has not seen the upload before.\n"
    rows = [
        [title, plain(calls.dear), plain(calls.cheap), f"{calls.price * 1e6:.1f} $"]
        for title, calls in ((title, figures.calls(step)) for title, step in REQUESTS.items())
    ]
    yield from table(["", "PUT, POST, LIST", "GET, HEAD, DELETE", "a million of them"], rows)


def single(figures: Figures) -> Iterator[str]:
    """What an upload needs from beginning to end."""
    slow, chunked = (figures.course(how) for how in (SLOW, CHUNKED))
    yield from heading("One upload")
    yield (
        f"An upload of n parts takes {words(slow.fixed)} and for each part {words(slow.part)} if "
        f"it comes in one slow PATCH; {words(chunked.fixed)} and for each {words(chunked.part)} "
        "if every part is a PATCH of its own.\n"
    )
    rows = []
    for length in (16 * MIB, 100 * MIB, GIB, 10 * GIB, 100 * GIB):
        part = choose(length).size
        parts = -(-length // part)
        ways = [course.of(parts) for course in (slow, chunked)]
        told = (f"{number(way.total)}, {dollars(1000 * way.price)}" for way in ways)
        rows.append([size(length), size(part), number(parts), *told])
    header = [
        "length",
        "a part",
        "parts",
        "calls, price of 1000: one PATCH",
        "a PATCH for each part",
    ]
    yield from table(header, rows)


# Many at once.


def many(figures: Figures) -> Iterator[str]:
    """What many uploads at once need."""
    yield from heading("Many uploads at once")
    rows = [[title, how, *map(count, AT_ONCE)] for title, how, count in reckoned(figures)]
    header = ["uploads at once: N", "how", *map(number, AT_ONCE)]
    yield from table(header, rows)


Row = tuple[str, str, Callable[[int], str]]


def reckoned(figures: Figures) -> Iterator[Row]:
    """Yield each row's title, its arithmetic, and its value for a number of uploads."""
    lasts, part = SIZE / RATE, usual(SIZE)
    slow, chunked = (figures.course(how).of(SIZE // part) for how in (SLOW, CHUNKED))
    idle, held, seen = figures.idle, figures.open, figures.record
    yield "bytes arrive", f"N × {size(RATE)}/s", lambda n: f"{size(n * RATE)}/s"
    yield "uploads end, an hour", f"N × 3600 s / {lasts:.0f} s", lambda n: number(n * 3600 / lasts)
    yield "processes P", f"N / {EACH}", lambda n: number(processes(n))
    yield (
        "CPU, cores",
        f"N × {size(RATE)}/s × {figures.cpu:.2f} s/GiB",
        lambda n: rate(n * RATE / GIB * figures.cpu),
    )
    yield (
        "memory",
        f"P × {size(idle)} + N × {size(held)} + min(N, {number(MOST_KNOWN)}) × {size(seen)}",
        lambda n: size(processes(n) * idle + n * held + in_mind(n) * seen),
    )
    yield (
        f"… more in each process, for {2 * scan() / 60:.0f} minutes after its start",
        f"min(N, {number(MOST_KNOWN)}) × {size(seen)}",
        lambda n: size(in_mind(n) * seen),
    )
    yield "spool, if nobody is to wait", f"N × {size(part)}", lambda n: size(n * part)
    yield "… of each process", "the same / P", lambda n: size(n * part / processes(n))
    yield (
        "parts in flight, each process",
        f"N × {size(RATE)}/s / {size(part)} × {SENDING} s / P",
        lambda n: f"{n * RATE / part * SENDING / processes(n):.1f}",
    )
    yield "unfinished in S3", f"N × {size(SIZE)} / 2", lambda n: size(n * SIZE / 2)
    yield (
        "… a month of it",
        f"× {STORED_PRICE} $/GB",
        lambda n: dollars(n * SIZE / 2 / 1e9 * STORED_PRICE),
    )
    yield from by_the_hour("S3 calls, an hour, one PATCH", slow, lasts)
    yield from by_the_hour("… a PATCH for each part", chunked, lasts)
    yield from sweeping(figures, lasts)
    renewals = f"P × {EACH} / {redis.BATCH} each {redis.TTL / 3:.0f} s"
    yield (
        "commands to Redis, a second, one PATCH",
        f"N / {lasts:.0f} s × {2 * commands(figures):.0f} + {renewals}",
        lambda n: rate(n / lasts * 2 * commands(figures) + renewed(n)),
    )
    yield (
        "… a PATCH for each part",
        f"N × {size(RATE)}/s / {size(part)} × {commands(figures):.0f} + {renewals}",
        lambda n: rate(n * RATE / part * commands(figures) + renewed(n)),
    )
    yield (
        "connections to Redis",
        f"P × {connections(figures):.0f} to {redis.CONNECTIONS + 1}",
        lambda n: span(processes(n), connections(figures), redis.CONNECTIONS + 1),
    )
    yield (
        "statements to PostgreSQL, a second, a PATCH for each part",
        f"N × {size(RATE)}/s / {size(part)} × {STATEMENTS} + P / {postgres.BEAT:.0f} s",
        lambda n: rate(n * RATE / part * STATEMENTS + processes(n) / postgres.BEAT),
    )
    yield "connections to PostgreSQL", "P", lambda n: number(processes(n))


def by_the_hour(title: str, calls: Calls, lasts: float) -> Iterator[Row]:
    """Yield the row of all uploads' calls in an hour."""
    yield (
        title,
        f"N × 3600 s / {lasts:.0f} s × ({words(calls)})",
        lambda n: called(calls.times(n * 3600 / lasts)),
    )


def sweeping(figures: Figures, lasts: float) -> Iterator[Row]:
    """Yield what it costs to look at everything: one process does now and then, each at its start.

    Between two looks every upload under way changes its record, and so do those that end.
    """
    looks, listed = 3600 / scan(), f"(1 + 2N / {PAGE_OF_KEYS} + N / {PAGE_OF_KEYS}) LIST"
    anew, changed = 1 + scan() / lasts, f"N × (1 + {scan():.0f} s / {lasts:.0f} s)"
    done, listed_too = number(FINISHED), f"{number(2 * FINISHED)} / {PAGE_OF_KEYS} LIST"
    each, cpu = figures.reading, f"{figures.reading * 1000:.1f} ms"
    yield (
        "the sweeper's calls, an hour",
        f"{looks:.0f} × ({listed} + {changed} GET)",
        lambda n: called(Calls(pages(n), n * anew).times(looks)),
    )
    yield "… CPU of it, each time", f"{changed} × {cpu}", lambda n: seconds(n * anew * each)
    yield (
        "… calls more, with a million finished uploads there",
        f"{looks:.0f} × {listed_too}",
        lambda _: called(Calls(2 * FINISHED / PAGE_OF_KEYS, 0).times(looks)),
    )
    yield (
        "… CPU of that, each time",
        f"{done} × {figures.passing * 1000:.2f} ms",
        lambda _: seconds(FINISHED * figures.passing),
    )
    yield (
        "… memory of that, in the process that sweeps",
        f"{done} × {size(SETTLED)}",
        lambda _: size(FINISHED * SETTLED),
    )
    yield (
        "calls when all processes start anew",
        f"P × ({listed} + N GET)",
        lambda n: called(Calls(pages(n), n).times(processes(n))),
    )
    yield "… CPU of it, each process", f"N × {cpu}", lambda n: seconds(n * each)
    yield (
        "… calls more, with a million finished uploads there",
        f"P × ({listed_too} + {done} GET)",
        lambda n: called(Calls(2 * FINISHED / PAGE_OF_KEYS, FINISHED).times(processes(n))),
    )
    yield "… CPU of that, each process", f"{done} × {cpu}", lambda _: seconds(FINISHED * each)


def processes(uploads: int) -> int:
    """Return how many processes there are."""
    return -(-uploads // EACH)


def pages(uploads: int) -> int:
    """Return how many pages a look lists: of joins, of two objects for each upload, of multipart
    uploads."""
    return 1 + math.ceil(2 * uploads / PAGE_OF_KEYS) + math.ceil(uploads / PAGE_OF_KEYS)


def in_mind(uploads: int) -> int:
    """Return how many records are kept in mind from one look to the next."""
    return min(uploads, MOST_KNOWN)


def renewed(uploads: int) -> float:
    """Return how often Redis is told in a second that leases go on."""
    batches = math.ceil(min(EACH, uploads) / redis.BATCH)
    return processes(uploads) * batches / (redis.TTL / 3)


if __name__ == "__main__":
    main()
