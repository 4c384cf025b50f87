"""The client's side of the wire: raw sockets, and the two languages spoken over them.

It is made to cost little, since client and server share a machine: requests are built as bytes,
bodies go from memory to the socket by ``sendfile``, answers are read no further than needed. It
must never become a client that anybody uses; it retries nothing and understands one answer.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import mmap
import os
import socket
import ssl
import struct
import uuid
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

from benchmarks import floor

BLOCK = 16 << 20
"""The bytes every body is made of, again and again."""

Speech = Literal["tus", "floor", "errand"]
"""What contenders speak: tus, the floor's structs, or a line that says what to do."""

PIECE = 1 << 20
PATIENCE = 60
"""How many seconds a socket may stay silent before the run fails."""

METADATA = "filename YmVuY2g=,filetype YXBwbGljYXRpb24vb2N0ZXQtc3RyZWFt"
"""Some peers answer no HEAD without both."""


class WireError(Exception):
    """The server did not answer as it should have."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens and how it is spoken to. ``ca`` names a certificate file for TLS."""

    port: int
    language: Speech
    path: str = "/files/"
    ca: str | None = None


class Answer(NamedTuple):
    """What an answer says: its status, which upload it names, and how many bytes follow it."""

    status: int
    upload: str
    length: int


class Language(Protocol):
    """Requests as bytes, and how an answer is read."""

    def create(self, length: int, body: bytes = b"") -> bytes:
        """Ask for a new upload, with its first bytes."""

    def append(self, upload: str, offset: int, size: int, checksum: str | None = None) -> bytes:
        """Announce ``size`` bytes at an offset; they are sent after it."""

    def inspect(self, upload: str) -> bytes:
        """Ask how far an upload is."""

    def remove(self, upload: str) -> bytes:
        """Ask for an upload's end."""

    def fetch(self, upload: str, size: int) -> bytes:
        """Ask for an upload's bytes."""

    def read(self, connection: socket.socket) -> tuple[Answer, int]:
        """Read an answer's head, and say how many bytes beyond it came with it."""


class Tus:
    """tus 1.0.0, as much of it as a load needs."""

    def __init__(self, path: str) -> None:
        self.path = path

    def create(self, length: int, body: bytes = b"") -> bytes:
        """Build a POST; with a body it is creation-with-upload."""
        fields = [f"Upload-Length: {length}", f"Upload-Metadata: {METADATA}"]
        if body:
            fields.append("Content-Type: application/offset+octet-stream")
        return request("POST", self.path, *fields, f"Content-Length: {len(body)}") + body

    def append(self, upload: str, offset: int, size: int, checksum: str | None = None) -> bytes:
        """Build the head of a PATCH."""
        fields = [
            "Content-Type: application/offset+octet-stream",
            f"Content-Length: {size}",
            f"Upload-Offset: {offset}",
        ]
        if checksum:
            fields.append(f"Upload-Checksum: {checksum}")
        return request("PATCH", upload, *fields)

    def inspect(self, upload: str) -> bytes:
        """Build a HEAD."""
        return request("HEAD", upload)

    def remove(self, upload: str) -> bytes:
        """Build a DELETE."""
        return request("DELETE", upload)

    def fetch(self, upload: str, size: int) -> bytes:
        """Build a GET."""
        return request("GET", upload)

    def read(self, connection: socket.socket) -> tuple[Answer, int]:
        """Read up to the blank line, or a little further."""
        data = receive(connection)
        while b"\r\n\r\n" not in data:
            data += receive(connection)
        head, _, rest = data.partition(b"\r\n\r\n")
        status = int(head[9:12])
        if status >= 300:
            raise WireError(data[:500].decode("latin-1"))
        length = field(head, b"content-length")
        return Answer(status, link(head), int(length or 0)), len(rest)


class Floor:
    """What ``floor.py`` understands."""

    def create(self, length: int, body: bytes = b"") -> bytes:
        """Name a new file."""
        return self.pack(floor.CREATE, uuid.uuid4().hex, 0, len(body)) + body

    def append(self, upload: str, offset: int, size: int, checksum: str | None = None) -> bytes:
        """Announce bytes."""
        return self.pack(floor.APPEND, upload, offset, size)

    def inspect(self, upload: str) -> bytes:
        """Ask for the size."""
        return self.pack(floor.INSPECT, upload, 0, 0)

    def remove(self, upload: str) -> bytes:
        """Unlink."""
        return self.pack(floor.REMOVE, upload, 0, 0)

    def fetch(self, upload: str, size: int) -> bytes:
        """Ask for bytes."""
        return self.pack(floor.FETCH, upload, 0, size)

    def read(self, connection: socket.socket) -> tuple[Answer, int]:
        """Read one struct, or a little further."""
        data = receive(connection)
        while len(data) < floor.ANSWER.size:
            data += receive(connection)
        status, name, size = floor.ANSWER.unpack_from(data)
        return Answer(status, name.decode(), size), len(data) - floor.ANSWER.size

    @staticmethod
    def pack(operation: bytes, upload: str, offset: int, count: int) -> bytes:
        """Build one request."""
        return floor.REQUEST.pack(operation, upload.encode(), offset, count)


