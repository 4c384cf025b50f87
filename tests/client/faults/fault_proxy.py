"""A proxy that does to requests what networks, proxies and servers do, as a test scripts it.

A script is a table: (method, which one of that method) → a ``Fault``. What is not in it goes
through untouched. It knows HTTP/1.1 framing and nothing of tus, nor of any client; what it saw
stands in ``requests``, for tests to count. Slowness is ``benchmarks.slow_link``'s affair.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from fault_wire import PATIENCE, PIECE, Connection, Exchange, Fault, Reply, Seen

# --- What can happen ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pass:
    """Nothing: the request goes through, and its answer comes back."""

    def play(self, one: Exchange) -> None:
        one.forward()
        one.reply(one.answer())


@dataclass(frozen=True, slots=True)
class Stall:
    """After so many bytes of the body, nothing more is read, said or closed: neither end hears of
    the other again."""

    after: int = 0

    def play(self, one: Exchange) -> None:
        one.forward(self.after)
        one.wait_for(threading.Event())


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends after so many bytes of the body have reached the server."""

    after: int = 0

    def play(self, one: Exchange) -> None:
        one.forward(self.after)
        one.end()


@dataclass(frozen=True, slots=True)
class Reset:
    """The same the hard way, by RST; after no byte at all it is a reset at once."""

    after: int = 0

    def play(self, one: Exchange) -> None:
        if self.after:
            one.forward(self.after)
        one.reset()


@dataclass(frozen=True, slots=True)
class Swallow:
    """The server has it all and answers; the answer is lost."""

    def play(self, one: Exchange) -> None:
        one.forward()
        one.answer()
        one.end()


@dataclass(frozen=True, slots=True)
class Twice:
    """The answer comes twice."""

    def play(self, one: Exchange) -> None:
        one.forward()
        one.reply(one.answer(), times=2)


@dataclass(frozen=True, slots=True)
class Farewell:
    """The answer comes, and the connection ends without having said that it would."""

    def play(self, one: Exchange) -> None:
        one.forward()
        one.reply(one.answer())
        one.leave()


@dataclass(frozen=True, slots=True)
class Say:
    """Something else answers; the server hears nothing of it.

    Args:
        status: what is answered.
        headers: fields of the answer.
        text: its body.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""

    def play(self, one: Exchange) -> None:
        one.drain()
        one.reply(self.reply())

    def reply(self) -> Reply:
        """The answer."""
        body = self.text.encode()
        fields = {"Content-Length": str(len(body)), "Content-Type": "text/plain", **self.headers}
        return Reply(self.status, tuple(fields.items()), body)


@dataclass(frozen=True, slots=True)
class TooLarge:
    """413 for a body above so many bytes, before it is read, as nginx does."""

    most: int

    def play(self, one: Exchange) -> None:
        if one.seen.announced <= self.most:
            Pass().play(one)
            return
        one.reply(Say(413, {"Connection": "close"}, "Too much at once.").reply())
        one.drain()
        one.end()


@dataclass(frozen=True, slots=True)
class Edit:
    """The answer's headers are others; None takes one away."""

    headers: Mapping[str, str | None]

    def play(self, one: Exchange) -> None:
        one.forward()
        one.reply(one.answer().edited(self.headers))


@dataclass(frozen=True, slots=True, eq=False)
class Hold:
    """Everything waits after so many bytes of the body, until the test lets go.

    Args:
        after: bytes of the body; None for all of it and the answer, which waits.
    """

    after: int | None = 0
    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def play(self, one: Exchange) -> None:
        one.forward(self.after)
        reply = one.answer() if self.after is None else None
        self.reached.set()
        one.wait_for(self.go)
        one.forward()
        one.reply(reply or one.answer())


@dataclass(frozen=True, slots=True, eq=False)
class Trap:
    """Everything waits after so many bytes of the body; when the test lets go, the rest is lost."""

    after: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def play(self, one: Exchange) -> None:
        one.forward(self.after)
        self.reached.set()
        one.wait_for(self.go)
        one.end()


@dataclass(frozen=True, slots=True)
class Garble:
    """One byte of the body arrives as another."""

    at: int

    def play(self, one: Exchange) -> None:
        one.forward(self.at)
        one.forward_wrong()
        Pass().play(one)


Script = Mapping[tuple[str, int | None], Fault]
"""(method, its number from 1, or None for every other) → what happens to it."""


class Proxy:
    """A proxy before a port of 127.0.0.1, while its context lasts.

    Args:
        to: the server's port.
        script: what happens to which request.
    """

    def __init__(self, to: int, script: Script | None = None) -> None:
        self.to = to
        self.script: dict[tuple[str, int | None], Fault] = dict(script or {})
        self.requests: list[Seen] = []
        self.troubles: list[Exception] = []
        self.connections = 0
        self.closed = threading.Event()
        self._changed = threading.Condition()
        self._open: list[Connection] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        # What lies in our buffers has not reached the server: the less of that, the better a cut.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * PIECE)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/files/"

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self.troubles:
            raise self.troubles[0]

    def close(self) -> None:
        """End everything."""
        self.closed.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._changed:
            still_open = list(self._open)
        for connection in still_open:
            connection.shut()
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()

    # --- For tests ---

    def of(self, method: str) -> list[Seen]:
        """The requests of a method, in the order they came."""
        with self._changed:
            return [seen for seen in self.requests if seen.method == method]

    def count(self, method: str) -> int:
        """How many of them there were."""
        return len(self.of(method))

    def body(self, method: str = "PATCH") -> int:
        """How many bytes of bodies they had in all."""
        return sum(seen.body for seen in self.of(method))

    def wait_for_body(self, count: int, method: str = "PATCH") -> None:
        """Wait until so many bytes of bodies have come."""
        with self._changed:
            enough = self._changed.wait_for(
                lambda: sum(s.body for s in self.requests if s.method == method) >= count, PATIENCE
            )
        assert enough, f"{count} bytes have not come"

    def settle(self) -> None:
        """Wait until every connection has ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._open, PATIENCE), "connections stay open"

    def rest(self) -> None:
        """Wait until nothing is on its way: every connection has ended, or rests."""
        deadline = time.monotonic() + PATIENCE
        while not self._rests():
            assert time.monotonic() < deadline, "requests stay under way"
            time.sleep(0.001)

    def _rests(self) -> bool:
        with self._changed:
            nobody_comes = not select.select([self._listener], [], [], 0)[0]
            return nobody_comes and all(connection.rests for connection in self._open)

    # --- For connections ---

    def saw(self, seen: Seen) -> Fault:
        """Count a request, and say what happens to it."""
        with self._changed:
            self.requests.append(seen)
            number = sum(each.method == seen.method for each in self.requests)
            self._changed.notify_all()
        default = self.script.get((seen.method, None), Pass())
        return self.script.get((seen.method, number), default)

    def took(self, seen: Seen, count: int) -> None:
        """Count bytes of a body."""
        with self._changed:
            seen.body += count
            self._changed.notify_all()

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        with self._changed:
            self._open.remove(connection)
            self._changed.notify_all()

    def _accept(self) -> None:
        while not self.closed.is_set():
            select.select([self._listener], [], [])
            with self._changed:  # whoever looks sees it in the backlog, or among the open ones
                try:
                    end, _ = self._listener.accept()
                except OSError:
                    return
                self.connections += 1
                connection = Connection(self, end, self.connections)
                self._open.append(connection)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._run(connection.run)

    def _run(self, task: Callable[[], None]) -> None:
        thread = threading.Thread(target=task, daemon=True)
        self._threads.append(thread)
        thread.start()
