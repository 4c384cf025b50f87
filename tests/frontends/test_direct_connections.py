"""Connections of our protocol class as any ASGI application on uvicorn knows them."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
import wsproto
import wsproto.events
from wires import LIMIT, Recorder, Running, patiently, until

from vectus.asgi import FrontEnd

Serve = Callable[..., Running]
GET = b"GET /a%20b?c=d HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def answering(*messages: dict[str, Any]) -> Any:
    """Return an application that answers with these messages."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


OK = answering(start((b"content-length", b"2")), body(b"ok"))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what was received, in chunks."""
    await send(start())
    more = True
    while more:
        message = await receive()
        more = message["type"] == "http.request" and message["more_body"]
        await send(body(message.get("body", b""), more=more))


def test_an_application_sees_its_scope(serve: Serve, loop_name: str) -> None:
    """What ASGI promises of an HTTP scope."""
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(dict(scope))
        await OK(scope, receive, send)

    running = serve(app, loop=loop_name, root_path="/root")
    with running.connect() as client:
        client.send(GET)
        client.answer()
        port = client.sock.getsockname()[1]
    (scope,) = scopes
    del scope["extensions"], scope["state"]
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", running.port),
        "client": ("127.0.0.1", port),
        "scheme": "http",
        "method": "GET",
        "root_path": "/root",
        "path": "/root/a b",
        "raw_path": b"/root/a%20b",
        "query_string": b"c=d",
        "headers": [(b"host", b"h")],
    }


def test_lifespan_state_is_in_every_scope(serve: Serve) -> None:
    """Each request has a copy of it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["kept"] = [1]
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert scope["state"] == {"kept": [1]}
        scope["state"]["mine"] = 1
        await OK(scope, receive, send)

    with serve(app, lifespan="on").connect() as client:
        for _ in range(2):
            client.send(GET)
            assert client.answer()[0] == 200


def test_a_unix_socket_serves(serve: Serve, recorder: Recorder, loop_name: str) -> None:
    """Bodies and answers pass it like any other; there is no address of a client."""
    running = serve(FrontEnd(recorder), uds=True, loop=loop_name)
    with running.connect() as client:
        client.send(
            b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000
        )
        assert client.answer()[2] == b"200000 COMPLETE"
    assert recorder.heads[0].peer is None


