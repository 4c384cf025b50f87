"""Another server's program beside ours, on the same directory: one after the other, never both."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from server import Server, Start
from server_fixtures import Run, port, serve, store

__all__ = ["port", "serve", "store"]


@pytest.fixture
def serve_tusd(start: Start, port: Callable[[], int], store: Path) -> Run:
    """Start tusd."""

    def run() -> Server:
        number = port()
        store.mkdir(exist_ok=True)
        options = f"-host 127.0.0.1 -port {number} -base-path /files/ -upload-dir".split()
        command = [shutil.which("tusd"), *options, str(store)]
        ready = "You can now upload files to"
        return Server(lambda: start(*command, ready=ready), number, store)

    return run
