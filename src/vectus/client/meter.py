"""How far an upload is, summed over its parts, told to the caller one call at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from vectus.client.happenings import Confirmed, Finished, Happening, Progress, Started

SAMPLES = 24
STEP = 0.25
"""The rate is that of the last ``SAMPLES * STEP`` seconds."""


class Rate:
    """Bytes per second, lately."""

    def __init__(self) -> None:
        self._total = 0
        self._samples: deque[tuple[float, int]] = deque([(monotonic(), 0)], SAMPLES)

    def add(self, count: int) -> None:
        """So many more bytes."""
        self._total += count
        now = monotonic()
        if now - self._samples[-1][0] >= STEP:
            self._samples.append((now, self._total))

    @property
    def value(self) -> float:
        """The rate now."""
        then, total = self._samples[0]
        return (self._total - total) / max(monotonic() - then, 0.001)


class Meter:
    """Sums what the parts have sent and what is confirmed of them.

    Args:
        length: bytes in all, or None while it is not known.
        on_progress: called with each change; never by two threads at once.
        on_event: called with everything that happens.
    """

    def __init__(
        self,
        length: int | None,
        on_progress: Callable[[Progress], object] | None,
        on_event: Callable[[Happening], object] | None,
    ) -> None:
        self.length = length
        self._on_event = on_event
        self._hearing = [hear for hear in (on_progress, on_event) if hear is not None]
        self._lock = threading.RLock()
        self._rate = Rate()
        self._sent: dict[str | None, int] = {}
        self._confirmed: dict[str | None, int] = {}

    def sent(self, part: str | None, position: int) -> None:
        """A part's bytes before this position are handed to the network."""
        if not self._hearing:
            return
        with self._lock:
            before = self._sent.get(part, 0)
            self._sent[part] = position
            self._rate.add(max(position - before, 0))
            self._progress()

    def tell(self, part: str | None, what: Happening) -> None:
        """Pass on what happened to a part; what only concerns one part of several stays here."""
        if not self._hearing:
            return
        with self._lock:
            if isinstance(what, Started):
                self._start(part, what)
            elif isinstance(what, Confirmed):
                self._confirmed[part] = self._sent[part] = what.offset
            elif part is None and isinstance(what, Finished):
                self._finish(what.length)
                self._progress()
            if self._on_event and (
                part is None or not isinstance(what, Started | Confirmed | Finished)
            ):
                self._on_event(what)
            if isinstance(what, Confirmed):
                self._progress()

    def close(self) -> None:
        """Tell nobody anything any more: the upload's call is over, even if a thread of it has not
        heard of that yet."""
        with self._lock:
            self._hearing, self._on_event = [], None

    def _start(self, part: str | None, what: Started) -> None:
        if part is None:
            self._sent.clear()
            self._confirmed.clear()
            self.length = what.length if self.length is None else self.length
        self._confirmed[part] = self._sent[part] = what.offset

    def _finish(self, length: int) -> None:
        self.length = length
        self._sent = {None: length}
        self._confirmed = {None: length}

    def _progress(self) -> None:
        sent, confirmed = sum(self._sent.values()), sum(self._confirmed.values())
        now = Progress(sent, confirmed, self.length, self._rate.value)
        for hear in self._hearing:
            hear(now)
