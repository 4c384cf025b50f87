"""A tus server behind httpx2's mock transport: the real rules, and no socket.

What a test wants to go wrong it says with ``twist``; what was asked is in ``seen``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from pure_server import ENDPOINT, HOST, PureServer
from sides import Side

from vectus.protocol.dialects.tus1_client import Ask
from vectus.protocol.policy import Feature, Policy

DATA = bytes(range(256)) * 2400
"""Some 600 KB: three blocks, and too much for a part to be left out."""

EVERYTHING = Policy()


def without(*features: Feature) -> Policy:
    """A policy that lacks features."""
    return Policy(features=frozenset(Feature) - set(features))


PLAIN = without(Feature.CREATION_WITH_UPLOAD)
"""So that bytes travel in a PATCH."""

Twist = Callable[[httpx2.Request], httpx2.Response | Exception | None]
"""Answers instead of the server, or leaves it to the server; an exception is raised."""


@dataclass
class Tus:
    """The server.

    Args:
        policy: what it offers.
        twist: what goes wrong.
    """

    policy: Policy = PLAIN
    twist: Twist = lambda _: None
    seen: list[httpx2.Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = PureServer(self.policy)
        self._turn = threading.Lock()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        with self._turn:
            self.seen.append(request)
        twisted = self.twist(request)
        if isinstance(twisted, Exception):
            raise twisted
        return self.answer(request) if twisted is None else twisted

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Answer as the rules have it."""
        method = request.headers.get("X-HTTP-Method-Override", request.method)
        url = f"{HOST}{request.url.raw_path.decode()}"
        with self._turn:
            if method == "GET":
                return httpx2.Response(200, content=self.server.content(url))
            assert int(request.headers.get("content-length", "0")) == len(request.content)
            pairs = request.headers.items()
            ask = Ask(method, tuple(pair for pair in pairs if pair[0] != "content-length"))
            answer = self.server.answer(ask, url, request.content)
        return httpx2.Response(answer.status, headers=list(answer.headers), text=answer.text)

    def of(self, method: str) -> list[httpx2.Request]:
        """The requests of a method."""
        return [request for request in self.seen if request.method == method]

    def content(self, url: str) -> bytes | None:
        """What it has."""
        return self.server.content(url)

    def http(self, side: Side) -> Any:
        """What a client of that side speaks to it with."""
        kind = httpx2.Client if side.name == "blocking" else httpx2.AsyncClient
        return kind(transport=httpx2.MockTransport(self))

    @contextmanager
    def client(self, side: Side, endpoint: str | None = ENDPOINT, **options: Any) -> Iterator[Any]:
        """A client of it that does not wait long."""
        options = {"http": self.http(side), "retry_delay": 0, **options}
        with side.client(endpoint, **options) as client:
            yield client
