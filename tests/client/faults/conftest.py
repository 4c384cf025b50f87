"""A real server, a proxy that fails before it, and the same bytes as any kind of source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from ground import Ground
from sides import SIDES, Side, long_lived, unhurried

from programs import Program
from server import Port, Server, vectus_serve

__all__ = ["long_lived", "unhurried"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``vectus serve``, for all tests of this process."""
    folder = tmp_path_factory.mktemp("server")
    with ExitStack() as stack:
        port = stack.enter_context(closing(Port())).number

        def start(*argv: str, ready: str, **how: Any) -> Program:
            program = stack.enter_context(Program(argv, ready, folder, **how))
            program.wait_until_ready(30)
            return program

        yield vectus_serve(start, port, folder / "store", "--durability", "none")


@pytest.fixture
def ground(server: Server, tmp_path: Path) -> Iterator[Ground]:
    """What a case stands on."""
    with ExitStack() as stack:
        yield Ground(server, tmp_path, stack)


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> Side:
    """Each driver."""
    return SIDES[request.param]
