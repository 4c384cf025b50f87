"""Servers to be troubled, and a disk that runs full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from full import SmallDisk

from server import Server
from server_fixtures import Run, control, port, serve, serve_app, store

__all__ = ["control", "port", "serve", "serve_app", "store"]

HERE = Path(__file__).parent


@pytest.fixture
def server(serve: Run) -> Server:
    """A running ``vectus serve`` with nothing but defaults."""
    return serve()


@pytest.fixture
def guarding(serve_app: Run) -> Run:
    """Start the application in ``guarding.py`` with further options of ``Uploads``."""
    return lambda **options: serve_app(HERE / "guarding.py", OPTIONS=options)


@pytest.fixture
def slow(serve_app: Run) -> Run:
    """Start the application in ``slow.py``, whose writes take so many seconds by first byte, or
    until a file of that name is in ``control``."""
    return lambda loop="auto", **seconds: serve_app(
        HERE / "slow.py", "--loop", loop, SECONDS=seconds
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk that can be filled."""
    with closing(SmallDisk(tmp_path / "small")) as disk:
        yield disk
