"""The processes of the load generator, apart from the server's and from the one that measures.

They are started once and wait for jobs, so that no start-up falls into a measurement. Every wait
is bounded.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Self

from benchmarks.load import Job

PATIENCE = 180.0

READY, GO, STOP, CLEAN, CLEANED = "ready", "go", "stop", "clean", "cleaned"


class LoadFailed(Exception):
    """A job failed; the message is its traceback."""


class Failure(NamedTuple):
    """What a process sends back instead of a result."""

    text: str


class Outcome(NamedTuple):
    """What the jobs returned, and what those that ran meanwhile returned."""

    results: list[Any]
    meanwhile: list[Any]


class Hand:
    """One process that does one job at a time."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def tell(self, word: object) -> None:
        """Send a job, or a word about it."""
        self.pipe.send(word)

    def hear(self) -> Any:
        """Return what it says, or raise what went wrong."""
        if not self.pipe.poll(PATIENCE):
            raise LoadFailed("A load process has not answered in time.")
        try:
            said = self.pipe.recv()
        except (EOFError, ConnectionError):
            raise LoadFailed("A load process died.") from None
        if isinstance(said, Failure):
            raise LoadFailed(said.text)
        return said

    def dismiss(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join(1)
        self.process.kill()
        self.process.join()


class Crew:
    """As many hands as were ever needed at once."""

    def __init__(self) -> None:
        self.hands: list[Hand] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for hand in self.hands:
            hand.dismiss()

    @contextlib.contextmanager
    def prepared(
        self, jobs: Sequence[Job], meanwhile: Sequence[Job] = ()
    ) -> Iterator[Callable[[], Outcome]]:
        """Have jobs ready; yield the function that runs them, ``meanwhile`` as long as ``jobs``.

        They are cleaned up when the context ends.
        """
        hands = self._get(len(jobs) + len(meanwhile))
        try:
            for hand, job in zip(hands, [*jobs, *meanwhile], strict=True):
                hand.tell(job)
            hear_all(hands)
            first, others = hands[: len(jobs)], hands[len(jobs) :]
            yield lambda: run(first, others)
            tell_all(hands, CLEAN)
            hear_all(hands)
        except BaseException:
            self._forget(hands)
            raise

    def _get(self, number: int) -> list[Hand]:
        while len(self.hands) < number:
            self.hands.append(Hand())
        return self.hands[:number]

    def _forget(self, hands: list[Hand]) -> None:
        """Hands in the middle of something are not asked again."""
        for hand in hands:
            self.hands.remove(hand)
            hand.dismiss()


def run(first: list[Hand], others: list[Hand]) -> Outcome:
    """Run prepared jobs."""
    tell_all(others, GO)
    tell_all(first, GO)
    results = hear_all(first)
    tell_all(others, STOP)
    return Outcome(results, hear_all(others))


def tell_all(hands: list[Hand], word: str) -> None:
    """Say the same to several."""
    for hand in hands:
        hand.tell(word)


def hear_all(hands: list[Hand]) -> list[Any]:
    """Hear each of several."""
    return [hand.hear() for hand in hands]


def work(pipe: Connection) -> None:
    """Do jobs until nobody wants any; runs in the process."""
    with contextlib.suppress(EOFError, KeyboardInterrupt, OSError):
        while True:
            try:
                do(pipe.recv(), pipe)
            except EOFError:
                raise
            except Exception:
                pipe.send(Failure(traceback.format_exc()))


def do(job: Job, pipe: Connection) -> None:
    """Take one job through its steps, as they are called for."""
    state = job.prepare()
    pipe.send(READY)
    expect(pipe, GO)
    pipe.send(job.run(state, pipe.poll))
    expect(pipe, CLEAN)
    job.clean(state)
    pipe.send(CLEANED)


def expect(pipe: Connection, word: str) -> None:
    """Wait for a word, passing over one to stop that came too late."""
    while pipe.recv() != word:
        pass
