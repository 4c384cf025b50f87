"""One process that serves: an event loop, uvicorn's server on it, and how it comes to its end.

Bodies are ended by the protocol class's own ``shutdown``, which uvicorn's server calls too; but
uvicorn waits for them without limit, or cancels them and waits no more. Here they have most of the
shutdown time to end by themselves, then they are cancelled and waited for, and a thread that knows
the time (``signals``) stands behind it all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import cast

import uvicorn

from vectus.errors import ConfigurationError
from vectus.serving.acceptor import Acceptor
from vectus.serving.shares import Shares
from vectus.serving.signals import Deadline
from vectus.serving.site import Site

KEEP_ALIVE = 75
"""Seconds a connection may idle between two requests. A client that just decided to use it again
when it closes takes that for a network error, so rather long."""

ANSWERS = 0.7
"""The part of the shutdown time after which requests are cancelled."""

FAREWELL = 0.1
"""The part of it for connections to close once every request is answered. An idle TLS client may
not be reading, and so never say goodbye."""

TICK = 0.02

logger = logging.getLogger("vectus.serving")


@dataclass(frozen=True, slots=True)
class Post:
    """What a worker is given by whoever starts it.

    Args:
        listeners: the sockets to accept on.
        file_limit: how many files may be open.
        signals: which of them end it.
        on_ready: called once it accepts.
        shares: the numbers of connections of all workers.
        place: which of them is its own.
    """

    listeners: list[socket.socket]
    file_limit: int
    signals: tuple[signal.Signals, ...]
    on_ready: Callable[[], None]
    shares: Shares
    place: int = 0


def work(site: Site, post: Post) -> None:
    """Serve until one of the post's signals comes.

    Raises:
        ConfigurationError: the application cannot be started.
    """
    with asyncio.Runner(loop_factory=_loop_factory(site.loop)) as runner:
        runner.run(_work(site, post))


async def _work(site: Site, post: Post) -> None:
    app = site.app()
    server = Server(_config(site, app), post, site.shutdown_timeout)
    loop = asyncio.get_running_loop()
    stop = partial(loop.call_soon_threadsafe, server.stop)
    Deadline(post.signals, site.shutdown_timeout, stop).start()
    async with app:
        await server.serve()


class Server(uvicorn.Server):
    """uvicorn's server with connections of our own acceptors and an end within a given time."""

    def __init__(self, config: uvicorn.Config, post: Post, timeout: float) -> None:
        super().__init__(config)
        self._post = post
        self._timeout = timeout
        self._acceptors: list[Acceptor] = []

    def stop(self) -> None:
        """Accept nothing more, and come to an end."""
        self.should_exit = True
        for acceptor in self._acceptors:
            acceptor.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets=[])
        # an eighth is left for the files of what was accepted
        ceiling = self._post.file_limit - self._post.file_limit // 8
        self._acceptors = [
            Acceptor(listener, self._protocol, self.config.ssl, ceiling, self._others_first)
            for listener in self._post.listeners
        ]
        self._post.on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second, keep the other workers informed."""
        self._others_first()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is under way, keeping what arrived."""
        for acceptor in self._acceptors:
            acceptor.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await _empty(self.server_state.tasks, ANSWERS * self._timeout)
        tasks = list(self.server_state.tasks)
        if tasks:
            logger.warning("Cancelling %d requests that did not end in time.", len(tasks))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _empty(self.server_state.connections, FAREWELL * self._timeout)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: ``work`` has set them up."""
        yield

    def _protocol(self) -> asyncio.BaseProtocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    def _others_first(self) -> bool:
        mine = len(self.server_state.connections) + sum(a.welcomes for a in self._acceptors)
        return self._post.shares.ahead(self._post.place, mine)


async def _empty(things: Collection[object], seconds: float) -> None:
    """Wait until they are all gone, which uvicorn tells nobody, or the time is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while things:  # noqa: ASYNC110
                await asyncio.sleep(TICK)


def _config(site: Site, app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=cast("type[asyncio.Protocol]", site.http),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        workers=1,  # else uvicorn looks for a number in the environment
        access_log=site.access_log,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        ssl_certfile=site.tls.cert if site.tls else None,
        ssl_keyfile=site.tls.key if site.tls else None,
    )


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if name == "auto":
            return None
        raise ConfigurationError(
            "uvloop is not installed.", "Install it (pip install uvloop), or leave --loop out."
        ) from None
    return uvloop.new_event_loop
