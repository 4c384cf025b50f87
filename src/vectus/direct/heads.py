"""Heads and chunked bodies, parsed by httptools and kept within bounds.

Turns bytes into calls of a ``Sink``: a head that was judged, pieces, trailers, an end. What a
request leads to, and when bytes are fed, is the connection's affair.
"""

from __future__ import annotations

import logging
from typing import Protocol

import httptools

from vectus.direct.framing import MARKS, Framing, Refusal, judge

logger = logging.getLogger("uvicorn.error")

INVALID = Refusal(400, "Invalid HTTP request received.")
TOO_LARGE = Refusal(431, "The request's head is too large.")
VERSION = Refusal(505, "This server speaks HTTP/1.1.")


class Sink(Protocol):
    """Whoever is told what was parsed."""

    def upgrades(self, heads: Heads) -> bool:
        """Say whether to speak another protocol after this head; the parser stops then."""

    def head(self, heads: Heads, framing: Framing) -> None:
        """A head is complete; ``heads`` has its parts until the next begins."""

    def piece(self, piece: bytes) -> None:
        """A piece of the body came."""

    def trailer(self, name: str, value: str) -> None:
        """A field came after the body."""

    def end(self) -> None:
        """The body is complete."""


class _Refused(Exception):
    """Raised within a parser's callback, to stop it."""


class Heads:
    """One connection's parser.

    ``partial`` holds while a head has begun and is not complete, ``body`` from there to the end of
    its body, ``upgraded`` once the bytes are not HTTP's any more.
    """

    __slots__ = (
        "_declined",
        "_fed",
        "_feeding",
        "_limit",
        "_marks",
        "_middle",
        "_overhead",
        "_parser",
        "_refusal",
        "_silent",
        "_sink",
        "_spans",
        "body",
        "headers",
        "keep_alive",
        "method",
        "partial",
        "upgraded",
        "url",
        "version",
    )

    def __init__(self, sink: Sink, limit: int) -> None:
        self._sink = sink
        self._limit = limit
        self._parser: httptools.HttpRequestParser | None = None
        self._refusal: Refusal | None = None
        self._declined: Framing | None = None
        self._silent = False
        self._marks: list[tuple[bytes, bytes]] = []
        self._fed = 0
        self._feeding = 0
        self._middle = False
        self._spans = False
        self._overhead = 0
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.method = ""
        self.version = ""
        self.keep_alive = False
        self.partial = False
        self.body = False
        self.upgraded = False

    def renew(self) -> None:
        """Forget the message whose body is being read without the parser, or the connection."""
        self._parser = None
        self.partial = self.body = False

    def feed(self, data: memoryview) -> tuple[Refusal | None, memoryview]:
        """Parse; return why parsing must stop here, and the bytes that are not HTTP's."""
        self._feeding = len(data)
        self._middle = False
        while data:
            try:
                (self._parser or self._begin()).feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                if self.upgraded:
                    return None, data
                self._decline()
            except httptools.HttpParserError as error:
                return self._explain(error), data
            else:
                break
        return self._bound(len(data)), data[:0]

    def _begin(self) -> httptools.HttpRequestParser:
        parser = self._parser = httptools.HttpRequestParser(self)
        # The request that follows one with "Connection: close" is dropped by ourselves.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _decline(self) -> None:
        """Go on in HTTP/1.1 after a head that offered another protocol.

        The parser takes such a message for complete. If it has a body, the next parser is told of
        it by a head of our own, which nobody hears of.
        """
        framing, self._declined = self._declined, None
        parser = self._begin()
        if framing is not None and framing.length != 0:
            field = b"Transfer-Encoding: chunked"
            if framing.length is not None:
                field = b"Content-Length: %d" % framing.length
            self._silent = True
            parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % field)
            self._silent = False

    def _explain(self, error: Exception) -> Refusal:
        """Tell a client's error from ours: both come out of the parser alike."""
        if self._refusal is not None:
            return self._refusal
        ours = not isinstance(error.__context__, httptools.HttpParserError)
        if ours and isinstance(error, httptools.HttpParserCallbackError):
            logger.error("An error of our own while parsing.", exc_info=error.__context__)
            return Refusal(500, "Internal Server Error")
        return INVALID

    def _bound(self, fed: int) -> Refusal | None:
        """Heads are kept in memory whole, so are trailers, and chunk extensions have no end."""
        if self.partial:
            self._spans = True
            self._fed += fed
            return TOO_LARGE if self._fed > self._limit else None
        if self.body:
            self._overhead += fed
            return TOO_LARGE if self._overhead > 2 * self._limit else None
        return None

    # Called by httptools.

    def on_message_begin(self) -> None:
        """A message's first byte came. What preceded it in this read is not its own."""
        self._fed = -self._feeding if self._middle else 0
        self._spans = False
        self._overhead = 0
        self.url = b""
        self.headers = []
        self._marks = []
        self.partial = True

    def on_url(self, url: bytes) -> None:
        """A part of the request target came."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field came, of the head or after the body."""
        name = name.lower()
        if not self.partial:
            self._sink.trailer(name.decode("latin-1"), value.decode("latin-1").strip(" \t"))
            return
        if name in MARKS:
            self._marks.append((name, value))
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete: judge it."""
        if self._silent:
            self.partial = False
            return
        parser = self._parser
        assert parser is not None
        self.method = parser.get_method().decode("ascii")
        self.version = version = parser.get_http_version()
        framing = judge(self._marks, version)
        if isinstance(framing, Refusal):
            self._refuse(framing)
        elif version not in ("1.1", "1.0"):
            self._refuse(VERSION)
        elif self._spans and self._size() > self._limit:
            self._refuse(TOO_LARGE)
        else:
            self._accept(parser, framing)

    def _accept(self, parser: httptools.HttpRequestParser, framing: Framing) -> None:
        self.partial = False
        self.keep_alive = self.version == "1.1" and parser.should_keep_alive()
        if self._marks and parser.should_upgrade():
            self.upgraded = self._sink.upgrades(self)
            if self.upgraded:
                return
            self._declined = framing
        self.body = True
        self._sink.head(self, framing)

    def _refuse(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise _Refused

    def _size(self) -> int:
        return len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers)

    def on_body(self, piece: bytes) -> None:
        """A piece of a body came."""
        self._overhead = -self._feeding
        self._sink.piece(piece)

    def on_message_complete(self) -> None:
        """The message is complete."""
        self._middle = True
        unread = self._declined is not None and self._declined.length != 0
        if not self.upgraded and not unread:
            self.body = False
            self._sink.end()

    def header(self, name: bytes) -> bytes | None:
        """Return a field's last value."""
        return next((v for n, v in reversed(self.headers) if n == name), None)
