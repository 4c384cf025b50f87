"""A holder is stopped before each of its calls, and in the middle of what it sends; meanwhile its
lock is lost and another node takes the upload over; then it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from s3_memory import MemoryS3, Stoppable

from vectus.errors import StoreError, UploadNotFound
from vectus.protocol.upload import Upload
from vectus.stores.s3 import walk
from vectus.stores.s3.client import Answer
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import ID, Held, bytes_of, give, pattern, plan

LEAST = 4 << 10
SIZE, TINY = 4 * LEAST + 700, 800
OURS, THEIRS = pattern(SIZE, 1), pattern(SIZE, 2)
LIMIT = 30.0


@pytest.fixture(autouse=True)
def short_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody knows of is swept at once."""
    monkeypatch.setattr(walk, "OLD", -60.0)


def make_place(*, conditional: bool) -> Place:
    """Return a place whose parts are small and sent one after the other."""
    small = {"smallest": LEAST, "part_size": LEAST, "spool": 64 * LEAST}
    few = {"parts_in_flight": 1, "parts_per_upload": 1}
    return Place("bucket", "uploads", conditional_put=conditional, **small, **few)


@dataclass
class Node:
    """A server on the bucket, and the lease it has."""

    store: S3Store
    lease: Held

    async def load(self) -> Upload:
        """Load the upload under the lease."""
        return replace(await self.store.load(ID), fence=self.lease.fence)

    async def append(self, data: bytes, count: int, *, revocable: bool = False) -> Upload:
        """Append so many bytes of ``data``, or all that are missing; finish what is complete."""
        upload = await self.load()
        start, length = upload.offset, upload.length
        stop = min(length, start + count)
        span = plan(start, length - start, revocable=revocable)
        async with self.store.append(upload, span, self.lease) as sink:
            for at in range(start, stop, 1500):
                await give(sink, data[at : min(stop, at + 1500)])
            done = stop == length
            await sink.commit(replace(upload, offset=stop, finished=done, announced=done))
        return await self.load()

    async def settle(self) -> None:
        """Finish what is complete."""
        upload = await self.load()
        if upload.complete and not upload.finished:
            await self.store.save(replace(upload, finished=True, announced=True))


Work = Callable[[Node], Awaitable[object]]

BEFORE: dict[str, tuple[int, int]] = {
    "nothing": (SIZE, 0),
    "a tail": (SIZE, 700),
    "parts": (SIZE, 2 * LEAST),
    "parts and a tail": (SIZE, 2 * LEAST + 900),
    "all": (SIZE, SIZE),
    "nothing of little": (TINY, 0),
    "little": (TINY, 300),
    "all of little": (TINY, TINY),
}
"""How long the upload is, and how far it was."""

WORK: dict[str, Work] = {
    "a tail": lambda node: node.append(OURS, 500),
    "parts": lambda node: node.append(OURS, 3 * LEAST + 300),
    "checksummed": lambda node: node.append(OURS, LEAST + 300, revocable=True),
    "the rest": lambda node: node.append(OURS, SIZE),
    "a finish": lambda node: node.settle(),
    "a removal": lambda node: node.store.remove(ID),
}
"""What the one does that is stopped."""

CASES = [
    ("nothing", "parts"),
    ("a tail", "the rest"),
    ("parts and a tail", "a tail"),
    ("parts and a tail", "the rest"),
    ("parts and a tail", "a removal"),
    ("parts", "checksummed"),
    ("all", "a finish"),
    ("nothing of little", "the rest"),
    ("little", "the rest"),
    ("all of little", "a finish"),
]


async def prepare(node: Node, length: int, far: int) -> None:
    """Bring an upload there, and no further."""
    await node.store.create(Upload(ID, length=length))
    if far:
        upload = await node.load()
        async with node.store.append(upload, plan(0, length)) as sink:
            await give(sink, OURS[:far])
            await sink.commit(replace(upload, offset=far))


