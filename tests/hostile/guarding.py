"""An application that asks for a password, fails when told to, and notes what it hears.

Run by uvicorn in a process of its own. Files in ``$CONTROL`` are how it and the test talk: while
``guarded`` is there, requests need an ``Authorization``; while ``fail-finish`` is there, the
listener of ``BeforeFinish`` raises; ``events`` has one line per event that was told.
"""

from __future__ import annotations

from remote import note, told, uploads
from vectus import Rejected, Uploads
from vectus.events import BeforeFinish, BeforeRequest, Event, UploadEvent


def make() -> Uploads:
    """Return the application."""
    app = uploads()
    app.listen(BeforeRequest, authorise)
    app.listen(Event, write_down)
    app.listen(BeforeFinish, check)
    return app


def authorise(event: BeforeRequest) -> None:
    """Refuse who has no password, if anybody shall."""
    if told("guarded") and "authorization" not in event.request.headers:
        raise Rejected(401, "Who are you?", {"WWW-Authenticate": "Basic"})


def write_down(event: Event) -> None:
    """Note an event."""
    id = event.upload.id if isinstance(event, UploadEvent) else "-"
    note("events", f"{type(event).__name__} {id}")


def check(event: BeforeFinish) -> None:
    """Fail, if that is wanted."""
    if told("fail-finish"):
        raise RuntimeError("a secret of the application")
