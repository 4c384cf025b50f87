"""kill -9 around the end of an upload: its finish is told, and told once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from server import Server, until

Noting = Callable[..., Server]


def told(control: Path, path: str) -> int:
    """How often the listeners heard that an upload is finished."""
    notes = control / "finished"
    id = path.rpartition("/")[2]
    lines = notes.read_text().splitlines() if notes.exists() else []
    return sum(line.split()[0] == id for line in lines)


def settle(server: Server) -> None:
    """Have the server start once more, and look at every upload it has."""
    server.kill()
    server.restart()
    scanned = server.create(0)  # a scan at the start, if it told again, would do so by now
    until(lambda: server.ask("HEAD", scanned).status == 200)


def upload_until_it_hangs(server: Server, control: Path, event: str, data: bytes) -> str:
    """Upload everything, with a listener that never returns, and kill the server then."""
    (control / f"hang-{event}").touch()
    path = server.create(len(data))
    with server.connect() as wire:
        wire.patch(path, 0, len(data))
        wire.send(data)
        until((control / "hanging").exists, "the listener's call")
        server.kill()
    (control / f"hang-{event}").unlink()
    return path


@pytest.mark.parametrize("event", ["BeforeFinish", "Finished"])
def test_killed_while_a_listener_runs(event: str, noting: Noting, control: Path) -> None:
    """After kill -9 while a listener of the finish runs, the scan at the start finishes the upload
    without any request, and its finish is told once, by the one that came to an end (D2)."""
    data = random.randbytes(100_000)
    server = noting()
    path = upload_until_it_hangs(server, control, event, data)
    assert told(control, path) == 0
    server.restart()
    until(lambda: told(control, path), "the finish")
    assert server.offset(path) == len(data)
    assert server.get(path) == data
    settle(server)
    assert told(control, path) == 1


@pytest.mark.parametrize("event", ["BeforeFinish", "Finished"])
def test_the_client_comes_first(event: str, noting: Noting, control: Path) -> None:
    """A HEAD right after the restart, racing with the scan, leads to the same single finish."""
    server = noting()
    path = upload_until_it_hangs(server, control, event, b"x" * 70_000)
    server.restart()
    until(lambda: server.ask("HEAD", path).status == 200, "a HEAD's success")
    settle(server)
    assert told(control, path) == 1


def test_killed_after_the_answer(noting: Noting, control: Path) -> None:
    """A finish whose answer the client saw is told already, and is never told again (D2)."""
    server = noting()
    paths = []
    for size in (0, 1, 100_000):
        path = server.create(size)
        if size:
            assert server.patch(path, 0, b"x" * size).status == 204
        server.kill()
        assert told(control, path) == 1
        server.restart()
        paths.append(path)
    settle(server)
    assert [told(control, path) for path in paths] == [1, 1, 1]


def test_killed_at_any_moment(noting: Noting, control: Path) -> None:
    """Killed a moment after the last byte has left the client, an upload's finish is not lost; it
    may be told twice only if the kill came between a listener's return and its record (D2)."""
    server = noting()
    for _ in range(5):
        data = random.randbytes(random.randrange(1, 300_000))
        path = server.create(len(data))
        with server.connect() as wire:
            wire.patch(path, 0, len(data))
            wire.send(data)
            time.sleep(random.uniform(0, 0.004))  # the moment is the point, whichever it is
            server.kill()
        before = told(control, path)
        server.restart()
        offset = server.offset(path)
        if offset < len(data):
            assert before == 0, "told before its bytes were there"
            assert server.patch(path, offset, data[offset:]).status == 204
        until(lambda path=path: told(control, path), "the finish")
        assert server.get(path) == data
        assert 1 <= told(control, path) <= 1 + before


@pytest.mark.parametrize("drop", [False, True])
def test_killed_while_joining(drop: bool, noting: Noting, control: Path) -> None:  # noqa: FBT001
    """A join that is killed in its middle, twice, goes on after the restart without any request;
    the joined file is exact, and its finish is told once, that of its partials never (D8)."""
    (control / "slow-join").touch()
    server = noting(drop_partials=drop, join_timeout=0)
    data = [random.randbytes(random.randrange(4 << 20, 6 << 20)) for _ in range(3)]
    paths = [server.create(len(part), upload_concat="partial") for part in data]
    for path, part in zip(paths, data, strict=True):
        assert server.patch(path, 0, part).status == 204
    made = server.ask("POST", "/files/", upload_concat="final;" + " ".join(paths))
    assert made.status == 201, made
    final = made.headers["location"]
    whole = b"".join(data)
    began = len(data[0]) if drop else 0  # the first partial's file may be where the join begins
    for share in (1, 2):
        target = began + (len(whole) - began) * share // 3
        until(lambda target=target: server.size(final) >= target, "a part of the joining")
        server.kill()
        assert server.size(final) < len(whole), "not in the middle of the joining"
        server.restart()
    until(lambda: told(control, final), "the finish")
    assert server.offset(final) == len(whole)
    assert server.get(final) == whole
    settle(server)
    assert told(control, final) == 1
    assert sum(told(control, path) for path in paths) == 0
    expected = 410 if drop else 200
    assert [server.ask("HEAD", path).status for path in paths] == [expected] * 3
