"""httpx2 in the machine's words: what both drivers do the same when they send a request."""

from __future__ import annotations

from collections.abc import Callable

import httpx2

from vectus.client.commands import Answer, Broken, Exchange
from vectus.protocol.messages import Headers

TEXT = 64 << 10
"""Bytes of an answer's body that are read; the connection of a longer one is given up."""

BeforeRequest = Callable[[str, str, dict[str, str]], object]
"""Called with method, URL and headers of each request; it may change the headers."""


def timeouts(seconds: float | None, *, body: bool) -> httpx2.Timeout:
    """How long to wait for a sign of life. An answer to a body may take long: the server's disk
    must have it all first."""
    if seconds is not None:
        return httpx2.Timeout(seconds)
    return httpx2.Timeout(60, connect=10, read=300 if body else 60)


def headers_of(
    request: Exchange, own: dict[str, str], before: BeforeRequest | None
) -> dict[str, str]:
    """All header fields of a request; those that the protocol needs win over the caller's."""
    names = {name.lower() for name, _ in request.ask.headers}
    headers = {name: value for name, value in own.items() if name.lower() not in names}
    headers.update(request.ask.headers)
    if request.body or request.ask.method in {"POST", "PATCH"}:
        headers["Content-Length"] = str(request.stop - request.start)
    if before is not None:
        before(request.ask.method, request.url, headers)
    return headers


def answer_of(response: httpx2.Response, body: bytes) -> Answer:
    """What a response says."""
    text = ""
    kind = response.headers.get("content-type", "")
    if kind.startswith(("text/plain", "application/json")):
        text = body.decode(errors="replace").strip().partition("\n")[0][:500]
    return Answer(response.status_code, Headers.parse(response.headers.raw), text)


def broken_by(error: Exception, url: str) -> Broken:
    """What an exception of httpx2 means for a request."""
    words = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return Broken(
            f"The certificate of {host_of(url)} is not trusted.",
            final=True,
            hint="Name the CA that signed it (vectus upload: --cacert).",
        )
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return Broken(f"{url!r} is not an http or https URL.", final=True)
    if isinstance(error, httpx2.LocalProtocolError | UnicodeEncodeError):
        return Broken(f"The request cannot be sent: {words}.", final=True)
    if isinstance(error, httpx2.TimeoutException):
        return Broken(f"{host_of(url)} did not answer in time")
    return Broken(f"the connection to {host_of(url)} failed: {words}")


def host_of(url: str) -> str:
    """The host of a URL, for sentences: without the credentials that may stand before it."""
    try:
        return httpx2.URL(url).netloc.decode("ascii", "replace") or url
    except httpx2.InvalidURL:
        return url


FAILURES = (httpx2.TransportError, httpx2.InvalidURL, UnicodeEncodeError)
"""What sending a request can raise that ``broken_by`` understands."""
