"""A handler as an ASGI application: where it finds itself, and bodies and replies as messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest

from vectus.asgi import FrontEnd, Messages, place
from vectus.contracts import Body
from vectus.protocol.exchange import Ending
from vectus.protocol.messages import Collection, Head, Nowhere, Reply, Resource, Target

LIMIT = 10.0
Message = MutableMapping[str, Any]


@pytest.mark.parametrize(
    ("path", "raw", "root", "base_path", "target", "base"),
    [
        ("/abc", "/abc", "", "", Resource("abc"), "/"),
        ("/", "/", "", "", Collection(), "/"),
        ("", "", "", "", Collection(), "/"),
        # The path has the root path in it: uvicorn, Starlette, FastAPI.
        ("/api/files/abc", "/api/files/abc", "/api/files", "", Resource("abc"), "/api/files/"),
        ("/api/files/", "/api/files/", "/api/files", "", Collection(), "/api/files/"),
        ("/api/files", "/api/files", "/api/files", "", Collection(), "/api/files/"),
        ("/api/files/abc", "/api/files/abc", "/api", "/files", Resource("abc"), "/api/files/"),
        # It has not: hypercorn and granian behind a proxy that takes it off.
        ("/abc", "/abc", "/api", "", Resource("abc"), "/api/"),
        ("/files/abc", "/files/abc", "/api", "/files", Resource("abc"), "/api/files/"),
        # Starlette's mount on such a server.
        ("/files/abc", "/files/abc", "/api/files", "", Resource("abc"), "/api/files/"),
        # A mount that takes its prefix off and tells nobody: Litestar.
        ("/abc/", "/files/abc", "", "", Resource("abc"), "/files/"),
        ("/", "/files", "", "", Collection(), "/files/"),
        ("/", "/files/", "", "", Collection(), "/files/"),
        ("/abc/", "/api/files/abc", "/api", "", Resource("abc"), "/api/files/"),
        # Names of mounts that need escapes.
        ("/\xfc/abc", "/%c3%bc/abc", "/\xfc", "", Resource("abc"), "/%C3%BC/"),
        ("/a b/abc", "/a%20b/abc", "", "/a b", Resource("abc"), "/a%20b/"),
        # A root path that only looks like one.
        ("/apis/abc", "/apis/abc", "/api", "", Nowhere(), "/api/"),
        # What is not an id, as sent.
        ("/abc", "/%61bc", "", "", Nowhere(), "/"),
        ("/abc/", "/abc/", "", "", Nowhere(), "/"),
        ("/a/b", "/a%2Fb", "", "", Nowhere(), "/"),
        ("/files/abc", "/files%2Fabc", "", "/files", Nowhere(), "/files/"),
        ("/files2/abc", "/files2/abc", "", "/files", Nowhere(), "/files/"),
        ("/elsewhere", "/elsewhere", "", "/files", Nowhere(), "/files/"),
        ("/a.b", "/a.b", "", "", Nowhere(), "/"),
        ("/..", "/%2e%2e", "", "", Nowhere(), "/"),
        # Two slashes would make a Location of another host.
        ("//evil.com/abc", "//evil.com/abc", "", "", Nowhere(), "/"),
        ("//evil.com/", "//evil.com/", "//evil.com", "", Collection(), "/evil.com/"),
        ("//", "//", "", "", Collection(), "/"),
    ],
)
def test_a_place_is_found_however_the_host_mounts(
    path: str, raw: str, root: str, base_path: str, target: Target, base: str
) -> None:
    """D13: targets and bases under every kind of mount and root path."""
    assert place(path, raw, root, base_path) in {
        (target, base),
        # Where nothing is, the base does not matter.
        *([(target, place(path, raw, root, base_path)[1])] if target == Nowhere() else []),
    }


class Host:
    """A server, as an application sees it."""

    def __init__(self, *received: Message, **scope: Any) -> None:
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "PATCH",
            "path": "/abc",
            "headers": [],
            **scope,
        }
        self.queue: asyncio.Queue[Message] = asyncio.Queue()
        for message in received:
            self.queue.put_nowait(message)
        self.calls = 0
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        self.calls += 1
        return await self.queue.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def run(self, app: Any) -> None:
        async with asyncio.timeout(LIMIT):
            await app(self.scope, self.receive, self.send)


def piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


GONE: Message = {"type": "http.disconnect"}


async def poured(body: Body) -> tuple[bytes, Ending]:
    data = bytearray()
    return bytes(data), await body.pour(data.extend)


async def test_a_head_without_the_optional_keys() -> None:
    """A scope need not have a raw path, a query, a client or a root path."""
    heads = []

    async def handler(head: Head, body: Body) -> Reply:
        heads.append(head)
        return Reply(204)

    await Host(path="/\xfc b/abc", method="HEAD").run(FrontEnd(handler, base_path="\xfc b"))
    (head,) = heads
    assert (head.target, head.base) == (Resource("abc"), "/%C3%BC%20b/")
    assert (head.uri, head.peer) == ("/%C3%BC%20b/abc", None)


async def test_a_public_url_is_every_base() -> None:
    """D13: ``Location`` is absolute under it, with one slash between."""
    bases = []

    async def handler(head: Head, body: Body) -> Reply:
        bases.append(head.location("x"))
        return Reply(204)

    for url in ("https://example.com/files", "https://example.com/files/"):
        await Host(root_path="/api").run(FrontEnd(handler, public_url=url))
    assert bases == ["https://example.com/files/x"] * 2


async def test_other_scopes() -> None:
    """A WebSocket is turned away; an unknown scope is an error, as ASGI asks."""

    async def handler(head: Head, body: Body) -> Reply:
        raise AssertionError

    host = Host(type="websocket")
    await host.run(FrontEnd(handler))
    assert host.sent == [{"type": "websocket.close"}]
    with pytest.raises(RuntimeError, match="lifespan"):
        await Host(type="lifespan").run(FrontEnd(handler))


async def test_declared_trailers_are_no_fields_of_the_head() -> None:
    """D10: uvicorn's httptools puts trailer fields among them."""
    heads = []

    async def handler(head: Head, body: Body) -> Reply:
        heads.append(dict(head.headers))
        return Reply(204)

    fields = [(b"Trailer", b"X-Sum, y"), (b"x-other", b"1"), (b"x-sum", b"2")]
    await Host(headers=fields).run(FrontEnd(handler))
    assert heads == [{"trailer": "X-Sum, y", "x-other": "1"}]


