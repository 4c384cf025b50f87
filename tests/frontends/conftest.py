"""Our protocol class, served on both event loops, without and with TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trustme
from wires import Recorder, Running, served

from vectus.asgi import FrontEnd
from vectus.contracts import Body
from vectus.protocol.messages import Head, Reply

Serve = Callable[..., Running]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signs certificates."""
    return trustme.CA()


@pytest.fixture
def serve(tmp_path: Path, authority: trustme.CA) -> Iterator[Serve]:
    """Start servers, see ``served``; each is stopped after the test."""
    with ExitStack() as stack:

        def start(app: Any, *, tls: bool = False, **options: Any) -> Running:
            signer = authority if tls else None
            return stack.enter_context(served(app, tmp_path, signer, **options))

        yield start


@pytest.fixture
def recorder() -> Recorder:
    """A handler that records what it was asked."""
    return Recorder()


@pytest.fixture(params=["uvloop", "asyncio"])
def loop_name(request: pytest.FixtureRequest) -> str:
    """Both event loops."""
    return str(request.param)


class Stage:
    """A handler whose part is played by another one in every test."""

    def __init__(self) -> None:
        self.player = Recorder()

    async def __call__(self, head: Head, body: Body) -> Reply:
        return await self.player(head, body)


Stages = Callable[[str, bool], tuple[Stage, Running]]


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Stages]:
    """Servers of our protocol class by their loop and by whether they speak TLS, started once."""
    with ExitStack() as stack:

        @cache
        def stage(loop: str, tls: bool) -> tuple[Stage, Running]:  # noqa: FBT001
            one, folder = Stage(), tmp_path_factory.mktemp("stage")
            signer = authority if tls else None
            return one, stack.enter_context(served(FrontEnd(one), folder, signer, loop=loop))

        yield stage


@pytest.fixture(params=["plain", "tls"])
def running(
    request: pytest.FixtureRequest, stages: Stages, loop_name: str, recorder: Recorder
) -> Running:
    """The recorder behind our protocol class: on both loops, without and with TLS."""
    stage, running = stages(loop_name, request.param == "tls")
    stage.player = recorder
    return running


@pytest.fixture
def plain(stages: Stages, loop_name: str, recorder: Recorder) -> Running:
    """The recorder behind our protocol class, on both loops, without TLS."""
    stage, running = stages(loop_name, False)
    stage.player = recorder
    return running
