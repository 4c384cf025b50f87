"""A handler as an ASGI application: requests become heads and bodies, replies become messages.

Knows ASGI and HTTP, nothing of uploads: no header of any protocol may appear here. Where the server
is our own (``vectus.direct``) body and reply take the short way that it offers in the scope; on any
other server they travel as messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import quote, unquote

from vectus.contracts import Body, Handler, Take
from vectus.protocol.exchange import Ending
from vectus.protocol.messages import Content, Head, Headers, Nowhere, Reply, Target, locate

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

EXTENSION = "vectus.direct"
"""The key in ``scope["extensions"]`` under which a server offers a ``Direct``."""

_SAFE = "/:@!$&'()*+,;=~-._"


class Direct(Protocol):
    """What our own server offers for one request, beside the messages."""

    def body(self) -> Body | None:
        """Return the request's body, or None when somebody has read messages of it already."""

    def owns(self, send: Send) -> bool:
        """Say whether ``send`` is the server's own, so that no middleware waits for messages."""

    async def reply(self, reply: Reply) -> None:
        """Send a reply whole, and close its content."""


class FrontEnd:
    """An ASGI 3 application that hands every HTTP request to a handler.

    It finds its place by itself wherever it is mounted, whether the host leaves the mount's prefix
    in ``path`` (Starlette, FastAPI, uvicorn) or takes it off (Litestar, hypercorn, granian).

    Args:
        handler: what answers.
        base_path: the part of the path, below the mount, under which the handler lives.
        public_url: the URL of the collection as clients see it, for ``Location``; None derives it
            from each request, path-absolute.
        direct: whether to use our own server's short way. It goes around middleware that only
            wraps ``receive``; turn it off where such middleware must see the bytes.
        idle_timeout: seconds without a byte after which a body has stalled. Our own server keeps
            its own time.
    """

    def __init__(
        self,
        handler: Handler,
        base_path: str = "/",
        public_url: str | None = None,
        *,
        direct: bool = True,
        idle_timeout: float = 60.0,
    ) -> None:
        self._handler = handler
        trimmed = base_path.strip("/")
        self._base_path = f"/{trimmed}" if trimmed else ""
        self._public_base = None if public_url is None else public_url.rstrip("/") + "/"
        self._direct = direct
        self._idle_timeout = idle_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            RuntimeError: the scope is neither HTTP nor a WebSocket, as ASGI asks of an application
                that does not know a scope.
        """
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            raise RuntimeError(f"This application does not serve {scope['type']!r} scopes.")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        direct: Direct | None = None
        if self._direct:
            direct = (scope.get("extensions") or {}).get(EXTENSION)
        short = None if direct is None else direct.body()
        body = Messages(receive, self._idle_timeout) if short is None else short
        reply = await self._handler(self._head(scope, trailers=short is not None), body)
        if direct is not None and direct.owns(send):
            await direct.reply(reply)
        else:
            await send_reply(reply, scope, receive, send)

    def _head(self, scope: Scope, *, trailers: bool) -> Head:
        raw = _raw_path(scope)
        query = scope.get("query_string")
        client = scope.get("client")
        target, base = place(scope["path"], raw, scope.get("root_path") or "", self._base_path)
        return Head(
            method=scope["method"],
            target=target,
            headers=_fields(scope, trailers=trailers),
            base=self._public_base or base,
            uri=f"{raw}?{query.decode('latin-1')}" if query else raw,
            peer=client[0] if client else None,
            trailers=trailers,
            framed=scope["http_version"].startswith("1"),
        )


def _fields(scope: Scope, *, trailers: bool) -> Headers:
    """Return the head's fields.

    uvicorn's httptools appends trailer fields to them, so where trailers are not told apart a field
    that was declared to be one cannot be believed to be none.
    """
    headers = Headers.parse(scope["headers"])
    if trailers or "trailer" not in headers:
        return headers
    declared = {n.strip().lower() for n in ",".join(headers.all("trailer")).split(",")}
    return Headers((name, value) for name, value in headers if name not in declared)


def _raw_path(scope: Scope) -> str:
    """Return the path as sent; where the server does not tell, as it could have been sent."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        return quote(scope["path"], safe=_SAFE)
    return raw.decode("latin-1").partition("?")[0]


def place(path: str, raw: str, root: str, base_path: str) -> tuple[Target, str]:
    """Say where a request points, and what the ids of this place are appended to.

    An id is the last segment of the path exactly as sent: no escape can be part of one, so nothing
    that was escaped may become one. What comes before it in the raw path is the base, which holds
    even where a host takes its mount's prefix off ``path`` and tells nobody (Litestar).

    Args:
        path: the decoded path.
        raw: the path as sent.
        root: the decoded ``root_path``; ``path`` may begin with all of it, with an end of it, or
            not at all, depending on the host.
        base_path: our part of the path below the mount, ``""`` or ``"/…"``.
    """
    root = root.rstrip("/")
    rest = path[_overlap(root, path) :] if root else path
    if base_path:
        if rest != base_path and not rest.startswith(base_path + "/"):
            return Nowhere(), _base(root, base_path)
        rest = rest[len(base_path) :]
    name = rest.strip("/")
    if not name:
        return locate(""), _base(root, raw.rstrip("/"))
    before, _, last = raw.rpartition("/")
    if name != last:
        return Nowhere(), _base(root, base_path)
    return locate(name), _base(root, before)