@dataclass
class Case:
    """One upload that is taken over.

    Args:
        before: how far it was.
        work: what its holder was doing.
        nth: at which call it was stopped.
        within: in the middle of what it sent, or before.
        theirs: what the other node's client sends.
        conditional: whether the server looks at conditions.
        told: whether the holder knows of the loss when it goes on.
    """

    before: str
    work: str
    nth: int
    within: bool
    theirs: bytes
    conditional: bool
    told: bool

    def __post_init__(self) -> None:
        self.server = MemoryS3(conditional=self.conditional)
        self.place = make_place(conditional=self.conditional)
        self.door = Stoppable(self.server, self.nth, within=self.within)
        self.first = Node(S3Store(self.place, self.door), Held(1))
        self.second = Node(S3Store(self.place, self.server), Held(2))

    async def run(self, takeover: Callable[[Node, bytes], Awaitable[bytes | None]]) -> bool:
        """Have it taken over, if its holder is stopped; say whether it made so many calls."""
        helper = Node(S3Store(self.place, self.server), Held(0))
        await prepare(helper, *BEFORE[self.before])
        work = asyncio.ensure_future(WORK[self.work](self.first))
        stopped = asyncio.ensure_future(asyncio.to_thread(self.door.stopped.wait, LIMIT))
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not self.door.stopped.is_set():
            self.door.stopped.set()
            await asyncio.gather(work, stopped)
            await self.close(helper)
            return len(self.door.log) >= self.nth
        try:
            self.expected = await takeover(self.second, self.theirs)
        finally:
            self.first.lease.lost = self.told
            self.door.goes_on.set()
        await asyncio.gather(work, stopped, return_exceptions=True)
        error = work.exception()
        assert error is None or isinstance(error, StoreError), repr(error)
        await self.check(Node(S3Store(self.place, self.server), Held(3)))
        await self.close(helper)
        return True

    async def close(self, helper: Node) -> None:
        """Let threads go."""
        for node in (self.first, self.second, helper):
            await node.store.aclose()

    async def check(self, node: Node) -> None:
        """Compare what there is with what must be."""
        try:
            await self.compare(node)
            async for _ in node.store.scan():
                pass
            try:
                await node.store.remove(ID)
            except UploadNotFound:
                pass
            async for _ in node.store.scan():
                pass
            assert self.server.objects == {}
            assert self.server.multiparts == {}
        except AssertionError as error:
            log = "\n".join(self.door.log)
            raise AssertionError(f"{error}\nstopped at call {self.nth} of\n{log}") from error
        finally:
            await node.store.aclose()

    async def compare(self, node: Node) -> None:
        """See to contents and offsets; go on to the end."""
        try:
            upload = await node.load()
        except UploadNotFound:
            assert self.expected is None or self.work == "a removal"
            return
        if self.work == "a removal":
            return  # it had begun, and goes on
        if self.expected is None:
            assert not self.conditional, "a removed upload is there again"
            return
        if upload.failed is not None:
            assert self.may_fail, upload.failed
            return
        assert upload.offset >= len(self.expected) or not self.conditional, "it went back"
        whole = self.expected + self.theirs[len(self.expected) : upload.length]
        if not upload.finished:
            assert upload.offset <= len(self.expected) or not self.conditional
            if not await self.go_on(node):
                assert self.may_fail
                return
        assert await bytes_of(node.store, ID) == whole

    async def go_on(self, node: Node) -> bool:
        """Do what a client does: go on from where the upload says it is; say whether it ended."""
        for _ in range(1 if self.conditional else 3):
            try:
                if (await node.load()).complete:
                    await node.settle()
                else:
                    await node.append(self.theirs, SIZE)
            except StoreError:
                continue
            return True
        return False

    @property
    def may_fail(self) -> bool:
        """Whether the upload may have come to nothing: a part that its holder sends without knowing
        that it is another's by now may take the place of one with other bytes. Then S3 refuses to
        put them together."""
        return not self.told and self.theirs != OURS


