"""An application that notes every finished upload, and hangs where the test says.

Run by uvicorn in a process of its own, which then gets killed. Files in ``$CONTROL`` are how it and
the test talk: ``finished`` has one line per ``Finished``; while ``hang-<event>`` is there, the
listener of that event says so in ``hanging`` and never returns.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from remote import CONTROL, note, told, uploads
from vectus import Uploads
from vectus.events import BeforeFinish, Finished, UploadEvent

STEP = 256 * 1024


def make() -> Uploads:
    """Return the application."""
    app = uploads()
    app.listen(BeforeFinish, hang)
    app.listen(Finished, hang)
    app.listen(Finished, lambda event: note("finished", f"{event.upload.id} {event.upload.offset}"))
    if told("slow-join"):
        copy_slowly()
    return app


async def hang(event: UploadEvent) -> None:
    """Hang, if that is wanted here."""
    if told(f"hang-{type(event).__name__}"):
        (CONTROL / "hanging").touch()
        await asyncio.Event().wait()


def copy_slowly() -> None:
    """Have the kernel copy in small steps, so that a kill lands between two of them."""
    copy = os.copy_file_range

    def step(source: int, target: int, count: int, *positions: Any) -> int:
        time.sleep(0.01)
        return copy(source, target, min(count, STEP), *positions)

    os.copy_file_range = step
