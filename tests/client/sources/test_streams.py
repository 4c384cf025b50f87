"""Streams and iterators, read once, by the blocking driver and by the other."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from pathlib import Path

import pytest

from vectus.client.commands import Held
from vectus.client.sources import AsyncStream, open_async_source, open_source
from vectus.errors import SourceError


class Pipe(io.RawIOBase):
    """A stream that gives what it has, block by block, and cannot seek."""

    def __init__(self, *blocks, error=None):
        self.blocks = list(blocks)
        self.error = error
        self.asked = []

    def readable(self):
        return True

    def read(self, size=-1):
        self.asked.append(size)
        if self.blocks:
            return self.blocks.pop(0)
        if self.error:
            error, self.error = self.error, None
            raise error
        return b""


class Receiver:
    """The same, read with ``await``."""

    def __init__(self, *blocks):
        self.blocks = list(blocks)

    async def read(self, size):
        await asyncio.sleep(0)
        return self.blocks.pop(0) if self.blocks else b""


async def each(*blocks):
    for block in blocks:
        await asyncio.sleep(0)
        yield block


def content(source, start, stop):
    return b"".join(source.blocks(start, stop))


STREAMS = {
    "stream": lambda: Pipe(b"abc", b"defg", b"hij"),
    "iterator": lambda: iter([b"abc", b"", b"defg", b"", b"", b"hij", b""]),
    "generator": lambda: (block for block in [b"", b"abc", bytearray(b"defg"), b"hij"]),
    "list": lambda: [b"abcdefghij"],
}
ASYNC_STREAMS = {
    "async iterator": lambda: each(b"abc", b"", b"defg", b"hij"),
    "async read": lambda: Receiver(b"abc", bytearray(b"defg"), memoryview(b"hij")),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_it_is_read_once_and_in_chunks(kind):
    """Each hold tells whether it ends there, and what is before its start is gone."""
    source = open_source(STREAMS[kind]())

    assert (source.replayable, source.length, source.fingerprint("x")) == (False, None, None)
    assert source.hold(0, 4) == Held(4, last=False)
    assert content(source, 0, 4) == b"abcd"
    assert source.hold(0, 4) == Held(4, last=False), "asked for again, as after a lost answer"
    assert source.hold(2, 6) == Held(8, last=False)
    assert content(source, 2, 8) == b"cdefgh"
    assert source.hold(8, 2) == Held(10, last=True)
    assert source.length == 10
    assert source.hold(10, 5) == Held(10, last=True)
    with pytest.raises(SourceError, match="only once"):
        source.hold(9, 1)


@pytest.mark.parametrize("kind", ASYNC_STREAMS)
async def test_an_async_one_is_the_same(kind):
    """The asyncio driver gets the same from what is read with ``await``."""
    source = open_async_source(ASYNC_STREAMS[kind](), name="It")
    assert isinstance(source, AsyncStream)

    assert (source.replayable, source.length, source.fingerprint("x")) == (False, None, None)
    assert await source.hold(0, 4) == Held(4, last=False)
    assert await source.hold(2, 6) == Held(8, last=False)
    assert content(source, 2, 8) == b"cdefgh"
    assert await source.hold(8, 2) == Held(10, last=True)
    assert (source.name, source.length) == ("It", 10)
    source.check()
    source.close()


def test_a_blocking_one_is_a_source_for_the_asyncio_driver_too():
    """What is not read with ``await`` is left to threads."""
    assert not isinstance(open_async_source(Pipe(b"x")), AsyncStream)
    assert not isinstance(open_async_source([b"x"]), AsyncStream)


async def test_a_reader_of_asyncio_can_be_uploaded():
    """Its blocks are read, not its lines."""
    reader = asyncio.StreamReader()
    reader.feed_data(b"one\ntwo")
    reader.feed_eof()
    source = open_async_source(reader)

    assert await source.hold(0, 100) == Held(7, last=True)


def test_it_is_asked_for_no_more_than_is_needed():
    """One byte more than the chunk tells whether it ends; an announced length is no reason to
    ask for less, since it must end there."""
    pipe = Pipe(b"abcde", b"fghij")
    source = open_source(pipe, length=10)

    assert source.hold(0, 4) == Held(4, last=False)
    assert pipe.asked == [5]
    assert source.hold(4, 6) == Held(10, last=True)
    assert pipe.asked == [5, 6, 1]


def test_bytes_before_the_start_are_skipped():
    """An upload that exists goes on with the stream's later bytes."""
    source = open_source(Pipe(b"abc", b"defg", b"hij"))

    assert source.hold(5, 2) == Held(7, last=False)
    assert content(source, 5, 7) == b"fg"


