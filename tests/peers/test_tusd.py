"""Uploads that are begun in tusd and finished in vectus, and the other way round.

Both programs are real, and each is stopped before the other starts.
"""

from __future__ import annotations

import hashlib
import signal
from base64 import b64encode
from urllib.parse import urlsplit

import pytest

from server import PATIENCE, Server, until
from server_fixtures import Run

pytestmark = pytest.mark.peer("tusd")

DATA = hashlib.shake_128(b"tusd").digest(3_000_000)
HALF = len(DATA) // 2
NAME = "filename " + b64encode("größe.txt".encode()).decode()


def create(server: Server, **fields: object) -> str:
    """Create an upload as long as the data, and return its path: tusd's Location is a whole URL."""
    return urlsplit(server.create(len(DATA), upload_metadata=NAME, **fields)).path


def break_off(server: Server, path: str, stop: signal.Signals) -> int:
    """Send half of the data, end the server in the middle of the body, and return what is there."""
    with server.connect() as wire:
        wire.patch(path, 0, len(DATA))
        wire.send(DATA[:HALF])
        until(lambda: server.size(path) > 0, "the arrival of what was sent")
        server.program.process.send_signal(stop)
        server.program.process.wait(PATIENCE)
    return server.size(path)


def finish(server: Server, path: str, there: int) -> None:
    """Resume an upload where the server says that it is, and read it back."""
    assert server.offset(path) == there
    assert server.ask("HEAD", path).headers["upload-metadata"] == NAME
    answer = server.patch(path, there, DATA[there:])
    assert (answer.status, answer.offset) == (204, len(DATA))
    assert server.get(path) == DATA


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("first", ["tusd", "vectus"])
def test_begun_in_one_and_finished_in_the_other(
    serve_tusd: Run, serve: Run, first: str, stop: signal.Signals
) -> None:
    """What the first has stored of an upload counts, however it ended; the other takes the rest."""
    runs = {"tusd": serve_tusd, "vectus": serve}
    begun = runs.pop(first)()
    path = create(begun)
    there = break_off(begun, path, stop)
    assert 0 < there <= HALF

    (other,) = runs.values()
    finish(other(), path, there)


def test_there_and_back(serve_tusd: Run, serve: Run) -> None:
    """An upload that tusd had for a while is ours again, and a finished one is served by both."""
    ours = serve()
    path = create(ours)
    assert ours.patch(path, 0, DATA[:1000]).status == 204
    ours.kill()
    tusd = serve_tusd()
    assert tusd.patch(path, 1000, DATA[1000:HALF]).status == 204
    tusd.kill()
    ours.restart()
    finish(ours, path, HALF)
    ours.kill()
    tusd.restart()
    assert tusd.get(path) == DATA


def test_begun_without_a_length(serve_tusd: Run, serve: Run) -> None:
    """A length that tusd was not told is told to us."""
    tusd = serve_tusd()
    path = urlsplit(tusd.create(None)).path
    assert tusd.patch(path, 0, DATA[:HALF]).status == 204
    tusd.kill()
    ours = serve()
    answer = ours.ask("HEAD", path)
    assert (answer.offset, answer.headers["upload-defer-length"]) == (HALF, "1")
    assert ours.patch(path, HALF, DATA[HALF:], upload_length=len(DATA)).status == 204
    assert ours.get(path) == DATA


def test_parts_begun_in_tusd(serve_tusd: Run, serve: Run) -> None:
    """Partial uploads of tusd's are joined by us."""
    tusd = serve_tusd()
    halves = (DATA[:HALF], DATA[HALF:])
    paths = [urlsplit(tusd.create(len(h), upload_concat="partial")).path for h in halves]
    assert tusd.patch(paths[0], 0, halves[0]).status == 204
    assert tusd.patch(paths[1], 0, halves[1][:5]).status == 204
    tusd.kill()
    ours = serve()
    assert ours.patch(paths[1], 5, halves[1][5:]).status == 204
    answer = ours.ask("POST", "/files/", upload_concat="final;" + " ".join(paths))
    assert answer.status == 201
    assert ours.get(answer.headers["location"]) == DATA
