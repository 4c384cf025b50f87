"""The handler that a front end is given to be examined: it does what it is asked, and tells.

It knows the contract of a handler, and nothing of how a front end is written. What it saw it tells
over HTTP, so that the front end may run in another process.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from vectus.contracts import Body, Take
from vectus.protocol.exchange import Ending
from vectus.protocol.messages import Content, Head, Reply, Resource

PIECE = 64 * 1024


def pattern(seed: int, length: int) -> bytes:
    """Return bytes that belong to their seed and place: nothing in them repeats early."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(length)


class Block:
    """Content that comes in blocks, and counts how many of its kind are open."""

    open = 0

    def __init__(self, data: bytes, promised: int | None = None) -> None:
        self._data = data
        self.length = len(data) if promised is None else promised
        self._closed = False
        Block.open += 1

    def file(self) -> None:
        """It is in no file."""
        return

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield it, 64 KiB at a time."""
        for start in range(0, len(self._data), PIECE):
            yield self._data[start : start + PIECE]

    async def aclose(self) -> None:
        """Count it as closed."""
        if not self._closed:
            self._closed = True
            Block.open -= 1


@dataclass
class Seen:
    """What the probe saw of one request, as far as it has come."""

    count: int = 0
    ending: str | None = None
    error: str | None = None
    overlaps: int = 0
    digest: str = ""
    trailers: list[tuple[str, str]] = field(default_factory=list)


class Probe:
    """A handler that does what the request's ``Do`` field says, and tells what it saw.

    ``Do`` is one of: nothing (pour the body and tell), ``slowly`` (the same, each piece awaited),
    ``refuse`` (answer 409 unread), ``fail`` (fail at the first piece), ``content`` (answer with as
    many bytes as ``Size`` says), ``close`` (end the connection), ``report`` (tell what was seen of
    the request that the target names), ``wanted`` (stop that request's body), ``opened`` (tell how
    many contents are open).
    """

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        self._bodies: dict[str, Body] = {}
        self._acts: dict[str, Callable[[Head, Body], Awaitable[Reply]]] = {
            "refuse": self._refuse,
            "content": self._content,
            "close": self._close,
            "report": self._report,
            "wanted": self._wanted,
            "opened": self._opened,
        }

    async def __call__(self, head: Head, body: Body) -> Reply:
        """Answer."""
        act = head.headers.get("do") or ""
        return await self._acts.get(act, self._pour)(head, body)

    async def _pour(self, head: Head, body: Body) -> Reply:
        seen = Seen()
        if isinstance(head.target, Resource):
            self._seen[head.target.id] = seen
            self._bodies[head.target.id] = body
        digest = hashlib.sha256()
        try:
            ending = await body.pour(_taker(head.headers.get("do") or "", seen, digest.update))
        except OSError as error:
            seen.error = str(error)
            return _tell({"error": seen.error}, 500)
        seen.ending = ending.name
        seen.digest = digest.hexdigest()
        seen.trailers = list(body.trailers)
        return _tell({"head": _head(head), **vars(seen)})

    async def _refuse(self, head: Head, body: Body) -> Reply:
        return _tell({"refused": True}, 409)

    async def _content(self, head: Head, body: Body) -> Reply:
        content: Content = Block(pattern(7, int(head.headers.get("size") or "0")))
        return Reply(200, (("Content-Length", str(content.length)),), content=content)

    async def _close(self, head: Head, body: Body) -> Reply:
        reply = _tell({})
        return Reply(reply.status, reply.headers, reply.body, close=True)

    async def _report(self, head: Head, body: Body) -> Reply:
        seen = self._seen.get(_id(head))
        return _tell({} if seen is None else vars(seen))

    async def _wanted(self, head: Head, body: Body) -> Reply:
        self._bodies[_id(head)].stop(Ending.WANTED)
        return _tell({})

    async def _opened(self, head: Head, body: Body) -> Reply:
        return _tell({"open": Block.open})


def _id(head: Head) -> str:
    return head.target.id if isinstance(head.target, Resource) else ""


def _taker(act: str, seen: Seen, update: Callable[[memoryview], None]) -> Take:
    """Return the ``take`` that an act needs; each hashes the bytes when it is done with them."""
    busy = False

    async def later(piece: memoryview) -> None:
        nonlocal busy
        for _ in range(3):
            await asyncio.sleep(0)
        update(piece)
        busy = False

    def take(piece: memoryview) -> Awaitable[None] | None:
        nonlocal busy
        if act == "fail":
            raise OSError("the disk is on fire")
        seen.overlaps += busy
        seen.count += len(piece)
        if act == "slowly":
            busy = True
            return later(piece)
        update(piece)
        return None

    return take


def _head(head: Head) -> dict[str, Any]:
    target = type(head.target).__name__
    return {
        "method": head.method,
        "target": target,
        "id": _id(head),
        "base": head.base,
        "uri": head.uri,
        "peer": head.peer,
        "trailers": head.trailers,
        "headers": list(head.headers),
    }


def _tell(what: object, status: int = 200) -> Reply:
    body = json.dumps(what).encode()
    headers = (("Content-Type", "application/json"), ("Content-Length", str(len(body))))
    return Reply(status, headers, body)


probe = Probe()
"""One to import by name, for a front end in another process."""
