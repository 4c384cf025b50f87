"""The blocking driver: does what the machine asks, one thing after the other."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx2

from vectus.client import notes
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
from vectus.client.contracts import ResumeStore
from vectus.client.credentials import Auth, Credentials
from vectus.client.desk import Cancel, Desk
from vectus.client.dialogue import Budget, Requests, discover, inspect, terminate
from vectus.client.happenings import Happening, Noticed, Progress
from vectus.client.inputs import Input
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
from vectus.client.sources import compare, open_source
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

STRAGGLERS = 2.0
"""Seconds that the threads of a parallel upload have to end once one of them has failed."""
NAP = 0.1
"""Seconds between two looks whether the caller wants to stop."""


class Client:
    """Uploads to one endpoint, over connections that it keeps.

    May be used by several threads at once.

    Args:
        endpoint: where uploads are created, such as ``https://example.org/files/``.
        headers: sent with every request.
        auth: an ``httpx2.Auth``, a name and a password, or a function that gives the value of
            ``Authorization`` or header fields; it is called again, once, when a 401 comes back.
        resume: remembers uploads for other processes to go on with; None remembers while this
            client lives.
        http: what speaks HTTP, if not a client of our own: for proxies, CAs, HTTP/2. It is not
            closed here.
        retries: how often to try again without any progress in between.
        retry_delay: seconds to wait at first; each further wait is twice as long, up to 30.
        method_override: whether PATCH and DELETE travel as POST, for networks that let no others
            pass.
        before_request: called with method, URL and headers of each request; may change these.
        timeout: seconds without a sign of life from the server; None for 60, and 300 for the
            answer to a body.
        preset: a hosted endpoint's rules for chunks, ``"cloudflare"``, ``"supabase"``,
            ``"vimeo"`` or ``Chunks``; None guesses them by the host.

    Raises:
        ValueError: an argument makes no sense.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        auth: Auth | None = None,
        resume: ResumeStore | None = None,
        http: httpx2.Client | None = None,
        retries: int = 8,
        retry_delay: float = 0.5,
        method_override: bool = False,
        before_request: BeforeRequest | None = None,
        timeout: float | None = None,
        preset: str | Chunks | None = None,
    ) -> None:
        self._habits = Habits(endpoint, patience(retries, retry_delay), method_override, preset)
        self._resume = MemoryResume() if resume is None else resume
        self._offers: dict[str, Offer] = {}
        speaker = httpx2.Client() if http is None else http
        self._own = speaker if http is None else None
        given = auth if isinstance(auth, httpx2.Auth | tuple) else None
        self._link = Link(
            http=speaker,
            headers=dict(headers or {}),
            auth=given,
            credentials=Credentials(None if given is not None else auth),  # type: ignore[arg-type]
            before=before_request,
            timeout=timeout,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, if they are our own."""
        if self._own is not None:
            self._own.close()

    def upload(
        self,
        source: Input,
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
        """Upload a source, going on where an earlier run has stopped.

        Args:
            source: a path, bytes, a binary file (from its position on; it is not closed), or an
                iterable of bytes.
            metadata: what the server is told of it, such as ``filename`` and ``filetype``.
            length: bytes of a source that does not tell, where the caller knows.
            chunk_size: bytes of one request; None for all in one, 8 MiB of what can be read only
                once, and 64 MiB with checksums.
            checksum: the algorithm that protects each chunk; ``"auto"`` takes one that the server
                offers.
            verify: ``"length"`` asks the server in the end how much it has, ``"download"`` reads
                it back and compares.
            parallel: over how many connections, where the server joins parts.
            fingerprint: what the source is known by, or a function of source and endpoint.
            upload_url: an upload that exists already, to be used instead of a new one.
            on_progress: told how far it is, often.
            on_event: told everything that happens; what it raises ends the upload.
            cancel: an ``Event``; when it is set the upload stops, and can be gone on with.

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
        return self._upload(open_source(source, length=length), order)

    def offset(self, url: str) -> int:
        """Ask how many bytes of an upload the server has; 0 for one that is still to be joined.

        Raises:
            UploadError: it does not say.
        """
        return self.inspect(url).offset or 0

    def inspect(self, url: str) -> State:
        """Ask where an upload is.

        Raises:
            UploadError: the server does not say.
        """
        return self._ask(inspect(self._requests(), url))

    def terminate(self, url: str) -> bool:
        """Have an upload deleted, whatever is there of it; say whether it was there.

        Raises:
            UploadError: the server does not do that.
        """
        return self._ask(terminate(self._requests(), url))

    def capabilities(self, endpoint: str | None = None) -> Offer:
        """Ask what an endpoint offers; it is asked once.

        Raises:
            UploadError: it does not say.
        """
        url = endpoint or self._habits.endpoint
        if url is None:
            raise ValueError("Say whose capabilities: give an endpoint.")
        return self._ask(discover(self._requests(), url))

    def _upload(self, source: Any, order: Order) -> Result:
        meter = Meter(source.length, order.on_progress, order.on_event)
        driver: Driver | None = None
        try:
            job = order.job(self._habits, source)
            key = order.fingerprint_of(self._habits, source)
            with notes.opened(
                self._resume, key, source.length, lambda text: meter.tell(None, Noticed(text))
            ) as memory:
                cancel = () if order.cancel is None else (order.cancel,)
                driver = Driver(self._link, Desk(source, memory, meter, self._offers, cancel))
                steps = Parallel(job, order.parallel) if order.parallel > 1 else Machine(job)
                return driver.run(steps.run())
        finally:
            if driver is None or not driver.stragglers:
                source.close()

    def _requests(self) -> Requests:
        return Requests(Budget(self._habits.patience), override=self._habits.override)

    def _ask(self, steps: Steps[T]) -> T:
        meter = Meter(None, None, None)
        memory = notes.Notes(None, "", None, None, lambda _: None)
        desk = Desk(open_source(b""), memory, meter, self._offers)
        return Driver(self._link, desk).run(steps)


class Link:
    """How requests are sent: one for all uploads of a client."""

    def __init__(
        self,
        *,
        http: httpx2.Client,
        headers: dict[str, str],
        auth: httpx2.Auth | tuple[str, str] | None,
        credentials: Credentials,
        before: BeforeRequest | None,
        timeout: float | None,
    ) -> None:
        self.credentials = credentials
        self._http = http
        self._headers = headers
        self._auth: Any = httpx2.USE_CLIENT_DEFAULT if auth is None else auth
        self._before = before
        self._timeout = timeout

    def send(self, request: Exchange, body: Body | None, use: Callable[[httpx2.Response], T]) -> T:
        """Send a request and use its response.

        Raises:
            TransportError: no response came; and the others of ``FAILURES``.
        """
        own = self._headers | self.credentials.headers()
        with self._http.stream(
            request.ask.method,
            request.url,
            headers=headers_of(request, own, self._before),
            content=body,
            auth=self._auth,
            timeout=timeouts_of(self._timeout, body=request.body),
            follow_redirects=False,
        ) as response:
            return use(response)


class Body:
    """Bytes of the source as a request's body; it can be read again, as some authentication
    needs."""

    def __init__(self, desk: Desk, start: int, stop: int) -> None:
        self._desk = desk
        self._start = start
        self._stop = stop

    def __iter__(self) -> Iterator[bytes]:
        position = self._start
        if position < self._stop:
            for block in self._desk.source.blocks(position, self._stop):
                self._desk.go_on()
                yield block
                position += len(block)
                self._desk.moved(position)


class Driver:
    """Does what one machine asks.

    Args:
        link: how to send requests.
        desk: what needs no network.

    Attributes:
        stragglers: whether a thread may still be reading the source.
    """

    def __init__(self, link: Link, desk: Desk) -> None:
        self._link = link
        self._desk = desk
        self.stragglers = False

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
        self._desk.go_on()
        match command:
            case Exchange():
                return self._exchange(command)
            case Pause(longest, least):
                self._sleep(max(random.uniform(longest / 2, longest), least))  # noqa: S311
                return None
            case Refresh():
                return self._link.credentials.refresh()
            case Compare():
                return self._compare(command)
            case Together(parts):
                return self._together(parts)
        return self._desk.perform(command)

    def _exchange(self, request: Exchange) -> Answer | Broken:
        body = Body(self._desk, request.start, request.stop) if request.body else None
        try:
            return self._link.send(request, body, read_answer)
        except FAILURES as error:
            return broken_by(error, request.url)

    def _compare(self, command: Compare) -> Answer | Broken | int | None:
        def read(response: httpx2.Response) -> Answer | int | None:
            if not response.is_success:
                return read_answer(response)
            return compare(self._desk.source, self._watched(response.iter_bytes()))

        try:
            return self._link.send(Exchange(command.ask, command.url), None, read)
        except FAILURES as error:
            return broken_by(error, command.url)

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
            desk = self._desk.of_part(part.label, part.start, part.stop, stop)
            try:
                done.put((index, Driver(self._link, desk).run(Machine(part.job).run())))
            except BaseException as error:  # told in the caller's thread
                done.put((index, error))

        threads = [
            threading.Thread(target=work, args=(index, part), name="vectus-part", daemon=True)
            for index, part in enumerate(parts)
        ]
        for thread in threads:
            thread.start()
        try:
            return _collect(done, len(parts))
        finally:
            stop.set()
            self.stragglers = not _joined(threads)


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


def _joined(threads: list[threading.Thread]) -> bool:
    end = time.monotonic() + STRAGGLERS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def upload(
    source: Input,
    endpoint: str | None,
    *,
    auth: Auth | None = None,
    http: httpx2.Client | None = None,
    **options: Unpack[CommonOptions],
) -> Result:
    """Upload one source: ``Client(endpoint, …).upload(source, …)`` in one call.

    Raises:
        ValueError: an argument makes no sense.
        UploadError: it came to nothing; ``url`` says what is left at the server.
    """
    rest: dict[str, Any] = dict(options)
    own = {name: rest.pop(name) for name in CLIENT_OPTIONS if name in rest}
    with Client(endpoint, auth=auth, http=http, **own) as client:
        return client.upload(source, **rest)


CLIENT_OPTIONS = (
    frozenset(CommonOptions.__annotations__) - frozenset(Order.__dataclass_fields__) - {"length"}
)
"""Those of ``upload``'s arguments that are the client's."""
