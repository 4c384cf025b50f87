"""Servers to be troubled, and a disk that runs full."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from full import SmallDisk

from server import Port, Server, Start, uvicorn_serve, vectus_serve

HERE = Path(__file__).parent


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
    return lambda *flags, **how: vectus_serve(start, port(), store, *flags, **how)


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """A running ``vectus serve`` with nothing but defaults."""
    return serve()


@pytest.fixture
def control(tmp_path: Path) -> Path:
    """The folder through which the test and an application talk."""
    folder = tmp_path / "control"
    folder.mkdir()
    return folder


@pytest.fixture
def guarding(
    start: Start, port: Callable[[], int], store: Path, control: Path
) -> Callable[..., Server]:
    """Start the application in ``guarding.py`` with further options of ``Uploads``."""
    return lambda **options: uvicorn_serve(
        start, port(), store, HERE / "guarding.py", CONTROL=control, OPTIONS=options
    )


@pytest.fixture
def slow(
    start: Start, port: Callable[[], int], store: Path, control: Path
) -> Callable[..., Server]:
    """Start the application in ``slow.py``, whose writes take so many seconds by first byte."""

    def run(loop: str = "auto", **seconds: float) -> Server:
        program = HERE / "slow.py"
        flags = ("--loop", loop)
        return uvicorn_serve(
            start, port(), store, program, *flags, CONTROL=control, SECONDS=seconds
        )

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk that can be filled."""
    with closing(SmallDisk(tmp_path / "small")) as disk:
        yield disk
