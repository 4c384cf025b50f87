"""A real server process, a file to upload, clients to drive, and a network that fails."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import driven
import pytest
from cutter import Cutter
from driven import Server, Told, tell

js_command = driven.js_command

VECTUS = Path(sys.executable).with_name("vectus")
LISTENING = r"Listening on (http://(\S+?):(\d+)/\S*)"


@pytest.fixture
def serve(start: Callable[..., Any], tmp_path: Path) -> Callable[..., Server]:
    """Start ``vectus serve`` with further flags."""

    def run(*flags: str) -> Server:
        store = tmp_path / "store"
        program = start(VECTUS, "serve", store, "--port", "0", *flags, ready=LISTENING)
        return Server(program.ready[1], int(program.ready[3]), store)

    return run


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """A running ``vectus serve`` with nothing but defaults."""
    return serve()


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[int], Path]:
    """Make a file of a size; its bytes are random, and the same in every run."""

    def make(size: int) -> Path:
        path = tmp_path / "photo.jpg"
        path.write_bytes(random.Random(size).randbytes(size))
        return path

    return make


@pytest.fixture
def photo(make_file: Callable[[int], Path]) -> Path:
    """A file of a bit more than a megabyte."""
    return make_file(1_234_567)


@pytest.fixture
def tus_js(js_command: Callable[..., list[str]]) -> Callable[..., Told]:
    """Run tus-js-client to its end."""
    return lambda *arguments, **job: tell(js_command(*arguments, **job))


@pytest.fixture
def tuspy() -> Callable[..., Told]:
    """Drive tuspy: see tuspy_driver.py for the arguments."""
    pytest.importorskip("tusclient", reason="tuspy is not here")
    driver = str(Path(__file__).with_name("tuspy_driver.py"))

    def run(file: Path, endpoint: str, **job: Any) -> Told:
        text = json.dumps({"file": str(file), "endpoint": endpoint, **job})
        return tell([sys.executable, driver, text])

    return run


@pytest.fixture
def cut() -> Iterator[Callable[[Server, int], Cutter]]:
    """Put a network before a server that fails once, after so many bytes to the server."""
    cutters: list[Cutter] = []

    def make(server: Server, after: int) -> Cutter:
        cutters.append(Cutter(server, after))
        return cutters[-1]

    yield make
    for cutter in cutters:
        cutter.close()
