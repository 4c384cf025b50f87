"""An application under remote control: how it gets its options, and talks with its test.

For applications that uvicorn runs in a process of their own: see ``server.uvicorn_serve``. Files in
``$CONTROL`` are what the two talk through.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path

from vectus import Uploads

CONTROL = Path(os.environ["CONTROL"])


def uploads() -> Uploads:
    """Return uploads as the test wants them."""
    options = ast.literal_eval(os.environ.get("OPTIONS", "{}"))
    return Uploads(os.environ["STORE"], base_path="/files/", **options)


def told(what: str) -> bool:
    """Say whether the test has put this file there."""
    return (CONTROL / what).exists()


def note(name: str, line: str) -> None:
    """Add a line to a file, in one write: it is there whole, or not at all."""
    fd = os.open(CONTROL / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)
