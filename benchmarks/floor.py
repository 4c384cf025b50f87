"""The floor: what receiving and keeping bytes costs when nothing else is done.

A bare server with one thread per connection: ``recv_into`` and ``pwrite``, ``sendfile`` for reading
back. It speaks no HTTP, checks nothing and locks nothing, and must never learn to: it is the
physical limit that the others are measured against, not a contender.

A request is one fixed struct (and the bytes it announces), an answer is another.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import signal
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path

REQUEST = struct.Struct("<c32sQQ")
"""Operation, name of the file, offset, number of bytes that follow (or that are wanted)."""

ANSWER = struct.Struct("<H32sQ")
"""A status as HTTP has them, the file's name, its size."""

CREATE, APPEND, INSPECT, REMOVE, FETCH = b"C", b"A", b"I", b"R", b"F"

BUFFER = 512 << 10
"""Of 128 KiB to 4 MiB, the size with which the floor is lowest."""


class Caller:
    """One connection: reads requests and answers them, one after the other, in one thread."""

    def __init__(self, connection: socket.socket, directory: Path) -> None:
        self.connection = connection
        self.directory = directory
        self.buffer = memoryview(mmap.mmap(-1, BUFFER))  # what is not used costs nothing
        self.operations: dict[bytes, Callable[[str, int, int], int]] = {
            CREATE: self.create,
            APPEND: self.append,
            INSPECT: self.inspect,
            REMOVE: self.remove,
            FETCH: self.fetch,
        }

    def serve(self) -> None:
        """Answer until the client goes away."""
        with self.connection, contextlib.suppress(OSError):
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self.serve_one():
                pass

    def serve_one(self) -> bool:
        """Answer one request; say whether there was one."""
        head = self.buffer[: REQUEST.size]
        if not self.fill(head):
            return False
        operation, name, offset, count = REQUEST.unpack(head)
        size = self.operations[operation](name.decode(), offset, count)
        if operation != FETCH:
            self.connection.sendall(ANSWER.pack(200, name, size))
        return True

    def fill(self, view: memoryview) -> bool:
        """Receive exactly ``view``; say whether it came."""
        got = 0
        while got < len(view):
            count = self.connection.recv_into(view[got:])
            if not count:
                return False
            got += count
        return True

    def create(self, name: str, offset: int, count: int) -> int:
        """Make a file and receive its first bytes."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        return self.receive(os.open(self.directory / name, flags, 0o600), 0, count)

    def append(self, name: str, offset: int, count: int) -> int:
        """Receive bytes into a file."""
        return self.receive(os.open(self.directory / name, os.O_WRONLY), offset, count)

    def receive(self, file: int, offset: int, count: int) -> int:
        """The floor itself."""
        end = offset + count
        try:
            while offset < end:
                got = self.connection.recv_into(self.buffer[: min(BUFFER, end - offset)])
                if not got:
                    break
                os.pwrite(file, self.buffer[:got], offset)
                offset += got
        finally:
            os.close(file)
        return offset

    def inspect(self, name: str, offset: int, count: int) -> int:
        """Tell a file's size."""
        return os.stat(self.directory / name).st_size

    def remove(self, name: str, offset: int, count: int) -> int:
        """Remove a file."""
        os.unlink(self.directory / name)
        return 0

    def fetch(self, name: str, offset: int, count: int) -> int:
        """Send a file; the answer comes first, as a head does."""
        with open(self.directory / name, "rb") as file:
            self.connection.sendall(ANSWER.pack(200, name.encode(), count))
            self.connection.sendfile(file, offset, count)
        return count


def serve(listener: socket.socket, directory: Path) -> None:
    """Give every connection a thread of its own, until the process is ended."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=Caller(connection, directory).serve, daemon=True).start()


def listen(port: int, certificate: str | None, key: str | None) -> socket.socket:
    """Open the listening socket, with TLS if there is a certificate."""
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    if certificate is None:
        return listener
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)


def main() -> None:
    """Serve a directory until told to end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    serve(listen(options.port, options.tls_cert, options.tls_key), options.dir)


if __name__ == "__main__":
    main()
