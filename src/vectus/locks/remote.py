"""What lockers share whose locks are kept by a server elsewhere: the line in this process, leases
that can be lost, and one connection that everybody uses.

How the server is talked to is the adapters' affair (``redis``, ``postgres``). One task of a process
at a time asks the server for one lock, so that a connection, which is all that some servers know,
can never hold a lock twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import partial
from itertools import chain, repeat
from typing import Any, Protocol, TypeVar

from vectus.contracts import Lease
from vectus.errors import LockHeld, LockUnavailable
from vectus.locks.alarm import Alarm
from vectus.protocol.upload import ID

log = logging.getLogger("vectus")

T = TypeVar("T")

PAUSES = (0.05, 0.1, 0.15)
"""Seconds between a waiter's first attempts, unless it is woken; each asks the holder again."""

LONGEST_PAUSE = 0.25
"""Seconds between all further attempts."""

BACK_OFF = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds in which nobody tries to connect, after so many failures in a row."""

now: Callable[[], float] = partial(
    time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
)
"""Seconds, by a clock that nobody sets and that runs on while the machine is suspended."""


class Grant:
    """A lock that was given to this process for a time, which can be extended until it is over."""

    __slots__ = ("_on_lost", "_over", "_timer", "_until", "fence")

    def __init__(self, fence: int, until: float) -> None:
        self.fence = fence
        self._until = until
        self._over = False
        self._on_lost: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the lock by now. A look at the clock, so it is right even
        where the process stood still and no timer has fired yet."""
        return self._over or now() >= self._until

    def extend(self, until: float) -> None:
        """Have it last until then; what was lost stays lost."""
        if not self.lost:
            self._until = until

    def watch(self, on_lost: Callable[[], None]) -> None:
        """Tell when it has been lost."""
        self._on_lost = on_lost
        self._look()

    def _look(self) -> None:
        if self.lost:
            self.lose()
        else:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._until - now(), self._look)

    def lose(self) -> None:
        """Note that it is lost, and tell, once."""
        self._over = True
        told = self._on_lost
        self.ignore()
        if told is not None:
            told()

    def ignore(self) -> None:
        """Tell nobody any more."""
        self._on_lost = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Session(Protocol):
    """A connection to where locks are kept. Once it is not alive, all its grants are lost."""

    @property
    def alive(self) -> bool:
        """Whether it can be used."""

    async def take(self, id: str, *, ask: bool) -> Grant | None:
        """Try once to take a lock that nobody in this process holds; where somebody else does, ask
        him for it, or not. It comes to an end within seconds, whatever happens.

        Raises:
            LockUnavailable: it cannot be told whether it was taken.
        """

    async def release(self, id: str, grant: Grant) -> None:
        """Let go of a lock, lost or not. It comes to an end within seconds.

        Raises:
            LockUnavailable: it could not be said; it ends with its time, or the session.
        """

    def forget(self, id: str) -> None:
        """Nobody in this process holds or wants the lock any more."""

    async def aclose(self) -> None:
        """End it."""

    def abandon(self) -> None:
        """Give up the descriptors, and nothing else, in a forked child: they are the parent's."""


