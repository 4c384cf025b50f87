"""The line in front of the locks, in one process: who holds, who waits, and who asks whom.

Knows time and the event loop; where a lock is kept, and how it is kept from others outside this
process, is its keeper's affair. Nothing in here waits but for the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from typing import Protocol

from vectus.contracts import Lease
from vectus.errors import LockHeld
from vectus.locks.alarm import Alarm

PAUSES = (0.001, 0.002, 0.004, 0.008, 0.015, 0.02)
"""Seconds between a waiter's first attempts; each attempt asks the holder again."""

LONGEST_PAUSE = 0.05
"""Seconds between all further attempts."""


def next_fence(earlier: int) -> int:
    """Return a number above an earlier one, and above those of processes that are gone.

    It is the time in microseconds, so that it goes on rising after a restart, when nobody remembers
    the earlier ones.
    """
    return max(earlier + 1, time.time_ns() // 1000)


class Grip:
    """What a keeper gives out: a lock, as long as it is held."""

    __slots__ = ("fence", "retired")

    def __init__(self, fence: int) -> None:
        self.fence = fence
        self.retired = False

    def release(self) -> None:
        """Let go, and clean up if ``retired``. Does not wait and never raises."""

    def abandon(self) -> None:
        """Forget a lock that is the parent's, in a forked child. Never raises."""


class Keeper(Protocol):
    """Where locks are kept. Neither method waits."""

    def take(self, id: str) -> Grip | None:
        """Try once to take a lock that nobody in this process holds.

        Raises:
            LockUnavailable: the back end is away.
        """

    def ask(self, id: str) -> None:
        """Ask the holder in another process, if there is one, to let go. Never raises."""


class Claim:
    """One ``hold``: its context from the first attempt on, and the lease once it is held."""

    __slots__ = ("_alarm", "_ask", "_grip", "_line", "_on_wanted", "_patience", "id")

    def __init__(
        self,
        line: Line,
        id: str,
        on_wanted: Callable[[], None] | None,
        *,
        ask: bool,
        patience: float,
    ) -> None:
        self.id = id
        self._line = line
        self._on_wanted = on_wanted
        self._ask = ask
        self._patience = patience
        self._grip: Grip | None = None
        self._alarm = Alarm()

    @property
    def fence(self) -> int:
        """A number greater than that of every earlier lease of the same upload."""
        assert self._grip is not None
        return self._grip.fence

    @property
    def lost(self) -> bool:
        """Never: what holds it apart goes only with this process."""
        return False

    def retire(self) -> None:
        """Say that nobody will need this lock soon."""
        assert self._grip is not None
        self._grip.retired = True

    async def __aenter__(self) -> Lease:
        self._grip = self._line.take(self) or await self._wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._grip is not None
        self._line.leave(self, self._grip)

    async def _wait(self) -> Grip:
        now = asyncio.get_running_loop().time
        deadline = now() + self._patience
        with self._line.waiting(self):
            for pause in chain(PAUSES, repeat(LONGEST_PAUSE)):
                if self._ask:
                    self._line.ask(self.id)
                left = deadline - now()
                if left <= 0:
                    break
                await self._alarm.sleep(min(pause, left))
                if grip := self._line.take(self):
                    return grip
        raise LockHeld(self.id)

    def wake(self) -> None:
        """End the present pause, if there is one."""
        self._alarm.ring()

    def tell(self) -> None:
        """Tell the holder that somebody else wants the lock, unless it has let go meanwhile."""
        if self._on_wanted is not None and self._line.has(self):
            self._on_wanted()


class Line:
    """Everybody in this process who holds or wants locks of one keeper, on one event loop."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._holders: dict[str, tuple[Claim, Grip]] = {}
        self._waiters: dict[str, list[Claim]] = {}

    def take(self, claim: Claim) -> Grip | None:
        """Try once."""
        if claim.id in self._holders:
            return None
        grip = self._keeper.take(claim.id)
        if grip is not None:
            self._holders[claim.id] = claim, grip
        return grip

    def leave(self, claim: Claim, grip: Grip) -> None:
        """Let go, and wake those who wait in this process, the first come first."""
        if not self.has(claim):
            return  # a forked child leaves the context of its parent
        del self._holders[claim.id]
        grip.release()
        for waiter in self._waiters.get(claim.id, ()):
            waiter.wake()

    def has(self, claim: Claim) -> bool:
        """Say whether a claim is held now."""
        return self._holders.get(claim.id, (None,))[0] is claim

    @contextmanager
    def waiting(self, claim: Claim) -> Iterator[None]:
        """Stand in line."""
        line = self._waiters.setdefault(claim.id, [])
        line.append(claim)
        try:
            yield
        finally:
            line.remove(claim)
            if not line:
                self._waiters.pop(claim.id, None)

    def ask(self, id: str) -> None:
        """Ask the holder to let go, wherever it is."""
        if not self.call(id):
            self._keeper.ask(id)

    def call(self, id: str) -> bool:
        """Tell the holder in this process that it is wanted; say whether there is one."""
        holder = self._holders.get(id)
        if holder is None:
            return False
        # Not at once: what the holder raises is its own, not the asking task's.
        asyncio.get_running_loop().call_soon(holder[0].tell)
        return True

    def abandon(self) -> None:
        """Forget everybody, in a forked child: holders and waiters are the parent's."""
        holders, self._holders, self._waiters = self._holders, {}, {}
        for _, grip in holders.values():
            grip.abandon()
