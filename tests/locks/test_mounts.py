"""Kernel locks across mounts: who overlooks somebody's lock finds out, and does not serve.

Two kinds of locks that do not see each other, ``flock`` and POSIX's, stand for two mounts that do
not: so they are with a file server that is itself a node. Real mounts are in ``test_real_mounts``.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest
from pauses import again_if_paused

from server import Server
from vectus import wiring
from vectus.app import Uploads
from vectus.errors import ConfigurationError
from vectus.findings import Grade
from vectus.locks import mounts, watch
from vectus.locks.mounts import LOOKS, Lock, Node, Presence, Sight, flock
from vectus.locks.watch import Watch, look, probe

BEAT = 0.04
LIMIT = 30.0

LIVE = """
import os, signal, sys
from vectus.locks.mounts import Presence
presence = Presence(sys.argv[1])
presence.beat()
if not sys.argv[2:] or os.fork() == 0:
    print("here", flush=True)
signal.pause()
"""
"""A process that is present and never moves, with a child or without."""

BLIND = """
import fcntl
from vectus.cli import main
from vectus.locks import watch
def lock(fd):
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
watch.Watch.__init__.__kwdefaults__["lock"] = lock
raise SystemExit(main())
"""
"""The command, with a kind of lock that others do not see."""


def other_lock(fd: int) -> bool:
    """Try a lock of the kind that ``flock`` does not see."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def no_lock(fd: int) -> bool:
    """Have no locks to give."""
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


Appear = Callable[..., Presence]


@pytest.fixture
def appear(tmp_path: Path) -> Iterator[Appear]:
    """Make processes appear in the directory, with a kind of lock and on a machine."""
    with ExitStack() as leaving:

        def run(lock: Lock = flock, machine: str = "") -> Presence:
            presence = Presence(str(tmp_path), lock)
            leaving.callback(presence.leave)
            with pytest.MonkeyPatch.context() as patch:
                if machine:
                    patch.setattr(mounts, "_machine", lambda: machine)
                presence.beat()
            return presence

        yield run


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody taken for dead because the machine is busy."""
    monkeypatch.setattr(mounts, "LOOKS", 10**6)


@pytest.fixture(autouse=True)
def long_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever leaves has left, however busy the machine is."""
    monkeypatch.setattr(watch, "GOODBYE", LIMIT)


def files(directory: Path) -> list[Path]:
    """The files of those that are present."""
    return sorted((directory / mounts.FOLDER).iterdir())


def live(directory: Path, *more: str) -> subprocess.Popen[str]:
    """Start a process that is present."""
    argv = [sys.executable, "-c", LIVE, str(directory), *more]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, process_group=0)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


# One look


def test_who_is_alone_sees_nobody(appear: Appear) -> None:
    """Alone there is nothing to see, and nothing to wait for."""
    assert appear().look() == Sight()


def test_who_is_on_the_same_mount_proves_nothing(appear: Appear) -> None:
    """A lock of this machine is seen anyway: that says nothing of other mounts."""
    here, there = appear(), appear()
    here.look()
    there.beat()
    assert here.look() == Sight()


def test_a_lock_of_another_machine_is_seen(appear: Appear) -> None:
    """A machine counts once it has moved: only then is the lock that is seen its own."""
    here, there = appear(), appear(machine="elsewhere")
    assert here.look() == Sight()
    there.beat()
    sight = here.look()
    assert [node.place.partition(":")[0] for node in sight.others] == ["elsewhere"]
    assert (sight.mounts, sight.unsure, sight.trouble("here")) == (2, 0, None)


def test_a_lock_that_is_not_seen(appear: Appear) -> None:
    """Somebody who moves, and whose lock could be had, is overlooked; in both directions."""
    here, there = appear(), appear(other_lock)
    assert [here.look().unsure, there.look().unsure] == [1, 1]
    here.beat()
    there.beat()
    for sight in (here.look(), there.look()):
        trouble = sight.trouble("/srv/uploads")
        assert trouble is not None
        assert f"process {os.getpid()} on {socket.gethostname()}" in trouble.problem
        assert "/srv/uploads" in trouble.problem
        assert "local_lock" in trouble.hint


