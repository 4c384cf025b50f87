"""Fakes for tests of what stands between the contracts: bodies, clocks, listeners, broken stores.

Each does what its contract says, and what its script says when. Nothing in here sleeps, asserts
anything about who uses it, or knows a concrete store, locker or front end.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from vectus.contracts import Joins, Lease, Scans, Sink, Store, Take
from vectus.events import Event, UploadEvent
from vectus.protocol.exchange import Ending, Plan
from vectus.protocol.messages import Content, Head, Headers, locate
from vectus.protocol.upload import Upload


class Pause:
    """A point at which a script waits: ``reached`` is set there, and ``resume`` lets it go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._resumed = asyncio.Event()

    def resume(self) -> None:
        """Let the script go on, now or when it comes here."""
        self._resumed.set()

    async def wait(self) -> None:
        """Wait here."""
        self.reached.set()
        await self._resumed.wait()


class ScriptedBody:
    """A body that plays a script: a ``contracts.Body``.

    Args:
        script: the pieces to give, and pauses between them.
        ending: why it ends after the last of them, unless it is stopped before.
        trailers: its trailer fields, there once it has ended ``COMPLETE``.
    """

    def __init__(
        self,
        *script: bytes | Pause,
        ending: Ending = Ending.COMPLETE,
        trailers: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._script = script
        self._ending = ending
        self._trailers = Headers(trailers)
        self._pause: Pause | None = None
        self.poured = False
        """Whether anybody asked for its bytes."""
        self.given = 0
        """How many bytes were given."""
        self.ended: Ending | None = None
        """Why it ended, once it has."""

    @property
    def trailers(self) -> Headers:
        """The trailer fields, if it ended where it should."""
        return self._trailers if self.ended is Ending.COMPLETE else Headers()

    def stop(self, reason: Ending) -> None:
        """End it from outside; the first reason counts."""
        if self.ended is None:
            self.ended = reason
        if self._pause is not None:
            self._pause.resume()

    async def pour(self, take: Take) -> Ending:
        """Play the script."""
        assert not self.poured, "a body is poured once at most"
        self.poured = True
        try:
            await self._play(take)
        except asyncio.CancelledError:
            self.stop(Ending.CANCELLED)
            raise
        self.stop(self._ending)
        assert self.ended is not None
        return self.ended

    async def _play(self, take: Take) -> None:
        for step in self._script:
            if self.ended is not None:
                return
            if isinstance(step, Pause):
                self._pause = step
                await step.wait()
                self._pause = None
            elif step:
                self.given += len(step)
                if (unfinished := take(memoryview(step))) is not None:
                    await _landed(asyncio.ensure_future(unfinished))


async def _landed(flight: asyncio.Future[None]) -> None:
    """Wait for a piece that is being taken, to its end; a cancellation is told only then."""
    cancelled = False
    while not flight.done():
        try:
            await asyncio.wait([flight])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        if not flight.cancelled():
            flight.exception()  # looked at, or asyncio would log it as lost
        raise asyncio.CancelledError
    flight.result()


def head(method: str, id: str = "", **fields: str | int | list[str] | None) -> Head:
    """Build a request's head as a front end would.

    Args:
        method: the method.
        id: the upload, or nothing for the collection.
        fields: header fields, ``upload_offset=3`` being ``Upload-Offset: 3``; a list gives one
            line for each item, None leaves a field out. ``Tus-Resumable`` is there unless it is
            among them, and trailers are delivered.
    """
    lines = [
        (name.replace("_", "-"), str(value))
        for name, values in ({"tus_resumable": "1.0.0"} | fields).items()
        if values is not None
        for value in (values if isinstance(values, list) else [values])
    ]
    target = locate(id)
    return Head(method, target, Headers(lines), base="/files/", uri=f"/files/{id}", trailers=True)


class ManualClock:
    """A clock that moves when told: a ``contracts.Clock``."""

    def __init__(self, now: float = 1_000_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return what time it is."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Recorder:
    """A listener that remembers what it was told: a ``contracts.Listener``.

    Args:
        failures: what to raise at which kind of event, each of them for as long as it stays here.
    """

    def __init__(self, failures: dict[type[Event], Exception] | None = None) -> None:
        self.failures = dict(failures or {})
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Be told."""
        self.events.append(event)
        if failure := self.failures.get(type(event)):
            raise failure

    @property
    def names(self) -> list[str]:
        """The names of the kinds of all events, in order."""
        return [type(event).__name__ for event in self.events]

    def uploads(self, kind: type[UploadEvent]) -> list[Upload]:
        """Return the uploads that events of a kind were about, in order."""
        return [event.upload for event in self.events if isinstance(event, kind)]

    def clear(self) -> None:
        """Forget the events."""
        self.events.clear()


class _Fallible(Store, Scans, Joins, Protocol):
    """A store that can do everything."""


Trouble = Exception | Pause
"""What can come between a call of a store and its work."""


class FaultyStore:
    """A store in front of another, that fails or waits where it is told to.

    Its calls are named by the contracts' methods; ``append`` is the opening of a sink, and
    ``write`` and ``commit`` are the sink's. A trouble is met once, by the next call of its name.

    Args:
        inner: the store that does the work.
    """

    def __init__(self, inner: _Fallible) -> None:
        self.inner = inner
        self.calls: list[str] = []
        """The names of the calls that reached it, in order."""
        self._before: dict[str, deque[Trouble]] = defaultdict(deque)
        self._after: dict[str, deque[Trouble]] = defaultdict(deque)

    def before(self, call: str, *troubles: Trouble) -> None:
        """Have the next calls of a name meet trouble before they do anything."""
        self._before[call].extend(troubles)

    def after(self, call: str, *troubles: Trouble) -> None:
        """Have the next calls of a name do their work, and then meet trouble."""
        self._after[call].extend(troubles)

    @property
    def quiet(self) -> bool:
        """Whether every trouble has been met."""
        return not any([*self._before.values(), *self._after.values()])

    # What the store, and its sinks, do.

    async def create(self, upload: Upload, data: bytes = b"") -> None:
        """Create, or fail."""
        async with self.troubled("create"):
            await self.inner.create(upload, data)

    async def load(self, id: str) -> Upload:
        """Load, or fail."""
        async with self.troubled("load"):
            return await self.inner.load(id)

    @asynccontextmanager
    async def append(
        self, upload: Upload, plan: Plan, lease: Lease | None = None
    ) -> AsyncIterator[Sink]:
        """Open a sink that may fail, or fail to."""
        await self._meet("append", self._before)
        async with self.inner.append(upload, plan, lease) as sink:
            await self._meet("append", self._after)
            faulty = _FaultySink(self, sink)
            try:
                yield faulty
            finally:
                await faulty.land()

    async def save(self, upload: Upload) -> None:
        """Save, or fail."""
        async with self.troubled("save"):
            await self.inner.save(upload)

    async def read(self, upload: Upload, start: int, stop: int) -> Content:
        """Read, or fail."""
        async with self.troubled("read"):
            return await self.inner.read(upload, start, stop)

    async def remove(self, id: str) -> None:
        """Remove, or fail."""
        async with self.troubled("remove"):
            await self.inner.remove(id)

    async def aclose(self) -> None:
        """Close the store behind."""
        await self.inner.aclose()

    async def scan(self) -> AsyncIterator[Upload]:
        """Scan, or fail before the first upload, or after the last."""
        async with self.troubled("scan"):
            async for upload in self.inner.scan():
                yield upload

    async def finals(self, part: str) -> Sequence[str]:
        """Find finals, or fail."""
        async with self.troubled("finals"):
            return await self.inner.finals(part)

    async def reserve(self, final: Upload, parts: Sequence[Upload]) -> None:
        """Reserve, or fail."""
        async with self.troubled("reserve"):
            await self.inner.reserve(final, parts)

    async def join(
        self,
        final: Upload,
        parts: Sequence[Upload],
        *,
        take_over: bool,
        lease: Lease | None = None,
    ) -> None:
        """Join, or fail."""
        async with self.troubled("join"):
            await self.inner.join(final, parts, take_over=take_over, lease=lease)

    async def bury(self, id: str) -> None:
        """Bury, or fail."""
        async with self.troubled("bury"):
            await self.inner.bury(id)

    # How trouble is met.

    def troubles(self, call: str) -> bool:
        """Whether the next call of a name meets trouble."""
        return bool(self._before[call] or self._after[call])

    @asynccontextmanager
    async def troubled(self, call: str) -> AsyncIterator[None]:
        """Do a call's work with the trouble that is before and after it."""
        await self._meet(call, self._before)
        yield
        await self._meet(call, self._after)

    async def _meet(self, call: str, troubles: dict[str, deque[Trouble]]) -> None:
        if troubles is self._before:
            self.calls.append(call)
        if troubles[call]:
            trouble = troubles[call].popleft()
            if isinstance(trouble, Exception):
                raise trouble
            await trouble.wait()


class _FaultySink:
    """The sink of a faulty store."""

    def __init__(self, store: FaultyStore, inner: Sink) -> None:
        self._store = store
        self._inner = inner
        self._flight: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many bytes it has taken and would keep."""
        return self._inner.count

    def write(self, data: memoryview) -> Awaitable[None] | None:
        """Write, or fail; where trouble is ahead, as a thread would: nobody can stop it."""
        if not self._store.troubles("write"):
            return self._inner.write(data)
        self._flight = asyncio.get_running_loop().create_task(self._write(data))
        return asyncio.shield(self._flight)

    async def commit(self, upload: Upload) -> None:
        """Commit, or fail."""
        async with self._store.troubled("commit"):
            await self._inner.commit(upload)

    async def land(self) -> None:
        """Wait for the write under way, however often the wait is cancelled; what came of it is
        for whoever gave the piece."""
        if self._flight is not None:
            with suppress(Exception):
                await _landed(self._flight)

    async def _write(self, data: memoryview) -> None:
        async with self._store.troubled("write"):
            if (unfinished := self._inner.write(data)) is not None:
                await unfinished
