"""The wire that the fault proxy is made of: requests on their way, in the verbs of its faults.

HTTP/1.1 framing, as much as a client of uploads and its server need of it. What happens to which
request is ``fault_proxy.py``'s affair.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

PIECE = 1 << 16
PATIENCE = 30.0
"""Seconds after which anything that should have happened has not."""

Pairs = tuple[tuple[str, str], ...]


class Gone(Exception):
    """One end of a connection went away."""


class Done(Gone):
    """The proxy itself has ended the connection, as it was told to."""


# --- What happened --------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Seen:
    """A request that came in.

    Args:
        method: its method.
        path: where it went.
        headers: its header fields, with names in lower case.
        connection: the number of the connection it came on, from 1.
        announced: bytes that its body should have.
        body: bytes of its body that came.
        status: what it was answered, or 0 where it was not.
    """

    method: str
    path: str
    headers: dict[str, str]
    connection: int
    announced: int = 0
    body: int = 0
    status: int = 0

    @property
    def offset(self) -> int:
        """Where its bytes belong."""
        return int(self.headers["upload-offset"])


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Headers that a fault names replace those of that name; None takes them away."""

    status: int
    headers: Pairs = ()
    body: bytes = b""

    def edited(self, changes: Mapping[str, str | None]) -> Reply:
        """The same with other headers."""
        names = {name.lower() for name in changes}
        kept = [pair for pair in self.headers if pair[0].lower() not in names]
        added = [(name, value) for name, value in changes.items() if value is not None]
        return Reply(self.status, (*kept, *added), self.body)

    def worded(self) -> bytes:
        """The answer as it goes over the wire."""
        lines = [f"HTTP/1.1 {self.status} So", *(f"{n}: {v}" for n, v in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1") + self.body


# --- The wire -------------------------------------------------------------------------------------


class Fault(Protocol):
    """Something that can happen to a request."""

    def play(self, one: Exchange) -> None:
        """Have it happen."""


class Ledger(Protocol):
    """What connections know of their proxy."""

    to: int
    closed: threading.Event
    troubles: list[Exception]

    def saw(self, seen: Seen) -> Fault:
        """Count a request, and say what happens to it."""

    def took(self, seen: Seen, count: int) -> None:
        """Count bytes of a body."""

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""


class Stream:
    """One end's bytes: what was read too early is kept for the next reader."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._early = b""

    def head(self) -> tuple[str, Pairs]:
        """Read up to the blank line: the first line, and the header fields.

        Raises:
            Gone: there is none any more.
        """
        while b"\r\n\r\n" not in self._early:
            self._early += self._receive(PIECE)
        head, _, self._early = self._early.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return first, tuple((name, value.strip()) for name, _, value in pairs)

    def some(self, most: int) -> bytes:
        """Read up to so many bytes.

        Raises:
            Gone: there are none any more.
        """
        if self._early:
            data, self._early = self._early[:most], self._early[most:]
            return data
        return self._receive(most)

    def exactly(self, count: int) -> bytes:
        """Read so many bytes."""
        parts = []
        while count:
            parts.append(self.some(count))
            count -= len(parts[-1])
        return b"".join(parts)

    @property
    def waiting(self) -> bool:
        """Whether something was read too early."""
        return bool(self._early)

    @property
    def silent(self) -> bool:
        """Whether there is nothing to be read now, not even the end."""
        with suppress(OSError, ValueError):  # closed a moment ago
            return not self._early and not select.select([self.socket], [], [], 0)[0]
        return False

    def listen(self) -> None:
        """Wait until there is something to be read, and leave it there."""
        if not self._early:
            with suppress(OSError):
                self.socket.recv(1, socket.MSG_PEEK)

    def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            Gone: nobody takes them any more.
        """
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone from error

    def _receive(self, most: int) -> bytes:
        try:
            data = self.socket.recv(min(most, PIECE))
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        return data


class Exchange:
    """One request on its way: the verbs that faults are written in.

    Args:
        seen: the request, counted.
        client: where it comes from.
        link: the connection that it came on.
        head: its head as it goes to the server.
    """

    def __init__(self, seen: Seen, client: Stream, link: Connection, head: bytes) -> None:
        self.seen = seen
        self._client = client
        self._link = link
        self._head = head
        self._left = seen.announced
        self._early = False

    def forward(self, count: int | None = None) -> None:
        """Send the server the head, and up to so many bytes of the body in all; less where it
        answers early."""
        server = self._link.server()
        if self._head:
            server.send(self._head)
            self._head = b""
        end = self.seen.announced if count is None else min(count, self.seen.announced)
        while self.seen.body < end and not self._early:
            if self._readable(server):
                server.send(self._take(end - self.seen.body))

    def forward_wrong(self) -> None:
        """Send one byte of the body as another."""
        self._link.server().send(bytes(byte ^ 0xFF for byte in self._take(1)))

    def answer(self) -> Reply:
        """Read the server's answer."""
        server = self._link.server()
        first, headers = server.head()
        status = int(first.split()[1])
        assert status >= 200
        sizes = [int(value) for name, value in headers if name.lower() == "content-length"]
        bare = self.seen.method == "HEAD" or status in (204, 304)
        return Reply(status, headers, b"" if bare or not sizes else server.exactly(sizes[0]))

    def reply(self, reply: Reply, times: int = 1) -> None:
        """Answer the client. Of an early answer's request, the rest of the body is thrown away, and
        the connection ends."""
        self.seen.status = reply.status
        self._client.send(reply.worded() * times)
        if self._left:
            self.drain()
            self.end()

    def drain(self) -> None:
        """Throw the rest of the body away, as long as it comes."""
        try:
            while self._left:
                self._take(self._left)
        except Gone:
            self._left = 0
            raise

    def wait_for(self, event: threading.Event) -> None:
        """Do nothing until the test says so, or the proxy is closed."""
        while not event.wait(0.02):
            if self._link.closed.is_set():
                raise Done

    def end(self) -> None:
        """End the connection politely: with a FIN after everything that was sent."""
        self._link.finish()
        raise Done

    def leave(self) -> None:
        """End the connection at once, without caring for the server."""
        self._link.leave()
        raise Done

    def reset(self) -> None:
        """End the connection by an RST."""
        self._link.reset()
        raise Done

    def _take(self, most: int) -> bytes:
        data = self._client.some(most)
        self._left -= len(data)
        self._link.ledger.took(self.seen, len(data))
        return data

    def _readable(self, server: Stream) -> bool:
        """Wait for more of the body; note where the server says something first."""
        if self._client.waiting:
            return True
        ends = [self._client.socket, server.socket]
        ready, _, _ = select.select(ends, [], [], PATIENCE)
        if not ready:
            raise Gone
        self._early = server.socket in ready
        return not self._early


class Connection:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(self, ledger: Ledger, end: socket.socket, number: int) -> None:
        self.ledger = ledger
        self.closed = ledger.closed
        self._number = number
        self._client = Stream(end)
        self._server: Stream | None = None
        self._idle = False
        end.settimeout(PATIENCE)

    @property
    def rests(self) -> bool:
        """Whether the client has had its answers, and has sent nothing since."""
        return self._idle and self._client.silent

    def run(self) -> None:
        """Serve requests until one end has gone."""
        try:
            while not self.closed.is_set():
                self._exchange()
        except Gone:
            pass
        except Exception as error:  # a test has to hear of it
            self.ledger.troubles.append(error)
        finally:
            self.close()
            self.ledger.lost(self)

    def _exchange(self) -> None:
        self._idle = True
        self._client.listen()
        self._idle = False
        first, headers = self._client.head()
        method, path, _ = first.split()
        fields = {name.lower(): value for name, value in headers}
        assert "transfer-encoding" not in fields, "bodies of a known length are announced"
        announced = int(fields.get("content-length", "0"))
        seen = Seen(method, path, fields, self._number, announced)
        fault = self.ledger.saw(seen)
        lines = [first, *(f"{name}: {value}" for name, value in headers), "", ""]
        one = Exchange(seen, self._client, self, "\r\n".join(lines).encode("latin-1"))
        self._drop_stale()
        try:
            fault.play(one)
        except Done:
            raise
        except Gone:
            self.reset()
            raise

    def _drop_stale(self) -> None:
        """Notice that the server has ended its connection between two requests."""
        if self._server is not None and select.select([self._server.socket], [], [], 0)[0]:
            self._server.socket.close()
            self._server = None

    def server(self) -> Stream:
        """The connection to the server, made when it is needed."""
        if self._server is None:
            try:
                end = socket.create_connection(("127.0.0.1", self.ledger.to), PATIENCE)
            except OSError as error:
                raise Gone from error
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._server = Stream(end)
        return self._server

    def finish(self) -> None:
        """End both sides with a FIN, the server's first."""
        for stream in filter(None, (self._server, self._client)):
            bow_out(stream.socket)

    def leave(self) -> None:
        """End the client's side with a FIN."""
        bow_out(self._client.socket)

    def reset(self) -> None:
        """End the client's side with an RST, after the server's."""
        if self._server is not None:
            bow_out(self._server.socket)
        with suppress(OSError):
            self._client.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self._client.socket.close()

    def shut(self) -> None:
        """Wake up whoever waits at one of its ends."""
        for stream in filter(None, (self._client, self._server)):
            with suppress(OSError):
                stream.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close both ends."""
        for stream in filter(None, (self._client, self._server)):
            stream.socket.close()


def bow_out(end: socket.socket) -> None:
    """End a connection with a FIN, and wait until the other side has taken note: for a server, that
    it has all that was sent; and what was received and not read would make it a reset."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_WR)
        end.settimeout(PATIENCE)
        while end.recv(PIECE):
            pass
