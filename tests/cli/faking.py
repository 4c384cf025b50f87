"""A tus server of one upload that misbehaves as a test wants it to."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any


@dataclass
class Fake:
    """A tus server of one upload, and what it does instead of its duty.

    ``tricks`` maps a method to what is done to its next requests, one after the other: a status to
    answer, a number of bytes after which the connection is cut (negative), or a function that is
    called with the handler after 64 KiB of the body.
    """

    url: str = ""
    stored: bytearray = field(default_factory=bytearray)
    length: int | None = None
    metadata: str = ""
    requests: list[str] = field(default_factory=list)
    tricks: dict[str, list[Any]] = field(default_factory=dict)
    release: threading.Event = field(default_factory=threading.Event)

    def trick(self, method: str) -> Any:
        """Return what to do to this request, None being its duty."""
        self.requests.append(method)
        left = self.tricks.get(method, [])
        return left.pop(0) if left else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: Fake

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, **fields: object) -> None:
        text = b"" if status < 400 or self.command == "HEAD" else b"trick: Because I say so.\n"
        self.send_response(status)
        for name, value in {"tus_resumable": "1.0.0", **fields}.items():
            self.send_header(name.replace("_", "-"), str(value))
        if text:
            self.send_header("content-type", "text/plain; charset=utf-8")
        if status != 204:
            self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def refuse(self, trick: int) -> None:
        self.close_connection = True
        self.answer(trick, retry_after=0, connection="close")

    def do_POST(self) -> None:
        trick = self.fake.trick("POST")
        if trick is not None:
            return self.refuse(trick)
        self.fake.length = int(self.headers["upload-length"])
        self.fake.metadata = self.headers["upload-metadata"]
        return self.answer(201, location="/files/one")

    def do_HEAD(self) -> None:
        trick = self.fake.trick("HEAD")
        if trick is not None:
            return self.refuse(trick)
        return self.answer(200, upload_offset=len(self.fake.stored), upload_length=self.fake.length)

    def do_DELETE(self) -> None:
        trick = self.fake.trick("DELETE")
        if trick is not None:
            return self.refuse(trick)
        return self.answer(204)

    def do_PATCH(self) -> None:
        trick = self.fake.trick("PATCH")
        if isinstance(trick, int) and trick > 0:
            return self.refuse(trick)
        if int(self.headers["upload-offset"]) != len(self.fake.stored):
            return self.refuse(409)
        left = int(self.headers["content-length"])
        wanted = -trick if isinstance(trick, int) else left
        while wanted and (data := self.rfile.read(min(wanted, 65536))):
            self.fake.stored += data
            wanted -= len(data)
            left -= len(data)
            if callable(trick):
                trick, _ = None, trick(self)
        if left:
            self.close_connection = True
            return None
        return self.answer(204, upload_offset=len(self.fake.stored))
