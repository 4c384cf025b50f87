"""A request's body as it comes in: what has arrived, what is still to come, and how it ended.

The connection puts bytes in at one end, from its parser or straight from the socket; at the other
they are read piece by piece, as messages, or poured. What arrived is handed on before an end is.
How the framing looks on the wire, and when the socket is read, is the connection's affair.
"""

from __future__ import annotations

import asyncio

from vectus.contracts import Take
from vectus.direct.framing import Framing
from vectus.direct.line import Line
from vectus.direct.pour import Pour
from vectus.protocol.exchange import Ending
from vectus.protocol.messages import Headers

HIGH_WATER = 64 * 1024
"""How much of a body is kept that nobody has asked for yet."""


class Incoming:
    """One request's body; ``contracts.Body`` for a handler.

    ``left`` is what is still to come of a body that has a length, None of a chunked one; ``end`` is
    how it ended on the wire, None while it has not.
    """

    __slots__ = (
        "_awaited",
        "_declared",
        "_fields",
        "_pieces",
        "_pour",
        "_reason",
        "_size",
        "_spare",
        "_told",
        "_waiter",
        "end",
        "left",
        "line",
    )

    def __init__(self, line: Line, framing: Framing) -> None:
        self.line = line
        self.left = framing.length
        self.end = Ending.COMPLETE if framing.length == 0 else None
        self._declared = framing.trailers
        self._fields: list[tuple[str, str]] | None = None
        self._awaited = framing.expects and self.end is None
        self._pieces: list[bytes] = []
        self._size = 0
        self._reason: Ending | None = None
        self._pour: Pour | None = None
        self._waiter: asyncio.Event | None = None
        self._told = False
        self._spare: int | None = None

    # What the connection does.

    def add(self, piece: bytes) -> None:
        """Keep a piece that has arrived; ``flush`` hands it on."""
        self._awaited = False
        if self._spare is not None:
            self._skip(len(piece))
        elif self._reason is None:
            self._pieces.append(piece)
            self._size += len(piece)

    def flush(self) -> None:
        """Hand on what has arrived."""
        if self._pour is not None:
            self._pour.arrived()
        self.wake()

    def room(self) -> memoryview:
        """Return where the next bytes of a body with a length are to go; never empty."""
        left = self.left or 1
        pour = self._pour
        view = self.line.buffers.scratch if pour is None else pour.room()
        return view[:left] if left < len(view) else view

    def came(self, view: memoryview) -> None:
        """So many bytes came into what ``room`` returned."""
        assert self.left is not None
        self.left -= len(view)
        if self._spare is not None:
            self._skip(len(view))
        elif self._pour is not None:
            self._pour.came(view)
        else:
            self.add(bytes(view))
            self.wake()
        if self.left == 0:
            self.finish(Ending.COMPLETE)

    def declare(self, name: str, value: str) -> None:
        """Keep a trailer field, if it was declared."""
        if name in self._declared:
            self._fields = [*(self._fields or ()), (name, value)]

    def finish(self, ending: Ending) -> None:
        """The body ended on the wire; the first ending counts."""
        if self.end is None:
            self.end = ending
            self.flush()

    @property
    def hungry(self) -> bool:
        """Whether more bytes should be read now.

        After ``stop`` they stay with the kernel until the answer is out and ``discard`` is called.
        """
        if self._spare is not None:
            return True
        if self._reason is not None:
            return False
        pour = self._pour
        return self._size < HIGH_WATER if pour is None else pour.hungry

    def discard(self, spare: int) -> None:
        """Drop what there is, and what comes; after ``spare`` bytes tell the connection."""
        self._spare = spare
        self._pieces.clear()
        self._size = 0
        self.line.settle()

    def _skip(self, count: int) -> None:
        assert self._spare is not None
        self._spare -= count
        if self._spare < 0:
            self.line.spent()

    # What the request's own side does.

    @property
    def awaited(self) -> bool:
        """Whether the client waits for ``100 Continue`` before it sends a byte."""
        return self._awaited

    def invite(self) -> None:
        """Ask a client that waits to be asked for its bytes."""
        if self._awaited and self.end is None and self._reason is None:
            self._awaited = False
            self.line.invite()

    def forgo(self) -> None:
        """The answer has begun: from here on nobody is asked for bytes."""
        self._awaited = False

    def take_pieces(self) -> bytes:
        """Return what has arrived and was not handed on."""
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._size = 0
        return data

    @property
    def size(self) -> int:
        """How many bytes have arrived and were not handed on."""
        return self._size

    def read(self) -> tuple[bytes, bool] | None:
        """Return what has arrived and whether more may come; None when there is nothing to tell,
        now or, after ``end``, ever."""
        complete = self.end is Ending.COMPLETE
        if not self._size and (not complete or self._told):
            return None
        self._told = complete
        data = self.take_pieces()
        self.line.settle()
        return data, not complete

    async def changed(self) -> None:
        """Wait until something has happened to the body, or ``wake`` is called."""
        if self._waiter is None:
            self._waiter = asyncio.Event()
        self._waiter.clear()
        await self._waiter.wait()

    def wake(self) -> None:
        """Let whoever waits in ``changed`` look again."""
        if self._waiter is not None:
            self._waiter.set()

    # contracts.Body

    @property
    def trailers(self) -> Headers:
        """The declared trailer fields of a body that ended ``COMPLETE``."""
        return Headers(self._fields or () if self.end is Ending.COMPLETE else ())

    @property
    def reason(self) -> Ending | None:
        """Why it was stopped from outside, or None."""
        return self._reason

    def stop(self, reason: Ending) -> None:
        """End the body from outside."""
        if self._reason is not None:
            return
        self._reason = reason
        if self._pour is not None:
            self._pour.advance()
        self.line.settle()

    async def pour(self, take: Take) -> Ending:
        """Give every byte to ``take``, and return why there are no more."""
        self.invite()
        self._pour = Pour(self, take)
        return await self._pour.run()
