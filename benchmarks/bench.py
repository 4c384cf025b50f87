"""What every case works with: how much to do, the contenders, and rounds that are interleaved.

Cases decide what is measured; this decides in which order, and what happens when a peer fails.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks import measure
from benchmarks.crew import Crew, LoadFailed
from benchmarks.load import Job, Span
from benchmarks.servers import Contender, Server, ServerFailed, started
from benchmarks.table import Row, Sheet
from benchmarks.wire import WireError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Absent(Exception):
    """What a case needs is not here; the message says what."""


FAILURES = (LoadFailed, ServerFailed, WireError, OSError)
"""What may go wrong with a contender."""

T = TypeVar("T")

One = Callable[[Server], Mapping[str, float]]
"""Measures one contender once: figure → value."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done.

    Args:
        kind: what the JSON files call it.
        size: bytes of an upload at full speed.
        patch: bytes of a PATCH, where an upload comes in several.
        hashed: bytes of a checksummed PATCH.
        rounds: how often each contender has its turn.
        seconds: how long small requests are sent.
        connections: on how many connections they are.
        uploads: how many uploads are open at once.
        fetches: how often a file is downloaded in a turn.
        slow: how long a slow disk is watched, after its first second.
        stored: bytes of an upload into S3.
        half: how many uploads into S3 are half-sent at once.
    """

    kind: str
    size: int
    patch: int
    hashed: int
    rounds: int
    seconds: float
    connections: int
    uploads: int
    fetches: int
    slow: float
    stored: int
    half: int

    def judged(self, row: Row) -> Row:
        """Return a row with its bound, or without one where too little was done to judge."""
        return row if self.kind == "full" else replace(row, bound=None)


FULL = Scale("full", GIB, 8 * MIB, 512 * MIB, 5, 0.5, 16, 4000, 4, 5.0, GIB, 200)
QUICK = Scale("quick", 8 * MIB, MIB, 4 * MIB, 1, 0.1, 4, 40, 2, 0.5, 24 * MIB, 8)


@dataclass(frozen=True, slots=True)
class Bench:
    """A run.

    Args:
        scale: how much to do.
        crew: who does it.
        directory: where servers keep their files.
        peers: contenders other than the floor and vectus.
        s3_peers: those that keep uploads in S3.
    """

    scale: Scale
    crew: Crew
    directory: Path
    peers: tuple[Contender, ...]
    s3_peers: tuple[Contender, ...] = ()

    def interleaved(
        self, contenders: Sequence[Contender], one: One, rounds: int | None = None
    ) -> Sheet:
        """Give every contender its turn, round after round (floor, vectus, peers, floor, …).

        All run at the same time, idle but for the one whose turn it is. Each has one turn before
        that is not counted. A peer that fails is left out from there on.
        """
        sheet = Sheet()
        with contextlib.ExitStack() as stack:
            servers = [self._start(stack, contender) for contender in contenders]
            able = [s for s in servers if s and self.attempt(s.name, partial(one, s)) is not None]
            for _ in range(rounds or self.scale.rounds):
                for server in able:
                    sheet.note(server.name, self.attempt(server.name, partial(one, server)) or {})
        return sheet

    def afresh(self, contenders: Sequence[Contender], one: One, rounds: int | None = None) -> Sheet:
        """Do the same with a new server in a new directory for every turn."""
        sheet = Sheet()
        for _ in range(rounds or self.scale.rounds):
            for contender in contenders:
                figures = self.attempt(contender.name, partial(self._only, contender, one))
                sheet.note(contender.name, figures or {})
        return sheet

    def _only(self, contender: Contender, one: One) -> Mapping[str, float]:
        with started(contender, self.directory) as server:
            return one(server)

    def attempt(self, name: str, action: Callable[[], T]) -> T | None:
        """Report a peer's failure instead of ending the case; ours and the floor's do end it."""
        try:
            return action()
        except FAILURES as failure:
            if name not in {peer.name for peer in (*self.peers, *self.s3_peers)}:
                raise
            say(f"  {name} is left out: {str(failure).strip().splitlines()[-1]}")
            return None

    def _start(self, stack: contextlib.ExitStack, contender: Contender) -> Server | None:
        start = started(contender, self.directory)
        return self.attempt(contender.name, partial(stack.enter_context, start))


def say(text: str) -> None:
    """Tell whoever waits how far we are."""
    print(text, file=sys.stderr, flush=True)


def charged(bench: Bench, server: Server, jobs: Sequence[Job]) -> tuple[list[Span], float]:
    """Run jobs and return when they ran and the server's CPU seconds meanwhile."""
    with bench.crew.prepared(jobs) as run:
        before = measure.cpu(server.pid)
        spans: list[Span] = run().results
        return spans, measure.cpu(server.pid) - before


def overall(spans: Sequence[Span]) -> Span:
    """Return the time from the first start to the last end."""
    return Span(
        min(s.start for s in spans), max(s.stop for s in spans), sum(s.times for s in spans)
    )
