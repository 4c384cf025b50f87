"""The proxy does what its script says, and counts right: before a small server of our own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import BadStatusLine, HTTPConnection, HTTPResponse, RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from benchmarks.slow_link import LinkThread
from fault_proxy import (
    Cut,
    Edit,
    Garble,
    Hold,
    Proxy,
    Reset,
    Say,
    Script,
    Stall,
    Swallow,
    TooLarge,
    Trap,
    Twice,
)
from fault_wire import Fault

from server import Port

BODY = bytes(range(256)) * 1000


class Upstream(ThreadingHTTPServer):
    """Takes bodies and says how long they were; ``bodies`` has what came of each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[bytes] = []
        self.changed = threading.Condition()

    def got(self, body: bytes) -> None:
        with self.changed:
            self.bodies.append(body)
            self.changed.notify_all()

    def wait(self) -> bytes:
        """The last body, once it has ended."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.bodies, 20)
            return self.bodies[-1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_PATCH(self) -> None:
        body, left = b"", int(self.headers["Content-Length"])
        while len(body) < left and (data := self._read(left - len(body))):
            body += data
        self.server.got(body)
        if len(body) == left:
            self.send_response(204)
            self.send_header("Upload-Offset", str(len(body)))
            self.end_headers()

    def _read(self, most: int) -> bytes:
        try:
            return self.rfile.read1(most)
        except OSError:
            return b""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server."""
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(20)


def send(
    http: HTTPConnection, body: bytes = BODY, patience: float = 20
) -> tuple[HTTPResponse, bytes]:
    """Send a PATCH, and return its answer."""
    http.timeout = patience
    http.request("PATCH", "/files/1", body, {"Upload-Offset": "0"})
    answer = http.getresponse()
    return answer, answer.read()


def before(upstream: Upstream, script: Script | None = None) -> Proxy:
    return Proxy(upstream.server_address[1], script)


def to(proxy: Proxy) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", proxy.port, timeout=20)


def test_what_is_not_scripted_goes_through(upstream: Upstream) -> None:
    """Requests and answers pass as they are, on one connection, and are counted."""
    with before(upstream) as proxy:
        http = to(proxy)
        answers = [send(http)[0] for _ in range(3)]
        http.close()

    assert [answer.status for answer in answers] == [204, 204, 204]
    assert [answer.headers["Upload-Offset"] for answer in answers] == [str(len(BODY))] * 3
    assert upstream.bodies == [BODY] * 3
    assert proxy.connections == 1
    assert proxy.count("PATCH") == 3
    assert proxy.body() == 3 * len(BODY)
    assert [(seen.offset, seen.status) for seen in proxy.of("PATCH")] == [(0, 204)] * 3


@pytest.mark.parametrize("fault", [Cut(100_000), Reset(100_000)])
def test_a_body_is_cut_at_the_byte(upstream: Upstream, fault: Fault) -> None:
    """Exactly so many bytes reach the server, then the client's connection ends; the next request
    is none of its business."""
    with before(upstream, {("PATCH", 1): fault}) as proxy:
        http = to(proxy)
        with pytest.raises((RemoteDisconnected, ConnectionError)):
            send(http)
        assert upstream.wait() == BODY[:100_000]
        http.close()
        assert send(http)[0].status == 204
        http.close()

    assert upstream.bodies[-1] == BODY
    assert proxy.connections == 2


def test_a_reset_at_once(upstream: Upstream) -> None:
    """The server hears nothing."""
    with before(upstream, {("PATCH", 1): Reset()}) as proxy:
        http = to(proxy)
        with pytest.raises(ConnectionError):
            send(http)
        http.close()

    assert upstream.bodies == []


@pytest.mark.parametrize("after", [0, 100_000])
def test_a_stall(upstream: Upstream, after: int) -> None:
    """Nothing is said and nothing is closed; the server waits for the rest as well."""
    with before(upstream, {("PATCH", 1): Stall(after)}) as proxy:
        http = to(proxy)
        with pytest.raises(TimeoutError):
            send(http, patience=0.3)
        proxy.wait_for_body(after)
        http.close()
        assert proxy.body() == after
        assert upstream.bodies == []


def test_a_lost_answer(upstream: Upstream) -> None:
    """The server has all of it, the client has nothing."""
    with before(upstream, {("PATCH", None): Swallow()}) as proxy:
        http = to(proxy)
        for _ in range(2):
            with pytest.raises((RemoteDisconnected, ConnectionError)):
                send(http)
            http.close()

    assert upstream.bodies == [BODY, BODY]
    assert proxy.of("PATCH")[0].status == 0


