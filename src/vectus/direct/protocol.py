"""The connection: uvicorn's HTTP protocol class, on httptools.

One buffered protocol all along, so nothing is swapped while a body comes in: what changes is only
where the next bytes go. Here is the order of things on one connection (heads, bodies, answers,
what is left between them) and nothing of how an answer is framed or a body handed on.

uvicorn's Server gives the constructor's arguments and calls ``shutdown``; of its own it must be
found in ``server_state.connections`` exactly as long as the connection lives.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from vectus.direct import wire
from vectus.direct.buffers import buffers_of
from vectus.direct.deadline import Deadline
from vectus.direct.framing import Framing, Refusal
from vectus.direct.heads import Heads
from vectus.direct.incoming import Incoming
from vectus.direct.request import Application, Request, unavailable
from vectus.direct.scope import client_address, http_scope, server_address
from vectus.direct.writer import Writer
from vectus.protocol.exchange import Ending

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

LATE = Refusal(408, "The request's head took too long.")

logger = logging.getLogger("uvicorn.error")
access_logger = logging.getLogger("uvicorn.access")


class DirectProtocol(asyncio.BufferedProtocol):
    """A connection of ``uvicorn --http vectus.direct:DirectProtocol``.

    Subclass it to change its limits, which are class attributes: bytes of a head; seconds for a
    head, for a body's next byte, and for a client to take bytes of an answer; bytes and seconds for
    which an unwanted body is read so that the connection can be used again; seconds it is drained
    for after that, so that the client sees its answer, and under TLS without a byte meanwhile.
    """

    head_limit = 64 * 1024
    head_timeout = 10.0
    body_timeout = 60.0
    send_timeout = 60.0
    drain_bytes = 1024 * 1024
    drain_timeout = 2.0
    linger_timeout = 5.0
    quiet_timeout = 1.0

    __slots__ = (
        "_app_state",
        "_asgi_version",
        "_client",
        "_closing",
        "_config",
        "_current",
        "_draining",
        "_dropping",
        "_given",
        "_heads",
        "_lingers_until",
        "_logs",
        "_queue",
        "_raw",
        "_reading",
        "_receiving",
        "_refusal",
        "_server",
        "_server_state",
        "_timed",
        "_transport",
        "_view",
        "_yielding",
        "buffers",
        "deadline",
        "departed",
        "loop",
        "writer",
    )

    writer: Writer
    _transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self.loop = loop = _loop or asyncio.get_running_loop()
        self.buffers = buffers_of(loop)
        self.deadline = Deadline(loop)
        self._config = config
        self._asgi_version = config.asgi_version
        self._server_state = server_state
        self._app_state = app_state
        self._logs = access_logger.hasHandlers()
        self._server: tuple[str, int | None] | None = None
        self._client: tuple[str, int] | None = None
        self._closing = False
        self.departed = False
        # What is read: heads by the parser, a body with a length raw, nothing once it is dropped.
        self._heads = Heads(self, self.head_limit)
        self._receiving: Incoming | None = None
        self._raw: Incoming | None = None
        self._draining: Incoming | None = None
        self._dropping = False
        self._lingers_until = 0.0
        self._refusal: Refusal | None = None
        self._view = self.buffers.scratch
        self._given = 0
        self._reading = True
        self._yielding = False
        self._timed = True
        # What is answered.
        self._current: Request | None = None
        self._queue: deque[tuple[Request, Application]] = deque()

    # asyncio: the connection comes and goes.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._server_state.connections.add(cast("Any", self))
        self._transport = cast("asyncio.Transport", transport)
        self.writer = Writer(self.loop, self._transport, self.deadline, self.send_timeout)
        self._server = server_address(transport.get_extra_info("sockname"))
        self._client = client_address(transport.get_extra_info("peername"))
        self.deadline.within(self.head_timeout, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more; bytes that came before are still handed on."""
        # First of all: uvicorn's shutdown waits for whatever is left in there.
        self._server_state.connections.discard(cast("Any", self))
        self.deadline.close()
        self.departed = True
        self._queue.clear()
        self._heads.renew()
        self.writer.lose()
        self._depart()

    def eof_received(self) -> bool:
        """The client sends no more. It may still want its answer, where the transport can do that:
        returning True keeps the other direction open."""
        self.departed = True
        self._depart()
        return self.writer.plain and not self._dropping and self._current is not None

    def _depart(self) -> None:
        self._end_body(Ending.GONE)
        if self._current is not None:
            self._current.incoming.wake()

    def _end_body(self, ending: Ending) -> None:
        body, self._receiving, self._raw = self._receiving, None, None
        if body is not None:
            body.finish(ending)

    def pause_writing(self) -> None:
        """The transport has enough for now."""
        self.writer.pause()

    def resume_writing(self) -> None:
        """The transport wants more."""
        self.writer.resume()

    def shutdown(self) -> None:
        """End soon: idle connections now, others with the answer they work at."""
        self._closing = True
        if self._current is None:
            self.writer.close()
        else:
            self._current.stop(Ending.SHUTDOWN)

    # asyncio: bytes come.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go: never empty, and never kept beyond this read."""
        raw = self._raw
        view = self._view = self.buffers.scratch if raw is None else raw.room()
        self._given = len(view)
        return view

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        view = self._view[:nbytes]
        if self._raw is not None:
            self._came(self._raw, view)
        elif self._dropping:
            self._drop()
        else:
            self._parse(view)
        if nbytes == self._given >= len(self.buffers.scratch):
            self._give_way()

    def _came(self, body: Incoming, view: memoryview) -> None:
        """Bytes of a body came that needs no parser."""
        body.came(view)
        if not body.left and self._raw is body:
            self._raw = self._receiving = None
            self._drained()
        self.settle()

    def _parse(self, view: memoryview) -> None:
        flaw, rest = self._heads.feed(view)
        if flaw is not None:
            self._flawed(flaw)
        elif self._heads.upgraded:
            self._upgrade(rest)
            return
        elif self._receiving is not None and self._receiving.left:
            # From here the body's bytes need no parser, and the next request gets a fresh one.
            self._raw = self._receiving
            self._heads.renew()
        if self._current is not None:
            self._current.incoming.flush()
        elif self._draining is not None:
            self._drained()
        else:
            self._proceed()
        self.settle()

    def _flawed(self, flaw: Refusal) -> None:
        """What follows makes no sense: a body ends here, a head is refused in its turn."""
        logger.warning(flaw.text)
        self._dropping = True
        if self._draining is not None:
            self._shut()
        elif self._receiving is not None:
            self._end_body(Ending.BROKEN)
        else:
            self._refusal = flaw

    def _give_way(self) -> None:
        """Let the loop do something else: libuv reads up to 32 buffers before it does."""
        self._yielding = True
        self.settle()
        self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._yielding = False
        self.settle()

    def settle(self) -> None:
        """Read, or stop reading."""
        wanted = self._wanted()
        if wanted is self._reading or self.writer.lost or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _wanted(self) -> bool:
        if self._yielding or self._queue or self.departed:
            return False
        if self._dropping:
            return self._current is None
        return self._receiving is None or self._receiving.hungry

    # The parser: a request comes.

    def upgrades(self, heads: Heads) -> bool:
        """Say whether a request becomes a WebSocket."""
        wanted = (heads.header(b"upgrade") or b"").lower() == b"websocket"
        if wanted and self._config.ws_protocol_class is None:
            logger.warning("No supported WebSocket library detected.")
            return False
        # Frames can only follow the answers to all that was asked before.
        return wanted and self._current is None and not self._queue

    def head(self, heads: Heads, framing: Framing) -> None:
        """A request's head is complete: it waits for its turn."""
        body = Incoming(self, framing)
        request = Request(self, self._scope(heads), body, keep_alive=heads.keep_alive)
        self._queue.append((request, self._application()))
        self._receiving = body
        self._timed = False

    def _application(self) -> Application:
        """Choose who answers: beyond the limit, nobody does."""
        limit, state = self._config.limit_concurrency, self._server_state
        if limit is None or max(len(state.connections), len(state.tasks)) < limit:
            return cast("Application", self._config.loaded_app)
        logger.warning("Exceeded concurrency limit.")
        return unavailable

    def _scope(self, heads: Heads) -> dict[str, Any]:
        scope = http_scope(heads, self._config.root_path)
        scope["asgi"] = {"version": self._asgi_version, "spec_version": "2.3"}
        scope["scheme"] = "http" if self.writer.plain else "https"
        scope["server"], scope["client"] = self._server, self._client
        scope["state"] = self._app_state.copy()
        return scope

    def piece(self, piece: bytes) -> None:
        """A piece of the body came with the head, or in chunks."""
        body = self._receiving
        if body is not None:
            if body.left is not None:
                body.left -= len(piece)
            body.add(piece)

    def trailer(self, name: str, value: str) -> None:
        """A field came after the body."""
        if self._receiving is not None:
            self._receiving.declare(name, value)

    def end(self) -> None:
        """The body is complete; who waits for it hears of that after the parser has returned."""
        body, self._receiving = self._receiving, None
        if body is not None and body.end is None:
            body.end = Ending.COMPLETE

    def _upgrade(self, rest: memoryview) -> None:
        """Hand the connection to uvicorn's WebSocket protocol, which parses the head itself."""
        heads = self._heads
        lines = [b"%b: %b\r\n" % field for field in heads.headers]
        request = b"%b %b HTTP/1.1\r\n" % (heads.method.encode(), heads.url)
        self._server_state.connections.discard(cast("Any", self))
        self.deadline.close()
        factory = cast("Any", self._config.ws_protocol_class)
        protocol = factory(
            config=self._config, server_state=self._server_state, app_state=self._app_state
        )
        protocol.connection_made(self._transport)
        protocol.data_received(b"".join((request, *lines, b"\r\n")))
        if rest:
            protocol.data_received(bytes(rest))
        self._transport.set_protocol(protocol)

    # Requests are answered in order.

    def _proceed(self) -> None:
        """Start the next request, if there is one and none is being answered."""
        if self._current is not None or self._transport.is_closing():
            return
        if self._queue:
            self._start(*self._queue.popleft())
        elif self._refusal is not None:
            self._refuse(self._refusal)
        elif self._heads.partial and not self._timed:
            self._wait_for_head()
        self.settle()

    def _start(self, request: Request, application: Application) -> None:
        self._current = request
        self.deadline.drop()
        running = request.run(application)
        # An option of newer uvicorns, against context variables that leak between tasks.
        if getattr(self._config, "reset_contextvars", False):
            task = self.loop.create_task(running, context=contextvars.Context())
        else:
            task = self.loop.create_task(running)
        tasks = self._server_state.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def answered(self, request: Request) -> None:
        """The answer is written whole: see what is to be done with the rest of its body."""
        self._server_state.total_requests += 1
        self._current = None
        body = request.incoming
        if body.end is None:
            body.stop(Ending.CANCELLED)
        if self.writer.lost:
            return
        if self._closing or self.departed or not request.keep_alive or body.end is Ending.BROKEN:
            self._end(body)
        elif body.end is None:
            # The little that is still to come is read and dropped, for the connection's sake.
            self._draining = body
            self.deadline.within(self.drain_timeout, self.spent)
            body.discard(self.drain_bytes)
        else:
            self._rest()

    def _drained(self) -> None:
        """If what is still to come was waited for, and has come, go on."""
        if self._draining is not None and self._draining.end is Ending.COMPLETE:
            self._draining = None
            self._rest()

    def _rest(self) -> None:
        """Between two requests: go on with what has come, or wait for more."""
        self.deadline.drop()
        if self._queue or self._refusal is not None:
            # Not at once: where tasks start eagerly, a long queue would be a deep recursion.
            self.loop.call_soon(self._proceed)
        elif self._heads.partial:
            self._wait_for_head()
        else:
            self.deadline.within(self._config.timeout_keep_alive, self.writer.close)
        self.settle()

    def _wait_for_head(self) -> None:
        self._timed = True
        self.deadline.within(self.head_timeout, self._late)

    def _late(self) -> None:
        """A head took too long; a client that has not even begun one is not told."""
        if self._heads.partial:
            self._refuse(LATE)
        else:
            self.writer.close()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what cannot be understood, and end the connection."""
        self._refusal = None
        self.writer.write(wire.refusal(refusal.status, refusal.text, self.defaults()))
        self._shut()

    # The connection ends.

    def spent(self) -> None:
        """More of an unwanted body came, or it took longer, than the connection is worth."""
        self._shut()

    def _end(self, body: Incoming) -> None:
        """End the connection after an answer; gently where the client may be sending still."""
        quiet = not (self._queue or self._heads.partial or self._dropping)
        if body.end is Ending.COMPLETE and quiet:
            self.writer.close()
        else:
            self._shut()

    def _shut(self) -> None:
        """Stop writing, and read for a while, so that the client sees its answer.

        A socket closed with unread bytes is reset, and a reset takes the answer with it. TLS cannot
        be shut one way: there, a client that has stopped sending is taken to wait for the end.
        """
        self._draining = self._receiving = self._raw = None
        self._queue.clear()
        self._dropping = True
        if self.departed:
            self.writer.close()
            return
        linger = min(self.linger_timeout, 0.5) if self._closing else self.linger_timeout
        if self.writer.plain:
            self.writer.end()
            self.deadline.within(linger, self.writer.close)
        else:
            self._lingers_until = self.loop.time() + linger
            self._drop()
        self.settle()

    def _drop(self) -> None:
        """Bytes came, or may come, that nobody wants."""
        if self.loop.time() < self._lingers_until:
            self.deadline.within(self.quiet_timeout, self.writer.close)

    # What every answer has.

    def invite(self) -> None:
        """Send ``100 Continue``."""
        self.writer.write(wire.CONTINUE)

    def defaults(self) -> bytes:
        """Return the header block that every answer has."""
        return wire.default_block(self._server_state.default_headers)

    def log(self, scope: dict[str, Any], status: int) -> None:
        """Write the access log."""
        if self._logs:
            access_logger.info(wire.LOG_FORMAT, *wire.log_arguments(scope, status))
