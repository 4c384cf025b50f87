"""What every locker must do: a suite to inherit from, for our lockers and for yours.

It knows the contract only; how a locker does it must never matter here. It runs under pytest with
pytest-asyncio in its automatic mode::

    class TestMyLocker(LockerSuite):
        @pytest.fixture
        async def locker(self):
            locker = MyLocker("localhost")
            yield locker
            await locker.aclose()

        @pytest.fixture
        async def other(self):
            locker = MyLocker("localhost")
            yield locker
            await locker.aclose()
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from vectus.contracts import Locker
from vectus.errors import LockHeld

ID = "0123456789abcdef-_ABCDEF"

LIMIT = 20.0
"""Seconds that a test may take in all, and the patience of those who shall be served."""

SOON = 1.0
"""Seconds within which a lock that is free must be had by whoever waits for it."""

A_WHILE = 0.2
"""Seconds long enough for a locker to ask again, should it do so."""


class Holder:
    """Somebody who holds a lock until told to leave; ``polite`` ones also when they are wanted.

    Args:
        locker: where from.
        id: which lock.
        patient: how many times it must be wanted until it leaves; None for never.
    """

    def __init__(self, locker: Locker, id: str = ID, *, patient: int | None = 1) -> None:
        self._locker = locker
        self._id = id
        self._patient = patient
        self._leave = asyncio.Event()
        self.held = asyncio.Event()
        self.wanted = asyncio.Event()
        self.asked = 0

    def leave(self) -> None:
        """Tell it to leave."""
        self._leave.set()

    def on_wanted(self) -> None:
        """Count, and leave if that was enough."""
        self.asked += 1
        self.wanted.set()
        if self.asked == self._patient:
            self.leave()

    async def run(self) -> None:
        """Hold the lock until it is time to leave."""
        async with self._locker.hold(self._id, self.on_wanted, patience=LIMIT):
            self.held.set()
            await self._leave.wait()


class Room:
    """Counts who is inside at a time, and remembers the most there were."""

    def __init__(self) -> None:
        self._inside = 0
        self.most = 0
        self.turns = 0

    async def visit(self) -> None:
        """Be inside for a few rounds of the event loop."""
        self._inside += 1
        self.turns += 1
        self.most = max(self.most, self._inside)
        for _ in range(3):
            await asyncio.sleep(0)
        self._inside -= 1


async def is_free(locker: Locker, id: str = ID) -> bool:
    """Say whether a lock can be had at once."""
    try:
        async with locker.hold(id, ask=False, patience=0):
            return True
    except LockHeld:
        return False


async def wait_in_vain(locker: Locker, patience: float = A_WHILE) -> None:
    """Wait, without asking, for a lock that somebody keeps."""
    with pytest.raises(LockHeld):
        async with locker.hold(ID, ask=False, patience=patience):
            pytest.fail("Two hold one lock.")


async def falls_silent(holder: Holder, locker: Locker) -> bool:
    """Say whether a holder is asked no more, once what was on its way has arrived."""
    for _ in range(5):
        asked = holder.asked
        await wait_in_vain(locker)
        if holder.asked == asked:
            return True
    return False


class LockerSuite:
    """The promises of ``contracts.Locker``, one test for each.

    A subclass gives the fixture ``locker``; and ``other``, another locker for the same locks, where
    there can be one.
    """

    @pytest.fixture
    async def locker(self) -> Locker:
        """Give the locker under test."""
        raise NotImplementedError

    @pytest.fixture
    async def other(self, locker: Locker) -> Locker:
        """Give a second locker that shares the first one's locks."""
        return locker

    @pytest.fixture
    async def both(self, locker: Locker, other: Locker) -> Sequence[Locker]:
        """Give the two of them."""
        return locker, other

    async def test_one_at_a_time(self, both: Sequence[Locker]) -> None:
        """Of many who want a lock one at a time has it, and all have their turn."""
        room = Room()

        async def guest(locker: Locker) -> None:
            for _ in range(5):
                async with locker.hold(ID, patience=LIMIT):
                    await room.visit()

        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(guest(both[number % 2]))

        assert (room.most, room.turns) == (1, 100)

    async def test_one_at_a_time_when_all_retire(self, both: Sequence[Locker]) -> None:
        """Cleaning up at release never lets two hold one lock."""
        room = Room()

        async def guest(locker: Locker) -> None:
            for _ in range(5):
                async with locker.hold(ID, patience=LIMIT) as lease:
                    await room.visit()
                    lease.retire()

        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(guest(both[number % 2]))

        assert (room.most, room.turns) == (1, 100)

    async def test_the_holder_is_asked(self, locker: Locker, other: Locker) -> None:
        """Who wants a lock has its holder asked, and gets it when the holder leaves."""
        holder = Holder(locker)

        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            group.create_task(holder.run())
            await holder.held.wait()
            async with other.hold(ID, patience=LIMIT):
                assert holder.asked >= 1

    async def test_the_holder_is_asked_again(self, locker: Locker, other: Locker) -> None:
        """A holder that does not leave is asked again."""
        holder = Holder(locker, patient=3)

        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            group.create_task(holder.run())
            await holder.held.wait()
            async with other.hold(ID, patience=LIMIT):
                assert holder.asked >= 3

    async def test_the_holder_is_not_asked(self, locker: Locker, other: Locker) -> None:
        """With ``ask=False`` the holder hears nothing."""
        holder = Holder(locker)

        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            group.create_task(holder.run())
            await holder.held.wait()
            await wait_in_vain(other)
            await wait_in_vain(locker)
            holder.leave()

        assert holder.asked == 0

    async def test_a_holder_that_does_not_listen(self, both: Sequence[Locker]) -> None:
        """A holder without ``on_wanted`` keeps the lock for as long as it likes."""
        async with asyncio.timeout(LIMIT), both[0].hold(ID):
            for locker in both:
                with pytest.raises(LockHeld):
                    async with locker.hold(ID, patience=A_WHILE):
                        pytest.fail("Two hold one lock.")

    async def test_the_newest_wins(self, both: Sequence[Locker]) -> None:
        """Everybody who waits is served, if those who hold leave when they are wanted."""
        holders = [Holder(both[number % 2]) for number in range(6)]

        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            for holder in holders:
                group.create_task(holder.run())
            for holder in holders:
                await holder.held.wait()
            async with both[0].hold(ID, patience=LIMIT):
                pass

    async def test_a_failing_on_wanted(self, locker: Locker, other: Locker) -> None:
        """What a holder's ``on_wanted`` raises does not reach the one who asks."""
        failed = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda *_: failed.set())

        def fail() -> None:
            raise RuntimeError("on purpose")

        async with asyncio.timeout(LIMIT), locker.hold(ID, fail):
            with pytest.raises(LockHeld):
                async with other.hold(ID, patience=A_WHILE):
                    pytest.fail("Two hold one lock.")
            await failed.wait()

    async def test_trying(self, both: Sequence[Locker]) -> None:
        """With ``ask=False, patience=0`` a free lock is had, and one that is not is let be."""
        holder = Holder(both[0])

        assert [await is_free(locker) for locker in both] == [True, True]
        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            group.create_task(holder.run())
            await holder.held.wait()
            assert [await is_free(locker) for locker in both] == [False, False]
            assert holder.asked == 0
            holder.leave()
        assert [await is_free(locker) for locker in both] == [True, True]

    async def test_patience(self, both: Sequence[Locker]) -> None:
        """A waiter gives up after its patience, not before."""
        now = asyncio.get_running_loop().time
        async with asyncio.timeout(LIMIT), both[0].hold(ID):
            for locker in both:
                begun = now()
                await wait_in_vain(locker, 0.3)
                assert now() - begun > 0.28

    async def test_released_soon(self, both: Sequence[Locker]) -> None:
        """Whoever has waited for a while has the lock soon after it was let go."""
        for first, second in (both, both[::-1]):
            waited = [await self._wait_for_release(first, second) for _ in range(3)]
            assert min(waited) < SOON  # the machine may have been busy

    async def _wait_for_release(self, first: Locker, second: Locker) -> float:
        now = asyncio.get_running_loop().time
        holder, waiter = Holder(first, patient=None), Holder(second)
        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            group.create_task(holder.run())
            await holder.held.wait()
            group.create_task(waiter.run())
            await wait_in_vain(second)
            holder.leave()
            released = now()
            await waiter.held.wait()
            waiter.leave()
            return now() - released

    async def test_a_failed_holder(self, both: Sequence[Locker]) -> None:
        """An exception passes through the context unchanged and lets go."""
        for locker in both:
            with pytest.raises(ZeroDivisionError):
                async with locker.hold(ID):
                    raise ZeroDivisionError
            assert [await is_free(any_) for any_ in both] == [True, True]

    async def test_a_cancelled_holder(self, both: Sequence[Locker]) -> None:
        """A cancelled holder has let go when it is done."""
        for locker in both:
            holder = Holder(locker)
            running = asyncio.ensure_future(holder.run())
            await asyncio.wait_for(holder.held.wait(), LIMIT)
            running.cancel()
            await asyncio.wait([running], timeout=LIMIT)
            assert running.cancelled()
            assert [await is_free(any_) for any_ in both] == [True, True]

    async def test_a_cancelled_waiter(self, both: Sequence[Locker]) -> None:
        """A cancelled waiter asks no more, and stands in nobody's way."""
        for locker in both:
            holder = Holder(both[0], patient=None)
            async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
                group.create_task(holder.run())
                await holder.held.wait()
                waiter = asyncio.ensure_future(Holder(locker).run())
                await wait_in_vain(locker)
                waiter.cancel()
                await asyncio.wait([waiter], timeout=LIMIT)
                assert waiter.cancelled()
                assert await falls_silent(holder, locker)
                holder.leave()
            assert [await is_free(any_) for any_ in both] == [True, True]

    async def test_a_waiter_cancelled_at_the_release(self, both: Sequence[Locker]) -> None:
        """A waiter cancelled at the moment the lock is let go does not keep it."""
        for locker in both:
            for rounds in range(4):
                holder = Holder(both[0], patient=None)
                running = asyncio.ensure_future(holder.run())
                await asyncio.wait_for(holder.held.wait(), LIMIT)
                waiting = asyncio.ensure_future(Holder(locker).run())
                await asyncio.sleep(0)
                holder.leave()
                for _ in range(rounds):
                    await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([running, waiting], timeout=LIMIT)
                assert [await is_free(any_) for any_ in both] == [True, True]

    async def test_not_told_after_leaving(self, both: Sequence[Locker]) -> None:
        """A holder that has left is not told any more, whoever wants the lock then."""
        for locker in both:
            early = Holder(locker)
            async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
                late = Holder(locker, patient=None)
                group.create_task(early.run())
                await early.held.wait()
                group.create_task(late.run())
                await late.held.wait()
                asked = early.asked
                with pytest.raises(LockHeld):
                    async with both[1].hold(ID, patience=A_WHILE):
                        pytest.fail("Two hold one lock.")
                await late.wanted.wait()
                assert early.asked == asked
                late.leave()

    async def test_not_told_while_leaving(self, both: Sequence[Locker]) -> None:
        """A holder that leaves at the moment it is asked is not told after it has left."""
        for first, second in ((both[0], both[0]), (both[0], both[1])):
            for rounds in range(4):
                early, late = Holder(first, patient=None), Holder(second, patient=None)
                async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
                    async with first.hold(ID, early.on_wanted):
                        group.create_task(late.run())
                        for _ in range(rounds):
                            await asyncio.sleep(0)
                        asked = early.asked
                    await late.held.wait()
                    late.leave()
                assert early.asked == asked

    async def test_fences_rise(self, both: Sequence[Locker]) -> None:
        """Every lease of an upload has a greater fence than all before, retired ones included."""
        fences = []
        for number in range(40):
            async with both[number % 2].hold(ID) as lease:
                fences.append(lease.fence)
                if number % 4 > 1:
                    lease.retire()

        assert fences == sorted(set(fences))
        assert fences[0] > 0

    async def test_a_lease_that_is_held_is_not_lost(self, both: Sequence[Locker]) -> None:
        """A lease says by itself, on the loop and in other threads, that it is not lost."""
        for locker in both:
            async with locker.hold(ID) as lease:
                assert not lease.lost
                assert not await asyncio.to_thread(getattr, lease, "lost")

    async def test_retired_and_held_again(self, both: Sequence[Locker]) -> None:
        """A retired lock is held until its context ends, and can be held again after it."""
        for locker in both:
            async with locker.hold(ID) as lease:
                lease.retire()
                lease.retire()
                assert [await is_free(any_) for any_ in both] == [False, False]
            assert [await is_free(any_) for any_ in both] == [True, True]

    async def test_retired_while_others_wait(self, locker: Locker, other: Locker) -> None:
        """Whoever waits for a lock that is retired gets it, alone."""
        waiters = [Holder(number) for number in (locker, other, locker, other)]

        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            async with locker.hold(ID) as lease:
                for waiter in waiters:
                    group.create_task(waiter.run())
                await wait_in_vain(other)
                lease.retire()
            for waiter in waiters:
                await waiter.held.wait()
            async with locker.hold(ID, patience=LIMIT):
                assert not await is_free(other)

    async def test_uploads_do_not_know_each_other(self, both: Sequence[Locker]) -> None:
        """Locks of different uploads are held at the same time, and asked for one by one."""
        holders = [Holder(both[n % 2], f"upload-{n}") for n in range(50)]

        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            for holder in holders:
                group.create_task(holder.run())
            for holder in holders:
                await holder.held.wait()
            async with both[1].hold("upload-0", patience=LIMIT):
                assert [holder.asked > 0 for holder in holders] == [True] + [False] * 49
            for holder in holders:
                holder.leave()

    async def test_the_longest_id(self, both: Sequence[Locker]) -> None:
        """Every id that can be one can be locked, 128 characters included."""
        for id in ("x" * 128, "-", "_", "-rf"):
            async with both[0].hold(id) as lease:
                assert not await is_free(both[1], id)
                lease.retire()
