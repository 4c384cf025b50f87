"""The commands that need no network: the source, the notes, the caller's ears."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from vectus.client.commands import (
    Check,
    Command,
    Digest,
    Forget,
    Hold,
    Keep,
    Known,
    Learn,
    Recall,
    Tell,
)
from vectus.client.contracts import Source
from vectus.client.custody import Cancel, stop_if
from vectus.client.happenings import Noticed
from vectus.client.meter import Meter
from vectus.client.notes import Notes
from vectus.client.pace import Pace
from vectus.client.sources import Window, digest
from vectus.protocol.dialects.tus1_client import Offer

ALWAYS = (Keep, Forget, Learn, Tell)
"""Done also when the caller wants to stop: what came of a request is not thrown away."""


class Desk:
    """Does what one machine asks of this computer.

    Args:
        source: what it uploads.
        notes: what is remembered of it.
        meter: who is told.
        offers: what endpoints are known to offer.
        cancel: each of them can say stop.
        part: which part of the upload this is, or None for all of it.
    """

    def __init__(
        self,
        source: Source,
        notes: Notes,
        meter: Meter,
        offers: dict[str, Offer],
        cancel: tuple[Cancel, ...] = (),
        part: str | None = None,
    ) -> None:
        self.source = source
        self.meter = meter
        self.part = part
        self._notes = notes
        self._offers = offers
        self._cancel = cancel

    def of_part(self, label: str, start: int, stop: int, cancel: Cancel) -> Desk:
        """The desk of a part of the source."""
        window = Window(self.source, start, stop)
        all_cancels = (*self._cancel, cancel)
        return Desk(window, self._notes, self.meter, self._offers, all_cancels, label)

    def perform(self, command: Command) -> object:
        """Do a command that needs no network; it may read from a slow disk."""
        match command:
            case Hold(start, count):
                return self.source.hold(start, count)
            case Digest(algorithm, start, stop):
                return digest(self, algorithm, start, stop)
            case Known(endpoint):
                return self._offers.get(endpoint)
            case Recall(part):
                return self._notes.recall(self._label(part))
        self._act(command)
        return None

    def _act(self, command: Command) -> None:
        match command:
            case Check():
                self.source.check()
            case Learn(endpoint, offer):
                self._offers[endpoint] = offer
            case Keep(url, part):
                self._notes.keep(self._label(part), url)
            case Forget(part):
                self._notes.forget(self._label(part))
            case Tell(what):
                self.meter.tell(self.part, what)
            case _:
                raise TypeError(f"{command} is not done here.")

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield bytes of the source that are at hand, as long as the caller does not want to stop,
        in blocks of the size that suits whoever takes them."""
        pace = Pace()
        while start < stop:
            begun = start
            for block in self.source.blocks(start, min(start + pace.size, stop)):
                self.go_on()
                given = perf_counter()
                yield block
                pace.went(len(block), perf_counter() - given)
                start += len(block)
            if start == begun:
                return  # it is shorter than it was: the request is, too, and fails

    def moved(self, position: int) -> None:
        """Bytes before a position are handed to the network."""
        self.meter.sent(self.part, position)

    def go_on(self) -> None:
        """Raise if the caller wants to stop; else say that the entry is in use: also while it is
        waited for another try, or hashed, or compared.

        Raises:
            UploadCancelled: that is so.
        """
        stop_if(self._cancel)
        self._notes.renew()

    def before(self, command: Command) -> None:
        """Raise if the caller wants to stop, and the command is not one that is done all the same.

        Raises:
            UploadCancelled: that is so.
        """
        if not isinstance(command, ALWAYS):
            self.go_on()

    def report(self) -> None:
        """Tell the caller what went wrong with the notes; on the caller's own thread or loop."""
        while (text := self._notes.complaint()) is not None:
            self.meter.tell(None, Noticed(text))

    def _label(self, part: str | None) -> str | None:
        return self.part if part is None else part