def test_somebody_dies_who_was_seen(appear: Appear) -> None:
    """Whoever moved under his lock, and then is dead, was not overlooked."""
    here, there = appear(), appear(machine="elsewhere")
    here.look()
    there.beat()
    here.look()
    there.beat()
    there.abandon()
    assert here.look() == Sight(unsure=1)
    assert here.look() == Sight(unsure=1)


def test_what_a_dead_machine_left_is_removed(
    appear: Appear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that nobody holds, and that does not move for many looks, is a dead process's."""
    dead = appear()
    dead.abandon()
    monkeypatch.setattr(mounts, "_realm", lambda: "another")
    here = appear()
    sights = [here.look().unsure for _ in range(LOOKS + 1)]
    assert sights == [*[1] * LOOKS, 0]
    assert len(files(tmp_path)) == 1


def test_a_dead_process_of_this_machine_is_known(appear: Appear, tmp_path: Path) -> None:
    """Whoever starts again after a SIGKILL does not wait for his predecessor's file."""
    with live(tmp_path) as process:
        process.kill()
    here = appear()
    assert here.look() == Sight()
    assert len(files(tmp_path)) == 1


def test_a_child_does_not_keep_its_parent_present(appear: Appear, tmp_path: Path) -> None:
    """A forked child has none of the lock: it ends with its holder."""
    here = appear()
    with live(tmp_path, "with a child") as process:
        assert here.look() == Sight()
        process.kill()
        process.wait(LIMIT)
        assert here.look() == Sight()
        assert len(files(tmp_path)) == 1
        os.killpg(process.pid, signal.SIGKILL)


def test_who_was_taken_for_dead_appears_again(appear: Appear, tmp_path: Path) -> None:
    """A process that stood still for long comes back under another name, and looks around."""
    here = appear()
    assert not here.beat()
    [gone] = files(tmp_path)
    gone.unlink()
    assert here.beat()
    [found] = files(tmp_path)
    assert found != gone
    assert not here.beat()


def test_who_lost_his_lock_appears_again(
    appear: Appear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server that has taken a lock away refuses to write: the lock is taken anew."""
    here = appear()
    before = files(tmp_path)

    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(mounts, "_sync", refuse)
        assert here.beat()
    assert set(files(tmp_path)) > set(before)
    assert appear().look().broken == ()


def test_a_full_disk_takes_nobody_s_lock(
    appear: Appear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Want of room is no loss of a lock."""
    here = appear()
    before = files(tmp_path)

    def refuse(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mounts, "_sync", refuse)
    assert not here.beat()
    assert files(tmp_path) == before


def test_other_people_s_files_are_left_alone(appear: Appear, tmp_path: Path) -> None:
    """What is not named as ours is not looked at; what cannot be read is a dead process's."""
    here = appear()
    (tmp_path / mounts.FOLDER / "README").write_text("mine")
    (tmp_path / mounts.FOLDER / f"{0:032x}").write_bytes(b"\xff" * 10)
    for _ in range(LOOKS + 1):
        sight = here.look()
    assert sight == Sight()
    assert [path.name for path in files(tmp_path) if len(path.name) < 32] == ["README"]
    assert len(files(tmp_path)) == 2


def test_nothing_is_left_behind(appear: Appear, tmp_path: Path) -> None:
    """The last one to leave takes the folder with him, and whoever comes then makes it anew."""
    for _ in range(2):
        presence = appear()
        presence.leave()
        assert list(tmp_path.iterdir()) == []


def test_what_a_process_says_of_itself() -> None:
    """What is written can be read, always as long, whatever the number."""
    node = Node(7, "machine:3", "realm:1", 42, "host")
    assert Node.decode(node.encode()) == node
    assert len(Node(10**19, "machine:3", "realm:1", 42, "host").encode()) == len(node.encode())
    assert Node.decode(b"") == Node.decode(b"0 \xff") == Node()


# Serving


@pytest.mark.usefixtures("patient")
async def test_who_is_overlooked_does_not_get_in(tmp_path: Path) -> None:
    """A process that would share the directory without locks that all see is refused; the one that
    was there goes on, and says so once it sees the other."""
    async with asyncio.timeout(LIMIT), Watch(str(tmp_path), beat=BEAT):
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="Kernel locks do not work across"):
                async with Watch(str(tmp_path), beat=BEAT, lock=other_lock):
                    pytest.fail("It got in.")
        assert len(files(tmp_path)) == 1
        async with Watch(str(tmp_path), beat=BEAT):
            assert len(files(tmp_path)) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("patient")
async def test_of_two_at_once_one_gets_in_at_most(tmp_path: Path) -> None:
    """However they start, two that do not see each other's locks never both get in."""

    async def enter(lock: Lock, both: threading.Barrier) -> bool:
        try:
            async with Watch(str(tmp_path), beat=BEAT, lock=lock):
                await asyncio.to_thread(both.wait, LIMIT)
        except ConfigurationError:
            await asyncio.to_thread(both.wait, LIMIT)
            return False
        return True

    async with asyncio.timeout(LIMIT):
        for _ in range(5):
            both = threading.Barrier(2)  # who is in stays until the other knows
            entered = await asyncio.gather(enter(flock, both), enter(other_lock, both))
            assert not all(entered)


@pytest.mark.usefixtures("patient")
async def test_who_serves_already_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that serves looks around now and then; whose lock it overlooks, the log tells."""
    monkeypatch.setattr(watch, "ROUND", 2)
    stranger = Presence(str(tmp_path), other_lock)
    said = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno == logging.ERROR:
                loop.call_soon_threadsafe(said.set)

    handler = Listening()
    logging.getLogger("vectus").addHandler(handler)
    try:
        async with asyncio.timeout(LIMIT), Watch(str(tmp_path), beat=BEAT):
            while not said.is_set():
                stranger.beat()
                await asyncio.sleep(BEAT)
    finally:
        logging.getLogger("vectus").removeHandler(handler)
        stranger.leave()
    assert "Kernel locks do not work across the mounts" in caplog.text
    assert "network's locks alone" in caplog.text


async def test_a_predecessor_elsewhere_is_waited_for(
    tmp_path: Path, appear: Appear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed container left behind delays the next start by some beats, no more."""
    appear().abandon()
    monkeypatch.setattr(mounts, "_realm", lambda: "another")
    async with asyncio.timeout(LIMIT), Watch(str(tmp_path), beat=BEAT):
        assert len(files(tmp_path)) == 1


async def test_without_locks_nothing_starts(tmp_path: Path) -> None:
    """A file system that has no locks for us is no place to share."""
    with pytest.raises(ConfigurationError, match=r"Kernel locks cannot be had in .*: No locks"):
        async with Watch(str(tmp_path), beat=BEAT, lock=no_lock):
            pytest.fail("It got in.")
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_does_not_keep_a_server_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What frees room, a DELETE or an expiry, needs a server."""

    def refuse(fd: int, raw: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mounts.os, "pwrite", refuse)
    async with asyncio.timeout(LIMIT), Watch(str(tmp_path), beat=BEAT):
        pass
    assert "is full" in caplog.text


@pytest.mark.usefixtures("patient")
async def test_a_cancelled_start_leaves_nothing(
    tmp_path: Path, appear: Appear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stops waiting is not present any more, a moment later."""
    appear().abandon()
    monkeypatch.setattr(mounts, "_realm", lambda: "another")
    waiting = Watch(str(tmp_path), beat=BEAT)
    entering = asyncio.ensure_future(waiting.__aenter__())
    async with asyncio.timeout(LIMIT):
        while len(files(tmp_path)) < 2:  # noqa: ASYNC110 - no event tells of a file
            await asyncio.sleep(0.001)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        await waiting.__aexit__()
    assert len(files(tmp_path)) <= 1


@pytest.mark.timeout(180)
def test_a_server_that_is_overlooked_ends(serve: Callable[..., Server], redis_url: str) -> None:
    """``vectus serve``, with workers or without, ends with code 2 and one sentence before it
    listens; the one that was there goes on."""
    first = serve("--locks", redis_url)
    for more in ([], ["--workers", "2"]):
        argv = [sys.executable, "-c", BLIND, "serve", str(first.store), "--port", "0", *more]
        argv += ["--locks", redis_url]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=2 * LIMIT)
        assert (done.returncode, done.stdout) == (2, ""), done
        [said] = [line for line in done.stderr.splitlines() if " INFO " not in line]
        assert said.startswith("vectus serve: Kernel locks do not work across the mounts of")
        assert first.create(1)


