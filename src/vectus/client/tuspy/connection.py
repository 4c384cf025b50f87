"""The connections of one uploader, blocking and asyncio: kept open from one chunk to the next.

Nobody closes an uploader: tuspy's has no such method. So a connection goes when the upload is
whole or has failed, and at the latest with its uploader or its event loop. Nothing here knows tus.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx2

from vectus.client.tuspy.exceptions import TusCommunicationError
from vectus.client.wire import TEXT, broken_by, timeouts

IDLE = 2.0
"""Seconds after which a connection that rests is not used again. Servers close them after five, and
a request that is sent at that moment is lost."""

LIMITS = httpx2.Limits(max_keepalive_connections=1, keepalive_expiry=IDLE)

FAILURES = (httpx2.RequestError, httpx2.InvalidURL, UnicodeError)
"""What httpx2 raises where no answer comes."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to trust, and who we are: ``verify`` is whether to verify the server's certificate, or
    the path of the CAs that may have signed it; ``cert`` is ours."""

    verify: bool | str | os.PathLike[str] = True
    cert: str | tuple[str, str] | None = None

    def context(self) -> ssl.SSLContext:
        """Return the context for TLS.

        Raises:
            OSError: a file is not there, or is not what it should be.
        """
        verify, roots = self._roots()
        if self.cert is None and roots is None:
            return _shared(verify, None)
        context = _fresh(verify, roots)
        if self.cert is None:
            return context
        files = (self.cert,) if isinstance(self.cert, str) else self.cert
        context.load_cert_chain(*files)
        return context

    def _roots(self) -> tuple[bool, str | None]:
        """Whether to verify, and by which file. ``requests`` has two variables for that."""
        if isinstance(self.verify, str | os.PathLike):
            return True, os.fspath(self.verify)
        names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        return bool(self.verify), next(filter(None, map(os.environ.get, names)), None)


def _fresh(verify: bool, roots: str | None) -> ssl.SSLContext:  # noqa: FBT001
    if not verify:
        return httpx2.create_ssl_context(verify=False)
    if roots is None:
        return httpx2.create_ssl_context()
    if os.path.isdir(roots):
        return ssl.create_default_context(capath=roots)
    return ssl.create_default_context(cafile=roots)


_shared = cache(_fresh)
"""For what the system trusts: reading that takes longer than a small upload."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request without its body; ``failure`` is raised where no answer comes."""

    method: str
    url: str
    headers: Mapping[str, str]
    trust: Trust = Trust()
    failure: type[TusCommunicationError] = TusCommunicationError

    def parts(self, content: Iterable[bytes] | AsyncIterable[bytes] | None) -> dict[str, Any]:
        """Say it in httpx2's words."""
        return {
            "method": self.method,
            "url": self.url,
            "headers": httpx2.Headers(self.headers, encoding="latin-1"),
            "content": content,
            "timeout": timeouts(None, body=content is not None),
            "follow_redirects": True,
        }

    def failed(self, error: Exception) -> TusCommunicationError:
        """The error for a request that has no answer."""
        broken = broken_by(error, self.url)
        return self.failure(f"{broken.why} {broken.hint}".strip(), passing=not broken.final)


@dataclass(frozen=True, slots=True)
class Incoming:
    """An answer: ``url`` is where it came from in the end; names of headers are in lower case."""

    status: int
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""

    @classmethod
    def of(cls, response: httpx2.Response, content: bytes) -> Incoming:
        """Take what counts of a response."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        return cls(response.status_code, str(response.url), headers, content)


class Connection:
    """Sends requests one after the other over one connection."""

    def __init__(self) -> None:
        self._http: httpx2.Client | None = None
        self._trust: Trust | None = None

    def send(self, request: Outgoing, body: Iterable[bytes] | None = None) -> Incoming:
        """Send a request and return what is answered.

        Raises:
            TusCommunicationError: nothing is; or what the request says instead.
        """
        http = self._open(request.trust)
        try:
            with http.stream(**request.parts(body)) as response:
                return Incoming.of(response, _content(response))
        except FAILURES as error:
            raise request.failed(error) from error

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        http, self._http = self._http, None
        if http is not None:
            http.close()

    def _open(self, trust: Trust) -> httpx2.Client:
        if self._http is None or self._trust != trust:
            self.close()
            self._http, self._trust = httpx2.Client(verify=trust.context(), limits=LIMITS), trust
        return self._http


class AsyncConnection:
    """The same for asyncio.

    The client lives in an async generator: an event loop closes those that nobody holds any more,
    and when it ends, those that are left over.
    """

    def __init__(self) -> None:
        self._keeper: AsyncGenerator[httpx2.AsyncClient] | None = None
        self._http: httpx2.AsyncClient | None = None
        self._of: tuple[asyncio.AbstractEventLoop, Trust] | None = None

    async def send(self, request: Outgoing, body: AsyncIterable[bytes] | None = None) -> Incoming:
        """Send a request and return what is answered.

        Raises:
            TusCommunicationError: nothing is; or what the request says instead.
        """
        http = await self._open(request.trust)
        try:
            async with http.stream(**request.parts(body)) as response:
                return Incoming.of(response, await _acontent(response))
        except FAILURES as error:
            raise request.failed(error) from error

    async def close(self) -> None:
        """Close the connection; the next request opens another."""
        keeper, of = self._keeper, self._of
        self.abandon()
        if keeper is not None and of is not None and of[0] is asyncio.get_running_loop():
            await keeper.aclose()

    def abandon(self) -> None:
        """Leave the connection to its event loop, which closes it soon, or when it ends."""
        self._keeper = self._http = self._of = None

    async def _open(self, trust: Trust) -> httpx2.AsyncClient:
        """The client of this event loop: one upload may be gone on with in another."""
        wanted = (asyncio.get_running_loop(), trust)
        if self._http is None or self._of != wanted:
            await self.close()
            self._keeper, self._of = _keep(trust), wanted
            self._http = await anext(self._keeper)
        return self._http


async def _keep(trust: Trust) -> AsyncGenerator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(verify=trust.context(), limits=LIMITS) as http:
        yield http


def _content(response: httpx2.Response) -> bytes:
    """Read a body, but no more than an error is worth; the status counts, whatever becomes of
    it."""
    content = b""
    try:
        for block in response.iter_bytes():
            content += block
            if len(content) > TEXT:
                break
    except (httpx2.TransportError, httpx2.DecodingError):
        pass
    return content[:TEXT]


async def _acontent(response: httpx2.Response) -> bytes:
    content = b""
    try:
        async for block in response.aiter_bytes():
            content += block
            if len(content) > TEXT:
                break
    except (httpx2.TransportError, httpx2.DecodingError):
        pass
    return content[:TEXT]
