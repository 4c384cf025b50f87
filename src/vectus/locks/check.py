"""Tries out whether locks do what they are for: between two lockers, as between two machines.

Knows no kind of locks; what it takes, it gives back.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from time import perf_counter

from vectus.contracts import Locker
from vectus.errors import LockError, LockHeld, LockUnavailable
from vectus.findings import Finding, Grade

SUBJECT = "locks"
PATIENCE = 15.0
"""Seconds. A Redis that is new gives out nothing for some of them."""

AWAY = "See whether it runs, whether the URL is right, and what is between."
BROKEN = "Do not serve uploads with these."


def probe(open: Callable[[], Locker]) -> Iterator[Finding]:
    """Try locks, as two machines would use them; see ``findings.Probe``.

    Args:
        open: opens a locker.
    """
    yield asyncio.run(_probe(open))


async def _probe(open: Callable[[], Locker]) -> Finding:
    try:
        async with AsyncExitStack() as closing:
            one, other = open(), open()
            closing.push_async_callback(one.aclose)
            closing.push_async_callback(other.aclose)
            return await _try(one, other)
    except LockUnavailable as error:
        return Finding(SUBJECT, Grade.FAILURE, str(error), AWAY, unreached=True)
    except (LockError, OSError, TimeoutError) as error:
        says = f"They do not work: {str(error) or type(error).__name__}"
        return Finding(SUBJECT, Grade.FAILURE, says, BROKEN)


async def _try(one: Locker, other: Locker) -> Finding:
    id, wanted = f"check-{secrets.token_hex(16)}", asyncio.Event()
    async with AsyncExitStack() as held:
        first = await held.enter_async_context(one.hold(id, wanted.set, patience=PATIENCE))
        if not await _is_refused(other, id):
            return Finding(SUBJECT, Grade.FAILURE, "Two had the same lock at once.", BROKEN)
        asking = asyncio.ensure_future(_take(other, id))
        try:
            started = perf_counter()
            await asyncio.wait_for(wanted.wait(), PATIENCE)
            await held.aclose()
            second = await asking
            took = perf_counter() - started
        finally:
            asking.cancel()
    if second <= first.fence:
        return Finding(SUBJECT, Grade.FAILURE, "Leases are not numbered upwards.", BROKEN)
    says = f"One at a time has a lock, and hands it over when it is asked ({took * 1000:.0f} ms)."
    return Finding(SUBJECT, Grade.OK, says)


async def _is_refused(locker: Locker, id: str) -> bool:
    try:
        async with locker.hold(id, ask=False, patience=0):
            return False
    except LockHeld:
        return True


async def _take(locker: Locker, id: str) -> int:
    """Ask for a lock, give it back, and return its number."""
    async with locker.hold(id, patience=PATIENCE) as lease:
        lease.retire()
        return lease.fence
