"""Many clients at once, while worker after worker, and in the end the whole server, is killed."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException

import pytest
from homes import HOMES, Home

from server import OCTETS, Answer, Server, chunk, until


class Client:
    """Uploads one file after another, as stubborn as a good client is, until told to stop."""

    def __init__(self, server: Server, home: Home, seed: int, stop: threading.Event) -> None:
        self._server = server
        self._home = home
        self._rng = random.Random(seed)
        self._stop = stop
        self._end = time.monotonic() + home.patience
        self.done: list[tuple[str, bytes]] = []

    def run(self) -> None:
        """Upload."""
        while not self._stop.is_set() or not self.done:
            self.upload(self._rng.randbytes(self._rng.randrange(1, self._home.many)))

    def upload(self, data: bytes) -> None:
        """Upload one file, over and over from where it is."""
        path = self.insist(lambda: self._server.ask("POST", "/files/", upload_length=len(data)))
        where, acknowledged = path.headers["location"], 0
        while acknowledged < len(data):
            offset = self.insist(lambda: self._server.ask("HEAD", where)).offset
            assert offset >= acknowledged, "something acknowledged is lost"
            acknowledged = offset
            with suppress(OSError, HTTPException):
                answer = self.append(where, offset, data)
                assert answer.status in {204, 423, 503}, answer
                if answer.status == 204:
                    acknowledged = answer.offset
        self.done.append((where, data))

    def append(self, path: str, offset: int, data: bytes) -> Answer:
        """Send some bytes in one of the ways there are."""
        body = data[offset : offset + self._rng.randrange(1, self._home.many // 2)]
        how = self._rng.randrange(3)
        if how == 0:
            return self._server.patch(path, offset, body)
        if how == 1:
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            return self._server.patch(path, offset, body, upload_checksum=f"sha256 {digest}")
        with self._server.connect() as wire:
            fields = {"content_type": OCTETS, "transfer_encoding": "chunked"}
            wire.head("PATCH", path, upload_offset=offset, **fields)
            for at in range(0, len(body), 50_000):
                wire.send(chunk(body[at : at + 50_000]))
            wire.send(chunk(b""))
            return wire.answer()

    def insist(self, ask: Callable[[], Answer]) -> Answer:
        """Ask until there is an answer that helps."""
        while True:
            assert time.monotonic() < self._end, "no answer that helps"
            with suppress(OSError, HTTPException):
                answer = ask()
                if answer.status < 300:
                    return answer
                assert answer.status in {423, 503}, answer
            time.sleep(0.02)  # a polite client does not hammer


@pytest.mark.platform("linux")
@pytest.mark.parametrize("home", HOMES, indirect=True)
def test_everything_at_once(home: Home, serve: Callable[..., Server]) -> None:
    """While workers are killed over and over, and once the whole server, every upload of every
    client goes on to its end: no acknowledged byte is lost, and every finished file is exact."""
    server = serve("--workers", 2)
    stop = threading.Event()
    clients = [Client(server, home, random.getrandbits(32), stop) for _ in range(home.clients)]
    with ThreadPoolExecutor(home.clients) as threads:
        running = [threads.submit(client.run) for client in clients]
        try:
            kill_workers(server, home.kills)
            server.kill()
            until(lambda: not listening(server), "the workers' end")
            server.restart()
            kill_workers(server, home.kills)
        finally:
            stop.set()
        for each in running:
            each.result(home.patience)
    uploads = [upload for client in clients for upload in client.done]
    assert len(uploads) >= home.clients
    for path, data in uploads:
        assert home.stored(path) == data
        assert server.offset(path) == len(data)


def listening(server: Server) -> bool:
    """Whether anybody takes connections; a worker may outlive its parent for a moment."""
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def kill_workers(server: Server, times: int) -> None:
    """Kill one worker after another, at moments that nobody chose."""
    for _ in range(times):
        time.sleep(random.uniform(0.05, 0.4))
        if workers := server.workers():
            with suppress(ProcessLookupError):
                os.kill(random.choice(workers), signal.SIGKILL)
