"""The two halves of the dialect talk: what the client words the server reads, and back."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from pure_server import ENDPOINT, PureServer, answer_of, digest, head_of

from vectus.client.job import encode_metadata
from vectus.protocol import fields
from vectus.protocol.dialects import tus1, tus1_client as tus
from vectus.protocol.dialects.tus1_client import Ask
from vectus.protocol.exchange import (
    Append,
    Checksum,
    Create,
    Discover,
    Discovered,
    Download,
    Inspect,
    Inspected,
    Intent,
    Payload,
    Terminate,
)
from vectus.protocol.messages import Headers
from vectus.protocol.policy import ALGORITHMS, Feature, Policy
from vectus.protocol.upload import Role, Upload

U1 = f"{ENDPOINT}u1"
SUM = Checksum("sha1", digest("sha1", b"abc"))
numbers = st.integers(0, 2**63 - 1)


def understood(ask: Ask, url: str = U1, size: int = 0) -> Intent:
    """What the server makes of a request."""
    return tus1.decode(head_of(ask, url, size), Policy())


@pytest.mark.parametrize(
    ("ask", "url", "size", "intent"),
    [
        (tus.discover(), ENDPOINT, 0, Discover()),
        (tus.discover(), U1, 0, Discover()),
        (tus.inspect(), U1, 0, Inspect("u1")),
        (tus.terminate(), U1, 0, Terminate("u1")),
        (tus.download(), U1, 0, Download("u1")),
        (tus.append(3), U1, 2, Append("u1", 3, None, Payload(2))),
        (tus.append(3, length=5), U1, 2, Append("u1", 3, 5, Payload(2))),
        (tus.append(3, checksum=SUM), U1, 2, Append("u1", 3, None, Payload(2, SUM))),
        (tus.create(5), ENDPOINT, 0, Create(Role.PLAIN, 5, None)),
        (tus.create(None), ENDPOINT, 0, Create(Role.PLAIN, None, None)),
        (
            tus.create(5, metadata="name eA==", data=True, checksum=SUM),
            ENDPOINT,
            5,
            Create(Role.PLAIN, 5, "name eA==", payload=Payload(5, SUM)),
        ),
        (
            tus.create(5, concat="partial"),
            ENDPOINT,
            0,
            Create(Role.PARTIAL, 5, None, concat="partial"),
        ),
        (
            tus.create(None, concat=tus.final_of((U1, "/files/u2"))),
            ENDPOINT,
            0,
            Create(Role.FINAL, None, None, concat=f"final;{U1} /files/u2", parts=("u1", "u2")),
        ),
    ],
)
def test_the_server_understands_the_client(ask: Ask, url: str, size: int, intent: Intent) -> None:
    """Every request is read as it was meant, also where PATCH and DELETE travel as POST."""
    assert understood(ask, url, size) == intent
    assert understood(tus.overridden(ask), url, size) == intent
    assert tus.overridden(ask).method in {"OPTIONS", "HEAD", "GET", "POST"}


def test_the_question_what_a_server_can_do_names_no_version() -> None:
    """T28: OPTIONS goes without Tus-Resumable; everything else has it."""
    asks = [tus.create(1), tus.inspect(), tus.append(0), tus.terminate(), tus.download()]

    assert tus.discover().headers == ()
    assert all(("Tus-Resumable", "1.0.0") in ask.headers for ask in asks)


@given(numbers, st.none() | numbers, st.binary(max_size=8), st.sampled_from(ALGORITHMS))
def test_any_append_is_understood(
    offset: int, length: int | None, data: bytes, algorithm: str
) -> None:
    """Numbers of every size, and every algorithm."""
    checksum = Checksum(algorithm, digest(algorithm, data))
    ask = tus.append(offset, length=length, checksum=checksum)

    assert understood(ask, U1, len(data)) == Append(
        "u1", offset, length, Payload(len(data), checksum)
    )


keys = st.text("abcXYZ09-_./!\"%'", min_size=1, max_size=6)
values = st.none() | st.text(max_size=8) | st.binary(max_size=8)


@given(st.none() | numbers, st.dictionaries(keys, values, max_size=4))
def test_any_creation_is_understood(
    length: int | None, metadata: dict[str, str | bytes | None]
) -> None:
    """Lengths of every size, and metadata of every kind."""
    intent = understood(tus.create(length, metadata=encode_metadata(metadata)), ENDPOINT)
    given_ = {k: v.encode() if isinstance(v, str) else v or b"" for k, v in metadata.items()}

    assert isinstance(intent, Create)
    assert intent.length == length
    assert fields.parse_metadata(intent.metadata or "") == given_


@given(st.sets(st.sampled_from(Feature)), st.none() | numbers)
def test_any_offer_is_understood(features: set[Feature], max_size: int | None) -> None:
    """What the server announces the client reads, all of it."""
    policy = Policy(features=frozenset(features), max_size=max_size)
    head = head_of(tus.discover(), ENDPOINT, 0)
    offer = tus.read_offer(answer_of(tus1.encode(Discovered(policy), head, policy)).headers)

    assert offer.speaks
    assert offer.features == features - {Feature.DOWNLOAD, Feature.CHECKSUM_TRAILER}
    assert offer.algorithms == (ALGORITHMS if Feature.CHECKSUM in features else ())
    assert offer.max_size == max_size


@given(offset=numbers, length=st.none() | numbers, partial=st.booleans())
def test_any_state_is_understood(offset: int, length: int | None, *, partial: bool) -> None:
    """Where an upload is the client reads as the server says it; deferred where no length is."""
    length = None if length is None else max(offset, length)
    role, concat = (Role.PARTIAL, "partial") if partial else (Role.PLAIN, None)
    upload = Upload("u1", role, length, offset, metadata="name eA==", concat=concat, expires=0)
    head = head_of(tus.inspect(), U1, 0)
    state = tus.read_state(answer_of(tus1.encode(Inspected(upload), head, Policy())).headers)

    assert (state.offset, state.length, state.deferred) == (offset, length, length is None)
    assert (state.metadata, state.concat) == ("name eA==", concat)
    assert state.expires == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_a_final_upload_that_is_not_joined_has_no_offset() -> None:
    """T76: until then there is nothing to go on with."""
    upload = Upload("u1", Role.FINAL, 5, concat="final;a b", parts=("a", "b"))
    head = head_of(tus.inspect(), U1, 0)
    state = tus.read_state(answer_of(tus1.encode(Inspected(upload), head, Policy())).headers)

    assert (state.offset, state.length, state.concat) == (None, 5, "final;a b")


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ([("upload-offset", "x")], "Upload-Offset must be"),
        ([("upload-offset", "-1")], "Upload-Offset must be"),
        ([("upload-offset", "1"), ("upload-length", " 2")], "Upload-Length must be"),
        ([("upload-offset", "3"), ("upload-length", "2")], "beyond"),
    ],
)
def test_a_state_that_makes_no_sense_is_none(pairs: list[tuple[str, str]], problem: str) -> None:
    """What cannot be is not guessed at."""
    with pytest.raises(ValueError, match=problem):
        tus.read_state(Headers(pairs))


@pytest.mark.parametrize(
    ("value", "number"), [("0", 0), ("7", 7), ("", None), ("x", None), (None, None), ("5, 5", None)]
)
def test_a_number_or_nothing(value: str | None, number: int | None) -> None:
    """Numbers that only help are left out where they are none."""
    pairs = [] if value is None else [("upload-offset", value)]

    assert tus.read_number(Headers(pairs), "upload-offset") == number


def test_lists_may_come_in_several_lines() -> None:
    """RFC 9110, 5.3: one line or many say the same."""
    lines = [
        ("tus-version", "1.0.0"),
        ("tus-version", "0.2.2"),
        ("tus-extension", "creation, X-Own"),
        ("tus-extension", "checksum"),
        ("tus-max-size", "much"),
    ]
    offer = tus.read_offer(Headers(lines))

    assert offer.versions == ("1.0.0", "0.2.2")
    assert offer.extensions == ("creation", "x-own", "checksum")
    assert offer.features == {Feature.CREATION, Feature.CHECKSUM}
    assert (offer.speaks, offer.max_size) == (True, None)


def test_a_checksum_that_is_still_to_come_is_not_said() -> None:
    """A digest that is not known yet cannot stand in the head."""
    assert tus.append(0, checksum=Checksum("sha1", None)) == tus.append(0)


def test_a_whole_upload_between_the_two_halves() -> None:
    """Created, sent in two parts, asked about, and deleted, without a wire."""
    server = PureServer()

    made = server.answer(tus.create(5), ENDPOINT)
    url = f"https://h{made.headers.get('location')}"
    first = server.answer(tus.append(0), url, b"Hel")
    wrong = server.answer(tus.append(0), url, b"lo")
    second = server.answer(tus.append(3), url, b"lo")
    state = tus.read_state(server.answer(tus.inspect(), url).headers)
    statuses = [answer.status for answer in (made, first, wrong, second)]

    assert statuses == [201, 204, 409, 204]
    assert (state.offset, state.length, server.content(url)) == (5, 5, b"Hello")
    assert server.answer(tus.terminate(), url).status == 204
    assert server.answer(tus.inspect(), url).status == 404
