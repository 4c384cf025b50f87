"""What the resume stores' tests share: a Redis server, and processes that use a store."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backends import redis_url, shared_redis  # noqa: F401

DRIVER = Path(__file__).parent / "resume_driver.py"

Driver = subprocess.Popen[str]


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
