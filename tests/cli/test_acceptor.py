"""Which worker takes a connection, without any worker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from vectus.serving import acceptor as module
from vectus.serving.acceptor import Acceptor
from vectus.serving.shares import Shares
from vectus.serving.sockets import listen_tcp

MANY = 1 << 20


class Guests:
    """Counts the connections that an acceptor took."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> asyncio.Protocol:
        self.count += 1
        return asyncio.Protocol()


@contextmanager
def accepting(
    listener: socket.socket, guests: Guests, others_first: Callable[[], bool], ceiling: int = MANY
) -> Iterator[None]:
    """Accept as one worker does: on a descriptor of its own."""
    acceptor = Acceptor(listener.dup(), guests, None, ceiling, others_first)
    try:
        yield
    finally:
        acceptor.close()


async def knock(listener: socket.socket, times: int) -> list[socket.socket]:
    """Connect so many times."""
    return [socket.create_connection(listener.getsockname(), 10) for _ in range(times)]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.001)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    [listener] = listen_tcp("127.0.0.1", 0)
    with listener:
        yield listener


async def test_whoever_has_more_lets_the_others_go_first(listener) -> None:
    """Of two that could take a connection, the one that has fewer takes it."""
    busy, idle = Guests(), Guests()
    with accepting(listener, busy, lambda: True), accepting(listener, idle, lambda: False):
        wires = await knock(listener, 40)
        await until(lambda: busy.count + idle.count == 40)

    assert idle.count > busy.count
    for wire in wires:
        wire.close()


async def test_nobody_waits_for_a_worker_that_does_not_come(listener) -> None:
    """When the others do not take a connection, for they may be stuck, it is taken all the
    same."""
    guests = Guests()
    with accepting(listener, guests, lambda: True):
        wires = await knock(listener, 10)
        await until(lambda: guests.count == 10)
    for wire in wires:
        wire.close()


async def test_few_descriptors_left_slow_it_down(listener, caplog) -> None:
    """Beyond the ceiling connections still come in, one by one, and one line says so."""
    guests = Guests()
    with accepting(listener, guests, lambda: False, ceiling=0):
        wires = await knock(listener, 3)
        await until(lambda: guests.count == 3)
    assert len(caplog.records) == 1
    for wire in wires:
        wire.close()


async def test_after_a_close_nothing_is_accepted(listener, monkeypatch) -> None:
    """A closed acceptor takes nothing more, also when it was just resting."""
    monkeypatch.setattr(module, "COURTESY", 0.1)  # it still rests when it is closed
    guests = Guests()
    with accepting(listener, guests, lambda: True):
        wires = await knock(listener, 1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.sleep(0.15)
    assert guests.count == 0
    wires[0].close()


def test_the_fewest_are_never_asked_to_wait() -> None:
    """At any time some worker takes connections at once: those with the smallest number do, and
    places without a worker count for nothing."""
    shares = Shares(3)
    assert not shares.ahead(0, 5)
    shares.tell(1, 3)
    assert shares.ahead(0, 5)
    assert not shares.ahead(1, 3)
    shares.vacate(1)
    assert not shares.ahead(0, 5)
