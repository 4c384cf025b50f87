"""Every joint of vectus on one page: what the parts promise each other.

Stores, lockers, front ends and listeners implement these; the engine uses nothing else of them.
``vectus.testing`` has a conformance suite for each, for our implementations and for yours.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vectus.events import Event
from vectus.protocol.exchange import Ending, Plan
from vectus.protocol.messages import Content, Head, Headers, Reply
from vectus.protocol.upload import Upload

Clock = Callable[[], float]
"""Seconds since the epoch, now."""

Listener = Callable[[Event], Awaitable[None] | None]
"""Told of an event. On a ``Before…`` event it may raise ``events.Rejected``."""

Take = Callable[[memoryview], Awaitable[None] | None]
"""Takes a piece of a body, whole.

It returns None when it is done with the piece, or an awaitable when it is not: then the piece's
memory belongs to it, and no other piece may be given to it, until the awaitable is done.
"""


class Body(Protocol):
    """A request's body: a source of bytes that remembers why it ended."""

    @property
    def trailers(self) -> Headers:
        """The declared trailer fields, once the body has ended ``COMPLETE``; else none."""

    def stop(self, reason: Ending) -> None:
        """End the body from outside; the first reason counts, later calls do nothing.

        Called on the event loop. ``pour`` then returns at once, or when the piece that was given
        last is done with.
        """

    async def pour(self, take: Take) -> Ending:
        """Give every byte to ``take``, in order, and return why there are no more.

        Called once at most. Bytes that had arrived before the client went away, or before the
        framing broke, are given before the end is told. Cancelling it stops the body.

        Raises:
            Exception: whatever ``take``, or the awaitable it returned, raises; no byte is given
                to it after that.
        """


class Handler(Protocol):
    """What a front end calls for every request: the engine."""

    async def __call__(self, head: Head, body: Body) -> Reply:
        """Answer one request; never raises. A body that was not poured may be dropped unread."""


class Sink(Protocol):
    """Where the bytes of one append go, at the plan's start and onwards.

    Leaving its context without ``commit`` abandons it: a revocable plan's bytes are as if they had
    never come, of any other plan every byte that ``write`` is done with stays.
    """

    @property
    def count(self) -> int:
        """How many bytes it has taken and would keep: complete writes, and what fitted of one
        that failed for want of room."""

    def write(self, data: memoryview) -> Awaitable[None] | None:
        """Write ``data`` whole. See ``Take`` for what the returned value means.

        Never keeps the event loop waiting: what may take long goes to a thread and is awaited.

        Raises:
            StoreFull: there is no room (raised here or by the awaitable).
            OSError, StoreError: the store failed.
        """

    async def commit(self, upload: Upload) -> None:
        """Make ``upload`` the record and every byte up to ``upload.offset`` count.

        What is on stable storage when it returns is the store's durability option's matter. It is
        not interrupted by cancellation. Called once at most; nothing is written after it.

        Raises:
            Overtaken: a later lease has written the record.
            StoreFull, OSError, StoreError: nothing of a revocable plan counts.
        """


class Store(Protocol):
    """Keeps uploads: their records, and their bytes.

    The engine calls what changes an upload under the upload's lock only, but for ``create``,
    whose id nobody else knows. Every method raises ``StoreUnavailable`` when a back end is away.
    """

    async def create(self, upload: Upload, data: bytes = b"") -> None:
        """Keep a new upload with its first bytes, in one step: whoever sees it, in this process or
        after a crash, sees all of it.

        Args:
            upload: its record, finished or not; its offset is the length of ``data``.
            data: what there is of it already, some KiB at most.

        Raises:
            UploadExists: the id is taken.
            KeyTaken: the key is; see ``Names``.
            StoreFull: there is no room; nothing is kept.
        """

    async def load(self, id: str) -> Upload:
        """Return the record, its offset being what really is there. Writes nothing.

        Raises:
            UploadNotFound: there is none.
            RecordBroken: there is one, and it cannot be read.
        """

    def append(
        self, upload: Upload, plan: Plan, lease: Lease | None = None
    ) -> AbstractAsyncContextManager[Sink]:
        """Open an upload, as just loaded, for the bytes of a plan; what lies beyond
        ``plan.start`` is cut off first. Leaving the context waits for every write under way, even
        when cancelled.

        Args:
            upload: as loaded, but for its fence, which is the lease's: whatever the sink records
                has it.
            plan: what may come.
            lease: under which it is done, or None for one that is never lost. Once it is lost the
                sink changes nothing any more, and ``commit`` raises ``Overtaken``; a store whose
                lease the kernel keeps need not look.

        Raises:
            Overtaken: a later lease has written the record.
        """

    async def save(self, upload: Upload) -> None:
        """Replace the record, in one step; the bytes stay as they are.

        Raises:
            UploadNotFound: it is not there any more.
            Overtaken: a later lease has written the record.
        """

    async def read(self, upload: Upload, start: int, stop: int) -> Content:
        """Open bytes ``start`` to ``stop`` (not included). What was opened stays readable even
        when the upload is removed meanwhile.

        Raises:
            UploadNotFound: it is not there any more.
        """

    async def remove(self, id: str) -> None:
        """Forget record and bytes.

        Raises:
            UploadNotFound: there was none.
        """

    async def aclose(self) -> None:
        """Free threads and descriptors; the store is not used after it."""


