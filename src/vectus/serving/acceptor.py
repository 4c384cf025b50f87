"""Taking connections off a listening socket, one at a time. Knows no protocol.

In place of ``loop.create_server``, for three reasons. When no descriptor is left, asyncio before
3.14 tries (and logs) once for every place in the backlog, and uvloop closes the listening socket
for good. Both take the whole backlog in one go, so that of several workers the first to wake gets
every connection. And a stop takes effect at once here, handshakes under way included.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable

COURTESY = 0.002
"""Seconds for which another worker is let go first."""

PAUSE = 0.5
"""Seconds without accepting after the descriptors ran out."""

SILENCE = 60.0
"""Seconds during which that is not said again."""

HANDSHAKE = 10.0
"""Seconds a client may take for its TLS handshake."""

logger = logging.getLogger("vectus.serving")


class Acceptor:
    """Accepts connections on one listening socket, until closed.

    Args:
        listener: the socket; closed by ``close``.
        protocol: makes the protocol of a connection.
        tls: the context of the TLS handshakes, or None for plain connections.
        ceiling: the descriptor number from which on accepting slows down, so that the requests
            under way still find descriptors for their files.
        others_first: whether another worker should have the next connection; if it does not take
            it soon, this one does.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        tls: ssl.SSLContext | None,
        ceiling: int,
        others_first: Callable[[], bool],
    ) -> None:
        self._listener = listener
        self._protocol = protocol
        self._tls = tls
        self._ceiling = ceiling
        self._others_first = others_first
        self._loop = asyncio.get_running_loop()
        self._welcomes: set[asyncio.Task[None]] = set()
        self._timer = self._loop.call_later(0, lambda: None)
        self._silent_until = 0.0
        self._begin()

    @property
    def welcomes(self) -> int:
        """How many connections are taken that have no protocol yet."""
        return len(self._welcomes)

    def close(self) -> None:
        """Accept no more, and break handshakes off."""
        self._timer.cancel()
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()
        for welcome in self._welcomes:
            welcome.cancel()

    def _begin(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def _rest(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listener)
        self._timer = self._loop.call_later(seconds, then)

    def _accept(self) -> None:
        if self._others_first():
            self._rest(COURTESY, self._accept_late)
        else:
            self._take()

    def _accept_late(self) -> None:
        self._begin()
        self._take()

    def _take(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the client is gone already
        except OSError as error:
            # EMFILE, ENFILE and the like: the socket stays readable, so trying at once would spin
            self._recover(str(error.strerror).lower())
            return
        # the kernel gives out the lowest free number, so a high one says that few are left
        if connection.fileno() >= self._ceiling:
            self._recover("nearly all files this process may open are open")
        self._receive(connection)

    def _recover(self, why: str) -> None:
        self._rest(PAUSE, self._begin)
        if self._loop.time() >= self._silent_until:
            self._silent_until = self._loop.time() + SILENCE
            logger.warning(
                "Accepting connections slowly: %s. Raise the limit (ulimit -n) or add workers.", why
            )

    def _receive(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        welcome = self._loop.create_task(self._welcome(connection))
        self._welcomes.add(welcome)
        welcome.add_done_callback(self._welcomes.discard)

    async def _welcome(self, connection: socket.socket) -> None:
        # a failed handshake, or a client that is gone already, is no news
        with contextlib.suppress(OSError, TimeoutError):
            await self._loop.connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE if self._tls else None,
            )
