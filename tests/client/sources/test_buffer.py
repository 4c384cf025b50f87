"""What is at hand of a stream, against a model that knows all of its bytes."""

from __future__ import annotations

import contextlib
import tracemalloc

import pytest
from hypothesis import given, strategies as st

from vectus.client.commands import Held
from vectus.client.sources import buffer as module
from vectus.client.sources.buffer import BLOCK, Buffer
from vectus.errors import SourceError


def fill(buffer, start, count, reads):
    """Fill a buffer from an iterator of blocks."""
    buffer.release(start)
    while buffer.ask(start + count):
        block = next(reads, None)
        if block is None:
            buffer.end()
        else:
            buffer.take(block)
    return buffer.held(start, count)


def kept(buffer):
    return sum(map(len, buffer._blocks))


@st.composite
def cut(draw):
    """Bytes, and some way to cut them into blocks of one of the kinds that sources give."""
    data = draw(st.binary(max_size=300))
    kind = draw(st.sampled_from([bytes, bytearray, memoryview]))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    ends = zip([0, *cuts], [*cuts, len(data)], strict=True)
    return data, [kind(data[low:high]) for low, high in ends]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks so small that a few hundred bytes have all kinds of them."""
    monkeypatch.setattr(module, "BLOCK", 32)
    monkeypatch.setattr(module, "TINY", 8)


@pytest.mark.usefixtures("small_blocks")
class TestAgainstTheModel:
    @staticmethod
    @given(
        stream=cut(),
        steps=st.lists(
            st.tuples(st.integers(0, 60), st.integers(0, 120), st.integers(0, 50)), max_size=12
        ),
    )
    def test_what_is_held_is_what_the_stream_has_there(stream, steps):
        """Whatever the sizes of reads, holds and skips: positions, bytes and the end are right,
        one byte more than asked for tells the end, and nothing before the start is handed out."""
        data, blocks = stream
        buffer, start = Buffer("It"), 0
        reads = iter(blocks)
        for forward, count, inner in steps:
            start += forward
            if start > len(data):
                with pytest.raises(SourceError, match="ends after"):
                    fill(buffer, start, count, reads)
                return
            held = fill(buffer, start, count, reads)
            stop = min(start + count, len(data))
            assert held == Held(stop, last=stop == len(data))
            low = min(start + inner, stop)
            given_out = list(buffer.blocks(low, stop))
            assert b"".join(given_out) == data[low:stop]
            assert all(0 < len(block) <= 32 and type(block) is bytes for block in given_out)
            if start:
                with pytest.raises(SourceError, match="only once"):
                    buffer.release(start - 1)

    @staticmethod
    @given(stream=cut(), length=st.integers(0, 320), count=st.integers(1, 90))
    def test_an_announced_length_is_kept_to(stream, length, count):
        """A stream of another length than announced is an error, before anybody is told that it
        has ended."""
        data, blocks = stream
        buffer, start, reads = Buffer("It", length), 0, iter(blocks)
        sound = length == len(data)
        last = False
        with contextlib.nullcontext() if sound else pytest.raises(SourceError, match=str(length)):
            while not last:
                held = fill(buffer, start, count, reads)
                start, last = held.stop, held.last
        assert last == sound
        assert start == length or not sound

    @staticmethod
    @given(stream=cut(), count=st.integers(1, 60))
    def test_no_more_is_kept_than_is_asked_for(stream, count):
        """Beyond what was asked for there is at most the rest of one block of the stream's."""
        data, blocks = stream
        buffer, start, reads = Buffer("It"), 0, iter(blocks)
        largest = max(map(len, blocks))
        while start < len(data):
            start = fill(buffer, start, count, reads).stop
            assert kept(buffer) <= count + 2 * max(largest, 32)


def test_blocks_that_are_reused_are_copied():
    """A source may fill the same memory again for its next block."""
    buffer, memory = Buffer("It"), bytearray(20_000)
    buffer.release(0)
    for letter in b"ab":
        memory[:] = bytes([letter]) * 20_000
        buffer.ask(40_000)
        buffer.take(memoryview(memory))

    assert b"".join(buffer.blocks(0, 40_000)) == b"a" * 20_000 + b"b" * 20_000


def test_large_blocks_are_not_copied():
    """A block of the right size goes through as it is."""
    block = bytes(BLOCK)
    buffer = Buffer("It")
    fill(buffer, 0, BLOCK, iter([block]))

    assert next(buffer.blocks(0, BLOCK)) is block


def test_single_bytes_cost_no_more_than_themselves():
    """Many blocks of one byte each take about as many bytes."""
    buffer, count = Buffer("It"), 1 << 17
    byte = memoryview(b"x")
    tracemalloc.start()
    try:
        buffer.release(0)
        buffer.ask(count)
        for _ in range(count):
            buffer.take(byte)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 * count
    assert sum(map(len, buffer.blocks(0, count))) == count


def test_an_interrupted_read_cannot_be_gone_on_with():
    """What the read would have given is missing: an end that comes later is not the end."""
    buffer = Buffer("It")
    buffer.release(0)
    assert buffer.ask(10)

    with pytest.raises(SourceError, match="interrupted"):
        buffer.release(0)


@pytest.mark.parametrize(
    ("block", "words"), [("text", "text"), (None, "does not wait"), (5, "int"), ([1], "list")]
)
def test_what_is_no_bytes_is_refused(block, words):
    """Only bytes go on, and the sentence says what came instead."""
    buffer = Buffer("It")
    buffer.release(0)
    buffer.ask(1)

    with pytest.raises(SourceError, match=words):
        buffer.take(block)
    with pytest.raises(SourceError, match="interrupted"):
        buffer.release(0)
