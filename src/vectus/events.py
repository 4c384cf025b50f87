"""What can happen to an upload, and the verdict a listener may give.

Hooks, metrics, logs and an application's own functions are all listeners of this one list.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vectus.errors import ConfigurationError, VectusError
from vectus.protocol.exchange import Intent
from vectus.protocol.messages import Head
from vectus.protocol.upload import Upload


class Rejected(VectusError):
    """Raised by a listener of a ``Before…`` event: the request is refused in these words.

    Args:
        status: the HTTP status of the answer, 400 to 599.
        text: its body.
        headers: further header fields of the answer, such as ``WWW-Authenticate``.
    """

    def __init__(
        self, status: int = 403, text: str = "", headers: dict[str, str] | None = None
    ) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"A refusal's status lies between 400 and 599, not at {status}.")
        super().__init__(text or f"The application refused the request ({status}).")
        self.status = status
        self.text = text or "The application refused the request."
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Event:
    """Something about an upload. ``request`` is None where no request caused it (the sweeper); the
    events that always have one say so by its type."""

    request: Head | None


@dataclass(frozen=True, slots=True)
class BeforeRequest(Event):
    """A request has come, of any method but CORS preflights; no byte of its body has been read.
    An application authorises here."""

    request: Head
    intent: Intent


@dataclass(frozen=True, slots=True)
class UploadEvent(Event):
    """Something about one upload."""

    upload: Upload


@dataclass(slots=True)
class Choice:
    """What the listeners of a ``BeforeCreate`` have chosen.

    Args:
        key: under which key the bytes are kept, or None for the id.
    """

    key: str | None = None


@dataclass(frozen=True, slots=True)
class BeforeCreate(UploadEvent):
    """An upload is about to be created; its id is chosen, nothing is stored."""

    request: Head
    choice: Choice = field(default_factory=Choice, repr=False, compare=False)

    def store_as(self, key: str) -> None:
        """Have the upload's bytes kept under a key such as ``films/2026/a.mp4``, within the store's
        prefix; only in stores whose objects have keys (S3).

        The creation is refused if there is something under it, or will be, or if the store does not
        take such a key.

        Raises:
            ConfigurationError: a listener has chosen another one.
        """
        if self.choice.key not in (None, key):
            raise ConfigurationError(
                f"Two listeners chose keys for one upload, {self.choice.key!r} and {key!r}.",
                "Have one of them decide.",
            )
        self.choice.key = key


@dataclass(frozen=True, slots=True)
class Created(UploadEvent):
    """An upload was created."""

    request: Head


@dataclass(frozen=True, slots=True)
class Received(UploadEvent):
    """Bytes were received and count: ``count`` of them, up to ``upload.offset``."""

    request: Head
    count: int


@dataclass(frozen=True, slots=True)
class BeforeFinish(UploadEvent):
    """Every byte of an upload is stored, and it is about to be recorded as finished. A refusal
    leaves it unfinished; the next HEAD, PATCH or sweep tries again. Not told of partials."""


@dataclass(frozen=True, slots=True)
class Finished(UploadEvent):
    """An upload is recorded as finished. Told once, but for a crash while its listeners run, after
    which it is told again. Not told of partials."""


@dataclass(frozen=True, slots=True)
class BeforeTerminate(UploadEvent):
    """An upload is about to be removed at a client's wish."""

    request: Head


@dataclass(frozen=True, slots=True)
class Terminated(UploadEvent):
    """An upload was removed at a client's wish."""

    request: Head


@dataclass(frozen=True, slots=True)
class Expired(UploadEvent):
    """An upload was removed because its time was over."""
