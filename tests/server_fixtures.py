"""Servers on ports of their own: to be troubled, killed and started again.

A folder's conftest imports the fixtures that its tests use. What a test wants to prove, and the
applications it needs for that, stay in the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from server import Port, Server, Start, uvicorn_serve, vectus_serve

Run = Callable[..., Server]


@pytest.fixture
def port() -> Iterator[Callable[[], int]]:
    """Give out ports that stay ours while nobody listens."""
    with ExitStack() as ports:
        yield lambda: ports.enter_context(closing(Port())).number


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The directory uploads are kept in."""
    return tmp_path / "store"


@pytest.fixture
def control(tmp_path: Path) -> Path:
    """The folder through which a test and an application talk: see ``remote``."""
    folder = tmp_path / "control"
    folder.mkdir()
    return folder


@pytest.fixture
def serve(start: Start, port: Callable[[], int], store: Path) -> Run:
    """Start ``vectus serve`` with further flags."""
    return lambda *flags, **how: vectus_serve(start, port(), store, *flags, **how)


@pytest.fixture
def serve_app(start: Start, port: Callable[[], int], store: Path, control: Path) -> Run:
    """Start an application by its module's path, with flags of uvicorn and further variables."""
    return lambda app, *flags, **environ: uvicorn_serve(
        start, port(), store, app, *flags, CONTROL=control, **environ
    )
