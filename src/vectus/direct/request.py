"""One request and its answer, over ASGI messages or the direct way.

Decides how an answer is framed and whether the connection may live on after it. The order of
requests, and everything that happens between them, is the connection's affair.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from vectus.contracts import Body
from vectus.direct import wire
from vectus.direct.incoming import Incoming
from vectus.direct.outgoing import send_content
from vectus.direct.writer import Writer
from vectus.protocol.exchange import Ending
from vectus.protocol.messages import Reply

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[..., Awaitable[Any]]

EXTENSION = "vectus.direct"
"""Where in ``scope["extensions"]`` a request offers itself, see ``vectus.asgi.Direct``."""

DISCONNECT = {"type": "http.disconnect"}

logger = logging.getLogger("uvicorn.error")


class Channel(Protocol):
    """What a request needs of its connection."""

    writer: Writer
    drain_bytes: int
    departed: bool

    def defaults(self) -> bytes:
        """Return the header block that every answer has."""

    def log(self, scope: dict[str, Any], status: int) -> None:
        """Write the access log."""

    def answered(self, request: Request) -> None:
        """The answer is written whole."""


class Request:
    """One request; ``vectus.asgi.Direct`` for an application that knows of it."""

    __slots__ = (
        "_channel",
        "_chunked",
        "_claimed",
        "_complete",
        "_owed",
        "_received",
        "_scope",
        "_started",
        "_stopped",
        "_writer",
        "incoming",
        "keep_alive",
    )

    def __init__(
        self, channel: Channel, scope: dict[str, Any], incoming: Incoming, *, keep_alive: bool
    ) -> None:
        self._channel = channel
        self._writer = channel.writer
        self._scope = scope
        self.incoming = incoming
        self.keep_alive = keep_alive
        self._received = False
        self._claimed = False
        self._stopped: Ending | None = None
        self._started = False
        self._complete = False
        self._chunked = False
        self._owed: int | None = None
        scope["extensions"] = {EXTENSION: self}

    async def run(self, application: Application) -> None:
        """Let an application answer."""
        try:
            result = await application(self._scope, self.receive, self.send)
        except Exception:
            logger.exception("Exception in ASGI application\n")
            self._give_up()
        except BaseException:
            self._give_up()
            raise
        else:
            if result is not None:
                logger.error("ASGI callable should return None, but returned '%s'.", result)
            if not self._complete:
                self._abandoned()
        finally:
            # The scope and this request name each other.
            self._scope.pop("extensions", None)

    def _abandoned(self) -> None:
        """The application returned without answering, which it may once the client has gone."""
        if self._channel.departed:
            self._writer.close()
            return
        if self.incoming.end is not Ending.BROKEN:
            logger.error("ASGI callable returned without completing response.")
        self._give_up()

    def _give_up(self) -> None:
        """Answer in the application's stead, or cut off what it began."""
        if self._complete or self._writer.lost:
            return
        if self._started:
            self._writer.close()
            return
        broken = self.incoming.end is Ending.BROKEN
        status, text = (400, "Bad Request") if broken else (500, "Internal Server Error")
        self._started, self.keep_alive = True, False
        head = self._scope["method"] == "HEAD"
        self._writer.write(wire.refusal(status, text, self._channel.defaults(), body=not head))
        self._channel.log(self._scope, status)
        self._finish()

    def stop(self, reason: Ending) -> None:
        """Answer soon, and end the connection with it: the server is stopping.

        Only a body that somebody pours, now or later, can be stopped; a reader of messages would
        take it for a client that has gone.
        """
        self.keep_alive = False
        self._stopped = reason
        self._stop_body()

    def _stop_body(self) -> None:
        if self._stopped is not None and self._claimed and self.incoming.end is None:
            self.incoming.stop(self._stopped)

    # vectus.asgi.Direct

    def body(self) -> Body | None:
        """Return the body, unless somebody has asked for it before."""
        if self._received or self._claimed:
            return None
        self._claimed = True
        self._stop_body()
        return self.incoming

    def owns(self, send: Send) -> bool:
        """Say whether ``send`` is ours."""
        return send == self.send

    async def reply(self, reply: Reply) -> None:
        """Send a reply whole."""
        content = reply.content
        try:
            if self._writer.paused:
                await self._writer.drain()
            if self._writer.lost:
                return
            head = self._head_of(reply)
            if content is None or self._bodiless(reply.status):
                self._writer.write(head if self._bodiless(reply.status) else head + reply.body)
            elif not await send_content(self._writer, head, content):
                self._writer.close()
                return
            self._finish()
        finally:
            if content is not None:
                await content.aclose()

    def _head_of(self, reply: Reply) -> bytes:
        block = wire.text_block(reply.headers)
        status = reply.status
        if b"content-length:" not in block and not self._bodiless(status):
            length = len(reply.body) if reply.content is None else reply.content.length
            block += b"content-length: %d\r\n" % length
        if self._ends(asked=reply.close):
            block += wire.CLOSE
        self._started = True
        self._channel.log(self._scope, status)
        return b"".join((wire.STATUS[status], self._channel.defaults(), block, wire.END))

    def _bodiless(self, status: int) -> bool:
        return status in (204, 304) or bool(self._scope["method"] == "HEAD")

    # ASGI

    async def receive(self) -> Message:
        """Return the next message, see ASGI. Bytes come before the news that the client left."""
        self._received = True
        body = self.incoming
        if not self._claimed:
            body.invite()
        while not self._complete:
            if not self._claimed and (news := body.read()) is not None:
                data, more = news
                return {"type": "http.request", "body": data, "more_body": more}
            if self._hung_up():
                break
            await body.changed()
        return dict(DISCONNECT)

    async def send(self, message: Message) -> None:
        """Send a message, see ASGI; nothing happens when nobody listens any more."""
        if self._writer.paused:
            await self._writer.drain()
        if self._writer.lost:
            return
        kind = message["type"]
        wanted = "http.response.body" if self._started else "http.response.start"
        if self._complete:
            raise RuntimeError(f"Unexpected ASGI message {kind!r} after the response was complete.")
        if kind != wanted:
            raise RuntimeError(f"Expected ASGI message {wanted!r}, but got {kind!r}.")
        if self._started:
            self._write_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            self._write_head(message["status"], message.get("headers", ()))

    def _write_head(self, status: int, headers: wire.Fields) -> None:
        fields = [(bytes(name).lower(), bytes(value)) for name, value in headers]
        block = wire.block(fields)
        self._frame(status, dict(fields))
        asked = any(n == b"connection" and b"close" in wire.tokens(v) for n, v in fields)
        if self._ends(asked=asked) and not asked:
            block += wire.CLOSE
        if self._chunked and not any(n == b"transfer-encoding" for n, _ in fields):
            block += wire.CHUNKED
        self._started = True
        self._channel.log(self._scope, status)
        self._writer.write(
            b"".join((wire.STATUS[status], self._channel.defaults(), block, wire.END))
        )

    def _frame(self, status: int, fields: dict[bytes, bytes]) -> None:
        """Decide how the answer's end is told: nothing, a length, chunks, or (1.0) the close."""
        if self._bodiless(status):
            self._owed = 0
        elif (length := fields.get(b"content-length")) is not None:
            self._owed = int(length)
        elif self._scope["http_version"] == "1.1":
            self._chunked = True

    def _write_body(self, data: bytes, *, more: bool) -> None:
        if self._scope["method"] == "HEAD":
            # The application may answer as to a GET; the body is left out.
            data = b""
        if self._owed is not None:
            self._owed -= len(data)
            if self._owed < 0:
                raise RuntimeError("Response content longer than Content-Length")
            if self._owed and not more:
                raise RuntimeError("Response content shorter than Content-Length")
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            data += b"" if more else b"0\r\n\r\n"
        if data:
            self._writer.write(data)
        if not more:
            self._finish()

    # Both ways.

    def _ends(self, *, asked: bool) -> bool:
        """Decide whether the connection ends with this answer, before it is told in the head.

        Of a body that nobody read, a little is worth reading to keep the connection. A client that
        still waits for ``100 Continue`` may send its body or not: there is no telling what follows.
        """
        body = self.incoming
        unread = body.end is None and (body.awaited or (body.left or 0) > self._channel.drain_bytes)
        if asked or unread or self._channel.departed or body.end in (Ending.GONE, Ending.BROKEN):
            self.keep_alive = False
        body.forgo()
        return not self.keep_alive

    def _hung_up(self) -> bool:
        # A connection that is lost has departed, too.
        return self._channel.departed or self.incoming.end is Ending.BROKEN

    def _finish(self) -> None:
        self._complete = True
        self.incoming.wake()
        self._channel.answered(self)


async def unavailable(scope: dict[str, Any], receive: object, send: Send) -> None:
    """Answer when there is too much to do already."""
    body = b"Service Unavailable"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
