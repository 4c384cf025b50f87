"""The blocking client, as its callers see it; ``driver.py`` does the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx2

from vectus.client.commands import Steps
from vectus.client.contracts import ResumeStore, Source
from vectus.client.credentials import Auth, Credentials, sorted_out
from vectus.client.custody import Cancel, Custody
from vectus.client.desk import Desk
from vectus.client.dialogue import Budget, Requests, discover, inspect, terminate
from vectus.client.driver import Driver, Link
from vectus.client.happenings import Happening, Progress
from vectus.client.inputs import Input
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
from vectus.client.sources import open_source
from vectus.client.wire import LIMITS, BeforeRequest, Manner
from vectus.protocol.dialects.tus1_client import Offer, State

T = TypeVar("T")


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
            answer to a body and to a join of parts.
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
        ready, give = sorted_out(auth)
        manner = Manner(headers, ready, before_request, timeout)
        if http is not None and not isinstance(http, httpx2.Client):
            raise TypeError(f"http must be an httpx2.Client, not {type(http).__name__}.")
        speaker = httpx2.Client(limits=LIMITS) if http is None else http
        self._own = speaker if http is None else None
        self._link = Link(speaker, manner, Credentials(give))

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
        return self._upload(Custody(open_source(source, length), order.cancels), order)

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

    def _upload(self, source: Source, order: Order) -> Result:
        meter = Meter(source.length, order.on_progress, order.on_event)
        try:
            job = order.job(self._habits, source)
            key = order.fingerprint_of(self._habits, source)
            notes = Notes(self._resume, key, source.length)
            desk = Desk(source, notes, meter, self._offers, order.cancels)
            try:
                notes.open()
                desk.report()
                return Driver(self._link, desk).run(steps_of(job, order.parallel))
            finally:
                notes.close()
        finally:
            meter.close()
            source.close()

    def _requests(self) -> Requests:
        return Requests(Budget(self._habits.patience), override=self._habits.override)

    def _ask(self, steps: Steps[T]) -> T:
        notes, meter = Notes(None, None, None), Meter(None, None, None)
        desk = Desk(open_source(b""), notes, meter, self._offers)
        return Driver(self._link, desk).run(steps)


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
