"""Every front end by the published suite: our protocol class, and messages on others' servers."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trustme
from fastapi import FastAPI
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send
from probed import front_end
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount
from wires import LIMIT, connectable, served

from programs import Program
from server import Port
from vectus.asgi import FrontEnd
from vectus.testing import frontends
from vectus.testing.frontends import FrontEndSuite, probe

HERE = Path(__file__).parent

APPLICATION = "probed:front_end"
"""For servers that import their application."""


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What should happen at once may take a while here: our machines may stop for some seconds."""
    monkeypatch.setattr(frontends, "SOON", LIMIT)


def forget() -> None:
    """Have the probe forget what it saw behind the servers of other classes."""
    probe._seen.clear()
    probe._bodies.clear()


class Served(FrontEndSuite):
    """The suite on a uvicorn: of any protocol class, loop, and application around the front end."""

    app: ClassVar[Any] = FrontEnd(probe)
    options: ClassVar[dict[str, Any]] = {}
    prefix: ClassVar[str] = ""

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        """Where it serves."""
        forget()
        with served(cls.app, tmp_path_factory.mktemp("served"), **cls.options) as running:
            yield running.url + cls.prefix


class TestDirect(Served):
    """Our protocol class on uvloop."""

    delivers_trailers = keeps_early_bytes = True


class TestDirectOnAsyncio(TestDirect):
    """Our protocol class on asyncio's own loop."""

    options: ClassVar = {"loop": "asyncio"}


class TestDirectWithTls(FrontEndSuite):
    """Our protocol class under TLS."""

    delivers_trailers = keeps_early_bytes = True
    loop: ClassVar[str] = "uvloop"

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        """Where it serves."""
        forget()
        authority = trustme.CA()
        cls.client_context = ssl.create_default_context()
        authority.configure_trust(cls.client_context)
        folder = tmp_path_factory.mktemp("served")
        with served(FrontEnd(probe), folder, authority, loop=cls.loop) as running:
            yield running.url


class TestDirectWithTlsOnAsyncio(TestDirectWithTls):
    """The same on asyncio's own loop."""

    loop = "asyncio"


class TestMessagesOnDirect(Served):
    """Our protocol class, the direct way turned off."""

    app = FrontEnd(probe, direct=False)
    keeps_early_bytes = True


class TestHttptools(Served):
    """uvicorn's own protocol class."""

    options: ClassVar = {"http": "httptools"}


class TestH11(Served):
    """uvicorn's other protocol class."""

    options: ClassVar = {"http": "h11"}


class TestStarlette(Served):
    """Mounted in Starlette, behind a root path."""

    app = Starlette(routes=[Mount("/files", FrontEnd(probe))])
    options: ClassVar = {"root_path": "/api"}
    prefix = "files/"
    delivers_trailers = keeps_early_bytes = True

    @pytest.fixture
    def path(self) -> str:
        """Uvicorn adds the root path to what is asked for."""
        return "/files/"

    async def test_ids_are_appended_to_the_base(self, wire: Any, path: str) -> None:
        """``Location`` has the root path as well."""
        for rest in ("", "abc"):
            assert (await wire.ask("POST", path + rest)).told["head"]["base"] == "/api/files/"

    async def test_a_head_says_what_was_asked(self, wire: Any, path: str) -> None:
        """The URI has the root path, which uvicorn adds to what a proxy took off."""
        told = (await wire.ask("PATCH", f"{path}abc?x=1")).told["head"]
        assert (told["id"], told["uri"]) == ("abc", "/api/files/abc?x=1")


def _fastapi() -> FastAPI:
    app = FastAPI()
    app.mount("/a/files", FrontEnd(probe))
    return app


class TestFastApi(Served):
    """Mounted in FastAPI: the body comes directly, the reply passes its middleware."""

    app = _fastapi()
    prefix = "a/files/"
    delivers_trailers = keeps_early_bytes = True


async def _pass_on(request: Any, call_next: Callable[[Any], Any]) -> Any:
    return await call_next(request)


class TestBehindMiddleware(Served):
    """Behind Starlette's middleware that wraps both ways, without the direct one."""

    app = Starlette(
        routes=[Mount("/files", FrontEnd(probe, direct=False))],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_pass_on)],
    )
    prefix = "files/"


@asgi("/files", is_mount=True, copy_scope=True)
async def _mounted(scope: Scope, receive: Receive, send: Send) -> None:
    await front_end(scope, receive, send)


class TestLitestar(Served):
    """Mounted in Litestar, which takes its prefix off the path."""

    app = Litestar([_mounted])
    prefix = "files/"
    delivers_trailers = keeps_early_bytes = True


class TestBasePath(Served):
    """Not mounted at all, under a base path of its own."""

    app = FrontEnd(probe, base_path="/my/files/")
    prefix = "my/files/"
    delivers_trailers = keeps_early_bytes = True


class TestHypercorn(FrontEndSuite):
    """Messages on hypercorn."""

    asks_late = False

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls) -> Iterator[str]:
        """Where it serves."""
        argv = [sys.executable, "-m", "hypercorn", "-b", "127.0.0.1:0", "--keep-alive", "60"]
        with Program([*argv, APPLICATION], r"Running on (http://[\d.]+:\d+)", HERE) as program:
            yield program.wait_until_ready(LIMIT)[1] + "/"


class TestGranian(FrontEndSuite):
    """Messages on granian."""

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls) -> Iterator[str]:
        """Where it serves."""
        with closing(Port()) as port:
            argv = [sys.executable, "-m", "granian", "--interface", "asginl"]
            argv += ["--port", str(port.number), APPLICATION]
            with Program(argv, "Started worker", HERE) as program:
                program.wait_until_ready(LIMIT)
                # It says so a moment before it listens.
                connectable(port.number)
                yield f"http://127.0.0.1:{port.number}/"