@lru_cache(maxsize=256)
def _base(root: str, prefix: str) -> str:
    """Join ``root_path`` and a raw prefix, which may begin with any end of it.

    One slash leads, never two: a ``Location`` that begins with two would name another host.
    """
    quoted = quote(root, safe=_SAFE)
    path = quote(unquote(prefix), safe=_SAFE)
    joined = (quoted + path[_overlap(quoted, path) :]).strip("/")
    return f"/{joined}/" if joined else "/"


def _overlap(root: str, path: str) -> int:
    """Return the length of the longest end of ``root``, in whole segments, that begins ``path``."""
    start = root.find("/")
    while start >= 0:
        end = root[start:]
        if path.startswith(end) and path[len(end) : len(end) + 1] in ("", "/"):
            return len(end)
        start = root.find("/", start + 1)
    return 0


class Messages:
    """A request's body over ASGI messages.

    ``receive`` is not called before the body is poured, so that a client which waits for
    ``100 Continue`` is asked for its bytes no earlier.
    """

    __slots__ = ("_alarm", "_idle_timeout", "_reason", "_receive")

    def __init__(self, receive: Receive, idle_timeout: float = 60.0) -> None:
        self._receive = receive
        self._idle_timeout = idle_timeout
        self._reason: Ending | None = None
        self._alarm: asyncio.Timeout | None = None

    @property
    def trailers(self) -> Headers:
        """Nothing: ASGI does not carry trailers of requests."""
        return Headers()

    def stop(self, reason: Ending) -> None:
        """End the body from outside, see ``contracts.Body``."""
        if self._reason is None:
            self._reason = reason
        if self._alarm is not None and not self._alarm.expired():
            self._alarm.reschedule(0.0)

    async def pour(self, take: Take) -> Ending:
        """Give every byte to ``take``, see ``contracts.Body``."""
        try:
            while self._reason is None:
                await self._step(take)
        except asyncio.CancelledError:
            self.stop(Ending.CANCELLED)
            raise
        return self._reason

    async def _step(self, take: Take) -> None:
        """Give one message's bytes, unless the body was stopped before they could be given.

        What is all taken is complete, whatever came meanwhile; but a lock lost while the last piece
        was under way means that those bytes may be another's by now.
        """
        try:
            message = await self._next()
        except TimeoutError:
            self.stop(Ending.STALLED)
            return
        if message["type"] != "http.request":
            self.stop(Ending.GONE)
            return
        if self._reason is not None:
            return
        data = message.get("body", b"")
        waiting = take(memoryview(data)) if data else None
        if waiting is not None:
            await waiting
        if not message.get("more_body", False) and self._reason is not Ending.LOST:
            self._reason = Ending.COMPLETE

    async def _next(self) -> Message:
        """Wait for a message, no longer than the idle time-out, nor than until ``stop``."""
        try:
            async with asyncio.timeout(self._idle_timeout) as self._alarm:
                return await self._receive()
        finally:
            self._alarm = None


async def send_reply(reply: Reply, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a reply as messages, and close its content before the client can ask for more."""
    content, bodiless = reply.content, scope["method"] == "HEAD"
    try:
        await send(_start(reply, scope["http_version"]))
        if content is not None and not bodiless and not await _send_blocks(content, receive, send):
            return
    finally:
        if content is not None:
            await content.aclose()
    last = b"" if bodiless or content is not None else reply.body
    await send({"type": "http.response.body", "body": last})


def _start(reply: Reply, version: str) -> Message:
    headers = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in reply.headers]
    if reply.header("content-length") is None and reply.status not in (204, 304):
        length = len(reply.body) if reply.content is None else reply.content.length
        headers.append((b"content-length", str(length).encode()))
    if reply.close and version.startswith("1"):
        headers.append((b"connection", b"close"))
    return {"type": "http.response.start", "status": reply.status, "headers": headers}


async def _send_blocks(content: Content, receive: Receive, send: Send) -> bool:
    """Send content block by block; say whether the client stayed to the end.

    ``send`` does not wait while the socket takes everything, nor does it always say that nobody
    listens: so the loop gets its turn after every block, and a reader of messages watches.
    """
    async with _departure(receive) as gone, _closing(content.blocks()) as blocks:
        async for block in blocks:
            await send({"type": "http.response.body", "body": block, "more_body": True})
            await asyncio.sleep(0)
            if gone.done():
                return False
    return True


@asynccontextmanager
async def _departure(receive: Receive) -> AsyncIterator[asyncio.Task[None]]:
    """A task that is done when the client has gone."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task = asyncio.ensure_future(watch())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _closing(blocks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Close an iterator that can be closed, also when it was left early."""
    try:
        yield blocks
    finally:
        if (close := getattr(blocks, "aclose", None)) is not None:
            await close()
