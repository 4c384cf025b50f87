"""The asyncio driver: does what the machine asks, and never blocks the loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import httpx2

from vectus.client.commands import (
    Answer,
    Broken,
    Check,
    Command,
    Compare,
    Digest,
    Exchange,
    Forget,
    Hold,
    Keep,
    Part,
    Pause,
    Recall,
    Refresh,
    Steps,
    Together,
)
from vectus.client.credentials import NONE, AsyncCredentials
from vectus.client.desk import Desk
from vectus.client.job import Result
from vectus.client.machine import Machine
from vectus.client.sources import AsyncStream, acompare
from vectus.client.threads import Reader, in_thread, settled
from vectus.client.wire import FAILURES, OUT_OF_STEP, TEXT, Manner, answer_of, broken_by

T = TypeVar("T")

Hop = Callable[..., Awaitable[Any]]
"""Makes a call that may block, or is known not to."""

NAP = 0.1
"""Seconds between two looks whether the caller wants to stop."""


class Link:
    """What requests are sent over: one for all uploads of a client."""

    def __init__(
        self, http: httpx2.AsyncClient, manner: Manner, credentials: AsyncCredentials
    ) -> None:
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

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = self._start
        try:
            reader = Reader(self._desk.blocks(position, self._stop))
            while block := await reader.read():
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
        hop: how to use the resume store.
    """

    def __init__(self, link: Link, desk: Desk, hop: Hop) -> None:
        self._link = link
        self._desk = desk
        self._hop = hop
        self._shown = NONE

    async def run(self, steps: Steps[T]) -> T:
        """Have a conversation to its end, and return what it came to."""
        try:
            command = next(steps)
            while True:
                try:
                    reply = await self._perform(command)
                except BaseException as error:  # the machine may clean up
                    command = steps.throw(error)
                else:
                    command = steps.send(reply)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    async def _perform(self, command: Command) -> object:
        self._desk.before(command)
        match command:
            case Exchange():
                return await self._exchange(command)
            case Pause(longest, least):
                await self._sleep(max(random.uniform(longest / 2, longest), least))  # noqa: S311
                return None
            case Refresh():
                return await self._link.credentials.refresh(self._shown)
            case Compare():
                return await self._compare(command)
            case Together(parts):
                return await self._together(parts)
            case Recall() | Keep() | Forget():
                return await self._note(command)
            case Hold():
                return await self._hold(command)
            case Digest() | Check():
                return await in_thread(self._desk.perform, command)
        return self._desk.perform(command)

    async def _note(self, command: Command) -> object:
        reply = await self._hop(self._desk.perform, command)
        self._desk.report()
        return reply

    async def _hold(self, command: Hold) -> object:
        """Have bytes at hand. A stream may keep its reader waiting for ever: a cancelled upload
        leaves it to its thread."""
        source: object = self._desk.source
        if isinstance(source, AsyncStream):
            return await source.hold(command.start, command.count)
        if self._desk.source.replayable:
            return self._desk.perform(command)
        return await in_thread(self._desk.perform, command)

    async def _exchange(self, request: Exchange) -> Answer | Broken:
        body = Body(self._desk, request.start, request.stop) if request.body else None

        async def read(response: httpx2.Response) -> Answer | Broken:
            answer = await read_answer(response)
            if not self._link.manner.echoes.is_echo(request, answer):
                return answer
            if (stream := response.extensions.get("network_stream")) is not None:
                await stream.aclose()
            return Broken(OUT_OF_STEP)

        return await self._send(request, body, read)

    async def _compare(self, command: Compare) -> Answer | Broken | int | None:
        async def read(response: httpx2.Response) -> Answer | int | None:
            if not response.is_success:
                return await read_answer(response)
            async with aclosing(self._watched(response)) as blocks:
                return await acompare(self._desk.source, blocks)

        return await self._send(Exchange(command.ask, command.url), None, read)

    async def _send(
        self,
        request: Exchange,
        body: Body | None,
        use: Callable[[httpx2.Response], Awaitable[T]],
    ) -> T | Broken:
        """Send a request and use its response. What the caller's functions raise is no failure of
        the network, whatever it is."""
        self._shown = await self._link.credentials.headers()
        arguments = self._link.manner.arguments(request, self._shown)
        try:
            async with self._link.http.stream(**arguments, content=body) as response:
                return await use(response)
        except FAILURES as error:
            if body is not None and body.failure is error:
                raise
            return broken_by(error, request.url)

    async def _watched(self, response: httpx2.Response) -> AsyncGenerator[bytes]:
        """What is not closed here and now would be by a task that nobody waits for."""
        async with aclosing(response.aiter_bytes()) as blocks:
            async for block in blocks:
                self._desk.go_on()
                yield block

    async def _sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (rest := end - loop.time()) > 0:
            await asyncio.sleep(min(rest, NAP))
            self._desk.go_on()

    async def _together(self, parts: tuple[Part, ...]) -> tuple[Result, ...]:
        """Run a machine for each part, in tasks; none outlives this call."""
        stop = asyncio.Event()
        tasks: list[asyncio.Task[Result]] = []
        try:
            tasks.extend(asyncio.create_task(self._part(part, stop)) for part in parts)
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()  # the one that failed raises
            return tuple(task.result() for task in tasks)
        finally:
            stop.set()
            for task in tasks:
                task.cancel()
            await settled(tasks)

    async def _part(self, part: Part, stop: asyncio.Event) -> Result:
        desk = self._desk.of_part(part.label, part.start, part.stop, stop)
        return await Driver(self._link, desk, self._hop).run(Machine(part.job).run())


async def read_answer(response: httpx2.Response) -> Answer:
    """Read a response, but no more of it than a sentence needs."""
    body = b""
    try:
        async with aclosing(response.aiter_bytes()) as blocks:
            async for block in blocks:
                body += block
                if len(body) > TEXT:
                    break
    except (httpx2.TransportError, httpx2.DecodingError):
        pass  # status and header fields are what counts
    return answer_of(response, body)
