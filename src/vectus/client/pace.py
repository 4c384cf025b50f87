"""How many bytes go out at once: many where the network is fast, few where it is slow.

Each block has its price, so large ones are cheap; but between two of them nothing is told and
nobody can stop the upload, and a time-out counts for a whole block. Pure.
"""

from __future__ import annotations

SMALLEST = 16 << 10
FIRST = 256 << 10
LARGEST = 1 << 20
"""Bytes of a block. Larger ones fall out of the processor's cache and save nothing."""

QUICK = 0.05
"""Seconds that a block may take for the next to be larger."""
SLOW = 0.25
"""Seconds after which the next one is smaller."""
BUFFERED = 4
"""So many times its size must have gone out before a block grows: what the network takes at first
is only what the kernel keeps, and says nothing."""


class Pace:
    """The size of the next block, in bytes."""

    def __init__(self) -> None:
        self.size = FIRST
        self._sent = 0

    def went(self, count: int, seconds: float) -> None:
        """A block has gone out, and this is how long it took."""
        self._sent += count
        if seconds > SLOW:
            self.size = max(self.size // 2, SMALLEST)
        elif seconds < QUICK and self._sent >= BUFFERED * self.size:
            self.size = min(self.size * 2, LARGEST)