# Bodies.


async def test_messages_are_poured_in_order() -> None:
    """Every byte is given, empty messages are not, and nothing is received after the last."""
    host = Host(piece(b"ab"), piece(b""), piece(b"c"), piece(b"", more=False))
    body = Messages(host.receive)
    data = bytearray()
    assert await body.pour(data.extend) is Ending.COMPLETE
    assert (data, host.calls) == (b"abc", 4)
    assert list(body.trailers) == []


async def test_nothing_is_received_before_the_pour() -> None:
    """Receiving asks a client for its bytes: that must wait for the verdict on its head."""
    host = Host()

    async def handler(head: Head, body: Body) -> Reply:
        return Reply(409, (("Content-Length", "2"),), b"no")

    await host.run(FrontEnd(handler))
    assert host.calls == 0


async def test_a_disconnect_ends_the_body() -> None:
    """After the bytes that came before it."""
    host = Host(piece(b"ab"), GONE)
    data = bytearray()
    assert await Messages(host.receive).pour(data.extend) is Ending.GONE
    assert data == b"ab"


async def test_a_silent_client_stalls() -> None:
    """D11: after the idle time-out."""
    host = Host(piece(b"ab"))
    data = bytearray()
    assert await Messages(host.receive, 0.05).pour(data.extend) is Ending.STALLED
    assert data == b"ab"


async def test_a_stop_ends_the_wait() -> None:
    """At once, with the first reason; nothing is given after it."""
    host = Host(piece(b"ab"))
    body = Messages(host.receive)
    data = bytearray()
    pouring = asyncio.ensure_future(body.pour(data.extend))
    while host.calls < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    body.stop(Ending.WANTED)
    body.stop(Ending.SHUTDOWN)
    async with asyncio.timeout(LIMIT):
        assert await pouring is Ending.WANTED
    assert data == b"ab"


async def test_a_stop_before_the_pour() -> None:
    """The pour receives nothing then."""
    host = Host(piece(b"ab"))
    body = Messages(host.receive)
    body.stop(Ending.LOST)
    assert await body.pour(bytearray().extend) is Ending.LOST
    assert host.calls == 0


async def test_a_stop_waits_for_the_piece_under_way() -> None:
    """What is being written is not interrupted."""
    host = Host(piece(b"ab"), piece(b"cd", more=False))
    body = Messages(host.receive)
    write: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    began = asyncio.Event()

    def take(view: memoryview) -> asyncio.Future[None]:
        began.set()
        return write

    pouring = asyncio.ensure_future(body.pour(take))
    await asyncio.wait_for(began.wait(), LIMIT)
    body.stop(Ending.WANTED)
    await asyncio.sleep(0.01)
    assert not pouring.done()
    write.set_result(None)
    assert await pouring is Ending.WANTED
    assert host.calls == 1


