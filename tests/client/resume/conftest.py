"""What the resume stores' tests share: a Redis server, and processes that use a store."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from programs import Program

DRIVER = Path(__file__).parent / "resume_driver.py"
SERVERS = ("redis-server", "valkey-server")

Driver = subprocess.Popen[str]


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server without a port or a disk, as long as the tests run."""
    server = next(filter(None, map(shutil.which, SERVERS)), None)
    if server is None:
        pytest.skip("redis-server is not here: make test installs it where it may")
    with tempfile.TemporaryDirectory() as name:  # pytest's are too long for a socket
        socket = f"{name}/socket"
        quiet = ("--save", "", "--appendonly", "no", "--dir", name)
        argv = [server, "--port", "0", "--unixsocket", socket, *quiet]
        with Program(argv, r"[Rr]eady to accept connections", Path(name)) as program:
            program.wait_until_ready(30)
            yield f"unix://{socket}"


@pytest.fixture
def prefix() -> str:
    """What the names of this test's keys begin with."""
    return f"test-{uuid.uuid4()}:"


@pytest.fixture
def drive() -> Iterator[Callable[..., Driver]]:
    """Start processes that use a store, as ``resume_driver.py`` says; none outlives the test."""
    with ExitStack() as stack:

        def run(*argv: object) -> Driver:
            driver = subprocess.Popen(
                [sys.executable, DRIVER, *map(str, argv)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(end, driver)
            return driver

        yield run


def end(driver: Driver) -> None:
    """Kill a process and close its pipes."""
    driver.kill()
    driver.communicate(timeout=20)
