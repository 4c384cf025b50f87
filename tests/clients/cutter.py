"""A network that fails when the test wants it to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from driven import Server


class Cutter:
    """A TCP proxy that cuts its first connection to have sent so many bytes, and no other.

    ``url`` is the server's URL through it; ``cuts`` is how often it has cut.
    """

    def __init__(self, server: Server, after: int) -> None:
        self.cuts = 0
        self._left = after
        self._turn = threading.Lock()
        self._server = server
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = urlsplit(server.url)._replace(netloc=f"127.0.0.1:{port}").geturl()
        self._run(self._accept)

    def _run(self, task: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=task, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", self._server.port))
            self._sockets += [client, upstream]
            self._run(self._forward, client, upstream)
            self._run(self._return, upstream, client)

    def _forward(self, client: socket.socket, upstream: socket.socket) -> None:
        try:
            while data := client.recv(65536):
                room = self._room(len(data))
                upstream.sendall(data[:room])
                if room < len(data):
                    break
        except OSError:
            pass
        finally:
            shut(upstream)
            shut(client)

    def _room(self, count: int) -> int:
        """Say how many of so many bytes may pass; several connections may ask at once."""
        with self._turn:
            room = count if self.cuts else min(count, self._left)
            self._left -= count
            self.cuts += room < count
        return room

    def _return(self, upstream: socket.socket, client: socket.socket) -> None:
        try:
            while data := upstream.recv(65536):
                client.sendall(data)
        except OSError:
            pass
        finally:
            shut(client)

    def close(self) -> None:
        """Cut everything."""
        shut(self._listener)
        for end in self._sockets:
            shut(end)
        for thread in self._threads:
            thread.join(10)
        for end in (self._listener, *self._sockets):
            end.close()


def shut(end: socket.socket) -> None:
    """Shut a socket down both ways, so that whoever waits at it wakes up."""
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
