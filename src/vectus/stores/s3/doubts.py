"""Creations that failed, and may still come to be: a put that was not answered may be obeyed later.

So what was put for such an upload stays until its record would have come. Only the process that
made it knows then that nobody was ever told of it: to all others an object without a record may be
an upload whose record somebody removed on purpose.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from vectus.protocol.upload import Upload
from vectus.stores.s3.naming import INFO
from vectus.stores.s3.vault import Vault

LASTING = 3600.0
"""Seconds after which nobody obeys a put any more."""

MOST = 10_000
"""How many are kept in mind."""


class Doubts:
    """The failed creations of one process.

    Args:
        vault: the store's uploads.
        in_thread: does something that blocks in a thread, some time.
    """

    def __init__(self, vault: Vault, in_thread: Callable[[Callable[[], None]], object]) -> None:
        self._vault = vault
        self._in_thread = in_thread
        self._noted: dict[str, tuple[float, Upload]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, upload: Upload) -> None:
        """Remember an upload whose object may be there without a record; look in a while."""
        if len(self._noted) < MOST:
            self._noted[upload.id] = time.time(), upload
            self._look_later()

    def settle(self, before: float) -> None:
        """Delete the objects of those that failed before a time and have no record. Blocks.

        Raises:
            StoreUnavailable: it cannot be done now.
        """
        for failed, upload in list(self._noted.values()):
            if failed < before:
                if self._vault.bucket.size(upload.id + INFO) is None:
                    self._vault.objects.delete(upload)
                self._noted.pop(upload.id, None)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self) -> None:
        if self._timer is None and self._noted:
            self._timer = asyncio.get_running_loop().call_later(LASTING, self._look)

    def _look(self) -> None:
        self._timer = None
        self._in_thread(lambda: self.settle(time.time() - LASTING))
        self._look_later()
