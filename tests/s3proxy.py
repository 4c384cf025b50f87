"""A proxy in front of an S3 server that does to chosen calls what networks and servers do to them.

    with S3Proxy(rgw) as proxy:
        proxy.fail(lose_answer, "PutObject", ".info", nth=2)

Knows S3 well enough to name a call and its key, and nothing of vectus. Speaks HTTP/1.1 with
keep-alive, one thread to a connection, on loopback; bodies stream through. The Host is forwarded as
it came, for it is signed. Buckets are named in the path.
"""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from io import BufferedReader
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

BLOCK = 1 << 18
PATIENCE = 60.0
"""Seconds after which what is held is let go, so that no test hangs for ever."""

NAMES = (
    ("POST", True, "uploads", "CreateMultipartUpload"),
    ("POST", True, "uploadId", "CompleteMultipartUpload"),
    ("PUT", True, "partNumber", "UploadPart"),
    ("PUT", True, "", "PutObject"),
    ("GET", True, "uploadId", "ListParts"),
    ("GET", True, "", "GetObject"),
    ("HEAD", True, "", "HeadObject"),
    ("DELETE", True, "uploadId", "AbortMultipartUpload"),
    ("DELETE", True, "", "DeleteObject"),
    ("GET", False, "uploads", "ListMultipartUploads"),
    ("GET", False, "list-type", "ListObjectsV2"),
    ("GET", False, "lifecycle", "GetBucketLifecycleConfiguration"),
    ("PUT", False, "lifecycle", "PutBucketLifecycleConfiguration"),
    ("DELETE", False, "lifecycle", "DeleteBucketLifecycle"),
    ("GET", False, "location", "GetBucketLocation"),
    ("GET", False, "", "ListObjects"),
    ("POST", False, "delete", "DeleteObjects"),
    ("HEAD", False, "", "HeadBucket"),
    ("PUT", False, "", "CreateBucket"),
    ("DELETE", False, "", "DeleteBucket"),
)
"""What a call is named: by its method, whether it is about a key, and a word of its query."""

COPIES = {"UploadPart": "UploadPartCopy", "PutObject": "CopyObject"}
"""What it is named when its bytes come from another object."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call to S3.

    Args:
        number: which one of all, from 1.
        operation: S3's name for it.
        key: which object it is about, or which prefix.
        nth: which one of this operation on this key, from 1; another try of a call has its number.
        attempt: which try of the client's it is, from 1.
        headers: the request's, their names in small letters.
        query: the URL's.
    """

    number: int
    operation: str
    key: str
    nth: int
    attempt: int
    headers: Mapping[str, str]
    query: Mapping[str, str]


class Cut(Exception):
    """The connection is to be broken."""


Fault = Callable[["Exchange"], None]
"""What is done with a call instead of passing it on; see the end of this file."""

Where = Callable[[Call], bool]


@dataclass(eq=False, slots=True)
class Rule:
    """What is done to which calls; ``fired`` says how often it was."""

    fault: Fault
    where: Where
    times: int | None
    fired: int = 0


