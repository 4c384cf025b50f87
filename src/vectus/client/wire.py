"""httpx2 in the machine's words: what both drivers do the same when they send a request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import httpx2

from vectus.client.commands import Answer, Broken, Exchange
from vectus.client.credentials import Ready
from vectus.protocol.messages import Headers

TEXT = 64 << 10
"""Bytes of an answer's body that are read; the connection of a longer one is given up."""

BeforeRequest = Callable[[str, str, dict[str, str]], object]
"""Called with method, URL and headers of each request; it may change the headers."""


def timeouts(seconds: float | None, *, body: bool) -> httpx2.Timeout:
    """How long to wait for a sign of life. An answer to a body may take long: the server's disk
    must have it all first. So may a join, which many servers do before they answer: who asks again
    has it done twice."""
    if seconds is not None:
        return httpx2.Timeout(seconds)
    return httpx2.Timeout(60, connect=10, read=300 if body else 60)


LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=2.0)
"""Of connections that are our own. One that has rested for long is not used again: servers close
them after five seconds, and a request that is sent at that moment is lost."""


REMEMBERED = 4096
"""URLs of new uploads, which no later one may have."""


FRAMING = frozenset({"content-length", "transfer-encoding"})
"""Fields that follow from the body; the caller cannot know them."""


OUT_OF_STEP = "an answer came that belongs to another request"


class Echoes:
    """Notices answers that belong to another request.

    Something between us and the server may send an answer twice. The second one then waits on the
    connection for the next request, and would be taken for its answer: an upload that was never
    made would seem complete.
    """

    def __init__(self) -> None:
        self._created: OrderedDict[str, None] = OrderedDict()

    def is_echo(self, request: Exchange, answer: Answer) -> bool:
        """Whether an answer cannot be the request's own. Where a server means it, and gives two
        uploads the same URL, it is believed when it says so again."""
        location = answer.headers.get("location")
        if not answer.good:
            return False
        if not _creates(request):
            return answer.status == 201
        if location is None:
            return answer.status == 204 and "upload-offset" in answer.headers  # a PATCH's
        if self._created.pop(location, self) is None:  # one step, as other threads do the same
            return True
        self._created[location] = None
        if len(self._created) > REMEMBERED:
            self._created.popitem(last=False)
        return False


def _creates(request: Exchange) -> bool:
    names = {name.lower() for name, _ in request.ask.headers}
    return request.ask.method == "POST" and "x-http-method-override" not in names


def _joins(request: Exchange) -> bool:
    return any(
        name.lower() == "upload-concat" and value.startswith("final")
        for name, value in request.ask.headers
    )


class Manner:
    """How every request of a client is sent.

    Args:
        headers: the caller's.
        auth: what httpx2 is to use, or None to leave that to the injected client.
        before: the caller's last word on the header fields.
        timeout: seconds, as the caller wants it.

    Attributes:
        echoes: notices answers that belong to another request.

    Raises:
        ValueError: the time-out is not positive.
    """

    def __init__(
        self,
        headers: Mapping[str, str] | None,
        auth: Ready | None,
        before: BeforeRequest | None,
        timeout: float | None,
    ) -> None:
        if timeout is not None and timeout <= 0:
            raise ValueError(f"timeout must be above 0, not {timeout}.")
        self.echoes = Echoes()
        self._headers = dict(headers or {})
        self._before = before
        self._auth: Any = httpx2.USE_CLIENT_DEFAULT if auth is None else auth
        self._bare, self._laden = timeouts(timeout, body=False), timeouts(timeout, body=True)

    def arguments(self, request: Exchange, credentials: Mapping[str, str]) -> dict[str, Any]:
        """The arguments of httpx2's ``stream``, but for the body."""
        return {
            "method": request.ask.method,
            "url": request.url,
            "headers": self._fields(request, credentials),
            "auth": self._auth,
            "timeout": self._laden if request.body or _joins(request) else self._bare,
            "follow_redirects": False,
        }

    def _fields(self, request: Exchange, credentials: Mapping[str, str]) -> dict[str, str]:
        """All header fields of a request: those that the protocol needs win over the credentials,
        and these over the caller's, in whatever case they are written; the hook sees them last."""
        pairs = [*self._headers.items(), *credentials.items(), *request.ask.headers]
        fields = one_each(pair for pair in pairs if pair[0].lower() not in FRAMING)
        if request.body or request.ask.method in {"POST", "PATCH"}:
            fields["Content-Length"] = str(request.stop - request.start)
        if self._before is None:
            return fields
        self._before(request.ask.method, request.url, fields)
        return one_each(fields.items())


def one_each(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Header fields of which no two have the same name in different cases; the last one wins."""
    named = {name.lower(): (name, value) for name, value in pairs}
    return dict(named.values())


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
    if isinstance(error, httpx2.LocalProtocolError | UnicodeError):
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


FAILURES = (httpx2.RequestError, httpx2.InvalidURL, UnicodeError)
"""What sending a request can raise that ``broken_by`` understands."""