class Connection:
    """One connection to a server, in its language."""

    def __init__(self, target: Target) -> None:
        self.language: Language = Floor() if target.language == "floor" else Tus(target.path)
        self.socket = connect(target)
        self.encrypted = target.ca is not None

    def send(self, data: bytes) -> None:
        """Send a request, or its head."""
        self.socket.sendall(data)

    def answer(self) -> Answer:
        """Read a whole answer; its body, if any, is dropped.

        A 200 is a HEAD's, whatever length it tells; what else is answered to a load has none or
        a short body.
        """
        answer, surplus = self.language.read(self.socket)
        left = answer.length - surplus if answer.status == 201 else 0
        while left > 0:
            left -= len(receive(self.socket))
        return answer

    def ask(self, data: bytes) -> Answer:
        """Send a request and read its answer."""
        self.send(data)
        return self.answer()

    def create(self, length: int) -> str:
        """Make an upload and return its URL."""
        return self.ask(self.language.create(length)).upload

    def remove(self, upload: str) -> None:
        """Remove an upload."""
        self.ask(self.language.remove(upload))

    def append(self, upload: str, offset: int, size: int, checksum: str | None = None) -> None:
        """Send one PATCH and read its answer."""
        self.send(self.language.append(upload, offset, size, checksum))
        self.pour(size)
        self.answer()

    def pour(self, size: int) -> None:
        """Send ``size`` bytes of a body."""
        if self.encrypted:
            self._pour_encrypted(size)
        else:
            self._pour_plain(size)

    def fetch(self, upload: str, size: int) -> None:
        """Download an upload and throw it away: the kernel drops the bytes without a copy."""
        self.send(self.language.fetch(upload, size))
        answer, came = self.language.read(self.socket)
        if answer.length != size:
            raise WireError(f"{answer.length} bytes were announced, not {size}.")
        scrap, left = scratch(), size - came
        while left:
            got = self.socket.recv_into(scrap, min(left, len(scrap)), socket.MSG_TRUNC)
            if not got:
                raise WireError("The download was cut.")
            left -= got

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    def _pour_plain(self, size: int) -> None:
        file, _ = source()
        for count in portions(size, BLOCK):
            sent = 0
            while sent < count:
                sent += os.sendfile(self.socket.fileno(), file, sent, count - sent)

    def _pour_encrypted(self, size: int) -> None:
        _, view = source()
        for count in portions(size, BLOCK):
            for start in range(0, count, PIECE):
                self.socket.sendall(view[start : min(start + PIECE, count)])


def request(method: str, path: str, *fields: str) -> bytes:
    """Build one request's head."""
    lines = (f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Tus-Resumable: 1.0.0", *fields)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def field(head: bytes, name: bytes) -> bytes:
    """Return a field's value out of an answer's head, or nothing."""
    start = head.lower().find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


def link(head: bytes) -> str:
    """Return the path of an answer's ``Location``, or nothing."""
    location = field(head, b"location").decode()
    return urlsplit(location).path if location else ""


def receive(connection: socket.socket) -> bytes:
    """Receive something, or fail."""
    data = connection.recv(1 << 16)
    if not data:
        raise WireError("The server closed the connection.")
    return data


def portions(size: int, most: int) -> list[int]:
    """Cut a size into pieces."""
    return [most] * (size // most) + [size % most] * bool(size % most)


def connect(target: Target) -> socket.socket:
    """Open a connection that never waits for ever.

    The limit is the kernel's (``SO_RCVTIMEO``) because Python's makes the socket non-blocking,
    and ``sendfile`` with it.
    """
    connection = socket.create_connection(("127.0.0.1", target.port))
    limit = struct.pack("ll", PATIENCE, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target.ca is None:
        return connection
    context = ssl.create_default_context(cafile=target.ca)
    return context.wrap_socket(connection, server_hostname="127.0.0.1")


@functools.cache
def source() -> tuple[int, memoryview]:
    """Return this process's block of body bytes, as a memory file and as memory."""
    file = os.memfd_create("body")
    os.write(file, os.urandom(BLOCK))
    return file, memoryview(mmap.mmap(file, BLOCK))


@functools.cache
def scratch() -> memoryview:
    """Return memory that downloads are dropped into."""
    return memoryview(bytearray(PIECE))


def checksum(algorithm: str, size: int) -> str:
    """Return the ``Upload-Checksum`` of a body of ``size`` bytes."""
    _, view = source()
    digest = hashlib.new(algorithm)
    for count in portions(size, BLOCK):
        digest.update(view[:count])
    return f"{algorithm} {base64.b64encode(digest.digest()).decode()}"


def chunks(size: int, piece: int) -> list[tuple[int, int]]:
    """Cut an upload into (offset, size) of its PATCHes."""
    sizes = portions(size, piece)
    return list(zip(itertools.accumulate(sizes, initial=0), sizes, strict=False))
