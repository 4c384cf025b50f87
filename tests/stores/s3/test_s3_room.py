"""Room for parts on their way: who gets it, and who has to give it back."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
from s3_faults import FaultyGateway
from s3_places import LEAST
from s3_steps import Client

from vectus.errors import StoreUnavailable
from vectus.protocol.upload import Upload
from vectus.stores.s3.place import Place
from vectus.stores.s3.room import FAIR, HUNG, IDLE, Room, victim
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import ID, bytes_of, give, pattern, plan

LIMIT = 60.0


@dataclass(eq=False)
class Sender:
    """Somebody with room."""

    room: Room
    since: float = 0.0
    touched: float = 0.0
    yielding: bool = False
    busy: bool = False
    amount: int = 0

    def give_way(self) -> None:
        self.room.leave(self)
        self.room.give_back(self.amount)


def test_the_idlest_goes_first() -> None:
    """Who has not sent for longest yields, once that is a while."""
    room = Room(1)
    a, b = Sender(room, touched=1.0), Sender(room, touched=2.0)

    assert victim([a, b], 2.0 + IDLE, 0, 0) is a
    assert victim([a, b], 1.0 + IDLE / 2, 0, 0) is None


def test_one_at_a_time() -> None:
    """While one is on its way out nobody else is asked, unless that takes long."""
    room = Room(1)
    a, b = Sender(room, touched=2.0), Sender(room, touched=1.0, yielding=True)
    asked = 100.0 - HUNG / 2

    assert victim([a, b], 100.0, 100.0, asked) is None
    assert victim([a, b], 100.0 + HUNG, 100.0, asked) is a
    assert victim([], 100.0, 100.0, 0) is None


def test_who_is_busy_is_not_asked() -> None:
    """Who is ending, or taking bytes, cannot yield, however idle it looks; another one does."""
    room = Room(1)
    a, b = Sender(room, touched=1.0, busy=True), Sender(room, touched=2.0)

    assert victim([a, b], 100.0, 100.0, 0) is b
    assert victim([a], 100.0, 100.0, 0) is None


def test_who_sends_a_byte_now_and_then_yields_too() -> None:
    """After a while the one that has had its room longest yields, idle or not."""
    room = Room(1)
    a, b = Sender(room, since=5.0, touched=9.0), Sender(room, since=4.0, touched=9.1)

    assert victim([a, b], 9.1, FAIR - 1, 0) is None
    assert victim([a, b], 9.1, FAIR, 0) is b


async def test_room_is_given_in_turn() -> None:
    """Who came first gets it first, even if less would fit sooner."""
    room = Room(10)
    order: list[str] = []

    async def want(name: str, amount: int) -> None:
        await room.take(amount)
        order.append(name)

    await room.take(8)
    tasks = [asyncio.create_task(want(*each)) for each in (("a", 9), ("b", 1))]
    await asyncio.sleep(0)
    room.give_back(8)
    await asyncio.wait_for(asyncio.gather(*tasks), LIMIT)

    assert order == ["a", "b"]
    assert room.used == 10


async def test_more_than_there_is_gets_all_of_it() -> None:
    """A part larger than the whole room is let in alone."""
    room = Room(10)
    assert await room.take(100) == 10
    room.give_back(10)
    assert room.used == 0


async def test_who_leaves_the_line_holds_nobody_up() -> None:
    """A cancelled wait leaves no trace, before or at the moment it is granted."""
    room = Room(10)
    await room.take(10)
    first, second = (asyncio.create_task(room.take(amount)) for amount in (10, 5))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    room.give_back(10)
    second.cancel()
    await asyncio.wait([second])

    assert first.cancelled()
    assert second.cancelled() or room.used == 5
    room.give_back(room.used)
    assert await asyncio.wait_for(room.take(10), LIMIT) == 10


async def test_idle_holders_are_asked() -> None:
    """Whoever waits gets the room of one that makes no use of it."""
    room = Room(10)
    idle = Sender(room, amount=await room.take(10))
    room.enter(idle)

    assert await asyncio.wait_for(room.take(10), LIMIT) == 10


@pytest.fixture
async def narrow(place: Place, gateway: FaultyGateway):
    """A store with room for four parts."""
    store = S3Store(replace(place, spool=4 * LEAST), gateway)
    yield store
    await store.aclose()


@pytest.mark.timeout(300)
async def test_stalled_clients_do_not_starve_live_ones(narrow: S3Store) -> None:
    """Room for four parts, fifty uploads, forty of them stalled in the middle of a part: the other
    ten finish, and then the forty, when they go on."""
    data = pattern(3 * LEAST + 1000)
    stalled, go_on = asyncio.Event(), asyncio.Event()
    arrived = 0

    async def slow(id: str) -> None:
        nonlocal arrived
        upload = await narrow.load(id)
        async with narrow.append(upload, plan(0, len(data))) as sink:
            await give(sink, data[: LEAST // 2])
            arrived += 1
            if arrived == 40:
                stalled.set()
            await go_on.wait()
            await give(sink, data[LEAST // 2 :])
            await sink.commit(replace(upload, offset=len(data), finished=True))

    async def live(id: str) -> None:
        upload = await narrow.load(id)
        async with narrow.append(upload, plan(0, len(data))) as sink:
            for at in range(0, len(data), 50_000):
                await give(sink, data[at : at + 50_000])
            await sink.commit(replace(upload, offset=len(data), finished=True))

    ids = [f"upload-{number}" for number in range(50)]
    for id in ids:
        await narrow.create(Upload(id, length=len(data)))
    slow_ones = [asyncio.create_task(slow(id)) for id in ids[:40]]
    await asyncio.wait_for(stalled.wait(), LIMIT)
    await asyncio.wait_for(asyncio.gather(*map(live, ids[40:])), LIMIT)

    assert not any(task.done() for task in slow_ones)
    assert narrow._room.used <= 4 * LEAST
    assert [await bytes_of(narrow, id) == data for id in ids[40:]] == [True] * 10
    go_on.set()
    await asyncio.wait_for(asyncio.gather(*slow_ones), LIMIT)
    assert [await bytes_of(narrow, id) == data for id in ids[:40]] == [True] * 40
    assert narrow._room.used == 0


async def test_a_commit_that_hangs_keeps_nobody_from_room(
    narrow: S3Store, gateway: FaultyGateway
) -> None:
    """The idlest of those who have room is at its end, which hangs in S3: the next one yields."""
    hangs, go_on = threading.Event(), threading.Event()

    def call(operation: str, parameters: dict[str, Any]) -> None:
        if operation == "put_object" and parameters["Key"].endswith("/held-0.part"):
            hangs.set()
            go_on.wait(LIMIT)

    gateway.on_call = call
    async with AsyncExitStack() as stack:
        stack.callback(go_on.set)
        sinks = []
        for number in range(4):
            upload = Upload(f"held-{number}", length=LEAST)
            await narrow.create(upload)
            sinks.append(await stack.enter_async_context(narrow.append(upload, plan(0, LEAST))))
            await give(sinks[-1], b"some")
        first = replace(Upload("held-0", length=LEAST), offset=4)
        ending = asyncio.create_task(sinks[0].commit(first))
        assert await asyncio.to_thread(hangs.wait, LIMIT)
        await narrow.create(Upload(ID, length=LEAST))
        live = narrow.append(await narrow.load(ID), plan(0, LEAST))
        await stack.enter_async_context(live)

        await asyncio.wait_for(give(live, b"more"), LIMIT / 2)

        assert not ending.done()
        go_on.set()
        await ending


async def test_what_was_put_aside_counts(narrow: S3Store, place: Place) -> None:
    """A stalled client's bytes that had to make way are in its tail, and survive a crash."""
    await narrow.create(Upload(ID, length=10 * LEAST))
    async with narrow.append(await narrow.load(ID), plan(0, 10 * LEAST)) as sink:
        await give(sink, pattern(LEAST + 100))
        sink.give_way()
        await sink._yielded()
        node = S3Store(place)
        assert (await node.load(ID)).offset == LEAST + 100
        await node.aclose()
        assert narrow._room.used == 0
        await give(sink, pattern(3 * LEAST)[LEAST + 100 :])
        sink.give_way()
        await sink.commit(Upload(ID, length=10 * LEAST, offset=3 * LEAST))

    await Client(narrow, pattern(10 * LEAST)).run()
    assert await bytes_of(narrow, ID) == pattern(10 * LEAST)


async def test_unverified_bytes_that_wait_are_sent_again(narrow: S3Store) -> None:
    """A stalled request whose bytes may have to be taken back loses its room, and nothing of it
    counts."""
    await narrow.create(Upload(ID, length=LEAST))
    sink = narrow.append(await narrow.load(ID), plan(0, revocable=True))
    async with sink:
        await give(sink, b"unverified")
        sink.give_way()
        await sink._yielded()
        with pytest.raises(StoreUnavailable):
            await give(sink, b"more")

    assert (await narrow.load(ID)).offset == 0
    assert narrow._room.used == 0


async def test_waiting_for_room_ends_with_the_request(narrow: S3Store) -> None:
    """A request that is cancelled in line leaves the line."""
    await narrow.create(Upload(ID, length=LEAST))
    await narrow._room.take(4 * LEAST)
    sink = narrow.append(await narrow.load(ID), plan(0))

    async def append() -> None:
        async with sink:
            await give(sink, b"waits")

    task = asyncio.create_task(append())
    async with asyncio.timeout(LIMIT):
        while not narrow._room._line:  # noqa: ASYNC110 - a look inside
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait_for(asyncio.wait([task]), LIMIT)
    assert task.cancelled()
    assert not narrow._room._line
