"""The sweeper: drives on what was left in the middle, and removes what has expired."""

from __future__ import annotations

import asyncio
import logging

from vectus.contracts import Scans, Store
from vectus.engine.progress import Progress
from vectus.protocol.upload import Upload

log = logging.getLogger("vectus")

SCAN_EVERY = 60.0
"""Seconds between scans of everything, unless the store has a wish of its own."""


class Sweeper:
    """Scans at its start, then now and then; in between it tries again what failed here.

    Args:
        store: what to scan; a store that cannot be scanned is left alone.
        progress: drives uploads on.
        retry_every: seconds between attempts at what failed in this process.
        scan_every: seconds between scans of everything.
    """

    def __init__(
        self,
        store: Store,
        progress: Progress,
        *,
        retry_every: float = 5.0,
        scan_every: float = SCAN_EVERY,
    ) -> None:
        self._store = store
        self._progress = progress
        self._retry_every = retry_every
        self._scan_every = scan_every

    async def run(self) -> None:
        """Sweep until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self.scan()
            next_scan = loop.time() + self._scan_every
            while loop.time() < next_scan:
                await asyncio.sleep(min(self._retry_every, self._scan_every))
                await self._progress.sweep_owed()

    async def scan(self) -> None:
        """Look at every upload once. What fails on one is logged, and does not keep the others."""
        if not isinstance(self._store, Scans):
            return
        try:
            async for upload in self._store.scan():
                await self._sweep(upload)
        except Exception:
            log.exception("The sweeper could not finish its round; it tries again.")

    async def _sweep(self, upload: Upload) -> None:
        try:
            await self._progress.sweep(upload)
        except Exception:
            log.exception("The sweeper could not settle upload %s; it tries again.", upload.id)