def test_an_answer_that_comes_twice(upstream: Upstream) -> None:
    """The second one is what the next request on the connection would read."""
    with before(upstream, {("PATCH", 1): Twice()}) as proxy:
        end = socket.create_connection(("127.0.0.1", proxy.port), 20)
        end.sendall(b"PATCH / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")
        found = b""
        while found.count(b"Upload-Offset: 1\r\n\r\n") < 2:
            data = end.recv(1000)
            assert data
            found += data
        end.close()


def test_another_answer(upstream: Upstream) -> None:
    """The server hears nothing; the connection stays."""
    with before(upstream, {("PATCH", 1): Say(503, {"Retry-After": "3"}, "Not now.")}) as proxy:
        http = to(proxy)
        answer, text = send(http)
        assert (answer.status, answer.headers["Retry-After"], text) == (503, "3", b"Not now.")
        assert send(http)[0].status == 204
        http.close()

    assert len(upstream.bodies) == proxy.connections == 1


def test_too_large_a_body(upstream: Upstream) -> None:
    """413 comes for a larger one only, and is readable though the body was not read."""
    with before(upstream, {("PATCH", None): TooLarge(1000)}) as proxy:
        http = to(proxy)
        assert send(http)[0].status == 413
        assert send(http, BODY[:1000])[0].status == 204
        http.close()

    assert upstream.bodies == [BODY[:1000]]


def test_other_headers(upstream: Upstream) -> None:
    """Headers are replaced and taken away, whatever their case."""
    edit = Edit({"upload-offset": "banana", "SERVER": None, "X-More": "1"})
    with before(upstream, {("PATCH", 1): edit}) as proxy:
        http = to(proxy)
        found = send(http)[0].headers
        http.close()

    assert found.get_all("Upload-Offset") == ["banana"]
    assert (found["Server"], found["X-More"]) == (None, "1")


@pytest.mark.parametrize("after", [1000, None])
def test_a_request_that_waits(upstream: Upstream, after: int | None) -> None:
    """It waits where it was told to, and goes on when it is let go."""
    hold = Hold(after)
    with before(upstream, {("PATCH", 1): hold}) as proxy:
        found: list[int] = []
        http = to(proxy)
        client = threading.Thread(target=lambda: found.append(send(http)[0].status))
        client.start()
        assert hold.reached.wait(20)
        assert found == []
        assert proxy.body() == (len(BODY) if after is None else after)
        assert len(upstream.bodies) == (after is None)
        hold.go.set()
        client.join(20)
        http.close()

    assert found == [204]


def test_a_trap(upstream: Upstream) -> None:
    """A request waits, and what it had sent until then is all that arrives."""
    trap = Trap(1000)
    with before(upstream, {("PATCH", 1): trap}) as proxy:
        end = socket.create_connection(("127.0.0.1", proxy.port), 20)
        end.sendall(b"PATCH / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n" + BODY[:5000])
        assert trap.reached.wait(20)
        end.close()
        assert upstream.bodies == []
        trap.go.set()
        assert upstream.wait() == BODY[:1000]
        proxy.settle()


def test_a_wrong_byte(upstream: Upstream) -> None:
    """One byte arrives as another, and the rest as it is."""
    with before(upstream, {("PATCH", 1): Garble(1000)}) as proxy:
        http = to(proxy)
        assert send(http)[0].status == 204
        http.close()

    found = upstream.bodies[0]
    assert [at for at, byte in enumerate(BODY) if found[at] != byte] == [1000]


def test_a_server_that_is_not_there() -> None:
    """The client's connection is reset."""
    with closing(Port()) as nobody, Proxy(nobody.number) as proxy:
        http = to(proxy)
        with pytest.raises((ConnectionError, BadStatusLine)):
            send(http)
        http.close()


def test_a_client_that_goes_away(upstream: Upstream) -> None:
    """What it sent arrives, and the server hears of its end."""
    with before(upstream) as proxy:
        end = socket.create_connection(("127.0.0.1", proxy.port), 20)
        end.sendall(b"PATCH / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhello")
        end.close()
        assert upstream.wait() == b"hello"

    assert [(seen.announced, seen.body) for seen in proxy.of("PATCH")] == [(10, 5)]


def test_a_slow_link(upstream: Upstream) -> None:
    """It carries everything both ways, and takes no less time than it must."""
    began = time.monotonic()
    with LinkThread(upstream.server_address[1], rate=1 << 20, delay=0.05) as link:
        http = HTTPConnection("127.0.0.1", link.port, timeout=20)
        assert send(http)[0].status == 204
        assert send(http)[0].status == 204
        http.close()
    took = time.monotonic() - began

    assert upstream.bodies == [BODY, BODY]
    assert took >= 2 * len(BODY) / (1 << 20) + 0.1 + 4 * 0.05
