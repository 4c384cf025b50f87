"""A slow disk: writes sleep in threads, and nobody's bytes get into anybody else's file."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server import OCTETS, Server, chunk, until

Slow = Callable[..., Server]


def slow_down(server: Server, byte: bytes) -> None:
    """Have the server find out that its disk is slow, so that what follows goes to threads."""
    path = server.create(2)
    assert server.patch(path, 0, byte).status == 204


def writes(control: Path) -> list[tuple[str, float, float]]:
    """The writes that are done: first byte, beginning and end."""
    lines = (control / "writes").read_text().splitlines()
    split = (line.rsplit(" ", 2) for line in lines)
    return [(first.strip("'"), float(began), float(ended)) for first, began, ended in split]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
def test_uploads_do_not_mix(loop: str, chunked: bool, slow: Slow) -> None:  # noqa: FBT001
    """Uploads that run at the same time through slow writes each get their own bytes, in order,
    and nothing of another's (a buffer in a thread belongs to its write)."""
    server = slow(loop, any=0.03)
    slow_down(server, b"w")

    def upload(number: int) -> None:
        # No byte value of one upload is in another.
        alphabet = bytes(number * 60 + value % 60 for value in range(256))
        data = random.Random(number).randbytes(3_000_000 + number).translate(alphabet)
        path = server.create(len(data))
        with server.connect() as wire:
            if chunked:
                fields = {"content_type": OCTETS, "upload_offset": 0}
                wire.head("PATCH", path, transfer_encoding="chunked", **fields)
                for at in range(0, len(data), 100_000):
                    wire.send(chunk(data[at : at + 100_000]))
                wire.send(chunk(b""))
            else:
                wire.patch(path, 0, len(data))
                wire.send(data)
            answer = wire.answer()
        assert answer.status == 204, answer
        assert server.stored(path) == data

    with ThreadPoolExecutor(4) as clients:
        list(clients.map(upload, range(4)))


@pytest.mark.parametrize("how", ["cancelled", "cut", "displaced"])
def test_no_newcomer_while_a_write_sleeps(how: str, slow: Slow, control: Path) -> None:
    """However a request ends while its write sleeps in a thread, nobody else gets the upload before
    that write has returned: no byte of the old writer reaches the file after a new one's begin, and
    the finished file is exact (D5)."""
    server = slow(o="go", w=0.05)
    slow_down(server, b"w")
    old, new = b"o" * 10_000, b"n" * 100_000
    path = server.create(len(old) + len(new))
    with server.connect() as wire, ThreadPoolExecutor(1) as newcomer:
        wire.patch(path, 0, len(old) + len(new), x_cancel=1 if how == "cancelled" else None)
        wire.send(old)
        until_the_write_sleeps(control)
        if how == "cancelled":
            cancel(control)
        elif how == "cut":
            wire.reset()
        asked = newcomer.submit(server.offset, path)
        threading.Event().wait(0.3)
        early = asked.done()
        (control / "go").touch()
        offset = asked.result()
        answered = time.monotonic()
        if how != "cut":
            assert wire.answer().status == {"cancelled": 504, "displaced": 423}[how]
    assert not early, "the newcomer did not wait"
    before = [ended for first, _, ended in writes(control) if first == "o"]
    assert before, "the write has not returned"
    assert max(before) < answered, "the newcomer did not wait long enough"
    assert server.patch(path, offset, (old + new)[offset:]).status == 204
    assert offset > 0 or how == "cancelled", "what the old write brought does not count"
    assert server.stored(path) == old + new


def test_cancelled_keeps_what_was_written(slow: Slow, control: Path) -> None:
    """A cancellation is an early end like any other: what the write under way brings is kept
    (invariant 2)."""
    server = slow(o="go", w=0.05)
    slow_down(server, b"w")
    path = server.create(20_000)
    with server.connect() as wire:
        wire.patch(path, 0, 20_000, x_cancel=1)
        wire.send(b"o" * 10_000)
        until_the_write_sleeps(control)
        cancel(control)
        (control / "go").touch()
        assert wire.answer().status == 504
    assert server.offset(path) == 10_000


def until_the_write_sleeps(control: Path) -> None:
    """Wait until a write has begun that ends when the test says so."""
    begun = control / "begun"
    until(lambda: begun.exists() and repr("o") in begun.read_text(), "the write")


def cancel(control: Path) -> None:
    """Have the request cancelled that may be."""
    (control / "cancel").touch()
    until((control / "cancelled").exists, "the cancellation")


def test_unrelated_requests_do_not_wait(slow: Slow, control: Path) -> None:
    """While an upload's writes sleep, and others wait for its lock, an unrelated HEAD is answered
    all the same: nothing blocks the loop."""
    server = slow(o="go", w=0.05)
    slow_down(server, b"w")
    busy, other = server.create(1000), server.create(1000)
    with server.connect() as wire, ThreadPoolExecutor(5) as waiters:
        wire.patch(busy, 0, 1000)
        wire.send(b"o" * 500)
        until_the_write_sleeps(control)
        waiting = [waiters.submit(server.ask, "HEAD", busy) for _ in range(5)]
        unrelated = [server.ask("HEAD", other).status for _ in range(20)]
        early = any(answer.done() for answer in waiting)
        (control / "go").touch()
        assert [answer.result().offset for answer in waiting] == [500] * 5
    assert unrelated == [200] * 20
    assert not early, "a newcomer did not wait for the write"