async def test_a_stop_during_the_last_piece_counts() -> None:
    """What came while the lock was lost is not acknowledged, though it came whole."""
    host = Host(piece(b"ab", more=False))
    body = Messages(host.receive)
    write: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    began = asyncio.Event()

    def take(view: memoryview) -> asyncio.Future[None]:
        began.set()
        return write

    pouring = asyncio.ensure_future(body.pour(take))
    async with asyncio.timeout(LIMIT):
        await began.wait()
        body.stop(Ending.LOST)
        write.set_result(None)
        assert await pouring is Ending.LOST


async def test_nothing_is_given_after_a_stop() -> None:
    """Not even a piece that is there already: another holder may be writing by now."""
    host = Host()
    body = Messages(host.receive)
    data = bytearray()
    pouring = asyncio.ensure_future(body.pour(data.extend))
    while host.calls < 1:  # noqa: ASYNC110
        await asyncio.sleep(0)
    host.queue.put_nowait(piece(b"ab", more=False))
    body.stop(Ending.LOST)
    async with asyncio.timeout(LIMIT):
        assert await pouring is Ending.LOST
    assert data == b""


@pytest.mark.parametrize("last", [False, True])
async def test_take_may_stop_the_body(*, last: bool) -> None:
    """And gets nothing more; with the last piece there is nothing left to stop."""
    host = Host(piece(b"ab", more=not last), piece(b"cd", more=False))
    body = Messages(host.receive)
    taken = []

    def take(view: memoryview) -> None:
        taken.append(bytes(view))
        body.stop(Ending.OVERRUN)

    assert await body.pour(take) is (Ending.COMPLETE if last else Ending.OVERRUN)
    assert taken == [b"ab"]


async def test_cancellation_goes_through() -> None:
    """A cancelled pour is cancelled, and its body stopped."""
    host = Host()
    body = Messages(host.receive)
    pouring = asyncio.ensure_future(body.pour(bytearray().extend))
    while host.calls < 1:  # noqa: ASYNC110
        await asyncio.sleep(0)
    pouring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pouring
    assert await body.pour(bytearray().extend) is Ending.CANCELLED


# Replies.


class Pages:
    """Content of numbered pages, endless unless it has a length."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.given = 0
        self.closed = 0

    def file(self) -> None:
        return None

    async def blocks(self) -> AsyncIterator[bytes]:
        while self.given < self.length:
            self.given += 1
            yield b"x"

    async def aclose(self) -> None:
        self.closed += 1


def giving(reply: Reply) -> FrontEnd:
    async def handler(head: Head, body: Body) -> Reply:
        return reply

    return FrontEnd(handler)


async def test_a_reply_becomes_two_messages() -> None:
    """Names are lower case, and a length is there even if nobody gave it."""
    host = Host()
    await host.run(giving(Reply(201, (("Location", "/x"),), b"hi", close=True)))
    headers = [(b"location", b"/x"), (b"content-length", b"2"), (b"connection", b"close")]
    assert host.sent == [
        {"type": "http.response.start", "status": 201, "headers": headers},
        {"type": "http.response.body", "body": b"hi"},
    ]


async def test_http_2_has_no_connection_field() -> None:
    """RFC 9113, section 8.2.2, forbids it."""
    host = Host(http_version="2")
    await host.run(giving(Reply(204, close=True)))
    assert host.sent[0]["headers"] == []


async def test_content_becomes_a_message_for_each_block() -> None:
    """It is closed before the last one, so that whoever asks then finds it closed."""
    content, host = Pages(3), Host(method="GET")
    await host.run(giving(Reply(200, (), content=content)))
    assert [m.get("body") for m in host.sent[1:]] == [b"x", b"x", b"x", b""]
    assert content.closed == 1


async def test_head_closes_content_unsent() -> None:
    """It has the length of the content all the same."""
    content, host = Pages(3), Host(method="HEAD")
    await host.run(giving(Reply(200, (), content=content)))
    assert host.sent[0]["headers"] == [(b"content-length", b"3")]
    assert host.sent[1:] == [{"type": "http.response.body", "body": b""}]
    assert (content.given, content.closed) == (0, 1)


async def test_a_client_that_leaves_gets_no_more_blocks() -> None:
    """On servers whose ``send`` does not say so too."""
    content, host = Pages(10**9), Host(piece(b"", more=False), GONE, method="GET")
    await host.run(giving(Reply(200, (), content=content)))
    assert content.given < 100
    assert content.closed == 1


async def test_a_send_that_fails_closes_content() -> None:
    """On those whose ``send`` does, and whenever else it fails."""
    content, host = Pages(10), Host(method="GET")

    async def fail(message: Message) -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await giving(Reply(200, (), content=content))(host.scope, host.receive, fail)
    assert content.closed == 1
