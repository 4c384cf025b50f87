"""One directory through two real mounts: FUSE ones that forward locks to it, or keep their own.

The ones stand for a file system over the network whose locks work, the others for one that was
mounted without them.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from programs import Program
from server import PATIENCE, Server, Start, until, vectus_serve

pytestmark = [pytest.mark.peer("bindfs"), pytest.mark.timeout(120)]

FRESH = ("-o", "attr_timeout=0,entry_timeout=0")
"""FUSE knows no close-to-open: it is to believe no name and no size that it remembers."""

FORWARDED = ("--multithreaded", "--enable-lock-forwarding")
OWN = ()

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount the directory ``lower`` somewhere else, with options."""
    (tmp_path / "lower").mkdir()
    with ExitStack() as mounted:

        def run(name: str, *options: str) -> Path:
            place = tmp_path / name
            place.mkdir()
            argv = ["bindfs", "-f", *FRESH, *options, str(tmp_path / "lower"), str(place)]
            program = Program(argv, "^$", tmp_path)
            mounted.callback(unmount, program, place)
            until(lambda: os.path.ismount(place) or program.process.poll() is not None, "a mount")
            if not os.path.ismount(place):
                pytest.skip(f"nothing can be mounted here: {program.output}")
            return place

        yield run


def unmount(program: Program, place: Path) -> None:
    """End a mount, in use or not."""
    subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)
    program.stop()


@pytest.fixture
def run_node(start: Start, port: Callable[[], int], lasting_redis: str) -> Callable[..., Server]:
    """Serve a place, with locks in Redis."""
    return lambda place, *flags: vectus_serve(
        start, port(), place, "--locks", lasting_redis, *flags
    )


def vectus(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command that is expected to end by itself."""
    argv = [sys.executable, "-m", "vectus", *map(str, arguments)]
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=2 * PATIENCE)


def test_a_second_mount_without_locks_is_refused(
    mount: Mount, run_node: Callable[..., Server], open_redis: str
) -> None:
    """Where kernel locks do not work across the mounts, the first node serves, every further one
    ends with code 2 and one sentence, before it listens, and ``vectus check`` fails."""
    first = run_node(mount("a", *OWN))
    place = mount("b", *OWN)
    for more in ((), ("--workers", 2)):
        done = vectus("serve", place, "--port", 0, "--locks", open_redis, *more)
        assert (done.returncode, done.stdout) == (2, ""), done
        [said] = [line for line in done.stderr.splitlines() if "INFO" not in line]
        assert said.startswith(
            f"vectus serve: Kernel locks do not work across the mounts of {place}"
        )
        assert "local_lock" in said
    done = vectus("check", place, "--locks", open_redis)
    assert done.returncode == 1
    assert "Kernel locks do not work" in " ".join(done.stdout.split()), done
    assert first.create(1)


def test_two_mounts_with_locks_serve_one_directory(
    mount: Mount, run_node: Callable[..., Server], open_redis: str
) -> None:
    """Where they work, an upload hops from node to node with each request, nodes are killed and
    started again at once, and every byte is where it should be."""
    nodes = [run_node(mount("a", *FORWARDED)), run_node(mount("b", *FORWARDED), "--workers", 2)]
    data = random.randbytes(300_000)
    path, offset = nodes[0].create(len(data)), 0
    for turn in range(15):
        here, there = nodes[turn % 2], nodes[1 - turn % 2]
        assert there.offset(path) == offset
        assert here.patch(path, offset, data[offset : offset + 20_000]).status == 204
        offset += 20_000
        if turn in (4, 9):
            here.kill()
            here.restart()
    assert [node.get(path) for node in nodes] == [data, data]
    done = vectus("check", nodes[0].store, "--locks", open_redis)
    assert done.returncode == 0
    assert "Kernel locks work across 2 of them" in " ".join(done.stdout.split()), done
    assert nodes[1].ask("DELETE", path).status == 204
    assert nodes[0].ask("HEAD", path).status == 404