async def go_on(node: Node, theirs: bytes, count: int) -> bytes | None:
    """Append so many bytes, or all that are missing; return all that was acknowledged."""
    try:
        upload = await node.load()
    except UploadNotFound:
        return None
    if upload.failed is not None:
        return b""
    start = upload.offset
    if not upload.complete:
        upload = await node.append(theirs, count)
    await node.settle()
    return OURS[:start] + theirs[start : upload.offset]


async def terminate(node: Node, _: bytes) -> None:
    """Remove the upload."""
    try:
        await node.store.remove(ID)
    except UploadNotFound:
        pass


TAKEOVERS: dict[str, Callable[[Node, bytes], Awaitable[bytes | None]]] = {
    "more": lambda node, theirs: go_on(node, theirs, 200),
    "parts": lambda node, theirs: go_on(node, theirs, LEAST + 100),
    "finished": lambda node, theirs: go_on(node, theirs, SIZE),
    "terminated": terminate,
}


async def try_all(takeover: str, *case: object, **options: object) -> None:
    """Stop a holder at every call that it makes."""
    nth, more = 0, True
    while more:
        nth += 1
        tried = Case(*case, nth, **options)
        more = await asyncio.wait_for(tried.run(TAKEOVERS[takeover]), LIMIT)


@pytest.mark.parametrize("takeover", TAKEOVERS)
@pytest.mark.parametrize(("before", "work"), CASES)
async def test_a_stopped_holder_harms_nobody(before: str, work: str, takeover: str) -> None:
    """D5: wherever it was stopped, and whatever the other node did meanwhile, with other bytes:
    what was acknowledged stays, and nothing is made up. Where the server knows conditional puts
    that is certain."""
    for within, told in ((False, False), (False, True), (True, True)):
        await try_all(
            takeover, before, work, within=within, theirs=THEIRS, conditional=True, told=told
        )


@pytest.mark.parametrize("takeover", ["parts", "finished", "terminated"])
@pytest.mark.parametrize(("before", "work"), CASES)
async def test_a_stopped_holder_makes_nothing_up(before: str, work: str, takeover: str) -> None:
    """Where the server knows no conditional puts, the call at which it was stopped may undo what
    was acknowledged; but what is finished in the end is what the client sent."""
    await try_all(takeover, before, work, within=False, theirs=OURS, conditional=False, told=True)


class Slow(Stoppable):
    """A door to a server that makes objects at once, and is late to say so."""

    def __init__(self, server: MemoryS3) -> None:
        super().__init__(server, 0, within=False)

    def call(self, operation: str, **sent: Any) -> Answer:
        """Make a call, and answer it now or later."""
        answer = super().call(operation, **sent)
        makes = operation in {"complete_multipart_upload", "put_object"}
        if makes and sent["Key"] == f"uploads/{ID}":
            self._stop()
        return answer


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("before", ["all", "all of little"])
async def test_nothing_comes_back_while_an_object_is_made(
    before: str, *, conditional: bool
) -> None:
    """That can take S3 minutes. Whoever has lost its lock by then does not record an upload as
    finished that is removed."""
    server, place = MemoryS3(conditional=conditional), make_place(conditional=conditional)
    door = Slow(server)
    one, two = Node(S3Store(place, door), Held(1)), Node(S3Store(place, server), Held(0))
    await prepare(two, *BEFORE[before])
    two.lease = Held(2)
    finishing = asyncio.ensure_future(one.settle())
    assert await asyncio.to_thread(door.stopped.wait, LIMIT)
    await two.settle()
    await two.store.remove(ID)
    door.goes_on.set()
    with pytest.raises(UploadNotFound):
        await finishing

    assert server.objects == {}
    await one.store.aclose()
    await two.store.aclose()
