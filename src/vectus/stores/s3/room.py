"""Room on the disk for parts on their way, shared by all appends of a process.

Whoever has none waits in line. Whoever has had some and makes no use of it is asked to yield it:
first the one that has been idle longest, so that clients that stall never starve those that send;
and after a while the one that has had it longest, so that clients that send a byte now and then do
not either. Nothing of files or of S3 in here.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

TICK = 0.05
"""Seconds between two looks at who might yield."""

IDLE = 0.25
"""Who has not been given a byte for so many seconds is asked to yield."""

FAIR = 5.0
"""After waiting for so many seconds, somebody has to yield, idle or not."""


HUNG = 1.0
"""Who was asked to yield so many seconds ago and still does is waited for no longer."""


class Holder(Protocol):
    """Who has room."""

    since: float
    """When it got it."""
    touched: float
    """When it last made use of it."""

    @property
    def yielding(self) -> bool:
        """Whether it is on its way out."""

    @property
    def busy(self) -> bool:
        """Whether it is at something that it cannot leave now."""

    def give_way(self) -> None:
        """Make do without the room, soon."""


@dataclass(eq=False, slots=True)
class Waiter:
    """Who waits."""

    amount: int
    arrived: float
    granted: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


def victim(holders: Collection[Holder], now: float, waited: float, asked: float) -> Holder | None:
    """Choose who has to yield, if anybody.

    Args:
        holders: who has room.
        now: what the clock says.
        waited: for how many seconds somebody has waited for room.
        asked: when somebody was asked last.
    """
    if now - asked < HUNG and any(holder.yielding for holder in holders):
        return None
    able = [holder for holder in holders if not (holder.yielding or holder.busy)]
    if not able:
        return None
    idlest = min(able, key=lambda holder: holder.touched)
    if now - idlest.touched >= IDLE:
        return idlest
    return min(able, key=lambda holder: holder.since) if waited >= FAIR else None


class Room:
    """So many bytes, and who has them.

    Args:
        limit: how many.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._line: deque[Waiter] = deque()
        self._holders: set[Holder] = set()
        self._asked = -math.inf

    @property
    def used(self) -> int:
        """How many bytes are taken."""
        return self._used

    async def take(self, amount: int) -> int:
        """Wait for room; return how much was taken, which is less where there is not as much."""
        amount = min(amount, self._limit)
        if not self._line and self._used + amount <= self._limit:
            self._used += amount
            return amount
        waiter = Waiter(amount, asyncio.get_running_loop().time())
        self._line.append(waiter)
        try:
            await self._wait(waiter)
        except BaseException:
            self._forget(waiter)
            raise
        return amount

    def give_back(self, amount: int) -> None:
        """Return what was taken."""
        self._used -= amount
        self._grant()

    def enter(self, holder: Holder) -> None:
        """Count somebody among those who may be asked to yield."""
        self._holders.add(holder)

    def leave(self, holder: Holder) -> None:
        """Count somebody among those no longer."""
        self._holders.discard(holder)

    async def _wait(self, waiter: Waiter) -> None:
        while not waiter.granted.done():
            await asyncio.wait((waiter.granted,), timeout=TICK)
            if not waiter.granted.done() and self._line[0] is waiter:
                self._press(waiter)

    def _press(self, waiter: Waiter) -> None:
        now = asyncio.get_running_loop().time()
        chosen = victim(self._holders, now, now - waiter.arrived, self._asked)
        if chosen is not None:
            self._asked = now
            chosen.give_way()

    def _forget(self, waiter: Waiter) -> None:
        if waiter.granted.done():
            self.give_back(waiter.amount)
        else:
            self._line.remove(waiter)
            self._grant()

    def _grant(self) -> None:
        while self._line and self._used + self._line[0].amount <= self._limit:
            waiter = self._line.popleft()
            self._used += waiter.amount
            waiter.granted.set_result(None)
