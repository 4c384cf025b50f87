"""The server stops, or a client does: nothing of our protocol class is left behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from wires import LIMIT, Recorder, Running, text, until

from vectus.asgi import FrontEnd
from vectus.contracts import Body
from vectus.protocol.exchange import Ending
from vectus.protocol.messages import Head, Reply

Serve = Callable[..., Running]
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def test_a_shutdown_ends_bodies_in_flight(serve: Serve, recorder: Recorder, loop_name: str) -> None:
    """D5: they end ``SHUTDOWN``, are answered, and the server is gone; so are idle connections."""
    running = serve(FrontEnd(recorder), loop=loop_name)
    with running.connect() as idle, running.connect() as busy, running.connect() as used:
        used.send(GET)
        used.answer()
        busy.send(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
        recorder.wait(recorder.began)
        recorder.wait(recorder.began)
        stopper = threading.Thread(target=running.stop)
        stopper.start()
        status, headers, data = busy.answer()
        assert (status, headers["connection"], data) == (200, "close", b"3 SHUTDOWN")
        assert busy.ended() == idle.ended() == used.ended() == b""
        stopper.join(LIMIT)
        assert not stopper.is_alive()


def test_a_shutdown_ends_bodies_nobody_has_asked_for_yet(serve: Serve, recorder: Recorder) -> None:
    """D5: an application that is busy with something else at that moment pours one that ends at
    once, however long its client could go on."""
    front_end, began, go = FrontEnd(recorder), threading.Event(), threading.Event()

    async def late(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        await asyncio.get_running_loop().run_in_executor(None, go.wait, LIMIT)
        await front_end(scope, receive, send)

    running = serve(late)
    with running.connect() as busy:
        busy.send(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
        assert began.wait(LIMIT)
        (connection,) = running.connections
        stopper = threading.Thread(target=running.stop)
        stopper.start()
        until(lambda: connection._closing)
        go.set()
        assert busy.answer()[2].endswith(b" SHUTDOWN")
        stopper.join(LIMIT)
        assert not stopper.is_alive()


def test_a_shutdown_lets_a_whole_request_finish(serve: Serve, recorder: Recorder) -> None:
    """What has come whole is not interrupted."""
    go = threading.Event()

    async def late(head: Head, body: Body) -> Reply:
        await asyncio.get_running_loop().run_in_executor(None, go.wait, LIMIT)
        return await recorder.pour(head, body)

    recorder.act = late
    running = serve(FrontEnd(recorder))
    with running.connect() as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        recorder.wait(recorder.began)
        stopper = threading.Thread(target=running.stop)
        stopper.start()
        time.sleep(0.3)
        go.set()
        assert client.answer()[2] == b"3 COMPLETE"
        stopper.join(LIMIT)
        assert not stopper.is_alive()


def test_a_shutdown_with_stubborn_clients_ends(serve: Serve, recorder: Recorder) -> None:
    """Half a head, a body that is drained, a client that never closes: none keeps the server."""

    async def refuse(head: Head, body: Body) -> Reply:
        return text("no", 409)

    recorder.act = refuse
    running = serve(FrontEnd(recorder))
    with running.connect() as head, running.connect() as drained, running.connect() as lingering:
        head.send(b"GET / HT")
        drained.send(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nabc")
        drained.answer()
        lingering.send(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\nabc")
        lingering.answer()
        running.stop()


def test_a_cancelled_handler_is_answered_for(serve: Serve, recorder: Recorder) -> None:
    """Uvicorn cancels what does not end in time: its pour ends, and the server does."""

    async def stubborn(head: Head, body: Body) -> Reply:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                recorder.endings.append(Ending.CANCELLED)
                raise

    recorder.act = stubborn
    running = serve(FrontEnd(recorder), timeout_graceful_shutdown=1)
    with running.connect() as client:
        client.send(GET)
        recorder.wait(recorder.began)
        running.stop()
        assert client.answer()[0] == 500
    assert recorder.endings == [Ending.CANCELLED]


def test_no_connection_is_left_behind(running: Running, recorder: Recorder) -> None:
    """However clients leave, uvicorn counts them no longer: else its shutdown would hang."""

    async def fail(head: Head, body: Body) -> Reply:
        def take(piece: memoryview) -> None:
            raise RuntimeError("a bug")

        await body.pour(take)
        raise AssertionError

    recorder.act = fail
    for cut in (0, 10, 60, 100):
        stream = b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000
        with running.connect() as client:
            client.send(stream[:cut])
            client.reset()
    with running.connect() as client:
        client.send(stream)
        assert client.answer()[0] == 500
    until(lambda: not running.connections)
