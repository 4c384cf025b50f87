"""The sweeper: drives on what was left in the middle, and removes what has expired."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager

from vectus.contracts import Lease, Locker, Scans, Store
from vectus.engine.newborn import UNLOCKED
from vectus.engine.progress import Progress
from vectus.errors import LockHeld, LockUnavailable
from vectus.protocol.upload import Upload

log = logging.getLogger("vectus")

SCAN_EVERY = 60.0
"""Seconds between scans of everything, unless the store has a wish of its own."""


class Sweeper:
    """Scans at its start, then now and then; in between it tries again what failed here.

    Where a store has a name for it, one of all processes that share the store scans now and then:
    whoever holds the lock of that name, as long as it lives and has not lost it. The others try to
    have it once in a period.

    Args:
        store: what to scan; a store that cannot be scanned is left alone.
        progress: drives uploads on.
        locker: gives out that lock.
        scanned_as: the name; see ``contracts.Limits``.
        retry_every: seconds between attempts at what failed in this process.
        scan_every: seconds between scans of everything.
    """

    def __init__(
        self,
        store: Store,
        progress: Progress,
        *,
        locker: Locker | None = None,
        scanned_as: str | None = None,
        retry_every: float = 5.0,
        scan_every: float = SCAN_EVERY,
    ) -> None:
        self._store = store
        self._progress = progress
        self._locker = locker
        self._scanned_as = scanned_as
        self._retry_every = retry_every
        self._scan_every = scan_every
        self.scans_for_all = False
        """Whether it is this process that scans now and then."""

    async def run(self) -> None:
        """Sweep until cancelled."""
        await self.scan()
        while True:
            await self._pause(UNLOCKED)
            try:
                async with self._turn() as lease:
                    await self._scan_now_and_then(lease)
            except (LockHeld, LockUnavailable) as error:
                log.debug("Somebody else scans, or nobody can: %s", error)
            except Exception:
                log.exception("The sweeper could not have its turn; it tries again.")

    async def scan(self, lease: Lease = UNLOCKED) -> None:
        """Look at every upload once, as long as a lease is not lost. What fails on one is logged,
        and does not keep the others."""
        if not isinstance(self._store, Scans):
            return
        try:
            async for upload in self._store.scan():
                if lease.lost:
                    return
                await self._sweep(upload)
        except Exception:
            log.exception("The sweeper could not finish its round; it tries again.")

    def _turn(self) -> AbstractAsyncContextManager[Lease]:
        """Be the one that scans for all, if nobody else is."""
        if self._locker is None or self._scanned_as is None:
            return UNLOCKED
        return self._locker.hold(self._scanned_as, ask=False, patience=0)

    async def _scan_now_and_then(self, lease: Lease) -> None:
        lease.retire()  # whoever lets go leaves nothing behind
        self.scans_for_all = True
        try:
            while not lease.lost:
                await self.scan(lease)
                await self._pause(lease)
        finally:
            self.scans_for_all = False

    async def _pause(self, lease: Lease) -> None:
        """Wait for a period to go by, or for the lease to be lost; meanwhile try again what failed
        here."""
        now = asyncio.get_running_loop().time
        end = now() + self._scan_every
        while now() < end and not lease.lost:
            await asyncio.sleep(min(self._retry_every, self._scan_every))
            await self._progress.sweep_owed()

    async def _sweep(self, upload: Upload) -> None:
        try:
            await self._progress.sweep(upload)
        except Exception:
            log.exception("The sweeper could not settle upload %s; it tries again.", upload.id)
