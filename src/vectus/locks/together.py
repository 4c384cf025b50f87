"""Two locks for each upload: one that reaches every machine, and the kernel's.

For a directory that several machines share. The network lock can be lost while its holder still
writes; the kernel's lock cannot, so nobody else writes into the file until he has stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from vectus.contracts import Lease, Locker


class _Both:
    """The lease of both locks; its fence is the network's, which all machines share."""

    __slots__ = ("_far", "_near")

    def __init__(self, far: Lease, near: Lease) -> None:
        self._far = far
        self._near = near

    @property
    def fence(self) -> int:
        """A number greater than that of every earlier lease of the same upload."""
        return self._far.fence

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the network lock by now."""
        return self._far.lost or self._near.lost

    def retire(self) -> None:
        """Say that nobody will need these locks soon."""
        self._far.retire()
        self._near.retire()


class BothLocker:
    """A locker whose locks are held in two others: in the first, then in the second.

    Args:
        far: reaches every machine.
        near: its locks are never lost.
    """

    def __init__(self, far: Locker, near: Locker) -> None:
        self._far = far
        self._near = near

    @asynccontextmanager
    async def hold(
        self,
        id: str,
        on_wanted: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        *,
        ask: bool = True,
        patience: float = 20.0,
    ) -> AsyncIterator[Lease]:
        """Hold an upload's lock for the length of the context; see ``contracts.Locker``."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + patience
        async with self._far.hold(id, on_wanted, on_lost, ask=ask, patience=patience) as far:
            left = max(0.0, deadline - clock())
            # Whoever has it has lost the network lock, or does not know of it: he is asked too.
            async with self._near.hold(id, on_wanted, ask=ask, patience=left) as near:
                yield _Both(far, near)

    async def aclose(self) -> None:
        """Close both."""
        try:
            await self._far.aclose()
        finally:
            await self._near.aclose()
