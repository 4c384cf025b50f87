"""Locks for one process: for tests, and for a server with one worker.

Nothing in here touches a disk or another process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from vectus.contracts import Lease
from vectus.locks.line import Claim, Grip, Line, next_fence


class _Memory:
    """Keeps nothing but the last fence: the line alone keeps claims of one process apart."""

    def __init__(self) -> None:
        self._fence = 0

    def take(self, id: str) -> Grip:
        self._fence = next_fence(self._fence)
        return Grip(self._fence)

    def ask(self, id: str) -> None:
        pass


class MemoryLocker:
    """A locker among the tasks of one event loop. Waiters are served in the order they came.

    It is not for several event loops in several threads; one after the other is fine.
    """

    def __init__(self) -> None:
        self._line = Line(_Memory())

    def hold(
        self,
        id: str,
        on_wanted: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        *,
        ask: bool = True,
        patience: float = 20.0,
    ) -> AbstractAsyncContextManager[Lease]:
        """Hold an upload's lock for the length of the context; see ``contracts.Locker``."""
        return Claim(self._line, id, on_wanted, ask=ask, patience=patience)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to free."""
