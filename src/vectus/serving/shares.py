"""Who of several workers should take the next connection: numbers in memory that all of them see.

Without it the first worker to wake takes a whole burst, and four uploads run on one of two cores.
"""

from __future__ import annotations

import mmap

VACANT = 2**32 - 1
"""The number of a worker that is not there: nobody waits for it."""


class Shares:
    """How many connections each worker has. Made before the workers are forked."""

    def __init__(self, workers: int) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 4 * workers)).cast("I")
        for place in range(workers):
            self.vacate(place)

    def vacate(self, place: int) -> None:
        """Say that the worker at this place is gone."""
        self._numbers[place] = VACANT

    def tell(self, place: int, connections: int) -> None:
        """Say how many connections the worker at this place has."""
        self._numbers[place] = connections

    def ahead(self, place: int, connections: int) -> bool:
        """Say how many connections the worker at this place has; return whether another has
        fewer."""
        self.tell(place, connections)
        return min(self._numbers) < connections
