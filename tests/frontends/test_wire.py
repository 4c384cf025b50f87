"""What our protocol class writes, and its timer."""

from __future__ import annotations

import asyncio

import pytest

from vectus.direct import wire
from vectus.direct.deadline import Deadline


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\r", "a\x00", "\x1b", "a\r\n"])
def test_no_field_breaks_out_of_its_line(value: str) -> None:
    """What a client can make us echo cannot become a field or an answer of its own."""
    with pytest.raises(ValueError, match="cannot be sent"):
        wire.text_block([("x", value)])
    with pytest.raises(ValueError, match="cannot be sent"):
        wire.text_block([(value, "x")])
    with pytest.raises(ValueError, match="cannot be sent"):
        wire.block([(b"x", value.encode())])


def test_fields_are_written_as_they_are() -> None:
    """Names in lower case, values byte for byte."""
    assert (
        wire.text_block([("X-A", "gr\xfc\xdfe\t1"), ("y", "")]) == b"x-a: gr\xfc\xdfe\t1\r\ny: \r\n"
    )
    assert wire.text_block([]) == b""


async def test_a_deadline_can_be_moved() -> None:
    """Sooner, later, or away; it happens once."""
    deadline = Deadline(asyncio.get_running_loop())
    happened: list[str] = []
    done = asyncio.Event()

    def happen(what: str) -> None:
        happened.append(what)
        done.set()

    deadline.within(30, lambda: happen("late"))
    deadline.within(0.05, lambda: happen("soon"))
    await asyncio.wait_for(done.wait(), 10)
    done.clear()
    deadline.within(0.05, lambda: happen("dropped"))
    deadline.drop()
    deadline.within(0.02, lambda: happen("moved"))
    deadline.within(0.3, lambda: happen("later"))
    await asyncio.wait_for(done.wait(), 10)
    deadline.within(0.01, lambda: happen("closed"))
    deadline.close()
    await asyncio.sleep(0.05)
    assert happened == ["soon", "later"]
