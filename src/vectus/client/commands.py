"""What the client's machine asks of its driver, and what it gets back.

The machine decides and never does: each command is yielded, a driver does it and sends the reply
in, or throws the error that it came to. Nothing here reads, waits or knows a library.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TypeVar

from vectus.client.happenings import Happening
from vectus.client.job import Job
from vectus.protocol.dialects.tus1_client import Ask, Offer
from vectus.protocol.messages import Headers

T = TypeVar("T")

Steps = Generator["Command", object, T]
"""A conversation that ends with a value: commands come out, their replies go in."""


# --- Over the wire --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exchange:
    """Send a request, with bytes ``start`` to ``stop`` of the source as its body if they differ.

    Reply: ``Answer`` or ``Broken``. A body whose source fails throws that ``SourceError``.
    """

    ask: Ask
    url: str
    start: int = 0
    stop: int = 0
    body: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: ``text`` is the first line of a plain text body, else empty."""

    status: int
    headers: Headers = field(default_factory=Headers)
    text: str = ""

    @property
    def good(self) -> bool:
        """Whether it is a success."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Broken:
    """No answer came: the network failed, or a time-out. ``final`` where trying again is of no
    use, as with a certificate that is not trusted; ``hint`` says what is, then."""

    why: str
    final: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Refresh:
    """Get fresh credentials. Reply: bool, whether there are other ones now."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait between ``longest / 2`` and ``longest`` seconds by chance, so that clients of a server
    that was away do not come back in step; and never less than ``least``. Reply: None."""

    longest: float
    least: float


# --- The source -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hold:
    """Have up to ``count`` bytes from ``start`` on at hand; those before ``start`` are confirmed
    and never asked for again unless the source can be read again. Reply: ``Held``."""

    start: int
    count: int


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes up to ``stop`` are at hand. ``last`` where the source ends there."""

    stop: int
    last: bool


@dataclass(frozen=True, slots=True)
class Digest:
    """Hash bytes ``start`` to ``stop`` of what is at hand. Reply: bytes."""

    algorithm: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Check:
    """Look whether the source is what it was. Reply: None; a changed one throws."""


@dataclass(frozen=True, slots=True)
class Compare:
    """Download an upload and compare it with the source. Reply: ``Broken``, or an ``Answer`` that
    is no success, or the number of the first byte that differs, or None where none does."""

    ask: Ask
    url: str


# --- What is remembered ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recall:
    """What does the resume store know of this source? Reply: a URL, or None.

    ``part`` is the label of a part of a parallel upload; None is what the machine itself uploads.
    """

    part: str | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """Remember that this source goes to this URL, durably, before the reply. Reply: None."""

    url: str
    part: str | None = None


@dataclass(frozen=True, slots=True)
class Forget:
    """Remember nothing of this source any more. Reply: None."""

    part: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What did this endpoint offer when it was asked before? Reply: ``Offer``, or None."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Learn:
    """Remember what an endpoint offers, while this client lives. Reply: None."""

    endpoint: str
    offer: Offer


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the caller what happened. Reply: None."""

    what: Happening


# --- Several at once ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes ``start`` to ``stop`` of the source, as an upload of their own; its label tells it
    from every other part of the same source, however that was cut."""

    label: str
    start: int
    stop: int
    job: Job


@dataclass(frozen=True, slots=True)
class Together:
    """Upload parts at the same time, each by a machine of its own. When one fails, the others are
    stopped and its error is thrown. Reply: a tuple of ``Result``, in the parts' order."""

    parts: tuple[Part, ...]


Command = (
    Exchange
    | Refresh
    | Pause
    | Hold
    | Digest
    | Check
    | Compare
    | Recall
    | Keep
    | Forget
    | Known
    | Learn
    | Tell
    | Together
)
