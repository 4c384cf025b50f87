"""An application that notes every finished upload, and hangs where the test says.

Run by uvicorn in a process of its own, which then gets killed. Files in ``$CONTROL`` are how it and
the test talk: ``finished`` has one line per ``Finished``; while ``hang-<event>`` is there, the
listener of that event says so in ``hanging`` and never returns.
"""

from __future__ import annotations

import ast
import asyncio
import os
import time
from pathlib import Path
from typing import Any

from vectus import Uploads
from vectus.events import BeforeFinish, Finished, UploadEvent

CONTROL = Path(os.environ["CONTROL"])
STEP = 256 * 1024


def make() -> Uploads:
    """Return the application."""
    options = ast.literal_eval(os.environ["OPTIONS"])
    uploads = Uploads(os.environ["STORE"], base_path="/files/", **options)
    uploads.listen(BeforeFinish, hang)
    uploads.listen(Finished, hang)
    uploads.listen(Finished, note)
    if (CONTROL / "slow-join").exists():
        copy_slowly()
    return uploads


async def hang(event: UploadEvent) -> None:
    """Hang, if that is wanted here."""
    if (CONTROL / f"hang-{type(event).__name__}").exists():
        (CONTROL / "hanging").touch()
        await asyncio.Event().wait()


def note(event: UploadEvent) -> None:
    """Note a finished upload, in one write."""
    fd = os.open(CONTROL / "finished", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, f"{event.upload.id} {event.upload.offset}\n".encode())
    finally:
        os.close(fd)


def copy_slowly() -> None:
    """Have the kernel copy in small steps, so that a kill lands between two of them."""
    copy = os.copy_file_range

    def step(source: int, target: int, count: int, *positions: Any) -> int:
        time.sleep(0.01)
        return copy(source, target, min(count, STEP), *positions)

    os.copy_file_range = step