class Claim:
    """One ``hold``: its context from the first attempt on, and the lease once it is held."""

    __slots__ = (
        "_alarm",
        "_grant",
        "_line",
        "_on_lost",
        "_on_wanted",
        "_patience",
        "_session",
        "ask",
        "id",
    )

    def __init__(
        self,
        line: Line,
        id: str,
        on_wanted: Callable[[], None] | None,
        on_lost: Callable[[], None] | None,
        *,
        ask: bool,
        patience: float,
    ) -> None:
        if not ID.fullmatch(id):
            raise ValueError(f"{id!r} cannot be the id of an upload.")
        self.id = id
        self.ask = ask
        self._line = line
        self._on_wanted = on_wanted
        self._on_lost = on_lost
        self._patience = patience
        self._grant: Grant | None = None
        self._session: Session | None = None
        self._alarm = Alarm()

    @property
    def fence(self) -> int:
        """A number greater than that of every earlier lease of the same upload."""
        assert self._grant is not None
        return self._grant.fence

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the lock by now; costs a look at the clock, no more.

        ``on_lost`` is told by the event loop; a process that was stopped for a while may come to
        its next write before that. Whoever looks here first does not write.
        """
        assert self._grant is not None
        return self._grant.lost

    def retire(self) -> None:
        """Do nothing: a lock that is let go leaves nothing behind."""

    async def __aenter__(self) -> Lease:
        with self._line.standing(self):
            self._grant = await self._win()
        self._grant.watch(self._lose)
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._line.has(self):
            return  # a forked child leaves the context of its parent
        assert self._grant is not None
        assert self._session is not None
        self._grant.ignore()
        self._line.leaving(self)
        await settled(self._line.leave(self, self._session, self._grant))

    async def _win(self) -> Grant:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience
        for pause in chain(PAUSES, repeat(LONGEST_PAUSE)):
            if grant := await self._try():
                return grant
            left = deadline - clock()
            if left <= 0:
                break
            await self._alarm.sleep(min(pause, left))
        raise LockHeld(self.id)

    async def _try(self) -> Grant | None:
        line = self._line
        if self.ask and line.call(self.id):
            return None
        if not line.is_next(self):
            return None
        self._session = await line.session()
        return await settled(line.take(self, self._session), self._return)

    async def _return(self, grant: Grant | None) -> None:
        """Let go of what was granted while we were being cancelled."""
        if grant is not None:
            assert self._session is not None
            await self._line.leave(self, self._session, grant)

    def wake(self) -> None:
        """End the present pause, if there is one."""
        self._alarm.ring()

    def tell(self) -> None:
        """Tell the holder that somebody else wants the lock, unless it is leaving."""
        if self._on_wanted is not None and self._line.has(self):
            self._on_wanted()

    def _lose(self) -> None:
        """Tell the holder at once that it has lost the lock: each turn of the loop may write."""
        log.warning("The lock of upload %s was lost; its request ends.", self.id)
        if self._on_lost is None:
            return
        try:
            self._on_lost()
        except Exception as error:
            context = {
                "message": "What a lost lock should have stopped failed.",
                "exception": error,
            }
            asyncio.get_running_loop().call_exception_handler(context)


class _Lane:
    """Who holds one lock in this process, and who waits for it."""

    __slots__ = ("holder", "leaving", "waiters")

    def __init__(self) -> None:
        self.holder: Claim | None = None
        self.leaving = False
        self.waiters: list[Claim] = []


class Line:
    """Everybody in this process who holds or wants locks of one server, on one event loop.

    Args:
        connect: opens a session; a ``LockUnavailable`` says why it could not. It is told the line,
            whose ``call`` and ``freed`` want to know what the server tells.
        name: the server's name in the log.
    """

    def __init__(self, connect: Callable[[Line], Awaitable[Session]], name: str) -> None:
        self.fence = 0
        """The highest that this process has seen."""
        self._connect = connect
        self._name = name
        self._lanes: dict[str, _Lane] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: Session | None = None
        self._opening: asyncio.Task[Session] | None = None
        self._failures = 0
        self._rest = 0.0
        self._refusal: BaseException | None = None
        _lines.add(self)

    # --- The line ---------------------------------------------------------------------------------

    @contextmanager
    def standing(self, claim: Claim) -> Iterator[None]:
        """Stand in line, at its end, until the context is left."""
        self._follow()
        lane = self._lanes.setdefault(claim.id, _Lane())
        lane.waiters.append(claim)
        if claim.ask:
            lane.waiters[0].wake()  # who is first asks for all
        try:
            yield
        finally:
            lane.waiters.remove(claim)
            self._move_up(claim.id, lane)

    def _move_up(self, id: str, lane: _Lane) -> None:
        if lane.holder is not None or self._lanes.get(id) is not lane:
            return
        if lane.waiters:
            lane.waiters[0].wake()
            return
        del self._lanes[id]
        if self._session is not None:
            self._session.forget(id)

    def is_next(self, claim: Claim) -> bool:
        """Say whether it is this waiter's turn to try."""
        lane = self._lanes[claim.id]
        return lane.holder is None and lane.waiters[0] is claim

    async def take(self, claim: Claim, session: Session) -> Grant | None:
        """Try once, for the first in line."""
        lane = self._lanes[claim.id]
        grant = await session.take(claim.id, ask=any(waiter.ask for waiter in lane.waiters))
        if grant is not None:
            self.fence = max(self.fence, grant.fence)
            lane.holder, lane.leaving = claim, False
            if grant.lost:  # the answer took too long
                await self.leave(claim, session, grant)
                raise LockUnavailable("its answer came too late")
        return grant

    def has(self, claim: Claim) -> bool:
        """Say whether a claim is held, and not about to be let go."""
        lane = self._lanes.get(claim.id)
        return lane is not None and lane.holder is claim and not lane.leaving

    def leaving(self, claim: Claim) -> None:
        """Have a holder told no more; the lock is still taken."""
        self._lanes[claim.id].leaving = True

    async def leave(self, claim: Claim, session: Session, grant: Grant) -> None:
        """Let go, and wake who is next. Only then may somebody in this process try."""
        lane = self._lanes[claim.id]
        lane.leaving = True
        try:
            if session.alive:
                await session.release(claim.id, grant)
        except LockUnavailable as error:
            log.debug("The lock of upload %s could not be released: %s", claim.id, error)
        finally:
            lane.holder = None
            self._move_up(claim.id, lane)

    def call(self, id: str) -> bool:
        """Tell the holder in this process that it is wanted; say whether there is one."""
        lane = self._lanes.get(id)
        if lane is None or lane.holder is None:
            return False
        # Not at once: what the holder raises is its own, not the asking task's.
        asyncio.get_running_loop().call_soon(lane.holder.tell)
        return True

    def freed(self, id: str) -> None:
        """Wake who is next, as the lock was let go in another process."""
        lane = self._lanes.get(id)
        if lane is not None and lane.waiters:
            lane.waiters[0].wake()

    # --- The connection ---------------------------------------------------------------------------

    async def session(self) -> Session:
        """Return the session, opened by whoever comes first.

        Raises:
            LockUnavailable: it could not be opened, now or just before.
        """
        if self._session is not None and self._session.alive:
            return self._session
        if self._opening is None:
            if self._refusal is not None and now() < self._rest:
                raise self._refusal.with_traceback(None)
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    async def _open(self) -> Session:
        last, self._session = self._session, None
        if last is not None:
            await last.aclose()
        return await self._connect(self)

    def _opened(self, opening: asyncio.Task[Session]) -> None:
        if self._opening is not opening:
            return
        self._opening = None
        if opening.cancelled():
            return
        if error := opening.exception():
            self._refused(error)
            return
        if self._failures:
            log.info("Locks in %s can be had again.", self._name)
        self._failures, self._refusal = 0, None
        self._session = opening.result()

    def _refused(self, error: BaseException) -> None:
        if not self._failures:
            log.error("Locks in %s cannot be had: %s", self._name, error)
        self._refusal = error
        self._rest = now() + BACK_OFF[min(self._failures, len(BACK_OFF) - 1)]
        self._failures += 1

    async def aclose(self) -> None:
        """End the session. A new one is opened when one is needed."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            with suppress(asyncio.CancelledError, LockUnavailable):
                await (await opening).aclose()
        session, self._session = self._session, None
        if session is not None and self._loop is asyncio.get_running_loop():
            await session.aclose()

    def _follow(self) -> None:
        """Go with the running event loop. What the last one left behind is dead, as it is."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None and self._loop.is_running():
            raise RuntimeError("A locker serves one event loop at a time.")
        self._loop, self._session, self._opening = loop, None, None
        self._lanes = {}

    def abandon(self) -> None:
        """Forget everything, in a forked child: it is the parent's."""
        if self._session is not None:
            self._session.abandon()
        # No destructor may run: it would take the descriptors out of the parent's event loop.
        _graveyard.append((self._session, self._lanes, self._opening))
        self._loop = self._session = self._opening = None
        self._lanes = {}


