"""An application that notes every finished upload, and hangs where the test says.

Run by uvicorn in a process of its own, which then gets killed. Files in ``$CONTROL`` are how it and
the test talk: ``finished`` has one line per ``Finished``; while ``hang-<event>`` is there, the
listener of that event says so in ``hanging`` and never returns. While ``join-until`` is there, a
joining goes no further than until it has as many bytes as are written there.
"""

from __future__ import annotations

import asyncio
import os
import threading
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
    copy_on_request()
    if os.environ["STORE"].startswith("s3:"):
        copy_parts_on_request()
    return app


async def hang(event: UploadEvent) -> None:
    """Hang, if that is wanted here."""
    if told(f"hang-{type(event).__name__}"):
        (CONTROL / "hanging").touch()
        await asyncio.Event().wait()


def copy_on_request() -> None:
    """Have the kernel copy in small steps, so that a kill lands between two of them."""
    copy = os.copy_file_range

    def step(source: int, target: int, count: int, *positions: Any) -> int:
        while told("join-until") and os.fstat(target).st_size >= until():
            time.sleep(0.005)
        return copy(source, target, min(count, STEP), *positions)

    os.copy_file_range = step


def copy_parts_on_request() -> None:
    """Have S3 copy one part after the other, so that a kill lands between two of them."""
    from vectus.stores.s3.bucket import Bucket

    copy, one_at_a_time = Bucket.copy, threading.Lock()
    copied = 0

    def step(bucket: Bucket, *parameters: Any) -> str:
        nonlocal copied
        *_, start, stop = parameters
        with one_at_a_time:
            while told("join-until") and copied >= until():
                time.sleep(0.005)
            copied += stop - start
            return copy(bucket, *parameters)

    Bucket.copy = step


def until() -> int:
    """How many bytes may be joined."""
    return int((CONTROL / "join-until").read_text())
