"""A server killed while uploads are made: what was answered is whole, and nothing is by halves."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException

import pytest
from homes import S3, THOROUGH, Home

from server import Server

ROUNDS = 5
CLIENTS = 3
LIMIT = 30.0
AT_LEAST = 20
"""Creations that are answered before the server is killed."""


class Client:
    """Makes one small upload after another, until the server is gone."""

    def __init__(self, server: Server, enough: threading.Semaphore) -> None:
        self._server = server
        self._enough = enough
        self._rng = random.Random(random.getrandbits(32))
        self.made: list[tuple[str, bytes, int]] = []

    def run(self) -> None:
        """Make uploads: with all of their bytes, with some, and with none."""
        with suppress(OSError, HTTPException):
            while True:
                self.make()

    def make(self) -> None:
        """Make one upload."""
        data = self._rng.randbytes(self._rng.choice((1, 4096, 9000)))
        brought = data[: self._rng.choice((0, len(data) // 2, len(data)))]
        answer = self._server.ask("POST", "/files/", brought, upload_length=len(data))
        assert answer.status == 201, answer
        self.made.append((answer.headers["location"], data, len(brought)))
        self._enough.release()


@pytest.mark.parametrize(
    ("home", "durability", "rounds"),
    [
        ("files", "none", ROUNDS),
        ("files", "finish", ROUNDS),
        pytest.param(*S3.values, "finish", ROUNDS if THOROUGH else 1, marks=S3.marks),
    ],
    indirect=["home"],
)
def test_a_creation_that_was_answered_is_whole(
    home: Home, serve: Callable[..., Server], durability: str, rounds: int
) -> None:
    """Invariant 1: after a kill -9 every upload that a client was told of has the bytes it brought,
    and can be gone on; every other that is there is whole as well."""
    server = serve("--durability", durability)
    made: list[tuple[str, bytes, int]] = []
    for _ in range(rounds):
        made += killed_while_making(server)
        server.restart()
    for path, data, brought in made:
        assert server.offset(path) == brought
        if brought < len(data):
            assert server.patch(path, brought, data[brought:]).status == 204
        assert server.get(path) == data
    known = {path for path, _, _ in made}
    for id in home.ids():
        path = f"/files/{id}"
        assert path in known or server.offset(path) in {0, 1, 2048, 4096, 4500, 9000}


def killed_while_making(server: Server) -> list[tuple[str, bytes, int]]:
    """Have several clients make uploads, kill the server in the middle of it, and return what
    they were told."""
    enough = threading.Semaphore(0)
    clients = [Client(server, enough) for _ in range(CLIENTS)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    try:
        for _ in range(AT_LEAST):
            assert enough.acquire(timeout=LIMIT)
    finally:
        server.program.process.send_signal(signal.SIGKILL)
        server.program.process.wait(LIMIT)
        for thread in threads:
            thread.join(LIMIT)
    return [each for client in clients for each in client.made]
