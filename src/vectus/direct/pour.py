"""Pouring: every byte of one body into one ``take``, in order, one piece at a time.

While ``take`` is done with a piece at once, all bodies of a loop are read into one shared buffer.
When it is not, the buffer is claimed for it until it is, and one more buffer is read ahead into.
Here is the order of things only; sockets and HTTP are elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from vectus.contracts import Take
from vectus.direct.line import Line
from vectus.protocol.exchange import Ending

AHEAD = 512 * 1024
"""How much of a chunked body is kept while a piece is under way."""


class Source(Protocol):
    """The body that is poured: see ``Incoming``."""

    left: int | None
    end: Ending | None
    line: Line

    @property
    def size(self) -> int:
        """How many bytes it keeps that have not been handed on."""

    @property
    def reason(self) -> Ending | None:
        """Why it was stopped from outside, or None."""

    def add(self, piece: bytes) -> None:
        """Keep a piece."""

    def take_pieces(self) -> bytes:
        """Return what it keeps, which it keeps no longer."""

    def stop(self, reason: Ending) -> None:
        """End it from outside."""


class Pour:
    """One body being poured.

    ``_busy`` holds while ``take`` has a piece, ``_held`` is the buffer it has then, and ``_ahead``
    the one that is filled meanwhile. ``outcome`` is set once, when ``take`` gets no more.
    """

    __slots__ = (
        "_ahead",
        "_body",
        "_busy",
        "_done",
        "_error",
        "_filled",
        "_held",
        "_take",
        "_watching",
        "outcome",
    )

    def __init__(self, body: Source, take: Take) -> None:
        self._body = body
        self._take = take
        self._busy = False
        self._held: memoryview | None = None
        self._ahead: memoryview | None = None
        self._filled = 0
        self._done: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._watching = False
        self.outcome: Ending | None = None

    async def run(self) -> Ending:
        """Pour; a body that has arrived whole waits for nothing but ``take``."""
        self.advance()
        if self.outcome is None:
            await self._wait()
        if self._error is not None:
            raise self._error
        assert self.outcome is not None
        return self.outcome

    async def _wait(self) -> None:
        line = self._body.line
        self._done = line.loop.create_future()
        self._watch()
        line.settle()
        try:
            await self._done
        except asyncio.CancelledError:
            self._body.stop(Ending.CANCELLED)
            await self._land()
            raise

    async def _land(self) -> None:
        """Wait, however often cancelled, until the piece under way is done with: it counts too."""
        while self._busy:
            self._done = self._body.line.loop.create_future()
            with suppress(asyncio.CancelledError):
                await self._done

    # Where bytes go.

    @property
    def hungry(self) -> bool:
        """Whether more bytes may come now."""
        if self.outcome is not None:
            return False
        if not self._busy:
            return True
        if self._body.left is None:
            return self._body.size < AHEAD
        return self._spacious

    @property
    def _spacious(self) -> bool:
        return self._ahead is not None and self._filled < len(self._ahead)

    def room(self) -> memoryview:
        """Return where the next bytes are to go."""
        if self._ahead is not None and self._spacious:
            return self._ahead[self._filled :]
        buffers = self._body.line.buffers
        shared = None if self._busy else buffers.top()
        return buffers.scratch if shared is None else shared

    def came(self, view: memoryview) -> None:
        """These bytes came into what ``room`` returned."""
        body = self._body
        if self._spacious:
            self._filled += len(view)
        elif self._busy or self.outcome is not None:
            body.add(bytes(view))
        elif (buffers := body.line.buffers).top() is None:
            # Every buffer is claimed: go on with a copy rather than wait for other uploads.
            self._give(memoryview(bytes(view)))
            self.advance()
        else:
            self._give(view, buffers.claim)
            self.advance()
        self._watch()

    def arrived(self) -> None:
        """The body keeps something that came without ``room``, or has ended."""
        self.advance()
        self._watch()

    # The order of things.

    def advance(self) -> None:
        """Give what is there; tell the end if there is nothing more to give."""
        body = self._body
        while not self._busy and self.outcome is None:
            rest = self._filled or body.size
            if body.reason is Ending.LOST:  # even if all has come: others may have written too
                self._leave(body.reason)
            elif body.end is Ending.COMPLETE and not rest:
                self._leave(body.end)
            elif body.reason is not None:
                self._leave(body.reason)
            elif rest:
                self._give_kept()
            elif body.end is not None:
                self._leave(body.end)
            else:
                return

    def _give_kept(self) -> None:
        """Give what was read ahead, which is older than any piece that the body keeps."""
        if self._ahead is None or not self._filled:
            self._give(memoryview(self._body.take_pieces()))
            return
        view = self._ahead[: self._filled]
        self._held, self._ahead, self._filled = self._ahead, None, 0
        self._give(view)

    def _give(self, view: memoryview, claim: Callable[[], memoryview | None] | None = None) -> None:
        """Give one piece; ``claim`` takes its memory away from everybody else."""
        self._busy = True
        try:
            waiting = self._take(view)
        except Exception as error:
            self._fail(error)
            return
        if waiting is None:
            self._free()
            return
        if claim is not None:
            self._held = claim()
        self._wait_for(waiting)

    def _wait_for(self, waiting: Awaitable[None]) -> None:
        body = self._body
        self._unwatch()
        if body.left and not body.size:
            self._ahead = body.line.buffers.claim()
        asyncio.ensure_future(waiting, loop=body.line.loop).add_done_callback(self._written)
        body.line.settle()

    def _written(self, waiting: asyncio.Future[None]) -> None:
        """The piece under way is done with."""
        self._free()
        if waiting.cancelled():
            self._fail(asyncio.CancelledError())
        elif (error := waiting.exception()) is not None:
            self._fail(error)
        else:
            self.advance()
        if not self._busy:
            self._drop_ahead()
        self._watch()
        self._body.line.settle()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._free()
        self._leave(Ending.CANCELLED)
        self._body.stop(Ending.CANCELLED)

    def _leave(self, outcome: Ending) -> None:
        """``take`` gets nothing more."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        self._unwatch()
        self._drop_ahead()
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _free(self) -> None:
        self._busy = False
        if self._held is not None:
            self._body.line.buffers.release(self._held)
            self._held = None

    def _drop_ahead(self) -> None:
        if self._ahead is not None:
            self._body.line.buffers.release(self._ahead)
            self._ahead = None
            self._filled = 0

    # Time.

    def _watch(self) -> None:
        """While we wait for the network, something must come within the idle time-out."""
        if self._busy or self.outcome is not None or self._body.end is not None:
            return
        self._watching = True
        line = self._body.line
        line.deadline.within(line.body_timeout, self._stalled)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._body.line.deadline.drop()

    def _stalled(self) -> None:
        self._watching = False
        self._body.stop(Ending.STALLED)
