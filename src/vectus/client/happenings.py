"""What can happen during an upload, as its caller hears of it (``on_event``, ``on_progress``)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    """There is an upload to send to. ``offset`` bytes of it are at the server already."""

    url: str
    offset: int
    length: int | None
    resumed: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is, in bytes.

    Args:
        sent: handed to the network; it may go back after a trouble.
        confirmed: acknowledged by the server.
        length: of the whole, or None while it is not known.
        rate: confirmed and sent bytes per second, lately.
    """

    sent: int
    confirmed: int
    length: int | None
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The server acknowledged every byte before ``offset``."""

    offset: int


@dataclass(frozen=True, slots=True)
class Retrying:
    """Something failed that may pass. Try number ``tries`` of ``of`` follows in ``delay`` seconds.

    ``delay`` is the longest it can be; chance may shorten it.
    """

    why: str
    delay: float
    tries: int
    of: int


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something that the caller may like to know, as a sentence."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The server has all of it."""

    url: str
    length: int


Happening = Started | Progress | Confirmed | Retrying | Noticed | Finished
