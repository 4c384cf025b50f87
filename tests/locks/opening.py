"""A Redis that is new gives out no locks for a while: how to wait for the end of that."""

from __future__ import annotations

import asyncio

from vectus.errors import LockUnavailable
from vectus.locks.redis import RedisLocker

PATIENCE = 30.0


async def opened(url: str, ttl: float = 0.5) -> None:
    """Wait until a Redis gives out locks: so many seconds after its start, if nobody has used it
    before. A busy machine may need some tries."""
    locker = RedisLocker(url, ttl=ttl)
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                async with locker.hold("0"):
                    break
            except LockUnavailable:
                await asyncio.sleep(0.05)
    await locker.aclose()
