"""A server process and the clients that are driven against it, as the tests see them.

A folder's conftest imports the fixture that its tests use.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

JS = Path(__file__).parents[1] / "js"


@dataclass(frozen=True, slots=True)
class Server:
    """A running ``vectus serve``: the URL it takes uploads at, its port, and its directory."""

    url: str
    port: int
    store: Path

    def stored(self, url: str) -> bytes:
        """Return the bytes of an upload as they lie on disk."""
        return (self.store / url.rpartition("/")[2]).read_bytes()


@dataclass(frozen=True, slots=True)
class Told:
    """What a driven client tells: the upload's URL, its requests as "METHOD status", its error."""

    url: str
    requests: list[str]
    error: str | None


def tell(command: list[str]) -> Told:
    """Run a driver and return what it tells."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=45)
    assert done.returncode == 0, done.stderr
    return Told(**json.loads(done.stdout))


@pytest.fixture
def js_command() -> Callable[..., list[str]]:
    """Say how to run tus-js-client: see tests/js/drive.mjs for the arguments."""
    if shutil.which("node") is None:
        pytest.skip("node is not here, which tus-js-client needs")
    if not (JS / "node_modules" / "tus-js-client").exists():
        pytest.skip("tus-js-client is not here: make test installs it where npm is")

    def command(file: Path, endpoint: str, **job: Any) -> list[str]:
        options = {"endpoint": endpoint, **job.pop("options", {})}
        text = json.dumps({"file": str(file), **job, "options": options})
        return ["node", str(JS / "drive.mjs"), text]

    return command
