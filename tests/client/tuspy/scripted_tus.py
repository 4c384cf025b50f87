"""A tus server of a few lines, in threads, that notes every request and fails as it is told.

For tests that count requests and connections, or need answers that no sound server gives. It keeps
no more than it must, and knows nothing of vectus.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CUT = object()
"""An answer that never comes: the connection breaks instead."""


@dataclass(frozen=True)
class Note:
    """A request as it arrived; names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    port: int


@dataclass
class Kept:
    """An upload."""

    length: int | None
    data: bytearray = field(default_factory=bytearray)
    count: int = 0


class ScriptedTus:
    """The server.

    Attributes:
        notes: every request, in the order of arrival.
        uploads: by path.
        keep: whether the bytes of uploads are kept, or only counted.
        plan: for a method, answers that come before the sound ones: a status, a status with
            headers, a status with headers and a body, ``CUT``, or a function of the note that
            returns one of these. None is a sound one.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.notes: list[Note] = []
        self.uploads: dict[str, Kept] = {}
        self.keep = True
        self.plan: dict[str, deque[Any]] = {}
        self._scheme = "http" if tls is None else "https"
        bound = type("Bound", (_Handler,), {"of": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where uploads are created."""
        return f"{self._scheme}://127.0.0.1:{self.port}/files/"

    @property
    def methods(self) -> list[str]:
        """What was asked, in order."""
        return [note.method for note in self.notes]

    def of(self, method: str) -> list[Note]:
        """The requests of one method."""
        return [note for note in self.notes if note.method == method]

    def will(self, method: str, *answers: Any) -> None:
        """Answer the next requests of a method this way."""
        self.plan.setdefault(method, deque()).extend(answers)

    def add(self, length: int | None, data: bytes = b"") -> str:
        """Have an upload; return its URL."""
        path = f"/files/{len(self.uploads) + 1}"
        self.uploads[path] = Kept(length, bytearray(data), len(data))
        return self.url.removesuffix("/files/") + path

    def stored(self, url: str) -> bytes:
        """What an upload holds."""
        return bytes(self.uploads[self._path(url)].data)

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    # --- A sound server ---

    def answer(self, note: Note) -> tuple[int, dict[str, str]]:
        """What a sound server says, once it has done it."""
        if note.method == "POST":
            return 201, {"Location": self._path(self.add(self._length(note)))}
        kept = self.uploads.get(note.path)
        if kept is None:
            return 404, {}
        if note.method == "PATCH":
            if int(note.headers["upload-offset"]) != kept.count:
                return 409, {}
            kept.count += int(note.headers["content-length"])
            kept.data += note.body
            kept.length = kept.length if kept.length is not None else self._length(note)
            return 204, {"Upload-Offset": str(kept.count)}
        length = {} if kept.length is None else {"Upload-Length": str(kept.length)}
        return 200, {"Upload-Offset": str(kept.count), **length}

    @staticmethod
    def _length(note: Note) -> int | None:
        return int(note.headers["upload-length"]) if "upload-length" in note.headers else None

    def _path(self, url: str) -> str:
        return url.removeprefix(self.url.removesuffix("/files/"))


class _Handler(BaseHTTPRequestHandler):
    of: ScriptedTus
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def handle_any(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self._body(int(headers.get("content-length", 0)))
        note = Note(self.command, self.path, headers, body, self.client_address[1])
        self.of.notes.append(note)
        plan = self.of.plan.get(self.command)
        said = plan.popleft() if plan else None
        if isinstance(said, Callable):
            said = said(note)
        if said is CUT:
            self._cut()
            return
        status, fields, content = self._worded(self.of.answer(note) if said is None else said)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **fields}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_POST = do_HEAD = do_PATCH = handle_any  # noqa: N815

    def _body(self, count: int) -> bytes:
        if self.of.keep:
            return self.rfile.read(count)
        while count and (block := self.rfile.read(min(count, 1 << 20))):
            count -= len(block)
        return b""

    def _cut(self) -> None:
        """Reset the connection: SO_LINGER of 0 does that."""
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    @staticmethod
    def _worded(said: Any) -> tuple[int, dict[str, str], bytes]:
        parts = said if isinstance(said, tuple) else (said,)
        return (*parts, *((0, {}, b"")[len(parts) :]))  # type: ignore[return-value]
