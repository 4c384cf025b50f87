"""An application that asks for a password, fails when told to, and notes what it hears.

Run by uvicorn in a process of its own. Files in ``$CONTROL`` are how it and the test talk: while
``guarded`` is there, requests need an ``Authorization``; while ``fail-finish`` is there, the
listener of ``BeforeFinish`` raises; ``events`` has one line per event that was told.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path

from vectus import Rejected, Uploads
from vectus.events import BeforeFinish, BeforeRequest, Event, UploadEvent

CONTROL = Path(os.environ["CONTROL"])


def make() -> Uploads:
    """Return the application."""
    options = ast.literal_eval(os.environ["OPTIONS"])
    uploads = Uploads(os.environ["STORE"], base_path="/files/", **options)
    uploads.listen(BeforeRequest, authorise)
    uploads.listen(Event, note)
    uploads.listen(BeforeFinish, check)
    return uploads


def authorise(event: BeforeRequest) -> None:
    """Refuse who has no password, if anybody shall."""
    if (CONTROL / "guarded").exists() and "authorization" not in event.request.headers:
        raise Rejected(401, "Who are you?", {"WWW-Authenticate": "Basic"})


def note(event: Event) -> None:
    """Note an event, in one write."""
    id = event.upload.id if isinstance(event, UploadEvent) else "-"
    fd = os.open(CONTROL / "events", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, f"{type(event).__name__} {id}\n".encode())
    finally:
        os.close(fd)


def check(event: BeforeFinish) -> None:
    """Fail, if that is wanted."""
    if (CONTROL / "fail-finish").exists():
        raise RuntimeError("a secret of the application")
