"""kill -9 around the end of an upload: its finish is told, and told once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from homes import HOMES, OFTEN, S3, THOROUGH, Home

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
@pytest.mark.parametrize("home", HOMES, indirect=True)
def test_killed_while_a_listener_runs(
    event: str, home: Home, noting: Noting, control: Path
) -> None:
    """After kill -9 while a listener of the finish runs, the scan at the start finishes the upload
    without any request, and its finish is told once, by the one that came to an end (D2)."""
    data = random.randbytes(home.small)
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
@pytest.mark.parametrize("home", OFTEN, indirect=True)
def test_the_client_comes_first(event: str, home: Home, noting: Noting, control: Path) -> None:
    """A HEAD right after the restart, racing with the scan, leads to the same single finish."""
    server = noting()
    path = upload_until_it_hangs(server, control, event, b"x" * home.small)
    server.restart()
    until(lambda: server.ask("HEAD", path).status == 200, "a HEAD's success")
    settle(server)
    assert told(control, path) == 1


@pytest.mark.parametrize("home", OFTEN, indirect=True)
def test_killed_after_the_answer(home: Home, noting: Noting, control: Path) -> None:
    """A finish whose answer the client saw is told already, and is never told again (D2)."""
    server = noting()
    paths = []
    for size in (0, 1, home.small):
        path = server.create(size)
        if size:
            assert server.patch(path, 0, b"x" * size).status == 204
        server.kill()
        assert told(control, path) == 1
        server.restart()
        paths.append(path)
    settle(server)
    assert [told(control, path) for path in paths] == [1, 1, 1]


@pytest.mark.parametrize(
    ("home", "rounds"),
    [("files", 5), pytest.param(*S3.values, 20 if THOROUGH else 3, marks=S3.marks)],
    indirect=["home"],
)
def test_killed_at_any_moment(rounds: int, home: Home, noting: Noting, control: Path) -> None:
    """Killed a moment after the last byte has left the client, an upload's finish is not lost; it
    may be told twice only if the kill came between a listener's return and its record (D2)."""
    server = noting()
    for _ in range(rounds):
        data = random.randbytes(random.randrange(1, 2 * home.small))
        path = server.create(len(data))
        with server.connect() as wire:
            wire.patch(path, 0, len(data))
            wire.send(data)
            time.sleep(random.uniform(0, home.finish))  # the moment is the point, whichever it is
            server.kill()
        before = told(control, path)
        server.restart()
        until(lambda path=path: server.ask("HEAD", path).status == 200, "a HEAD's success")
        offset = server.offset(path)
        if offset < len(data):
            assert before == 0, "told before its bytes were there"
            assert server.patch(path, offset, data[offset:]).status == 204
        until(lambda path=path: told(control, path), "the finish")
        assert server.get(path) == data
        assert 1 <= told(control, path) <= 1 + before


def allow(control: Path, size: int) -> None:
    """Let a joining go on until its file is that large."""
    new = control / "join-until.new"
    new.write_text(str(size))
    new.rename(control / "join-until")


@pytest.mark.parametrize(
    ("home", "drop"),
    [
        ("files", False),
        ("files", True),
        pytest.param(*S3.values, True, marks=S3.marks),
        *([pytest.param(*S3.values, False, marks=S3.marks)] if THOROUGH else []),
    ],
    indirect=["home"],
)
def test_killed_while_joining(
    drop: bool,  # noqa: FBT001
    home: Home,
    noting: Noting,
    control: Path,
) -> None:
    """A join that is killed in its middle, twice, goes on after the restart without any request;
    the joined file is exact, and its finish is told once, that of its partials never (D8)."""
    (control / "join-until").write_text("0")
    server = noting(drop_partials=drop, join_timeout=0)
    data = [random.randbytes(size) for size in home.joinable()]
    paths = [server.create(len(part), upload_concat="partial") for part in data]
    for path, part in zip(paths, data, strict=True):
        assert server.patch(path, 0, part).status == 204
    made = server.ask("POST", "/files/", upload_concat="final;" + " ".join(paths))
    assert made.status == 201, made
    final = made.headers["location"]
    whole = b"".join(data)
    # The first partial's file may be where the join begins.
    began = len(data[0]) if drop and home.takes_over else 0
    for share in (1, 2):
        target = began + (len(whole) - began) * share // 3
        allow(control, target)
        until(lambda target=target: home.joined(final) >= target, "a part of the joining")
        server.kill()
        assert home.joined(final) < len(whole), "not in the middle of the joining"
        server.restart()
    allow(control, len(whole) + 1)
    until(lambda: told(control, final), "the finish")
    assert server.offset(final) == len(whole)
    assert server.get(final) == whole
    settle(server)
    assert told(control, final) == 1
    assert sum(told(control, path) for path in paths) == 0
    expected = 410 if drop else 200
    assert [server.ask("HEAD", path).status for path in paths] == [expected] * 3