@pytest.mark.usefixtures("patient")
async def test_an_application_that_is_overlooked_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever server runs it hears that it cannot be started, and why."""
    monkeypatch.setitem(Watch.__init__.__kwdefaults__, "lock", other_lock)
    application = Uploads(tmp_path, locks="redis://localhost:1")
    said: list[dict[str, str]] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, str]) -> None:
        said.append(message)

    async with asyncio.timeout(LIMIT), Watch(str(tmp_path), beat=BEAT, lock=flock):
        await application({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in said] == ["lifespan.startup.failed"]
    assert "Kernel locks do not work" in said[0]["message"]


async def test_who_is_present(tmp_path: Path) -> None:
    """An application is present between its start and its end, if its locks are elsewhere and the
    kernel's matter as well; else nothing is left in the directory."""
    async with Uploads(tmp_path, locks="redis://localhost:1"):
        assert len(files(tmp_path)) == 1
    assert not (tmp_path / mounts.FOLDER).exists()
    for locks in (None, "redis://localhost:1"):
        assert isinstance(wiring.presence("s3://bucket/prefix", locks), nullcontext)
    async with Uploads(tmp_path), Uploads("memory://"):
        assert not (tmp_path / mounts.FOLDER).exists()


# Asking


def test_asking_alone(tmp_path: Path) -> None:
    """Without others nobody can tell, which is said, with what to do about it."""
    assert look(str(tmp_path), beat=BEAT) == Sight()
    assert list(tmp_path.iterdir()) == []


