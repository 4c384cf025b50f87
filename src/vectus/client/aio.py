"""The asyncio client, as its callers see it; ``aio_driver.py`` does the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx2

from vectus.client.aio_driver import Driver, Hop, Link
from vectus.client.commands import Steps
from vectus.client.contracts import ResumeStore
from vectus.client.credentials import AsyncAuth, AsyncCredentials, sorted_out
from vectus.client.custody import Cancel, Custody
from vectus.client.desk import Desk
from vectus.client.dialogue import Budget, Requests, discover, inspect, terminate
from vectus.client.happenings import Happening, Progress
from vectus.client.inputs import AsyncInput
from vectus.client.job import Chunks, Result, Verify
from vectus.client.meter import Meter
from vectus.client.notes import Notes
from vectus.client.orders import (
    CLIENT_OPTIONS,
    CommonOptions,
    Fingerprinter,
    Habits,
    MetadataValue,
    Order,
    patience,
)
from vectus.client.parallel import steps_of
from vectus.client.resume import MemoryResume
from vectus.client.sources import AsyncStream, open_async_source, open_source
from vectus.client.threads import in_thread, to_end
from vectus.client.wire import LIMITS, BeforeRequest, Manner
from vectus.protocol.dialects.tus1_client import Offer, State

T = TypeVar("T")


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
        ready, give = sorted_out(auth)
        manner = Manner(headers, ready, before_request, timeout)
        if http is not None and not isinstance(http, httpx2.AsyncClient):
            raise TypeError(f"http must be an httpx2.AsyncClient, not {type(http).__name__}.")
        speaker = httpx2.AsyncClient(limits=LIMITS) if http is None else http
        self._own = speaker if http is None else None
        self._link = Link(speaker, manner, AsyncCredentials(give))

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
        opened = await in_thread(_open, source, length, order.cancels, late=_close)
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
        hop: Hop = _at_once if isinstance(self._resume, MemoryResume) else to_end
        try:
            job = order.job(self._habits, source)
            key = await in_thread(order.fingerprint_of, self._habits, source)
            notes = Notes(self._resume, key, source.length)
            desk = Desk(source, notes, meter, self._offers, order.cancels)
            try:
                await hop(notes.open)
                desk.report()
                return await Driver(self._link, desk, hop).run(steps_of(job, order.parallel))
            finally:
                await hop(notes.close)
        finally:
            meter.close()
            await (to_end if getattr(source, "lent", False) else _at_once)(source.close)

    def _requests(self) -> Requests:
        return Requests(Budget(self._habits.patience), override=self._habits.override)

    async def _ask(self, steps: Steps[T]) -> T:
        desk = Desk(
            open_source(b""), Notes(None, None, None), Meter(None, None, None), self._offers
        )
        return await Driver(self._link, desk, _at_once).run(steps)


def _open(
    source: AsyncInput, length: int | None, cancels: tuple[Cancel, ...]
) -> Custody | AsyncStream:
    opened = open_async_source(source, length)
    return opened if isinstance(opened, AsyncStream) else Custody(opened, cancels)


def _close(opened: Custody | AsyncStream) -> None:
    opened.close()


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
