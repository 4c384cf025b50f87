"""Two nodes at one join, as one of them stood still for longer than its lock lasts: the other one's
multipart upload stays, and the object has all bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from s3_joining import LEAST, LIMIT, SMALL, CopyingS3, Door
from s3_memory import MemoryS3, Stoppable

from vectus.errors import Overtaken, StoreError, StoreUnavailable, UploadNotFound
from vectus.protocol.upload import Role, Upload
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import Held, bytes_of, fill, pattern

PARTS = [pattern(3 * LEAST + 5, 1), pattern(10, 2), pattern(2 * LEAST, 3)]


async def prepare(server: MemoryS3) -> Upload:
    """Make a final upload whose partials are finished."""
    store = S3Store(SMALL, server)
    ids = tuple(f"part-{number}" for number in range(len(PARTS)))
    for id, data in zip(ids, PARTS, strict=True):
        await fill(store, Upload(id, role=Role.PARTIAL), data)
    final = Upload("final", Role.FINAL, sum(map(len, PARTS)), parts=ids, joining=True)
    await store.create(final)
    await store.aclose()
    return final


async def join(store: S3Store, final: Upload, lease: Held | None = None) -> None:
    """Join as the engine does."""
    parts = [await store.load(part) for part in final.parts]
    await store.join(final, parts, take_over=False, lease=lease)


def stops(*, within: bool) -> Iterator[tuple[CopyingS3, Stoppable]]:
    """Yield a server and the door of a node that is stopped at its n-th call, or in the middle of
    what it sends with it, for every n that there is."""
    for nth in range(1, 100):
        server = CopyingS3(conditional=True)
        yield server, (door := Stoppable(server, nth, within=within))
        if len(door.log) < nth:
            return


async def stop(door: Stoppable, work: Awaitable[None]) -> asyncio.Future[None] | None:
    """Begin some work; return it once it is stopped, or None if it came to its end before."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(asyncio.to_thread(door.stopped.wait, LIMIT))
    await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    if door.stopped.is_set():
        await stopped
        return task
    door.stopped.set()
    await stopped
    await task
    return None


CHANGING = ("put", "delete", "create", "upload", "complete", "abort")


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("far", ["begun", "done"])
async def test_a_join_that_lost_its_lock_harms_no_other(far, within):
    """D5: a node that was stopped at any call of a join, and goes on when another one joins the
    same final upload, or has joined it, makes no other call that changes anything."""
    for server, door in stops(within=within):
        final = await prepare(server)
        lease = Held(1)
        one, two = S3Store(SMALL, door), S3Store(SMALL, other := Door(server))
        stopped = await stop(door, join(one, final, lease))
        if stopped is None:
            await close(one, two)
            continue
        if far == "begun":
            other.fails = lambda operation, _: operation == "complete_multipart_upload"
            with suppress(StoreUnavailable):
                await join(two, final)
        else:
            await join(two, final)
        begun = dict(server.multiparts)
        made = len(door.log)
        lease.lost = True
        door.goes_on.set()
        await asyncio.wait((stopped,), timeout=LIMIT)
        assert isinstance(stopped.exception(), Overtaken | StoreUnavailable | None), door.log
        own = ["abort_multipart_upload uploads/final"] if "create_" in door.log[made - 1] else []
        assert changes(door.log[made:]) == own, door.log
        assert begun.items() <= server.multiparts.items(), door.log
        other.fails = lambda *_: False
        await join(two, final)
        await two.save(replace(final, offset=final.length or 0, joining=False, finished=True))
        assert await bytes_of(two, final.id) == b"".join(PARTS), door.log
        await close(one, two)


async def close(*stores: S3Store) -> None:
    """Let threads go."""
    for store in stores:
        await store.aclose()


def changes(log: list[str]) -> list[str]:
    """Return the calls that change something."""
    return [call for call in log if call.startswith(CHANGING)]


@pytest.mark.parametrize("first", range(1, 16))
async def test_two_joins_at_once_come_to_one_end(first: int) -> None:
    """Two nodes that take turns at every call, the first of which is told too late: the object has
    all bytes in the end."""
    for second in range(1, 40):
        server = CopyingS3(conditional=True)
        final = await prepare(server)
        doors = [Stoppable(server, nth, within=False) for nth in (first, second)]
        leases = [Held(1), Held(2)]
        stores = [S3Store(SMALL, door) for door in doors]
        one = await stop(doors[0], join(stores[0], final, leases[0]))
        two = await stop(doors[1], join(stores[1], final, leases[1]))
        leases[0].lost = True
        doors[0].goes_on.set()
        if one is not None:
            await asyncio.wait((one,), timeout=LIMIT)
        doors[1].goes_on.set()
        if two is not None:
            await asyncio.wait((two,), timeout=LIMIT)
        for task in (one, two):
            if task is not None and (error := task.exception()) is not None:
                assert isinstance(error, StoreError)
                assert not isinstance(error, UploadNotFound)
        again = S3Store(SMALL, server)
        await join(again, final)
        await again.save(replace(final, offset=final.length or 0, joining=False, finished=True))
        assert await bytes_of(again, final.id) == b"".join(PARTS)
        await close(*stores, again)
        if two is None:
            break
