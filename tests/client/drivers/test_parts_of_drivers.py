"""The small parts of the drivers by themselves: pace, threads, rate."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest
from hypothesis import given, strategies as st

from vectus.client import pace, threads
from vectus.client.commands import Answer, Exchange
from vectus.client.meter import Meter
from vectus.client.pace import Pace
from vectus.client.threads import Reader, in_thread, settled, to_end
from vectus.client.wire import Echoes
from vectus.protocol.dialects import tus1_client as tus
from vectus.protocol.messages import Headers


def test_a_fast_network_gets_large_blocks():
    """They grow as long as each is gone at once; what the kernel only keeps does not count."""
    now = Pace()
    sizes = []
    while now.size < pace.LARGEST:
        sizes.append(now.size)
        now.went(now.size, 0.0)
    assert sizes.count(pace.FIRST) >= pace.BUFFERED
    now.went(now.size, 0.0)
    assert now.size == pace.LARGEST


def test_a_slow_network_gets_small_ones():
    """They shrink until the caller hears of them now and then."""
    now = Pace()
    for _ in range(20):
        now.went(now.size, 10.0)
    assert now.size == pace.SMALLEST


@given(st.lists(st.floats(0, 100), max_size=200))
def test_a_block_has_a_size_in_bounds(times):
    """Whatever the network does."""
    now = Pace()
    for seconds in times:
        now.went(now.size, seconds)
        assert pace.SMALLEST <= now.size <= pace.LARGEST


async def test_threads_are_used_again():
    """A thread that is done takes another call."""
    used = {await in_thread(threading.current_thread) for _ in range(100)}
    assert len(used) < 20


async def test_a_thread_sees_the_callers_context():
    """Context variables are those of the task that called."""
    who = ContextVar("who", default="nobody")
    who.set("me")
    assert await in_thread(who.get) == "me"
    assert await asyncio.create_task(to_end(who.get)) == "me"


async def test_what_a_call_raises():
    """It is raised where the call is awaited; StopIteration, which no future takes, as another."""

    def fail(error):
        raise error

    for error in (OSError("x"), SystemExit(3)):
        with pytest.raises(type(error)):
            await in_thread(fail, error)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await to_end(fail, StopIteration())


async def test_a_result_that_comes_too_late():
    """It is given to who takes care of it."""
    begun, go, late = threading.Event(), threading.Event(), asyncio.Event()

    def work():
        begun.set()
        assert go.wait(20)
        return "file"

    got = []

    def take(result):
        got.append(result)
        late.set()

    task = asyncio.create_task(in_thread(work, late=take))
    await asyncio.to_thread(begun.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await asyncio.wait_for(late.wait(), 20)
    assert got == ["file"]


async def test_a_result_that_comes_with_the_cancellation(monkeypatch):
    """One that is there, but that the cancelled task has not seen, is given to them as well."""
    succeed, got = threads._succeed, []

    def succeed_and_cancel(*args):
        succeed(*args)
        task.cancel()

    monkeypatch.setattr(threads, "_succeed", succeed_and_cancel)
    task = asyncio.create_task(in_thread(lambda: "file", late=got.append))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert got == ["file"]


async def test_to_the_end_means_the_end():
    """However often the task is cancelled, the call is over when the cancellation is told."""
    begun, go, over = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        assert go.wait(20)
        over.append(True)

    task = asyncio.create_task(to_end(work))
    await asyncio.to_thread(begun.wait, 20)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    assert over == [True]


async def test_settled_looks_at_every_error():
    """Errors of tasks that nobody asks for are not complained about."""
    go = asyncio.Event()

    async def fail():
        await go.wait()
        raise OSError("x")

    tasks = [asyncio.create_task(fail()) for _ in range(3)]
    waiting = asyncio.create_task(settled(tasks))
    await asyncio.sleep(0)
    waiting.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert all(task.done() for task in tasks)


async def test_a_quick_source_stays_on_the_loop(monkeypatch):
    """After a first look from a thread; a slow one never comes."""
    assert threads.QUICK < 0.05
    monkeypatch.setattr(threads, "QUICK", 60.0)  # whatever stops this process meanwhile
    readers = []

    def blocks():
        for _ in range(5):
            readers.append(threading.get_ident())
            yield b"x"

    reader = Reader(blocks())
    while await reader.read():
        pass
    assert readers[0] != threading.get_ident()
    assert readers[-1] == threading.get_ident()


def test_a_closed_meter_is_silent():
    """Nobody hears of an upload whose call is over."""
    heard = []
    meter = Meter(10, heard.append, heard.append)
    meter.sent(None, 5)
    assert len(heard) == 2
    meter.close()
    meter.sent(None, 6)
    assert len(heard) == 2


def test_two_threads_notice_the_same_echo():
    """That another thread notices it at the same moment is no error."""
    echoes, request = Echoes(), Exchange(tus.create(1), "https://h/files/")

    def seen(location):
        return echoes.is_echo(request, Answer(201, Headers([("location", location)])))

    class Met(str):
        """A location that another thread looks at between two looks at it."""

        __slots__ = ("looks",)

        def __hash__(self):
            self.looks = getattr(self, "looks", 0) + 1
            if self.looks == 2:
                seen(self[:])
            return super().__hash__()

        def __eq__(self, other):
            return super().__eq__(other)

    assert not seen("/files/1")
    assert seen(Met("/files/1"))
