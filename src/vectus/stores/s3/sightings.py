"""When S3 last showed that an upload's parts are there, so that not every request has to ask.

What this process saw it knows by itself; what others saw is in the record, by their clocks.
"""

from __future__ import annotations

import time

LASTS = 30
"""Seconds for which a multipart upload that was seen is taken to be there still. What looks sooner
saves a call; what comes later learns that somebody has taken it away."""

MOST = 10_000

DOUBTED = -1


class Sightings:
    """What one process has seen.

    Args:
        lasts: for how many seconds it is believed.
    """

    def __init__(self, lasts: int = LASTS) -> None:
        self.lasts = lasts
        self._last: dict[str, int] = {}

    def saw(self, id: str) -> None:
        """Take note that an upload's parts are there."""
        self._note(id, int(time.time()))

    def doubt(self, id: str) -> None:
        """Take note that they may be gone, whatever was seen."""
        self._note(id, DOUBTED)

    def last(self, id: str, recorded: int) -> int:
        """Return when they were seen last, in seconds since the epoch.

        Args:
            id: the upload.
            recorded: when somebody saw them, as its record says.
        """
        mine = self._last.get(id, 0)
        return 0 if mine == DOUBTED else max(mine, recorded)

    def believes(self, id: str, recorded: int) -> bool:
        """Whether nobody needs to look; clocks may be a little apart."""
        return abs(time.time() - self.last(id, recorded)) < self.lasts

    def _note(self, id: str, when: int) -> None:
        if len(self._last) >= MOST:
            self._last.clear()
        self._last[id] = when
