"""A server process and the clients that are driven against it, as the tests see them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path


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
