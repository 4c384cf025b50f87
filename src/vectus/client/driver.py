"""The blocking driver: does what the machine asks, one thing after the other."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from queue import SimpleQueue
from typing import TypeVar

import httpx2

from vectus.client.commands import (
    Answer,
    Broken,
    Command,
    Compare,
    Exchange,
    Part,
    Pause,
    Refresh,
    Steps,
    Together,
)
from vectus.client.credentials import NONE, Credentials
from vectus.client.desk import Desk
from vectus.client.job import Result
from vectus.client.machine import Machine
from vectus.client.sources import compare
from vectus.client.wire import FAILURES, OUT_OF_STEP, TEXT, Manner, answer_of, broken_by

T = TypeVar("T")

STRAGGLERS = 2.0
"""Seconds that the threads of a parallel upload have to end once one of them has failed."""
NAP = 0.1
"""Seconds between two looks whether the caller wants to stop."""


class Link:
    """What requests are sent over: one for all uploads of a client."""

    def __init__(self, http: httpx2.Client, manner: Manner, credentials: Credentials) -> None:
        self.http = http
        self.manner = manner
        self.credentials = credentials


class Body:
    """Bytes of the source as a request's body; it can be read again, as some authentication
    needs.

    Attributes:
        failure: what a function of the caller's raised that looks as if the network had failed.
    """

    def __init__(self, desk: Desk, start: int, stop: int) -> None:
        self._desk = desk
        self._start = start
        self._stop = stop
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        position = self._start
        try:
            for block in self._desk.blocks(position, self._stop):
                yield block
                position += len(block)
                self._desk.moved(position)
        except FAILURES as error:
            self.failure = error
            raise


class Driver:
    """Does what one machine asks.

    Args:
        link: how to send requests.
        desk: what needs no network.
    """

    def __init__(self, link: Link, desk: Desk) -> None:
        self._link = link
        self._desk = desk
        self._shown = NONE

    def run(self, steps: Steps[T]) -> T:
        """Have a conversation to its end, and return what it came to."""
        try:
            command = next(steps)
            while True:
                try:
                    reply = self._perform(command)
                except BaseException as error:  # the machine may clean up
                    command = steps.throw(error)
                else:
                    command = steps.send(reply)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    def _perform(self, command: Command) -> object:
        self._desk.before(command)
        match command:
            case Exchange():
                return self._exchange(command)
            case Pause(longest, least):
                self._sleep(max(random.uniform(longest / 2, longest), least))  # noqa: S311
                return None
            case Refresh():
                return self._link.credentials.refresh(self._shown)
            case Compare():
                return self._compare(command)
            case Together(parts):
                return self._together(parts)
        reply = self._desk.perform(command)
        self._desk.report()
        return reply

    def _exchange(self, request: Exchange) -> Answer | Broken:
        body = Body(self._desk, request.start, request.stop) if request.body else None

        def read(response: httpx2.Response) -> Answer | Broken:
            answer = read_answer(response)
            if not self._link.manner.echoes.is_echo(request, answer):
                return answer
            if (stream := response.extensions.get("network_stream")) is not None:
                stream.close()
            return Broken(OUT_OF_STEP)

        return self._send(request, body, read)

    def _compare(self, command: Compare) -> Answer | Broken | int | None:
        def read(response: httpx2.Response) -> Answer | int | None:
            if not response.is_success:
                return read_answer(response)
            return compare(self._desk.source, self._watched(response.iter_bytes()))

        return self._send(Exchange(command.ask, command.url), None, read)

    def _send(
        self, request: Exchange, body: Body | None, use: Callable[[httpx2.Response], T]
    ) -> T | Broken:
        """Send a request and use its response. What the caller's functions raise is no failure of
        the network, whatever it is."""
        self._shown = self._link.credentials.headers()
        arguments = self._link.manner.arguments(request, self._shown)
        try:
            with self._link.http.stream(**arguments, content=body) as response:
                return use(response)
        except FAILURES as error:
            if body is not None and body.failure is error:
                raise
            return broken_by(error, request.url)

    def _watched(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self._desk.go_on()
            yield block

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (rest := end - time.monotonic()) > 0:
            time.sleep(min(rest, NAP))
            self._desk.go_on()

    def _together(self, parts: tuple[Part, ...]) -> tuple[Result, ...]:
        """Run a machine for each part, in threads that nobody waits for when the process ends."""
        stop = threading.Event()
        done: SimpleQueue[tuple[int, Result | BaseException]] = SimpleQueue()

        def work(index: int, part: Part) -> None:
            try:
                desk = self._desk.of_part(part.label, part.start, part.stop, stop)
                done.put((index, Driver(self._link, desk).run(Machine(part.job).run())))
            except BaseException as error:  # told in the caller's thread
                done.put((index, error))

        threads: list[threading.Thread] = []
        try:
            for number, part in enumerate(parts):
                threads.append(_thread(work, number, part))
                threads[-1].start()
            return _collect(done, len(parts))
        finally:
            stop.set()
            _join(threads)


def read_answer(response: httpx2.Response) -> Answer:
    """Read a response, but no more of it than a sentence needs."""
    body = b""
    try:
        for block in response.iter_bytes():
            body += block
            if len(body) > TEXT:
                break
    except (httpx2.TransportError, httpx2.DecodingError):
        pass  # status and header fields are what counts
    return answer_of(response, body)


def _thread(work: Callable[[int, Part], None], number: int, part: Part) -> threading.Thread:
    """A thread in the caller's context, which its functions may look at."""
    context = copy_context()
    arguments = (work, number, part)
    return threading.Thread(target=context.run, args=arguments, name="vectus-part", daemon=True)


def _collect(
    done: SimpleQueue[tuple[int, Result | BaseException]], count: int
) -> tuple[Result, ...]:
    results: dict[int, Result] = {}
    for _ in range(count):
        index, outcome = done.get()
        if isinstance(outcome, BaseException):
            raise outcome
        results[index] = outcome
    return tuple(results[index] for index in range(count))


def _join(threads: list[threading.Thread]) -> None:
    """Wait for threads that were told to stop. One that waits for the network is left to itself:
    it reads nothing more of the source, and nobody hears of it."""
    end = time.monotonic() + STRAGGLERS
    for thread in threads:
        if thread.ident is not None:  # else an interrupt came before its start
            thread.join(max(0.0, end - time.monotonic()))
