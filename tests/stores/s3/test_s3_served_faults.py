"""``vectus serve`` on a bucket of an S3 server that hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from s3_places import make_place

from s3proxy import S3Proxy, lost, unanswered
from server import PATIENCE, Answer, Port, Server, until, vectus_serve
from vectus.stores.s3.threads import SMALL
from vectus.testing.stores import pattern

DATA = pattern(12 << 20)
TRIES = 10


@pytest.fixture
def proxy(rgw: str) -> Iterator[S3Proxy]:
    """A proxy in front of the real server."""
    with S3Proxy(rgw) as proxy:
        yield proxy


@pytest.fixture
def server(proxy: S3Proxy, start, tmp_path: Path, monkeypatch) -> Iterator[Server]:
    """A server behind which S3 is the proxy."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # its locks
    place = make_place(proxy.url)
    where = f"s3://{place.bucket}/{place.prefix}?endpoint={proxy.url}&region=us-east-1"
    options = "&part_size=5MiB&timeout=1.5&long_timeout=20"
    port = Port()
    flags = ("--shutdown-timeout", 4, "--lock-timeout", 3)
    server = vectus_serve(start, port.number, (where + options).replace(" ", "%20"), *flags)
    yield server
    proxy.clear()
    server.program.stop()
    port.close()


@pytest.mark.timeout(120)
def test_some_uploads_hang(proxy: S3Proxy, server: Server) -> None:
    """While S3 is silent about more uploads than there are threads, and their clients keep asking,
    whoever asks about others is answered; and when S3 speaks again all goes on."""
    mute = [created(server, 5) for _ in range(2 * SMALL)]
    other = created(server, len(DATA))
    ids = {path.rpartition("/")[2] for path in mute}
    over = threading.Event()

    def nag(path: str) -> set[int]:
        seen = set()
        while not over.is_set():
            seen.add(server.ask("HEAD", path).status)
        return seen

    proxy.fail(
        lost, where=lambda call: bool(ids & {*call.key.replace(".", "/").split("/")}), times=None
    )
    with ThreadPoolExecutor(len(mute)) as pool:
        try:
            nagging = [pool.submit(nag, path) for path in mute]
            until(lambda: proxy.count("GetObject") > SMALL)
            statuses: list[int] = []
            while 200 not in statuses and len(statuses) < TRIES:
                statuses.append(server.ask("HEAD", other).status)  # it waits for PATIENCE at most
            assert 200 in statuses
            assert set(statuses) <= {200, 423}
        finally:
            over.set()
    for each in nagging:
        assert each.result() == {423}
    proxy.clear()

    for path in (mute[0], mute[-1]):
        bring(server, path, b"hello")
    bring(server, other, DATA)
    assert server.get(other) == DATA


def created(server: Server, length: int) -> str:
    """Create an upload, though the machine be too busy for some tries."""
    answers: list[Answer] = []

    def tried() -> bool:
        answers.append(server.ask("POST", "/files/", upload_length=length))
        return answers[-1].status == 201

    until(tried, "a creation")
    return answers[-1].headers["location"]


def bring(server: Server, path: str, data: bytes) -> None:
    """Bring an upload to where it has these bytes, though the machine be too busy for some
    tries."""

    def done() -> bool:
        offset = settled_offset(server, path)
        return offset == len(data) or server.patch(path, offset, data[offset:]).status == 204

    until(done, "an upload")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("operation", "fault"),
    [("UploadPart", lost), ("CompleteMultipartUpload", unanswered)],
    ids=["part", "end"],
)
def test_the_end_comes_in_time(proxy: S3Proxy, server: Server, operation: str, fault) -> None:
    """SIGTERM while S3 hangs: the process ends within its time, and the upload goes on in the next
    one from where it was."""
    path = created(server, len(DATA))
    bring(server, path, DATA[: 6 << 20])
    hanging = proxy.fail(fault, operation, times=None)
    with server.connect() as wire:
        wire.patch(path, 6 << 20, len(DATA) - (6 << 20))
        wire.send(DATA[6 << 20 :])
        until(lambda: hanging.fired)
        server.program.process.terminate()
        asked = time.monotonic()
        server.program.process.wait(PATIENCE)
        assert time.monotonic() - asked < 4 + 10  # a busy machine takes its time
    proxy.clear()
    server.restart()
    offset = settled_offset(server, path)
    assert 6 << 20 <= offset <= len(DATA)
    bring(server, path, DATA)

    assert server.get(path) == DATA


def settled_offset(server: Server, path: str) -> int:
    """Ask until it is told: the last process's lock and its end may take a moment."""
    answers: list[int] = []
    with suppress(AssertionError):
        until(lambda: answers.append(server.ask("HEAD", path).status) or answers[-1] == 200)
    assert answers[-1] == 200, answers
    return server.ask("HEAD", path).offset