@pytest.mark.parametrize("length", [0, 10, 200_000])
def test_messages_carry_a_body(serve: Serve, loop_name: str, length: int) -> None:
    """Any application reads a body of known length, and one in chunks, and answers in chunks."""
    data = bytes(range(256)) * (length // 256 + 1)
    data = data[:length]
    chunks = (b"%x\r\n%b\r\n" % (length, data) if length else b"") + b"0\r\n\r\n"
    with serve(echo, loop=loop_name).connect() as client:
        for _ in range(2):
            client.send(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % length + data)
            assert client.answer()[2] == data
            client.send(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
            assert client.answer()[2] == data


def test_messages_come_before_the_disconnect(serve: Serve, loop_name: str) -> None:
    """Uvicorn's own class loses what came before a client left; ours does not."""
    told: list[Any] = []
    go, done = threading.Event(), threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(None, go.wait, LIMIT)
        message = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await receive()
            told.append(message.get("body"))
        done.set()

    running = serve(app, loop=loop_name)
    with running.connect() as client:
        client.send(b"PUT / HTTP/1.1\r\nContent-Length: 50000\r\n\r\n" + b"x" * 40_000)
        until(lambda: kept(running) == [40_000], "the arrival of what was sent")
        client.reset()
    go.set()
    assert done.wait(LIMIT)
    assert told == [b"x" * 40_000, None]


def kept(running: Running) -> list[int]:
    """How much each connection keeps of the body that its application has not asked for yet."""
    current = [connection._current for connection in running.connections]
    return [request.incoming.size for request in current if request is not None]


def test_a_reader_is_held_back(serve: Serve) -> None:
    """What an application does not ask for stays with the client."""
    go = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(None, go.wait, LIMIT)
        await echo(scope, receive, send)

    running = serve(app)
    with running.connect() as client:
        client.sock.settimeout(0.3)
        client.send(b"PUT / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n")
        with pytest.raises(TimeoutError):
            client.send(b"x" * 100_000_000)
        until(lambda: max(kept(running), default=0) >= 65536, "as much as is kept")
        assert kept(running)[0] <= 2 * 65536
        go.set()


def test_the_continue_is_sent_when_asked_for(serve: Serve) -> None:
    """C33: once, and only if the application reads."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/read":
            data = (await receive())["body"]
            await send(start((b"content-length", b"%d" % len(data))))
            await send(body(data))
        else:
            await OK(scope, receive, send)

    head = b"PUT /%b HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with serve(app).connect() as client:
        client.send(head % b"read")
        assert client.answer()[0] == 100
        client.send(b"hi")
        assert client.answer()[2] == b"hi"
        client.send(head % b"read" + b"hi")
        assert client.answer()[2] == b"hi"
        client.send(head % b"else")
        assert client.answer()[1]["connection"] == "close"
        assert client.ended() == b""


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [body(b"x")],
        [start((b"x", b"a\r\nb: c")), body()],
        [start((b"x y", b"a")), body()],
    ],
    ids=["nothing", "no start", "bad value", "bad name"],
)
def test_an_application_that_fails_is_answered_for(
    serve: Serve, caplog: pytest.LogCaptureFixture, messages: list[dict[str, Any]]
) -> None:
    """A 500 says nothing of why, the log does, and the connection ends."""
    with serve(answering(*messages)).connect() as client:
        client.send(GET)
        status, headers, data = client.answer()
        assert (status, headers["connection"], data) == (500, "close", b"Internal Server Error")
        assert client.ended() == b""
    assert "ASGI" in caplog.text


@pytest.mark.parametrize(
    "messages",
    [
        [start((b"content-length", b"5")), body(b"abc")],
        [start((b"content-length", b"5")), body(b"abc", more=True)],
        [start(), body(b"abc", more=True)],
    ],
    ids=["short", "unfinished", "unfinished chunks"],
)
def test_an_answer_that_breaks_off_is_seen_to(serve: Serve, messages: list[dict[str, Any]]) -> None:
    """What was promised and not sent shows as a connection that ended early."""
    with serve(answering(*messages)).connect() as client:
        client.send(GET)
        assert not client.ended().endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "messages", "answer"),
    [
        ("GET", [start(), body(b"ab", more=True), body(b"c")], (200, b"abc")),
        ("GET", [start(status=204), body()], (204, b"")),
        ("GET", [start((b"content-length", b"9"), status=304), body()], (304, b"")),
        ("HEAD", [start((b"content-length", b"3")), body(b"abc")], (200, b"")),
        ("HEAD", [start(), body(b"abc", more=True), body(b"abc")], (200, b"")),
        ("GET", [start((b"Transfer-Encoding", b"chunked")), body(b"abc")], (200, b"abc")),
        ("GET", [start(status=299), body(b"abc")], (299, b"abc")),
    ],
)
def test_answers_are_framed(
    serve: Serve, method: str, messages: list[dict[str, Any]], answer: tuple[int, bytes]
) -> None:
    """Their end is seen, and the connection used again."""
    with serve(answering(*messages)).connect() as client:
        for _ in range(2):
            client.send(method.encode() + b" / HTTP/1.1\r\nHost: h\r\n\r\n")
            status, _, data = client.answer(method)
            assert (status, data) == answer


def test_default_fields_are_in_every_answer(serve: Serve, recorder: Recorder) -> None:
    """Date and server, as uvicorn's options say, in direct answers and refusals too."""
    running = serve(FrontEnd(recorder), headers=[("x-one", "1")])
    with running.connect() as client:
        client.send(GET + b"what?\r\n\r\n")
        for _ in range(2):
            fields = client.answer()[1]
            assert fields["x-one"] == "1"
            assert fields["server"] == "uvicorn"
            assert "date" in fields


def test_the_access_log_is_uvicorns(
    serve: Serve, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """One line for each answer, with the arguments that its formatter takes."""
    caplog.set_level(logging.INFO, "uvicorn.access")
    with serve(FrontEnd(recorder), access_log=True).connect() as client:
        client.send(GET)
        client.answer()
        port = client.sock.getsockname()[1]
    (record,) = [r for r in caplog.records if r.name == "uvicorn.access"]
    assert record.args == (f"127.0.0.1:{port}", "GET", "/a%20b?c=d", "1.1", 200)


def test_requests_are_answered_in_order(serve: Serve, loop_name: str) -> None:
    """Pipelined ones wait for their turn, however many there are."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.02 if scope["path"] == "/0" else 0)
        data = scope["path"].encode()
        await send(start((b"content-length", b"%d" % len(data))))
        await send(body(data))

    paths = [b"/%d" % i for i in range(2000)]
    with serve(app, loop=loop_name).connect() as client:
        client.send(b"".join(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % path for path in paths))
        assert [client.answer()[2] for _ in paths] == paths


def test_nothing_follows_the_last_request(serve: Serve) -> None:
    """What comes behind a request that ends the connection is dropped."""
    with serve(OK).connect() as client:
        client.send(CLOSE + GET + b"what?\r\n\r\n")
        assert client.answer()[0] == 200
        assert client.ended() == b""


def test_an_idle_connection_is_closed(serve: Serve, loop_name: str) -> None:
    """After uvicorn's keep-alive time-out; a request begins it anew."""

    def trial(limit: float) -> None:
        with serve(OK, loop=loop_name, timeout_keep_alive=limit).connect() as client:
            for _ in range(3):
                client.send(GET)
                assert client.answer()[0] == 200
                time.sleep(limit / 2)
            assert client.ended() == b""

    patiently(trial, 1, 8)


def test_too_many_connections_are_refused(serve: Serve) -> None:
    """Uvicorn's limit on concurrency is kept."""
    running = serve(OK, limit_concurrency=2)
    with running.connect() as one:
        one.send(GET)
        assert one.answer()[0] == 200
        with running.connect() as two:
            two.send(GET)
            assert two.answer()[0] == 503
            assert two.ended() == b""


def test_a_websocket_passes(serve: Serve, loop_name: str) -> None:
    """A connection is handed to uvicorn's WebSocket class, after requests as well."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await OK(scope, receive, send)
            return
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"] + scope["path"]})
        await send({"type": "websocket.close"})

    running = serve(app, loop=loop_name, ws="wsproto")
    for before in (0, 1):
        socket = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        with running.connect() as client:
            for _ in range(before):
                client.send(GET)
                client.answer()
            client.send(socket.send(wsproto.events.Request("h", "/chat")))
            events: list[object] = []
            while not any(isinstance(event, wsproto.events.CloseConnection) for event in events):
                assert client.more(), events
                socket.receive_data(client.buffer)
                client.buffer = b""
                new = list(socket.events())
                events += new
                if any(isinstance(event, wsproto.events.AcceptConnection) for event in new):
                    client.send(socket.send(wsproto.events.TextMessage("hello")))
        told = [event.data for event in events if isinstance(event, wsproto.events.TextMessage)]
        assert told == ["hello/chat"]


def test_other_upgrades_are_ignored(plain: Running, recorder: Recorder) -> None:
    """A request that offers another protocol is answered in this one, its body and the next too."""
    offer = b"Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHost: h\r\n"
    with plain.connect() as client:
        for length in (0, 5, 300_000):
            head = b"PUT /a HTTP/1.1\r\nContent-Length: %d\r\n%b\r\n" % (length, offer)
            client.send(head + b"x" * length + GET)
            assert client.answer()[2] == b"%d COMPLETE" % length
            assert client.answer()[0] == 200
        head = b"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + offer + b"\r\n"
        client.send(head + b"3\r\nabc\r\n0\r\n\r\n" + GET)
        assert client.answer()[2] == b"3 COMPLETE"
        assert client.answer()[0] == 200


@pytest.mark.parametrize("option", [False, True])
def test_context_variables_may_be_reset(serve: Serve, option: bool) -> None:  # noqa: FBT001
    """An option of newer uvicorns is kept; older ones do not have it."""
    known = "reset_contextvars" in inspect.signature(uvicorn.Config).parameters
    with serve(OK, **({"reset_contextvars": option} if known else {})).connect() as client:
        client.send(GET)
        assert client.answer()[0] == 200


def test_eager_tasks_change_nothing(serve: Serve, recorder: Recorder) -> None:
    """From Python 3.12 on a loop may start tasks at once, within the call that makes them."""
    factory = getattr(asyncio, "eager_task_factory", None)
    if factory is None:
        return
    running = serve(FrontEnd(recorder), loop="asyncio")
    assert running.server.loop is not None
    running.server.loop.call_soon_threadsafe(running.server.loop.set_task_factory, factory)
    put = b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    with running.connect() as client:
        client.send(put * 3000)
        for _ in range(3000):
            assert client.answer()[2] == b"3 COMPLETE"