@again_if_paused(0.5)
@pytest.mark.usefixtures("patient")
def test_two_ask_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that ask see each other, and nobody needs to serve."""
    found: list[Sight] = []
    monkeypatch.setattr(Presence, "_is_elsewhere", lambda _, neighbour: neighbour.alive)

    def ask(lock: Lock) -> None:
        found.append(look(str(tmp_path), beat=BEAT, lock=lock, linger=1.5))

    for kinds, broken in (((flock, flock), 0), ((flock, other_lock), 1)):
        found.clear()
        asking = [threading.Thread(target=ask, args=(kind,)) for kind in kinds]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(LIMIT)
        assert [len(sight.broken) for sight in found] == [broken, broken]
        assert [len(sight.others) for sight in found] == [1 - broken, 1 - broken]


@pytest.mark.parametrize(
    ("sight", "grade", "words"),
    [
        (Sight(), Grade.WARNING, "Nobody on another machine"),
        (Sight(others=(Node(place="a"), Node(place="b"))), Grade.OK, "work across 3 of them"),
        (Sight(broken=(Node(host="far"),)), Grade.FAILURE, "on far uses it too"),
        (ConfigurationError("No locks.", "Get some."), Grade.FAILURE, "No locks."),
    ],
)
def test_in_words(
    monkeypatch: pytest.MonkeyPatch, sight: Sight | Exception, grade: Grade, words: str
) -> None:
    """Each outcome has its sentence, and all but the good one say what to do."""

    def seen(directory: str) -> Sight:
        if isinstance(sight, Exception):
            raise sight
        return sight

    monkeypatch.setattr(watch, "look", seen)
    [finding] = probe("/srv/uploads")
    assert finding.grade is grade
    assert words in finding.says
    assert bool(finding.hint) is (grade is not Grade.OK)
