"""What is written: status lines, header blocks, refusals, and the access log's line.

Bytes only; when they are written, and whether the connection lives on, is decided elsewhere.
"""

from __future__ import annotations

import http
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

CLOSE = b"connection: close\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
END = b"\r\n"

_BAD_NAME = re.compile(rb'[\x00-\x20\x7f()<>@,;:\\\[\]={}"]')
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BROKEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")

Fields = Iterable[tuple[bytes, bytes]]


def _status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS = {status: _status_line(status) for status in range(100, 600)}


def block(fields: Fields) -> bytes:
    """Format header fields.

    Raises:
        ValueError: one would break out of its line.
    """
    for name, value in fields:
        if _BAD_NAME.search(name) or _BAD_VALUE.search(value):
            raise ValueError(f"The header field {name!r} cannot be sent.")
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def text_block(fields: Sequence[tuple[str, str]]) -> bytes:
    """Format header fields given as text.

    Raises:
        ValueError: one would break out of its line.
    """
    lines = "".join([f"{name.lower()}: {value}\r\n" for name, value in fields])
    if _BROKEN.search(lines) or lines.count("\n") != len(fields):
        raise ValueError(f"The header fields {fields!r} cannot be sent.")
    return lines.encode("latin-1")


_defaults: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")


def default_block(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Format the fields that every answer has; uvicorn makes a new list of them once a second."""
    global _defaults  # noqa: PLW0603
    known = _defaults
    if known[0] is not fields:
        _defaults = known = (fields, block(fields))
    return known[1]


def refusal(status: int, text: str, defaults: bytes, *, body: bool = True) -> bytes:
    """Word an answer of the server's own, after which the connection ends."""
    content = text.encode()
    return b"".join(
        (
            STATUS[status],
            defaults,
            b"content-type: text/plain; charset=utf-8\r\n",
            b"content-length: %d\r\n" % len(content),
            CLOSE,
            END,
            content if body else b"",
        )
    )


def tokens(value: bytes) -> list[bytes]:
    """Split a field that lists tokens."""
    return [token.strip().lower() for token in value.split(b",")]


def log_arguments(scope: dict[str, Any], status: int) -> tuple[str, str, str, str, int]:
    """Return what uvicorn's access log takes, in its order."""
    client, path = scope["client"], quote(scope["path"])
    if scope["query_string"]:
        path = f"{path}?{scope['query_string'].decode('latin-1')}"
    peer = f"{client[0]}:{client[1]}" if client else ""
    return peer, scope["method"], path, scope["http_version"], status


LOG_FORMAT = '%s - "%s %s HTTP/%s" %d'
