"""What goes over the wire, without a wire: request heads, replies, and where a URL points.

Front ends build a ``Head`` and send a ``Reply``. Nothing in here knows a header of any protocol.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from vectus.protocol.upload import ID


class Headers:
    """The header fields of one message: names in lower case, every value kept in its order.

    Values are text decoded as ISO-8859-1, which maps bytes to characters one to one, so that a
    value can be echoed byte for byte (RFC 9110, section 5.5).
    """

    __slots__ = ("_values",)

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in items:
            self._values.setdefault(name, []).append(value)

    @classmethod
    def parse(cls, raw: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Build from raw pairs, as ASGI and httptools give them."""
        return cls((n.decode("latin-1").lower(), v.decode("latin-1").strip(" \t")) for n, v in raw)

    def get(self, name: str) -> str | None:
        """Return the first value of a field, or None."""
        values = self._values.get(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Return every value of a field, one for each line it came in."""
        return self._values.get(name, [])

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((name, value) for name, values in self._values.items() for value in values)

    def __repr__(self) -> str:
        return f"Headers({list(self)!r})"


@dataclass(frozen=True, slots=True)
class Collection:
    """The URL under which uploads are created."""


@dataclass(frozen=True, slots=True)
class Resource:
    """The URL of one upload."""

    id: str


@dataclass(frozen=True, slots=True)
class Nowhere:
    """A URL under the mount that can name no upload."""


Target = Collection | Resource | Nowhere


def locate(path: str) -> Target:
    """Say where a path relative to the mount points (``""``, ``"/"``, ``"/<id>"``)."""
    name = path.removeprefix("/")
    if not name:
        return Collection()
    return Resource(name) if ID.fullmatch(name) else Nowhere()


@dataclass(frozen=True, slots=True)
class Head:
    """One request without its body.

    Args:
        method: as sent, upper case.
        target: where its URL points.
        headers: its fields, trailers not among them.
        base: what the ids of this mount's uploads are appended to, path-absolute or absolute,
            ending in a slash.
        uri: path and query as sent, for listeners and logs.
        peer: the client's address, or None where the server does not know it.
        trailers: whether this front end delivers declared trailers.
        framed: whether a body must be announced, as in HTTP/1; from HTTP/2 on it just ends.
    """

    method: str
    target: Target
    headers: Headers
    base: str = "/"
    uri: str = "/"
    peer: str | None = None
    trailers: bool = False
    framed: bool = True

    def location(self, id: str) -> str:
        """Return the URL of an upload."""
        return self.base + id


class Content(Protocol):
    """What a reply's body is read from when it is not small: ``length`` bytes of an upload.

    Whoever gets a reply with content must ``aclose`` it, sent or not.
    """

    @property
    def length(self) -> int:
        """How many bytes there are."""

    def file(self) -> tuple[int, int] | None:
        """Return a descriptor and the position of the first byte, for sendfile; or None."""

    def blocks(self) -> AsyncIterator[bytes]:
        """Yield the bytes in blocks."""

    async def aclose(self) -> None:
        """Free what it holds; a second call does nothing."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. ``content``, if there, is its body; else ``body`` is.

    ``Content-Length`` is among the headers wherever a body of a known length follows.
    ``close`` asks the front end to end the connection after the answer.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content: Content | None = field(default=None, compare=False)
    close: bool = False

    def header(self, name: str) -> str | None:
        """Return the first value of a field by its name in any case, or None."""
        wanted = name.lower()
        return next((v for n, v in self.headers if n.lower() == wanted), None)
