"""One timer per connection that costs nothing while things move.

Moving a deadline is an assignment: the timer that is armed already notices when it fires early, and
arms itself again. What is to happen at the deadline is the caller's; no policy belongs here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf


class Deadline:
    """A point in time by which something must have happened."""

    __slots__ = ("_action", "_at", "_due", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due = inf
        self._at = inf
        self._timer: asyncio.TimerHandle | None = None
        self._action: Callable[[], object] | None = None

    def within(self, seconds: float, action: Callable[[], object]) -> None:
        """Call ``action`` in so many seconds, unless the deadline is moved or dropped before."""
        self._action = action
        self._due = due = self._loop.time() + seconds
        if due < self._at:
            self._arm(due)

    def drop(self) -> None:
        """Nothing is due any more."""
        self._due = inf
        self._action = None

    def close(self) -> None:
        """Drop, and free the timer."""
        self.drop()
        self._at = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at = due
        self._timer = self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        due, action = self._due, self._action
        self._timer = None
        self._at = inf
        if due == inf or action is None:
            return
        # Timers may fire a clock tick early.
        if due > self._loop.time() + 0.001:
            self._arm(due)
            return
        self.drop()
        action()