class RemoteLocker:
    """A locker whose locks are kept by a server; the adapters say how it is talked to.

    Args:
        connect: opens a session, see ``Line``.
        name: the server's name in the log.
    """

    def __init__(self, connect: Callable[[Line], Awaitable[Session]], name: str) -> None:
        self._line = Line(connect, name)

    def hold(
        self,
        id: str,
        on_wanted: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        *,
        ask: bool = True,
        patience: float = 20.0,
    ) -> AbstractAsyncContextManager[Lease]:
        """Hold an upload's lock for the length of the context; see ``contracts.Locker``.

        Raises:
            ValueError: the id cannot be one.
        """
        return Claim(self._line, id, on_wanted, on_lost, ask=ask, patience=patience)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._line.aclose()


async def settled(
    work: Coroutine[Any, Any, T], undo: Callable[[T], Awaitable[None]] | None = None
) -> T:
    """Do something to its end, even when cancelled meanwhile; then undo it, and be cancelled."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _patiently(task)
        if undo is not None and not task.cancelled() and task.exception() is None:
            undoing = asyncio.ensure_future(undo(task.result()))
            await _patiently(undoing)
        raise


async def _patiently(task: asyncio.Future[Any]) -> None:
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # looked at, or asyncio would log it as lost


_lines: weakref.WeakSet[Line] = weakref.WeakSet()
_graveyard: list[object] = []


def _abandon_all() -> None:
    for line in list(_lines):
        line.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
