"""Where the bytes of one append go: into a spool file, part by part, and from there to S3.

While one part is sent the next one fills. As parts are acknowledged they are recorded, several at
once where they come fast, unless the bytes may have to be taken back; what is left when the request
ends becomes the tail. What follows a part that could not be sent does not count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from vectus.contracts import Lease
from vectus.errors import Overtaken, StoreError, StoreFull, StoreUnavailable, UploadNotFound
from vectus.protocol.exchange import Plan, Reason, Refused
from vectus.protocol.upload import Upload
from vectus.stores.disk import Disk, settled
from vectus.stores.folder import map_errors
from vectus.stores.s3.layout import Ack, State, extended
from vectus.stores.s3.parts import LARGEST, MOST
from vectus.stores.s3.pen import Writer
from vectus.stores.s3.place import Place
from vectus.stores.s3.record import Kept
from vectus.stores.s3.room import Room
from vectus.stores.s3.spool import Shelf, Spool, SpoolReader
from vectus.stores.s3.threads import Threads
from vectus.stores.s3.vault import Rest, Vault

NOTE_EVERY = 0.25
"""Seconds between two records of one upload, unless half as many parts wait for it as may be under
way: a record costs as much as a part does, but for the part's bytes."""


@dataclass(frozen=True, slots=True)
class Dock:
    """What all appends of one store share."""

    vault: Vault
    place: Place
    threads: Threads
    room: Room
    disk: Disk
    shelf: Shelf


@dataclass(eq=False, slots=True)
class Piece:
    """A part that is being filled, or on its way."""

    number: int
    start: int
    size: int
    spool: Spool
    taken: int
    filled: int = 0

    @property
    def left(self) -> int:
        """How many bytes it still takes."""
        return self.size - self.filled