@runtime_checkable
class Trusts(Protocol):
    """A store that need not look everything up for each request that appends."""

    async def recall(self, id: str) -> Upload:
        """Do what ``load`` does, but believe what was seen a moment ago: an append finds out by
        itself if it is so no longer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a store cannot do, whatever the options say; None where there is no such limit.

    Args:
        size: bytes that one upload may have.
        deferred: the same, of an upload whose length is not known when it begins.
        life: seconds after its creation for which an unfinished upload is surely kept.
        scan_every: seconds between two scans, where each costs money or much time.
        scanned_as: what the lock is called under which one of all processes that share the store
            scans for all; the same in all of them and in no others, and no upload's id. Where there
            is none each scans.
    """

    size: int | None = None
    deferred: int | None = None
    life: float | None = None
    scan_every: float | None = None
    scanned_as: str | None = None


@runtime_checkable
class Limited(Protocol):
    """A store that has limits of its own."""

    def limits(self) -> Limits:
        """Find them out. May block, as the opening of a store may; called before anything is
        served."""


@runtime_checkable
class Scans(Protocol):
    """A store that can tell what it has; needed for expiry and for going on after a crash."""

    def scan(self) -> AsyncIterator[Upload]:
        """Yield every upload that could be read, in any order; broken ones are left out. Uploads
        made or removed meanwhile may or may not come, and a second scan may leave out what the
        first one found announced, while it does not expire."""


@runtime_checkable
class Joins(Protocol):
    """A store that can join partials into a final upload."""

    async def finals(self, part: str) -> Sequence[str]:
        """Return the ids of the final uploads that name this partial and are not joined yet, or
        are being joined. A final counts from its ``create`` until it is saved with ``finished``
        or ``failed``, or removed."""

    async def reserve(self, final: Upload, parts: Sequence[Upload]) -> None:
        """Make sure that there is room for the joined bytes.

        Raises:
            StoreFull: there is not.
        """

    async def join(
        self,
        final: Upload,
        parts: Sequence[Upload],
        *,
        take_over: bool,
        lease: Lease | None = None,
    ) -> None:
        """Make the final upload's bytes the parts' bytes, in order; done when they are durable as
        the store's durability option says. It can be called again after any crash or
        cancellation, and starts anew or goes on.

        With ``take_over`` the bytes of parts named once may be moved instead of copied; those
        parts' data may be gone afterwards (their records stay for the engine to settle).

        Args:
            final: as recorded, so that its length is known.
            parts: complete; what could not be made of them yet is made now.
            take_over: see above.
            lease: of the joining, which others may begin as well, or None for one that is never
                lost. Once it is lost the store changes nothing any more; a store whose lease the
                kernel keeps need not look.

        Raises:
            Overtaken: the lease is lost.
            StoreFull: there was no room after all.
            UploadNotFound: a part is gone for good, or the final upload is; its id says which.
        """

    async def bury(self, id: str) -> None:
        """Free the bytes of a partial whose record says ``taken_by``, if any are left; the record
        stays as a tombstone. An upload that is not there is no error."""


@runtime_checkable
class Names(Protocol):
    """A store that keeps an upload's bytes under a key of the application's choice, if there is one
    (``Upload.key``).

    No two uploads, and nothing else in the same place, ever get into each other's way by it: what
    is there is neither written over, nor taken for an upload's bytes, nor removed with it.
    """

    def check_key(self, key: str) -> None:
        """Judge a key by its looks.

        Raises:
            KeyRefused: it cannot be one here.
        """


@runtime_checkable
class Links(Protocol):
    """A store whose finished uploads can be fetched from its own server, for a while."""

    async def link(self, upload: Upload, kind: str, disposition: str) -> str | None:
        """Return a URL of a finished upload's bytes that is of no use soon, or None where there
        is none for this upload, which is then read as from any other store.

        Args:
            upload: finished, and not empty.
            kind: the ``Content-Type`` its answer has.
            disposition: its ``Content-Disposition``.

        Raises:
            UploadNotFound: it is not there any more.
        """


class Lease(Protocol):
    """An upload's lock while it is held."""

    @property
    def fence(self) -> int:
        """A number greater than that of every earlier lease of the same upload."""

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the lock by now, so that nothing may be written any more.

        Right at every moment, also where the process stood still and ``on_lost`` has not been
        called yet, and in every thread. Always false of locks that are never lost.
        """

    def retire(self) -> None:
        """Say that nobody will need this lock soon (the upload is finished, gone, or never was),
        so that what it left behind may be cleaned up at release."""


class Locker(Protocol):
    """Gives out one lease per upload at a time, among all that share it."""

    def hold(
        self,
        id: str,
        on_wanted: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        *,
        ask: bool = True,
        patience: float = 20.0,
    ) -> AbstractAsyncContextManager[Lease]:
        """Hold an upload's lock for the length of the context.

        Args:
            id: the upload.
            on_wanted: called on this event loop, perhaps more than once, when somebody else wants
                the lock; the holder should leave soon.
            on_lost: called on this event loop when the lease has been lost; the holder must stop
                writing at once. Kernel and memory locks are never lost.
            ask: whether to ask the present holder to let go.
            patience: how many seconds to wait; 0 only tries.

        Raises:
            LockHeld: it could not be had in time.
            LockUnavailable: the back end is away.
        """

    async def aclose(self) -> None:
        """Free sockets and tasks; no lease is held any more."""
