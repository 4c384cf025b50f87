"""Servers on a port of their own that are killed and started again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from server import Port, Server, Start, uvicorn_serve, vectus_serve

NOTING = Path(__file__).with_name("noting.py")


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
def serve(start: Start, port: Callable[[], int], store: Path) -> Callable[..., Server]:
    """Start ``vectus serve`` with further flags."""
    return lambda *flags: vectus_serve(start, port(), store, *flags)


@pytest.fixture
def control(tmp_path: Path) -> Path:
    """The folder through which ``noting`` is told where to hang, and tells what happened."""
    folder = tmp_path / "control"
    folder.mkdir()
    return folder


@pytest.fixture
def noting(
    start: Start, port: Callable[[], int], store: Path, control: Path
) -> Callable[..., Server]:
    """Start the application in ``noting.py`` with further options of ``Uploads``."""
    return lambda **options: uvicorn_serve(
        start, port(), store, NOTING, CONTROL=control, OPTIONS=options
    )
