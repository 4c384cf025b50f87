"""What ASGI is told of a request and its connection: a parsed head as a scope. Decides nothing."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import httptools

from vectus.direct.heads import Heads


def http_scope(heads: Heads, root_path: str) -> dict[str, Any]:
    """Return what a head says, as an HTTP scope has it; like uvicorn's, its paths begin with the
    root path.

    Raises:
        httptools.HttpParserError: the request target is none.
    """
    raw_path, query = _split(heads.url)
    path = raw_path.decode("latin-1")
    return {
        "type": "http",
        "http_version": heads.version,
        "method": heads.method,
        "root_path": root_path,
        "path": root_path + (unquote(path) if "%" in path else path),
        "raw_path": quote(root_path).encode() + raw_path if root_path else raw_path,
        "query_string": query,
        "headers": heads.headers,
    }


def _split(url: bytes) -> tuple[bytes, bytes]:
    """Split a request target into path and query; a proxy's form names a host before them."""
    if not url.startswith(b"/") and url != b"*":
        parsed = httptools.parse_url(url)
        return parsed.path or b"/", parsed.query or b""
    path, _, query = url.partition(b"?")
    return path.partition(b"#")[0], query.partition(b"#")[0]


def client_address(name: object) -> tuple[str, int] | None:
    """Return a peer's name as a scope has it; a Unix socket's client has none."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None


def server_address(name: object) -> tuple[str, int | None] | None:
    """Return a listener's name as a scope has it."""
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    return (name, None) if isinstance(name, str) and name else None
