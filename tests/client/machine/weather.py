"""Everything that can go wrong between the machine and a server, request by request.

A fault is a small value that says what happens to one request; ``Weather`` meets them in order,
and the sun shines when there are no more of them, unless it is told to go round for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pure_server import PureServer

from vectus.client.commands import Answer, Broken, Compare, Exchange
from vectus.protocol.messages import Headers


@dataclass(frozen=True)
class Cut:
    """The connection is lost when this part of a request, in percent, has come; at 101 only the
    answer is lost."""

    percent: int


@dataclass(frozen=True)
class Status:
    """Somebody answers with this instead of the server, which hears nothing of it."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Late:
    """The server does what it was asked to, and then answers with this."""

    status: int
    location: bool = True


@dataclass(frozen=True)
class Twice:
    """The request reaches the server twice; the client gets the answer with this number."""

    which: int


@dataclass(frozen=True)
class Lost:
    """The server has nothing of the upload any more."""


@dataclass(frozen=True)
class Back:
    """The server has lost all but these first bytes of the upload."""

    offset: int


@dataclass(frozen=True)
class Garbled:
    """A field of the answer is another one, or, with None, is missing."""

    name: str
    value: str | None


@dataclass(frozen=True)
class Stale:
    """The answer is that to the request before."""


Fault = Cut | Status | Late | Twice | Lost | Back | Garbled | Stale


@dataclass
class Weather:
    """A server, and what is between.

    Args:
        server: the server.
        faults: what happens to the requests, in order; None is nothing.
        forever: whether they begin anew when there are no more.
        narrow: bodies of more bytes than this are answered 413.
        mute: whether OPTIONS is answered by 404, as by many hosts.
    """

    server: PureServer
    faults: list[Fault | None] = field(default_factory=list)
    forever: bool = False
    narrow: int | None = None
    mute: bool = False
    met: int = 0
    before: Answer | None = None

    def __call__(self, request: Exchange | Compare, body: bytes) -> Answer | Broken | int | None:
        """Answer a request, whatever the weather."""
        answer = self._suffer(request, body, self._next())
        if isinstance(answer, Answer) and isinstance(request, Exchange):
            self.before = answer
        if isinstance(request, Compare) and isinstance(answer, Answer) and answer.good:
            return differing(self.server.content(request.url) or b"", body)
        return answer

    def _next(self) -> Fault | None:
        self.met += 1
        if self.forever and self.faults:
            return self.faults[(self.met - 1) % len(self.faults)]
        return self.faults[self.met - 1] if self.met <= len(self.faults) else None

    def _suffer(
        self, request: Exchange | Compare, body: bytes, fault: Fault | None
    ) -> Answer | Broken:
        match fault:
            case Cut(percent):
                if percent:
                    cut = len(body) * percent // 100 if percent <= 100 else None
                    self._ask(request, body, cut)
                return Broken("the connection was lost")
            case Status(status, headers):
                return Answer(status, Headers(headers), "not now")
            case Late(status, location):
                answer = self._ask(request, body)
                names = ("location", "tus-resumable") if location else ()
                kept = [(n, v) for n, v in answer.headers if n in names]
                return Answer(status, Headers(kept))
            case Twice(which):
                return [self._ask(request, body), self._ask(request, body)][which]
            case Lost():
                self.server.forget(request.url)
            case Back(offset):
                self.server.cut(request.url, offset)
            case Stale() if self.before is not None:
                self._ask(request, body)
                return self.before
        answer = self._ask(request, body)
        return garbled(answer, fault) if isinstance(fault, Garbled) else answer

    def _ask(self, request: Exchange | Compare, body: bytes, arrived: int | None = None) -> Answer:
        method = request.ask.method
        if self.mute and method == "OPTIONS":
            return Answer(404)
        if self.narrow is not None and len(body) > self.narrow and method in ("POST", "PATCH"):
            return Answer(413, text="too much at once")
        sent = body if isinstance(request, Exchange) else b""
        return self.server.answer(request.ask, request.url, sent, arrived)


def garbled(answer: Answer, fault: Garbled) -> Answer:
    """An answer with another value of a field."""
    pairs = [(name, value) for name, value in answer.headers if name != fault.name]
    if fault.value is not None:
        pairs.append((fault.name, fault.value))
    return replace(answer, headers=Headers(pairs))


def differing(ours: bytes, theirs: bytes) -> int | None:
    """The number of the first byte that differs."""
    if ours == theirs:
        return None
    pairs = zip(ours, theirs, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))
