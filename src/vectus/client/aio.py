"""The asyncio driver: does what the machine asks, and never blocks the loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx2

from vectus.client import notes
from vectus.client.blocking import CLIENT_OPTIONS
from vectus.client.commands import (
    Answer,
    Broken,
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
from vectus.client.contracts import ResumeStore
from vectus.client.credentials import AsyncAuth, AsyncCredentials
from vectus.client.desk import Cancel, Desk
from vectus.client.dialogue import Budget, Requests, discover, inspect, terminate
from vectus.client.happenings import Happening, Noticed, Progress
from vectus.client.inputs import AsyncInput
from vectus.client.job import Chunks, Result, Verify
from vectus.client.machine import Machine
from vectus.client.meter import Meter
from vectus.client.orders import (
    CommonOptions,
    Fingerprinter,
    Habits,
    MetadataValue,
    Order,
    patience,
)
from vectus.client.parallel import Parallel
from vectus.client.resume import MemoryResume
from vectus.client.sources import AsyncStream, acompare, open_async_source, open_source
from vectus.client.threads import Reader, in_thread, to_end
from vectus.client.wire import (
    FAILURES,
    TEXT,
    BeforeRequest,
    answer_of,
    broken_by,
    headers_of,
    timeouts as timeouts_of,
)
from vectus.protocol.dialects.tus1_client import Offer, State

T = TypeVar("T")

Hop = Callable[..., Awaitable[Any]]
"""Makes a call that may block, or is known not to."""

NAP = 0.1
"""Seconds between two looks whether the caller wants to stop."""


class AsyncClient:
    """``Client`` for asyncio, with the same arguments.

    ``auth`` may be a coroutine function, ``source`` an async iterable of bytes, ``http`` is an
    ``httpx2.AsyncClient``. ``on_progress`` and ``on_event`` are plain functions, called on the
    loop. A cancelled task leaves its upload to be gone on with.

    Args:
        endpoint: where uploads are created; and so on, as ``Client`` has it.

    Raises:
        ValueError: an argument makes no sense.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        auth: AsyncAuth | None = None,
        resume: ResumeStore | None = None,
        http: httpx2.AsyncClient | None = None,
        retries: int = 8,
        retry_delay: float = 0.5,
        method_override: bool = False,
        before_request: BeforeRequest | None = None,
        timeout: float | None = None,  # of the network, not of the call
        preset: str | Chunks | None = None,
    ) -> None:
        self._habits = Habits(endpoint, patience(retries, retry_delay), method_override, preset)
        self._resume = MemoryResume() if resume is None else resume
        self._offers: dict[str, Offer] = {}
        speaker = httpx2.AsyncClient() if http is None else http
        self._own = speaker if http is None else None
        given = auth if isinstance(auth, httpx2.Auth | tuple) else None
        self._link = Link(
            http=speaker,
            headers=dict(headers or {}),
            auth=given,
            credentials=AsyncCredentials(None if given is not None else auth),  # type: ignore[arg-type]
            before=before_request,
            timeout=timeout,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, if they are our own."""
        if self._own is not None:
            await self._own.aclose()

    async def upload(
        self,
        source: AsyncInput,
        *,
        metadata: Mapping[str, MetadataValue] | None = None,
        length: int | None = None,
        chunk_size: int | None = None,
        checksum: str | None = None,
        verify: Verify | None = None,
        parallel: int = 1,
        fingerprint: str | Fingerprinter | None = None,
        upload_url: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        on_event: Callable[[Happening], object] | None = None,
        cancel: Cancel | None = None,
    ) -> Result:
        """Upload a source, going on where an earlier run has stopped; see ``Client.upload``.

        Returns:
            The upload's URL and length, once the server has all of it.

        Raises:
            ValueError: an argument makes no sense.
            UploadError: it came to nothing; ``url`` says what is left at the server.
        """
        order = Order(
            metadata=metadata,
            chunk_size=chunk_size,
            checksum=checksum,
            verify=verify,
            parallel=parallel,
            fingerprint=fingerprint,
            upload_url=upload_url,
            on_progress=on_progress,
            on_event=on_event,
            cancel=cancel,
        )
        order.check(self._habits)
        opened = await in_thread(open_async_source, source, length)
        return await self._upload(opened, order)

    async def offset(self, url: str) -> int:
        """Ask how many bytes of an upload the server has; 0 for one that is still to be joined.

        Raises:
            UploadError: it does not say.
        """
        return (await self.inspect(url)).offset or 0

    async def inspect(self, url: str) -> State:
        """Ask where an upload is.

        Raises:
            UploadError: the server does not say.
        """
        return await self._ask(inspect(self._requests(), url))

    async def terminate(self, url: str) -> bool:
        """Have an upload deleted, whatever is there of it; say whether it was there.

        Raises:
            UploadError: the server does not do that.
        """
        return await self._ask(terminate(self._requests(), url))

    async def capabilities(self, endpoint: str | None = None) -> Offer:
        """Ask what an endpoint offers; it is asked once.

        Raises:
            UploadError: it does not say.
        """
        url = endpoint or self._habits.endpoint
        if url is None:
            raise ValueError("Say whose capabilities: give an endpoint.")
        return await self._ask(discover(self._requests(), url))

    async def _upload(self, source: Any, order: Order) -> Result:
        meter = Meter(source.length, order.on_progress, order.on_event)
        driver: Driver | None = None
        try:
            job = order.job(self._habits, source)
            key = await to_end(order.fingerprint_of, self._habits, source)
            noted = notes.opened(
                self._resume, key, source.length, lambda text: meter.tell(None, Noticed(text))
            )
            hop: Hop = _at_once if isinstance(self._resume, MemoryResume) else to_end
            async with _entered(noted, hop) as memory:
                cancel = () if order.cancel is None else (order.cancel,)
                desk = Desk(source, memory, meter, self._offers, cancel)
                driver = Driver(self._link, desk, hop)
                steps = Parallel(job, order.parallel) if order.parallel > 1 else Machine(job)
                return await driver.run(steps.run())
        finally:
            if driver is None or not driver.straggling:
                source.close()

    def _requests(self) -> Requests:
        return Requests(Budget(self._habits.patience), override=self._habits.override)

    async def _ask(self, steps: Steps[T]) -> T:
        meter = Meter(None, None, None)
        memory = notes.Notes(None, "", None, None, lambda _: None)
        desk = Desk(open_source(b""), memory, meter, self._offers)
        return await Driver(self._link, desk, _at_once).run(steps)


class Link:
    """How requests are sent: one for all uploads of a client."""

    def __init__(
        self,
        *,
        http: httpx2.AsyncClient,
        headers: dict[str, str],
        auth: httpx2.Auth | tuple[str, str] | None,
        credentials: AsyncCredentials,
        before: BeforeRequest | None,
        timeout: float | None,
    ) -> None:
        self.credentials = credentials
        self._http = http
        self._headers = headers
        self._auth: Any = httpx2.USE_CLIENT_DEFAULT if auth is None else auth
        self._before = before
        self._timeout = timeout

    async def send(
        self,
        request: Exchange,
        body: Body | None,
        use: Callable[[httpx2.Response], Awaitable[T]],
    ) -> T:
        """Send a request and use its response.

        Raises:
            TransportError: no response came; and the others of ``FAILURES``.
        """
        own = self._headers | await self.credentials.headers()
        async with self._http.stream(
            request.ask.method,
            request.url,
            headers=headers_of(request, own, self._before),
            content=body,
            auth=self._auth,
            timeout=timeouts_of(self._timeout, body=request.body),
            follow_redirects=False,
        ) as response:
            return await use(response)


class Body:
    """Bytes of the source as a request's body; it can be read again, as some authentication
    needs."""

    def __init__(self, desk: Desk, start: int, stop: int) -> None:
        self._desk = desk
        self._start = start
        self._stop = stop

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = self._start
        if position == self._stop:
            return
        reader = Reader(self._desk.source.blocks(position, self._stop))
        while block := await reader.read():
            self._desk.go_on()
            yield block
            position += len(block)
            self._desk.moved(position)


class Driver:
    """Does what one machine asks.

    Args:
        link: how to send requests.
        desk: what needs no network.
        hop: how to use the resume store.

    Attributes:
        straggling: whether a thread may still be reading the source.
    """

    def __init__(self, link: Link, desk: Desk, hop: Hop) -> None:
        self._link = link
        self._desk = desk
        self._hop = hop
        self.straggling = False

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
        self._desk.go_on()
        match command:
            case Exchange():
                return await self._exchange(command)
            case Pause(longest, least):
                await self._sleep(max(random.uniform(longest / 2, longest), least))  # noqa: S311
                return None
            case Refresh():
                return await self._link.credentials.refresh()
            case Compare():
                return await self._compare(command)
            case Together(parts):
                return await self._together(parts)
            case Hold():
                return await self._hold(command)
            case Recall() | Keep() | Forget():
                return await self._hop(self._desk.perform, command)
            case Digest():
                return await to_end(self._desk.perform, command)
        return self._desk.perform(command)

    async def _hold(self, command: Hold) -> object:
        """Have bytes at hand. A stream may keep its reader waiting for ever: a cancelled upload
        leaves it to its thread."""
        source: object = self._desk.source
        if isinstance(source, AsyncStream):
            return await source.hold(command.start, command.count)
        if self._desk.source.replayable:
            return self._desk.perform(command)
        self.straggling = True
        held = await in_thread(self._desk.perform, command)
        self.straggling = False
        return held

    async def _exchange(self, request: Exchange) -> Answer | Broken:
        body = Body(self._desk, request.start, request.stop) if request.body else None
        try:
            return await self._link.send(request, body, read_answer)
        except FAILURES as error:
            return broken_by(error, request.url)

    async def _compare(self, command: Compare) -> Answer | Broken | int | None:
        async def read(response: httpx2.Response) -> Answer | int | None:
            if not response.is_success:
                return await read_answer(response)
            return await acompare(self._desk.source, self._watched(response.aiter_bytes()))

        try:
            return await self._link.send(Exchange(command.ask, command.url), None, read)
        except FAILURES as error:
            return broken_by(error, command.url)

    async def _watched(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
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
        tasks = [asyncio.create_task(self._part(part, stop)) for part in parts]
        try:
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            if pending:
                next(task for task in done if task.exception() is not None).result()
            return tuple(task.result() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _part(self, part: Part, stop: asyncio.Event) -> Result:
        desk = self._desk.of_part(part.label, part.start, part.stop, stop)
        return await Driver(self._link, desk, self._hop).run(Machine(part.job).run())


async def read_answer(response: httpx2.Response) -> Answer:
    """Read a response, but no more of it than a sentence needs."""
    body = b""
    try:
        async for block in response.aiter_bytes():
            body += block
            if len(body) > TEXT:
                break
    except (httpx2.TransportError, httpx2.DecodingError):
        pass  # status and header fields are what counts
    return answer_of(response, body)


@asynccontextmanager
async def _entered(blocking: AbstractContextManager[T], hop: Hop) -> AsyncIterator[T]:
    """Enter and leave a context that may block."""
    inside = await hop(blocking.__enter__)
    try:
        yield inside
    finally:
        await hop(blocking.__exit__, None, None, None)


async def _at_once(work: Callable[..., T], *args: Any) -> T:
    return work(*args)


async def aupload(
    source: AsyncInput,
    endpoint: str | None,
    *,
    auth: AsyncAuth | None = None,
    http: httpx2.AsyncClient | None = None,
    **options: Unpack[CommonOptions],
) -> Result:
    """Upload one source: ``AsyncClient(endpoint, …).upload(source, …)`` in one call.

    Raises:
        ValueError: an argument makes no sense.
        UploadError: it came to nothing; ``url`` says what is left at the server.
    """
    rest: dict[str, Any] = dict(options)
    own = {name: rest.pop(name) for name in CLIENT_OPTIONS if name in rest}
    async with AsyncClient(endpoint, auth=auth, http=http, **own) as client:
        return await client.upload(source, **rest)
