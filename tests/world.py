"""An engine with everything around it, to be asked, disturbed and looked into.

For tests of the engine alone: no front end, no process. What a test wants to prove stays in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from vectus.contracts import Locker
from vectus.engine.announce import Announcer
from vectus.engine.engine import Engine
from vectus.engine.sweep import Sweeper
from vectus.errors import UploadNotFound
from vectus.events import Event
from vectus.locks.memory import MemoryLocker
from vectus.protocol.exchange import Payload, Plan
from vectus.protocol.messages import Reply
from vectus.protocol.policy import Policy
from vectus.protocol.upload import Role, Upload
from vectus.stores.file import FileStore
from vectus.stores.memory import MemoryStore
from vectus.testing.fakes import FaultyStore, ManualClock, Recorder, ScriptedBody, head

OCTETS = "application/offset+octet-stream"

LIMIT = 30.0
"""Seconds after which what should have happened has not."""

T = TypeVar("T")


async def soon(awaitable: Awaitable[T]) -> T:
    """Wait for what must happen."""
    return await asyncio.wait_for(awaitable, LIMIT)


class World:
    """An engine on a store that can be made to fail.

    Args:
        inner: the store; a path is a file store's directory.
        locker: the locks; those of memory, if not given.
        clock: the time.
        policy: limits and features, and what else an ``Engine`` takes.
    """

    def __init__(
        self,
        inner: MemoryStore | Path,
        locker: Locker | None = None,
        clock: ManualClock | None = None,
        policy: Policy | None = None,
        *,
        listening: bool = True,
        **options: float,
    ) -> None:
        self.place = inner
        self.inner = FileStore(inner, "none") if isinstance(inner, Path) else inner
        self.store = FaultyStore(self.inner)
        self.locker = locker or MemoryLocker()
        self.clock = clock or ManualClock()
        self.policy = policy or Policy()
        self.recorder = Recorder()
        self.announcer = Announcer()
        if listening:
            self.announcer.add(Event, self.recorder)
        self._options = options
        self.engine = Engine(
            self.store, self.locker, self.policy, self.announcer, clock=self.clock, **options
        )
        self.progress = self.engine.progress
        self.sweeper = Sweeper(self.store, self.progress, retry_every=0.001, scan_every=0.002)

    def restarted(self, **changes: object) -> World:
        """Return a new server on the same uploads; this one is not told."""
        same = {"clock": self.clock, "policy": self.policy, **self._options}
        return World(self.place, **(same | changes))

    async def aclose(self) -> None:
        """End what runs in the background."""
        await self.progress.aclose()
        await self.locker.aclose()
        await self.store.aclose()

    # --- Asking it --------------------------------------------------------------------------------

    async def ask(
        self, method: str, id: str = "", body: bytes | ScriptedBody | None = None, **fields: object
    ) -> Reply:
        """Make one request. Bytes become a body with its length; a script says for itself."""
        if isinstance(body, bytes):
            fields = {"content_length": len(body), **fields}
        if body is not None:
            fields = {"content_type": OCTETS, **fields}
        script = ScriptedBody(body or b"") if isinstance(body, bytes | None) else body
        return await soon(self.engine(head(method, id, **fields), script))

    async def patch(
        self, id: str, offset: int, body: bytes | ScriptedBody = b"", **fields: object
    ) -> Reply:
        """Append."""
        return await self.ask("PATCH", id, body, upload_offset=offset, **fields)

    async def create(self, length: int | None = None, **fields: object) -> str:
        """Create an upload, and return its id."""
        how = {"upload_defer_length": 1} if length is None else {"upload_length": length}
        if str(fields.get("upload_concat", "")).startswith("final"):
            how = {}
        reply = await self.ask("POST", **(how | fields))
        assert reply.status == 201, reply
        return id_of(reply)

    async def partial(self, data: bytes = b"", length: int | None = None) -> str:
        """Create a partial upload with some data in it."""
        length = len(data) if length is None else length
        id = await self.create(length, upload_concat="partial")
        if data:
            assert (await self.patch(id, 0, data)).status == 204
        return id

    async def final(self, *parts: str, **fields: object) -> str:
        """Create a final upload."""
        return await self.create(upload_concat="final;" + " ".join(parts), **fields)

    async def done(self, data: bytes = b"hello", **fields: object) -> str:
        """Create a finished upload."""
        id = await self.create(len(data), **fields)
        assert (await self.patch(id, 0, data)).status == 204
        return id

    async def offset(self, id: str) -> int:
        """Ask how far an upload is."""
        reply = await self.ask("HEAD", id)
        assert reply.status == 200, reply
        return int(reply.header("Upload-Offset"))

    def begin(self, coroutine: Awaitable[T]) -> asyncio.Task[T]:
        """Do something beside the test."""
        return asyncio.ensure_future(coroutine)

    # --- Looking into it --------------------------------------------------------------------------

    async def record(self, id: str) -> Upload:
        """The record, as the store has it."""
        return await self.inner.load(id)

    async def data(self, id: str) -> bytes:
        """The bytes that count."""
        upload = await self.inner.load(id)
        content = await self.inner.read(upload, 0, upload.offset)
        try:
            return b"".join([block async for block in content.blocks()])
        finally:
            await content.aclose()

    async def exists(self, id: str) -> bool:
        """Whether the store has the upload."""
        try:
            await self.inner.load(id)
        except UploadNotFound:
            return False
        return True

    async def change(self, id: str, **values: object) -> None:
        """Change a record behind the engine's back."""
        await self.inner.save(replace(await self.inner.load(id), **values))

    async def put(self, upload: Upload, data: bytes = b"") -> None:
        """Put an upload into the store behind the engine's back."""
        await self.inner.create(replace(upload, offset=0, finished=False))
        if upload.role is Role.FINAL and not data:
            await self.inner.save(upload)
            return
        plan = Plan(0, None, upload.length, Payload(len(data)), revocable=False)
        async with self.inner.append(replace(upload, offset=0), plan) as sink:
            if data and (unfinished := sink.write(memoryview(data))) is not None:
                await unfinished
            await sink.commit(replace(upload, offset=len(data)))

    async def settle(self, holds: Callable[[], Awaitable[object]]) -> None:
        """Wait until something holds that background work brings about."""
        async with asyncio.timeout(LIMIT):
            while not await holds():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)

    async def until_finished(self, id: str) -> Upload:
        """Wait until an upload is recorded as finished, without asking for it."""

        async def finished() -> bool:
            return (await self.record(id)).finished

        await self.settle(finished)
        return await self.record(id)


def id_of(reply: Reply) -> str:
    """The id in a reply's Location."""
    location = reply.header("Location")
    assert location is not None, reply
    return location.removeprefix("/files/")
