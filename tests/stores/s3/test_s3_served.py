"""``vectus serve`` on a bucket of a real S3 server, killed in the middle of bodies."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from s3_places import make_place

from server import Port, until, vectus_serve
from vectus.testing.stores import pattern

DATA = pattern(23 << 20)


@pytest.fixture
def port():
    """A port of our own."""
    port = Port()
    yield port.number
    port.close()


@pytest.mark.timeout(120)
def test_kills_cost_what_was_on_its_way(
    rgw: str, start, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill -9 while a body arrives, again and again: the upload is never behind what was told, not
    far behind what was sent, and the object is what was sent."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # its locks
    place = make_place(rgw)
    url = f"s3://{place.bucket}/{place.prefix}?endpoint={rgw}&region=us-east-1&part_size=5MiB"
    server = vectus_serve(start, port, url.replace(" ", "%20"))
    path = server.create(len(DATA))
    offset = 0
    for _ in range(3):
        body = DATA[offset:-1]
        with server.connect() as wire:
            wire.patch(path, offset, len(body) + 1)
            sent = threading.Event()
            sender = threading.Thread(target=send, args=(wire, body, sent), daemon=True)
            sender.start()
            sent.wait(random.uniform(0.01, 0.4))
            server.kill()
            sender.join(20)
        server.restart()
        before, offset = offset, server.offset(path)
        assert before <= offset <= len(DATA) - 1
    for stop in (offset + 1000, len(DATA)):
        answer = server.patch(path, offset, DATA[offset:stop])
        assert (answer.status, answer.offset) == (204, stop)
        offset = stop

    assert server.get(path) == DATA
    assert server.ask("DELETE", path).status == 204
    until(lambda: server.ask("HEAD", path).status == 404, "the removal")
    server.program.stop()


def send(wire, body: bytes, sent: threading.Event) -> None:
    """Send until the connection breaks."""
    with suppress(OSError):
        wire.send(body)
    sent.set()