class S3Proxy:
    """A proxy, from entering its context to leaving it.

    Args:
        upstream: the URL of the S3 server.
        port: where to listen; any free port by default.

    Attributes:
        url: where it is.
    """

    def __init__(self, upstream: str, port: int = 0) -> None:
        there = urlsplit(upstream)
        assert there.hostname is not None
        self.upstream = (there.hostname, there.port or 80)
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._calls: list[Call] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._numbers: dict[str, int] = {}
        self._rules: list[Rule] = []
        self._wires: set[Wire] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=100)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- What a test says -------------------------------------------------------------------------

    @property
    def calls(self) -> list[Call]:
        """Every call so far, tries and all, in the order of their heads."""
        with self._lock:
            return list(self._calls)

    def count(self, operation: str) -> int:
        """How many calls of an operation there were, tries and all."""
        return sum(call.operation == operation for call in self.calls)

    def fail(
        self,
        fault: Fault,
        operation: str | None = None,
        key: str = "",
        *,
        nth: int | None = None,
        number: int | None = None,
        where: Where = lambda _: True,
        times: int | None = 1,
    ) -> Rule:
        """Do something to calls from now on. The rule made first that fits a call counts.

        Args:
            fault: what.
            operation: to calls of this operation, or of any.
            key: on keys that end like this.
            nth: to this one of an operation on a key, its other tries included.
            number: to this one of all.
            where: to calls of which this is true.
            times: how often, each try counted; None for always.
        """

        def fits(call: Call) -> bool:
            return (
                operation in (None, call.operation)
                and call.key.endswith(key)
                and nth in (None, call.nth)
                and number in (None, call.number)
                and where(call)
            )

        rule = Rule(fault, fits, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Let everything through from now on, and what is held, too."""
        with self._lock:
            self._rules.clear()
            released, self._released = self._released, threading.Event()
        released.set()

    def forget(self) -> None:
        """Begin to count calls anew."""
        with self._lock:
            self._calls.clear()
            self._counts.clear()
            self._numbers.clear()

    def break_all(self) -> None:
        """Break every connection, as a proxy does that is started again."""
        with self._lock:
            wires = list(self._wires)
        for wire in wires:
            wire.shut()

    def close(self) -> None:
        """Stop, and wait until nothing is under way."""
        self.clear()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.break_all()
        for thread in self._threads:
            thread.join(PATIENCE)

    # --- What it does -----------------------------------------------------------------------------

    def _run(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        with self._lock:
            self._threads = [each for each in self._threads if each.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._run(self._serve, self._listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        with closing(client), suppress(OSError, Cut), closing(Line(self, client)) as line:
            while line.exchange():
                continue

    def enter(self, wire: Wire) -> None:
        """Know of a connection."""
        with self._lock:
            self._wires.add(wire)

    def leave(self, wire: Wire) -> None:
        """Break a connection."""
        with self._lock:
            self._wires.discard(wire)
        wire.close()

    def judge(self, request: Message) -> tuple[Call, Fault, threading.Event]:
        """Count a call; return it, what is to be done with it, and how long it may be held."""
        operation, key, query = identify(request)
        attempt, invocation = attempt_of(request)
        with self._lock:
            if invocation not in self._numbers:
                self._counts[operation, key] += 1
                self._numbers[invocation] = self._counts[operation, key]
            nth = self._numbers[invocation]
            if not invocation:
                del self._numbers[invocation]
            number = len(self._calls) + 1
            call = Call(number, operation, key, nth, attempt, request.headers, query)
            self._calls.append(call)
            for rule in self._rules:
                if rule.fired != rule.times and rule.where(call):
                    rule.fired += 1
                    return call, rule.fault, self._released
            return call, passed, self._released


def identify(request: Message) -> tuple[str, str, dict[str, str]]:
    """Name a request: its operation, its key or prefix, and its query."""
    method, target, _ = request.first
    url = urlsplit(target)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    key = unquote(url.path.lstrip("/").partition("/")[2])
    for verb, keyed, word, name in NAMES:
        if verb == method and keyed == bool(key) and (not word or word in query):
            copies = "x-amz-copy-source" in request.headers
            return COPIES.get(name, name) if copies else name, key or query.get("prefix", ""), query
    return method, key, query


def attempt_of(request: Message) -> tuple[int, str]:
    """Return which try a request is, and of what: boto says both."""
    match = re.search(r"attempt=(\d+)", request.headers.get("amz-sdk-request", ""))
    return int(match[1]) if match else 1, request.headers.get("amz-sdk-invocation-id", "")


# --- HTTP -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    """The head of a request or of an answer, as it came, and its fields by their names in small
    letters."""

    lines: tuple[bytes, ...]
    headers: Mapping[str, str]

    @property
    def first(self) -> list[str]:
        """The words of its first line."""
        return [*self.lines[0].decode("latin-1").split(" ", 2), "", ""][:3]

    @property
    def status(self) -> int:
        """An answer's status."""
        return int(self.first[1])

    @property
    def length(self) -> int:
        """How long its body is, if it has one that says so."""
        return int(self.headers.get("content-length", 0))

    def worded(self) -> bytes:
        """The bytes to pass on: what came, but for what we do ourselves."""
        lines = [line for line in self.lines if not line.lower().startswith(b"expect:")]
        return b"\r\n".join([*lines, b"", b""])


class Wire:
    """Our end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._heard = BufferedReader(sock.makefile("rb", buffering=0), BLOCK)

    def head(self) -> Message | None:
        """Read the next head; return None where there is none any more."""
        lines: list[bytes] = []
        while line := self._heard.readline().rstrip(b"\r\n"):
            lines.append(line)
        fields = (line.decode("latin-1").partition(":") for line in lines[1:])
        headers = {name.lower(): value.strip() for name, _, value in fields}
        return Message(tuple(lines), headers) if lines else None

    def read(self, count: int) -> Iterator[bytes]:
        """Yield so many bytes."""
        while count:
            data = self._heard.read1(min(BLOCK, count))
            if not data:
                raise Cut
            count -= len(data)
            yield data

    def read_chunks(self) -> Iterator[bytes]:
        """Yield a chunked body, framing and all."""
        size = -1
        while size:
            line = self._heard.readline()
            if not line:
                raise Cut
            size = int(line.partition(b";")[0], 16)
            yield line
            yield from self.read(size + 2)

    def send(self, *blocks: bytes) -> None:
        """Send bytes."""
        for block in blocks:
            self._socket.sendall(block)

    def speaks(self, patience: float = 0) -> bool:
        """Wait for something to be read, be it the other end's farewell."""
        return bool(select.select([self._socket], [], [], patience)[0])

    def is_over(self, patience: float) -> bool:
        """Wait for the other end's farewell."""
        return self.speaks(patience) and not self._socket.recv(1, socket.MSG_PEEK)

    def shut(self) -> None:
        """Break it, whoever is reading."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Break it, and let go of it."""
        self.shut()
        self._heard.close()
        self._socket.close()


class Line:
    """A client's connection, and ours to the S3 server behind it."""

    def __init__(self, proxy: S3Proxy, client: socket.socket) -> None:
        self.client = Wire(client)
        self._proxy = proxy
        self._server: Wire | None = None
        proxy.enter(self.client)

    def exchange(self) -> bool:
        """Take a request, and do with it what is to be done; say whether there was one."""
        request = self.client.head()
        if request is None:
            return False
        call, fault, released = self._proxy.judge(request)
        if "expect" in request.headers:
            self.client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        fault(Exchange(self, request, call, released))
        return True

    def server(self) -> Wire:
        """Return a connection to S3: a new one, if S3 has ended the last."""
        if self._server is not None and self._server.speaks():
            self.drop()
        if self._server is None:
            self._server = Wire(socket.create_connection(self._proxy.upstream))
            self._proxy.enter(self._server)
        return self._server

    def drop(self) -> None:
        """Break the connection to S3."""
        server, self._server = self._server, None
        if server is not None:
            self._proxy.leave(server)

    def close(self) -> None:
        """Break both."""
        self.drop()
        self._proxy.leave(self.client)


class Exchange:
    """A request whose head has come, and what can be done with it.

    Args:
        line: where it came.
        request: its head.
        call: what it is.
        released: set when nothing is to be held any more.
    """

    def __init__(self, line: Line, request: Message, call: Call, released: threading.Event) -> None:
        self.call = call
        self._line = line
        self._request = request
        self._released = released

    def take(self) -> bytes:
        """Return the request's body."""
        return b"".join(self._line.client.read(self._request.length))

    def forward(self, body: Iterable[bytes] | None = None) -> tuple[Message, Iterator[bytes]]:
        """Pass it on, with its body as it comes or one that was taken; return S3's answer."""
        server = self.send_on(
            self._line.client.read(self._request.length) if body is None else body
        )
        while (answer := server.head()) is not None:
            if answer.status != 100:
                return answer, self._body(server, answer)
        raise Cut

    def send_on(self, body: Iterable[bytes]) -> Wire:
        """Send it to S3 with some body; return the connection."""
        server = self._line.server()
        server.send(self._request.worded())
        server.send(*body)
        return server

    def send_half(self) -> None:
        """Send it to S3 with half of its body."""
        self.send_on(self._line.client.read(self._request.length // 2))

    def _body(self, server: Wire, answer: Message) -> Iterator[bytes]:
        if self._request.first[0] == "HEAD" or answer.status in (204, 304):
            return iter(())
        if "transfer-encoding" in answer.headers:
            return server.read_chunks()
        return server.read(answer.length)

    def reply(self, *blocks: bytes) -> None:
        """Send bytes to the client."""
        self._line.client.send(*blocks)

    def say(self, status: int, body: bytes) -> None:
        """Answer with some XML."""
        head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/xml\r\n"
        silent = self._request.first[0] == "HEAD"
        size = f"Content-Length: {len(body)}\r\n\r\n"
        self.reply((head + size).encode(), b"" if silent else body)

    def hold(self) -> bool:
        """Do nothing until the client has given up, or until all is let through again; return
        whether the client is still there."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and not self._released.is_set():
            if self._line.client.is_over(0.02):
                return False
        return True


def failure(code: str) -> bytes:
    """Word an error of S3's."""
    text = f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


# --- What can be done with a call -----------------------------------------------------------------


def passed(exchange: Exchange) -> None:
    """Pass it on, and the answer back."""
    relay(exchange, *exchange.forward())


def relay(exchange: Exchange, answer: Message, body: Iterator[bytes]) -> None:
    """Pass an answer back."""
    exchange.reply(answer.worded())
    for block in body:
        exchange.reply(block)
    if answer.headers.get("connection", "").lower() == "close":
        raise Cut


def error(status: int = 500, code: str = "InternalError") -> Fault:
    """Answer that it failed; S3 never gets it."""

    def fault(exchange: Exchange) -> None:
        exchange.take()
        exchange.say(status, failure(code))

    return fault


def hidden_error(code: str = "InternalError") -> Fault:
    """Answer 200, and that it failed: S3 begins to answer what takes long before it knows."""
    return error(200, code)


def slow(seconds: float) -> Fault:
    """Let some time go by before it is passed on."""

    def fault(exchange: Exchange) -> None:
        time.sleep(seconds)
        passed(exchange)

    return fault


def lost(exchange: Exchange) -> None:
    """Say nothing, until the client gives up; S3 never gets it. Let through again before that, it
    was just held."""
    body = exchange.take()
    if not exchange.hold():
        raise Cut
    relay(exchange, *exchange.forward((body,)))


def unanswered(exchange: Exchange) -> None:
    """Pass it on, and keep the answer until the client gives up."""
    answer, body = exchange.forward()
    blocks = list(body)
    if not exchange.hold():
        raise Cut
    relay(exchange, answer, iter(blocks))


def cut(exchange: Exchange) -> None:
    """Break the connection; S3 never gets it."""
    exchange.take()
    raise Cut


def cut_request(exchange: Exchange) -> None:
    """Break the connection in the middle of the request's body, towards S3 as well."""
    exchange.send_half()
    raise Cut


def lose_answer(exchange: Exchange) -> None:
    """Pass it on, wait for the answer, and break the connection instead of giving it."""
    _, body = exchange.forward()
    for _ in body:
        continue
    raise Cut


def cut_answer(exchange: Exchange) -> None:
    """Pass it on, and break the connection in the middle of the answer: of its body, if any."""
    answer, body = exchange.forward()
    whole = b"".join(body)
    head = answer.worded()
    exchange.reply(head + whole[: len(whole) // 2] if whole else head[: len(head) // 2])
    raise Cut


def garble(exchange: Exchange) -> None:
    """Pass it on, and answer with half of the answer's body as if that were all of it."""
    answer, body = exchange.forward()
    whole = b"".join(body)
    exchange.say(answer.status, whole[: len(whole) // 2])


class Late:
    """Pass it on only when it is told to go, long after the client has given it up.

    Attributes:
        given_up: set when the client has.
        go: to be set.
        done: set when S3 has obeyed.
    """

    def __init__(self) -> None:
        self.given_up, self.go, self.done = (threading.Event() for _ in range(3))

    def __call__(self, exchange: Exchange) -> None:
        body = exchange.take()
        exchange.hold()
        self.given_up.set()
        self.go.wait(PATIENCE)
        _, answer = exchange.forward((body,))
        for _ in answer:
            continue
        self.done.set()
        raise Cut