def test_one_that_ends_before_the_start_is_an_error():
    """The server has more than the stream: that is no resumption."""
    source = open_source(Pipe(b"abc"), name="Standard input")

    with pytest.raises(SourceError, match=r"Standard input ends after 3 bytes.* goes on at 5"):
        source.hold(5, 2)


@pytest.mark.parametrize(("length", "words"), [(9, "more than the 9"), (11, "after 10 bytes")])
def test_another_length_than_announced_is_an_error(length, words):
    """It says so before the last chunk is sent, so that nothing wrong is finished."""
    source = open_source(Pipe(b"abcde", b"fghij"), length=length)

    assert source.length == length
    with pytest.raises(SourceError, match=words):
        source.hold(source.hold(0, 4).stop, length - 4)


def failing():
    yield b"abc"
    raise KeyError("row 7")


@pytest.mark.parametrize("make", [failing, lambda: Pipe(b"abc", error=OSError(5, "I/O error"))])
def test_one_that_fails_says_why_and_never_looks_ended(make):
    """A generator that raised seems to be at its end afterwards; an upload must not believe it."""
    source = open_source(make())

    with pytest.raises(SourceError, match=r"cannot be read: .*(row 7|I/O error)") as failed:
        source.hold(0, 5)
    assert isinstance(failed.value.__cause__, KeyError | OSError)
    with pytest.raises(SourceError, match="interrupted"):
        source.hold(0, 5)


async def test_an_async_one_that_was_cancelled_never_looks_ended():
    """A cancelled read may have taken bytes that nobody got."""
    reached = asyncio.Event()

    async def stalled():
        yield b"abc"
        reached.set()
        await asyncio.Event().wait()

    source = open_async_source(stalled())
    task = asyncio.create_task(source.hold(0, 5))
    await asyncio.wait_for(reached.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    with pytest.raises(SourceError, match="interrupted"):
        await source.hold(0, 5)


def test_an_interrupt_passes():
    """Ctrl-C is no fault of the source's."""
    source = open_source(Pipe(error=KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        source.hold(0, 5)


def test_one_that_does_not_wait_is_told_from_one_that_ended():
    """A non-blocking stream without bytes at the moment gives None."""
    source = open_source(Pipe(b"abc", None))

    with pytest.raises(SourceError, match="does not wait") as refused:
        source.hold(0, 5)
    assert "os.set_blocking" in refused.value.hint


@pytest.mark.parametrize("given", [["text"], Pipe("text")])
def test_text_in_it_is_refused(given):
    """The sentence says what to do."""
    with pytest.raises(SourceError, match=r"text instead of bytes.*binary mode"):
        open_source(given).hold(0, 5)


def test_a_callers_stream_stays_open():
    """Closing the source closes nothing of the caller's."""
    pipe = Pipe(b"abc")
    source = open_source(pipe)
    source.hold(0, 5)
    source.close()

    assert not pipe.closed


@pytest.mark.platform("linux", "darwin")
def test_a_fifo_is_a_stream(tmp_path: Path):
    """A path that leads to a FIFO is read once, and closed by whoever opened it."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"x" * 200_000,))
    writer.start()
    try:
        source = open_source(path)
        assert (source.replayable, source.length, source.name) == (False, None, str(path))
        assert source.hold(0, 1 << 20) == Held(200_000, last=True)
        source.close()
    finally:
        writer.join(10)


def test_a_pipe_has_its_bytes_as_they_come():
    """A real pipe, raw and buffered."""
    for buffering in (0, -1):
        inlet, outlet = os.pipe()
        with open(inlet, "rb", buffering) as reader:
            os.write(outlet, b"abc")
            os.close(outlet)
            source = open_source(reader)
            assert source.hold(0, 100) == Held(3, last=True)


@pytest.mark.platform("linux")
def test_a_file_of_proc_is_not_taken_for_empty():
    """Such files say that they have no bytes."""
    source = open_source("/proc/self/status")

    assert source.length is None
    assert source.hold(0, 1 << 20).stop > 0
    source.close()