class S3Sink:
    """One append to one upload; made by ``S3Store.append``, used as a context once.

    Args:
        dock: what appends share.
        upload: the upload as just loaded.
        plan: what may come.
        known: its record, if it was just read.
        lease: the upload's, or None for one that is never lost.
    """

    def __init__(
        self,
        dock: Dock,
        upload: Upload,
        plan: Plan,
        known: Kept | None,
        lease: Lease | None = None,
    ) -> None:
        self._dock = dock
        self._writer = Writer(upload, lease)
        self._plan = plan
        self._known = known
        self._count = 0
        self._keep = 0
        self._piece: Piece | None = None
        self._next = 0
        self._acks: dict[int, Ack] = {}
        self._flights: dict[asyncio.Task[None], Piece] = {}
        self._noting: asyncio.Task[None] | None = None
        self._unnoted: StoreUnavailable | None = None
        self._due = asyncio.Event()
        self._moved = asyncio.Event()
        self._recording = asyncio.Lock()
        self._writing: asyncio.Task[None] | None = None
        self._yielding: asyncio.Task[None] | None = None
        self._in_line: asyncio.Future[int] | None = None
        self._error: Exception | None = None
        self._ending = False
        self._over = False
        self.since = self.touched = 0.0

    # --- What the engine sees ---------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many bytes it has taken and would keep."""
        return self._count

    def write(self, data: memoryview) -> Awaitable[None] | None:
        """Write a piece: here and now where it fits into the part at hand, else in a task."""
        piece = self._piece
        fits = piece is not None and len(data) < piece.left
        if fits and not self.yielding and self._error is None and self._dock.disk.fast:
            assert piece is not None
            self._touch()
            self._dock.disk.inline(self._pour, piece, data)
            return None
        self._writing = asyncio.get_running_loop().create_task(self._write(data))
        return settled(self._writing, self._hasten)

    async def commit(self, upload: Upload) -> None:
        """Make ``upload`` the record and its bytes count; see ``contracts.Sink``."""
        self._ending = True
        await _to_its_end(self._commit(upload))

    async def __aenter__(self) -> Self:
        start, look = self._plan.start, self._dock.vault.open
        if self._known is None:
            kept = await self._dock.threads.run(look, self._writer, start, None)
        else:
            kept = look(self._writer, start, self._known)
        self._settle(kept)
        self._next = kept.state.next
        self._keep = start - kept.state.end
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending = True
        displaced = isinstance(error, Refused) and error.reason is Reason.DISPLACED
        drops = self._plan.revocable or displaced or self._writer.lost
        await _to_its_end(self._drop() if drops or self._over else self._keep_all())

    def _settle(self, kept: Kept) -> None:
        """Take note of what the record says now."""
        self._kept = kept
        self._mine = {kept.state}
        self._acks = {
            number: ack for number, ack in self._acks.items() if number >= kept.state.next
        }
        self._moved.set()

    @property
    def _recorded(self) -> State:
        return self._kept.state

    # --- Room -------------------------------------------------------------------------------------

    @property
    def yielding(self) -> bool:
        """Whether it is giving its room back."""
        return self._yielding is not None and not self._yielding.done()

    def give_way(self) -> None:
        """Write what there is as the tail, and free its room; see ``room.Holder``."""
        if self._piece is not None and not self.busy:
            self._yielding = asyncio.get_running_loop().create_task(self._stash())

    @property
    def busy(self) -> bool:
        """Whether it is ending, or taking bytes at this moment."""
        return self._ending or (self._writing is not None and not self._writing.done())

    async def _stash(self) -> None:
        """Put what is new in the piece into the tail. Bytes that may have to be taken back cannot
        be kept for later: their client sends them again."""
        try:
            await self._land()
            piece = self._piece
            if piece is not None and piece.start + piece.filled > self._plan.start:
                if self._plan.revocable:
                    raise StoreUnavailable("there is no room for requests that wait")
                await self._stash_piece(piece)
        except Exception as error:
            self._over = True  # nobody knows what the record says now
            self._fail(error)
        finally:
            self._close_piece()

    async def _stash_piece(self, piece: Piece) -> None:
        if self._error is None:
            async with self._recording:
                await self._record(self._result()[0], Rest(piece.spool, piece.filled))
            self._keep = piece.filled

    # --- Taking bytes in --------------------------------------------------------------------------

    async def _write(self, data: memoryview) -> None:
        await self._yielded()
        while data:
            if self._error is not None:
                raise self._error
            piece = self._piece or await self._open_piece()
            count = min(len(data), piece.left)
            self._touch()
            await self._dock.disk.run(self._pour, piece, data[:count])
            data = data[count:]
            if not piece.left and piece.start + piece.size != self._length:
                self._launch(piece)

    @property
    def _length(self) -> int | None:
        """How long the upload will be. Its last part waits for the commit, which may make it the
        whole object."""
        return self._writer.upload.length if self._plan.length is None else self._plan.length

    def _pour(self, piece: Piece, data: memoryview) -> None:
        with map_errors():
            written = piece.spool.write(data, piece.filled)
        piece.filled += written
        self._count += written
        if written < len(data):
            raise StoreFull

    async def _open_piece(self) -> Piece:
        """Make room for a part, and begin it with the tail if there is one."""
        await self._clear_the_way()
        self._piece = await self._new_piece()
        try:
            await self._refill(self._piece)
        except BaseException:
            self._close_piece()
            raise
        self.since = asyncio.get_running_loop().time()
        self._touch()
        self._dock.room.enter(self)
        return self._piece

    async def _clear_the_way(self) -> None:
        """Wait until fewer parts are under way than may be. A part is, until it is recorded: a
        crash costs no more than that."""
        most = self._dock.place.parts_per_upload
        while self._under_way >= most and not self._ending:
            if self._stuck:
                raise self._stuck
            self._due.set()
            self._moved.clear()
            await self._moved.wait()

    @property
    def _under_way(self) -> int:
        """How many parts have been launched and are not recorded. Of bytes that may have to be
        taken back none are, before the end."""
        recorded = 0 if self._plan.revocable else len(self._acks)
        return len(self._flights) + recorded

    @property
    def _stuck(self) -> Exception | None:
        """Why nothing moves any more, if so."""
        if self._error is not None:
            return self._error
        idle = not self._flights and (self._noting is None or self._noting.done())
        return self._unnoted if idle else None

    async def _new_piece(self) -> Piece:
        room, schedule = self._dock.room, self._recorded.schedule
        start, size = schedule.start_of(self._next), schedule.size_of(self._next)
        if self._next > MOST:
            raise StoreFull
        self._in_line = asyncio.ensure_future(room.take(min(size, self._keep + self._expected)))
        taken = await self._in_line
        try:
            with map_errors():
                shelf, lease = self._dock.shelf, self._writer.lease
                spool = await self._dock.disk.run(Spool, shelf, lease)
        except BaseException:
            room.give_back(taken)
            raise
        return Piece(self._next, start, size, spool, taken)

    @property
    def _expected(self) -> int:
        """How many more bytes may come with this request; of an unknown number, any."""
        said = (self._plan.payload.size, self._plan.room)
        return max(
            0, min((each for each in said if each is not None), default=LARGEST) - self._count
        )

    async def _refill(self, piece: Piece) -> None:
        """Read the tail back, of which all counts but what this append has cut off."""
        if self._keep:
            vault, spool = self._dock.vault, piece.spool
            await self._dock.threads.run(vault.fetch_tail, self._writer, self._kept, spool)
            piece.filled = self._keep

    # --- Sending ----------------------------------------------------------------------------------

    def _launch(self, piece: Piece) -> None:
        """Send a part, and go on with the next."""
        self._piece, self._keep = None, 0
        self._next += 1
        self._dock.room.leave(self)
        flight = asyncio.get_running_loop().create_task(self._carry(piece))
        self._flights[flight] = piece
        flight.add_done_callback(self._landed)

    async def _carry(self, piece: Piece) -> None:
        data = SpoolReader(piece.spool, piece.filled)
        try:
            multipart = await self._begun()
            send = self._dock.vault.send
            etag = await self._dock.threads.send(
                send, self._writer.upload, multipart, piece.number, data
            )
        except Exception as error:
            self._fail(error)
            return
        finally:
            piece.spool.close()
            self._dock.room.give_back(piece.taken)
        self._acks[piece.number] = Ack(etag, piece.filled)
        if not self._plan.revocable:
            self._have_noted()

    def _landed(self, flight: asyncio.Task[None]) -> None:
        del self._flights[flight]
        self._moved.set()

    async def _begun(self) -> str:
        """Return S3's id of the multipart upload; begin it before its first part."""
        async with self._recording:
            if self._recorded.multipart is None:
                begin, mine = self._dock.vault.begin, frozenset(self._mine)
                self._settle(await self._dock.threads.run(begin, self._writer, self._kept, mine))
            assert self._recorded.multipart is not None
            return self._recorded.multipart

    # --- Recording --------------------------------------------------------------------------------

    def _have_noted(self) -> None:
        """Have the parts recorded that have been acknowledged: from then on they survive a crash.
        Soon, or at once if there are half as many of them as may be under way."""
        if len(self._acks) * 2 >= self._dock.place.parts_per_upload:
            self._due.set()
        if self._noting is None or self._noting.done():
            self._noting = asyncio.get_running_loop().create_task(self._note())

    async def _note(self) -> None:
        """Record parts until there are no more. If that fails for now, the end of the request tries
        again; and what the end does, needs not be done here."""
        try:
            while self._unrecorded and not (self._ending or self._over):
                self._due.clear()
                async with self._recording:
                    await self._record(extended(self._recorded, self._acks), None)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._due.wait(), NOTE_EVERY)
        except StoreUnavailable as error:
            self._unnoted = error
        except Exception as error:
            self._fail(error)
        finally:
            self._moved.set()

    @property
    def _unrecorded(self) -> bool:
        """Whether there are parts to be recorded: acknowledged, and without a gap before them."""
        return self._recorded.next in self._acks

    async def _record(self, state: State, rest: Rest | None) -> None:
        self._mine.add(state)
        note, mine = self._dock.vault.note, frozenset(self._mine)
        self._settle(
            await self._dock.threads.run(note, self._writer, self._kept, state, mine, rest)
        )

    def _fail(self, error: Exception) -> None:
        """Take no more: what follows a gap would not count."""
        self._error = self._error or error
        self._moved.set()

    # --- Ending -----------------------------------------------------------------------------------

    async def _commit(self, upload: Upload) -> None:
        await self._quiet()
        if self._error is None:
            await self._trim(upload.offset)
            if (piece := self._piece) and piece.filled and upload.complete and self._parted:
                self._launch(piece)
            await self._land()
        if self._error is not None:
            self._writer.check()  # which may be why
            raise self._error
        await self._seal(replace(self._writer, upload=upload))

    async def _seal(self, writer: Writer) -> None:
        async with self._recording:
            self._over = True
            state, rest = self._result()
            seal, mine = self._dock.vault.seal, frozenset(self._mine)
            await self._dock.threads.run(seal, writer, self._kept, state, mine, rest)

    async def _keep_all(self) -> None:
        """Keep what was taken without a commit, as far as there is no gap."""
        try:
            await self._quiet()
            await self._land()
            if self._over or isinstance(self._error, Overtaken | UploadNotFound):
                return
            async with self._recording:
                self._over = True
                state, rest = self._result()
                if rest is not None or state.end > self._recorded.end:
                    await self._record(state, rest)
        finally:
            self._close_piece()

    async def _drop(self) -> None:
        """Forget what is not recorded. Parts on their way are cut short."""
        self._over = True
        for piece in self._flights.values():
            piece.spool.stopped = True
        try:
            await self._quiet()
            await self._land()
        finally:
            self._close_piece()

    def _result(self) -> tuple[State, Rest | None]:
        """Return the unbroken run of parts, and what follows it."""
        state, piece = extended(self._recorded, self._acks), self._piece
        if piece is None or piece.start != state.end:
            return state, None
        rest = Rest(piece.spool, piece.filled) if piece.filled else None
        return replace(state, tail=0, crc=0), rest

    async def _trim(self, offset: int) -> None:
        """Cut off what lies beyond the offset that is to be committed, or was there before."""
        surplus = self._plan.start + self._count - offset
        cut = self._next == self._recorded.next and self._keep != self._recorded.tail
        if (surplus or cut) and self._piece is None:
            await self._open_piece()
        if surplus:
            if self._piece is None or not 0 <= surplus <= self._piece.filled:
                raise StoreError("Parts that were sent cannot be taken back.")
            self._piece.filled -= surplus

    @property
    def _parted(self) -> bool:
        """Whether there is a multipart upload, or will be."""
        return bool(self._recorded.multipart or self._flights or self._acks)

    async def _quiet(self) -> None:
        """Wait for the write under way; what came of it is for whoever gave the piece."""
        if self._writing is not None:
            await asyncio.wait((self._writing,))
        await self._yielded()

    async def _yielded(self) -> None:
        if self._yielding is not None:
            await asyncio.wait((self._yielding,))

    async def _land(self) -> None:
        """Wait for every part that is on its way, and for what is being recorded."""
        while self._flights:
            await asyncio.wait(self._flights)
            await asyncio.sleep(0)  # their callbacks come first
        if self._noting is not None:
            self._due.set()
            await asyncio.wait((self._noting,))

    def _close_piece(self) -> None:
        piece, self._piece = self._piece, None
        self._dock.room.leave(self)
        if piece is not None:
            piece.spool.close()
            self._dock.room.give_back(piece.taken)

    def _touch(self) -> None:
        self.touched = asyncio.get_running_loop().time()

    def _hasten(self) -> None:
        """The request was cancelled: do not wait for room any more."""
        if self._in_line is not None:
            self._in_line.cancel()


async def _to_its_end(steps: Coroutine[object, object, None]) -> None:
    await settled(asyncio.get_running_loop().create_task(steps))
