"""What counts, decided from records and acknowledgements; and records as they are worded."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from vectus.errors import RecordBroken
from vectus.protocol.upload import Role, Upload
from vectus.stores.s3.layout import (
    Ack,
    Fate,
    State,
    Way,
    counted,
    extended,
    fate,
    in_doubt,
    tail_in_the_way,
    way,
)
from vectus.stores.s3.parts import Schedule
from vectus.stores.s3.record import decode, encode
from vectus.testing.stores import FULL

SCHEDULE = Schedule(10)


def state(parts: int = 0, tail: int = 0, multipart: str | None = "m") -> State:
    """Return a state of so many whole parts and a tail."""
    etags = tuple(f"e{number}" for number in range(1, parts + 1))
    return State(SCHEDULE, multipart, etags, 10 * parts, tail, tail and 99)


@given(st.integers(0, 5), st.integers(0, 9), st.sets(st.integers(1, 12)))
def test_only_an_unbroken_run_counts(parts: int, tail: int, acknowledged: set[int]) -> None:
    """Parts may be acknowledged in any order, and some never: what counts ends at the first gap."""
    before = state(parts, tail)
    after = extended(before, {number: Ack(f"e{number}", 10) for number in acknowledged})
    run = next(n for n in range(parts, 20) if n + 1 not in acknowledged)

    assert after == (state(run) if run > parts else before)
    assert after.consistent
    assert after.size >= before.end


@pytest.mark.parametrize(
    ("recorded", "wanted", "expected"),
    [
        (state(1, 5), state(1, 7), False),
        (state(1, 5), state(2, 7), True),
        (state(1, 0), state(2, 7), False),
        (state(1, 5), state(2, 0), False),
        (state(0, 5), state(3, 1), True),
    ],
)
def test_a_tail_is_put_over_its_own_beginning_only(
    recorded: State, wanted: State, *, expected: bool
) -> None:
    """A tail that the record counts on is replaced only by one that begins with it; another waits
    until the record says that the bytes are in a part."""
    assert tail_in_the_way(recorded, wanted) is expected


@given(st.integers(0, 20), st.integers(0, 9), st.integers(0, 300), st.integers(0, 300))
def test_the_offset_is_the_least_of_what_is_known(
    parts: int, tail: int, length: int, pending: int
) -> None:
    """Neither what lies beyond the length nor what is pending counts."""
    upload = Upload("a", length=length, pending=pending)

    assert counted(upload, state(parts, tail)).offset == min(10 * parts + tail, length, pending)
    assert counted(replace(upload, finished=True), state()).offset == length
    assert counted(replace(upload, role=Role.FINAL, offset=7), state(3)).offset == 7


@pytest.mark.parametrize(
    ("upload", "listed", "found", "expected"),
    [
        (Upload("a", length=30, offset=30), True, None, Fate.OPEN),
        (Upload("a", length=30, offset=30), False, 30, Fate.DONE),
        (Upload("a", length=30, offset=30), False, 29, Fate.GONE),
        (Upload("a", length=30, offset=30), False, None, Fate.GONE),
        (Upload("a", length=30, offset=20), False, 30, Fate.DONE),
        (Upload("a", length=None, offset=20), False, 20, Fate.GONE),
        (Upload("a", length=30, offset=20), False, None, Fate.GONE),
    ],
)
def test_what_was_taken_away_is_gone(
    upload: Upload, found: int | None, expected: Fate, *, listed: bool
) -> None:
    """A multipart upload that is no more was completed only if its object is there, whole, whatever
    the record came to say; else it is gone, and never complete."""
    assert fate(upload, listed=listed, found=found) is expected


@pytest.mark.parametrize(
    ("upload", "where", "expected"),
    [
        (Upload("a", length=0), state(multipart=None), Way.PUT),
        (Upload("a", length=5), state(0, 5, None), Way.PUT),
        (Upload("a", length=20), state(2), Way.COMPLETE),
        (Upload("a", length=25), state(2, 5), Way.LAST_PART),
        (Upload("a", length=5), state(0, 5), Way.LAST_PART),
        (Upload("a", length=0), state(0, 0), Way.PUT),
        (Upload("a", Role.FINAL, 20), state(multipart=None), Way.NONE),
        (Upload("a", Role.PARTIAL, 20, taken_by="b"), state(2), Way.NONE),
    ],
)
def test_how_an_object_is_made(upload: Upload, where: State, expected: Way) -> None:
    """Small ones are put whole, others are completed, and a final upload's is made by its join."""
    assert way(upload, where) is expected


def test_only_parts_of_unfinished_uploads_are_in_doubt() -> None:
    """Nobody asks S3 for parts where there are none, or need be none any more."""
    upload = Upload("a", length=30, offset=20)

    assert in_doubt(upload, state(2))
    assert not in_doubt(upload, state(0, 20, None))
    assert not in_doubt(replace(upload, offset=30, finished=True), state(3))
    assert not in_doubt(replace(upload, failed="why"), state(2))
    assert not in_doubt(replace(upload, role=Role.FINAL), state(2))


@pytest.mark.parametrize(
    "where", [state(multipart=None), state(0, 5, None), state(3, 7), replace(state(3), end=23)]
)
def test_a_record_says_where_the_bytes_are(where: State) -> None:
    """What is worded is read as it was, and tusd's words are among it."""
    raw = encode(FULL, where, "bucket", "some/prefix/" + FULL.id)
    record = json.loads(raw)

    assert decode(FULL.id, raw).state == where
    assert decode(FULL.id, raw).upload == FULL
    assert record["Storage"]["Type"] == "s3store"
    assert record["Storage"]["Key"] == "some/prefix/" + FULL.id
    assert record["MetaData"]["filename"] == "world"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("end", 29),
        ("end", 41),
        ("end", "30"),
        ("end", True),
        ("size", 0),
        ("size", 1 << 50),
        ("tail", -1),
        ("parts", [1, 2, 3]),
        ("parts", []),
        ("parts", None),
        ("crc", None),
        ("step", 2.5),
    ],
)
def test_a_record_that_does_not_add_up_is_broken(key: str, value: object) -> None:
    """Nothing is made up of a record that cannot be right."""
    record = json.loads(encode(FULL, state(4), "bucket", "key"))
    record["Vectus"]["s3"][key] = value
    with pytest.raises(RecordBroken):
        decode(FULL.id, json.dumps(record).encode())


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"null", b"\xff", b'{"ID": "x"}', b"[" * 9999])
def test_what_is_no_record_is_broken(raw: bytes) -> None:
    """Any bytes are a record or broken, and nothing else happens."""
    with pytest.raises(RecordBroken):
        decode(FULL.id, raw)


def test_a_record_of_ten_thousand_parts_is_small() -> None:
    """The largest record there can be is a few hundred KiB, beside parts of 5 MiB at least."""
    etags = tuple(f'"{number:032x}"' for number in range(10_000))
    where = State(Schedule(1 << 29), "m", etags, 10_000 << 29)
    upload = replace(FULL, length=10_000 << 29)
    raw = encode(upload, where, "bucket", "key")

    assert len(raw) < 400_000
    assert decode(FULL.id, raw).state == where
    assert counted(decode(FULL.id, raw).upload, where).offset == 10_000 << 29
