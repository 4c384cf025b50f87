"""Sources that are known or not, read once or twice, and that are not what they were."""

from __future__ import annotations

import pytest
from conversing import BARE, DONE, MADE, OFFER, OLD, RIDES, U1, failed, upload

from vectus.client.commands import Check, Exchange
from vectus.client.job import Chunks
from vectus.errors import (
    NotOffered,
    SourceChanged,
    SourceError,
    UploadMismatch,
)


def test_a_source_of_unknown_length_declares_it_with_its_last_chunk() -> None:
    """The length is deferred, and said as soon as it is known."""
    talk = upload(
        f"""
        {OFFER}
        POST Upload-Defer-Length=1 Upload-Length=- -> 201 Location=u1
        PATCH u1 0-3 Upload-Length=- -> 204 Upload-Offset=3
        PATCH u1 3-5 Upload-Length=5 -> 204 Upload-Offset=5
        """,
        length=None,
        replayable=False,
        size=3,
    )

    assert talk.result is not None
    assert talk.result.length == 5


def test_a_short_stream_has_a_length() -> None:
    """A stream that ends within its first chunk needs no deferred length."""
    upload(f"{BARE}\nPOST Upload-Length=5 -> 201 Location=u1\n{DONE}", length=None)


def test_a_long_stream_is_refused_where_the_length_must_be_known() -> None:
    """Without creation-defer-length a stream is refused before anything is made, with a hint."""
    talk = upload(BARE, length=None, replayable=False, size=3)

    assert "--length" in failed(talk, NotOffered).hint


def test_a_declaration_that_was_dropped_is_made_again() -> None:
    """A server that took the bytes, but says that the length is still deferred, is told it in an
    empty request."""
    upload(
        f"""
        {OFFER}
        POST -> 201 Location=u1
        PATCH u1 0-3 Upload-Length=- -> 204 Upload-Offset=3
        PATCH u1 3-5 Upload-Length=5 -> broken
        HEAD u1 -> 200 Upload-Offset=5 Upload-Defer-Length=1
        PATCH u1 5-5 Upload-Length=5 Upload-Checksum=- -> 204 Upload-Offset=5
        """,
        length=None,
        size=3,
        checksum="sha1",
    )


def test_a_declaration_that_was_taken_and_lost_is_made_again() -> None:
    """A server that went down before it had written what it acknowledged is told once more."""
    upload(
        f"""
        {OFFER}
        POST Upload-Defer-Length=1 -> 201 Location=u1
        PATCH u1 0-3 -> 204 Upload-Offset=3
        PATCH u1 3-5 Upload-Length=5 -> 204 Upload-Offset=4
        PATCH u1 4-5 Upload-Length=- -> broken
        HEAD u1 -> 200 Upload-Offset=4 Upload-Defer-Length=1
        PATCH u1 4-5 Upload-Length=5 -> 204 Upload-Offset=5
        """,
        length=None,
        size=3,
    )


def test_a_deferred_upload_that_is_gone_on_with_is_told_the_length() -> None:
    """Who knows the length says it with the first bytes."""
    upload(
        """
        HEAD old -> 200 Upload-Offset=1 Upload-Defer-Length=1
        PATCH old 1-4 Upload-Length=5 -> 204 Upload-Offset=4
        PATCH old 4-5 Upload-Length=- -> 204 Upload-Offset=5
        """,
        entry="old",
        size=3,
    )


@pytest.mark.parametrize(("data", "more"), [(b"Hell", "fewer"), (b"Hello!", "more")])
@pytest.mark.parametrize("offer", [OFFER, RIDES])
def test_a_source_of_another_length_than_was_said_is_not_uploaded(
    data: bytes, more: str, offer: str
) -> None:
    """A stream that does not have the length that its caller gave is an error, and nothing is left
    that nobody could go on with."""
    if offer == RIDES:
        talk = upload(RIDES, data=data, replayable=False)
    else:
        talk = upload(
            f"{MADE}\nDELETE u1 -> 204",
            data=data,
            replayable=False,
        )

    assert failed(talk, UploadMismatch, more, "5 that were announced").url is None


def test_a_known_upload_of_another_stream_is_left_alone() -> None:
    """A stream that ends before the known upload's length is another one: whose that upload is may
    go on with it."""
    talk = upload(
        "HEAD old -> 200 Upload-Offset=2 Upload-Length=9", entry="old", length=None, data=b"Hello"
    )

    assert failed(talk, UploadMismatch, "fewer", "9").url == OLD
    assert talk.memory == ""


@pytest.mark.parametrize(
    ("data", "fits"), [(b"Hello", True), (b"Hello!", False), (b"Hello!!", False)]
)
def test_a_stream_is_read_to_its_end_before_a_complete_upload_counts(
    data: bytes, *, fits: bool
) -> None:
    """That the server has a whole upload says nothing of a stream that may go on."""
    whole = "HEAD old -> 200 Upload-Offset=5 Upload-Length=5"
    talk = upload(f"{whole}\n{whole}", entry="old", length=None, data=data)

    assert (talk.error is None) == fits
    if not fits:
        failed(talk, UploadMismatch, "more")


def test_a_stream_is_held_in_chunks() -> None:
    """What can't be read twice goes in chunks of 8 MiB, at most 16."""
    from vectus.client.job import MIB, Job

    def chunk(size: int | None, *, replayable: bool = False, checksum: str | None = None) -> object:
        job = Job(endpoint="/", replayable=replayable, chunks=Chunks(size), checksum=checksum)
        return job.chunk

    assert chunk(None) == 8 * MIB
    assert chunk(64 * MIB) == 16 * MIB
    assert chunk(MIB) == MIB
    assert chunk(None, replayable=True) is None
    assert chunk(None, replayable=True, checksum="sha1") == 64 * MIB
    assert chunk(None, checksum="sha1") == 8 * MIB
    assert chunk(MIB, replayable=True, checksum="sha1") == MIB


def test_size_and_time_are_looked_at_before_the_last_chunk() -> None:
    """The source is checked once, and only the last chunk goes after it."""
    talk = upload(
        f"""
        {MADE}
        PATCH u1 0-3 -> 204 Upload-Offset=3
        PATCH u1 3-5 -> 204 Upload-Offset=5
        """,
        size=3,
    )
    log = talk.player.log
    checks = [n for n, command in enumerate(log) if isinstance(command, Check)]
    patches = [n for n, c in enumerate(log) if isinstance(c, Exchange) and c.ask.method == "PATCH"]

    assert len(checks) == 1
    assert patches[0] < checks[0] < patches[1]


def test_a_source_that_changed_is_an_error_and_leaves_nothing() -> None:
    """A file that changed is never a mix of two versions: its upload is deleted and forgotten."""
    for answer in ("204", "405", "broken", "untrusted"):
        talk = upload(
            f"""
            {MADE}
            PATCH u1 0-3 -> 204 Upload-Offset=3
            DELETE u1 -> {answer}
            """,
            size=3,
            changes_at=1,
        )
        assert failed(talk, SourceChanged).url is None
        assert talk.memory == "keep u1, forget"


def test_a_source_that_changed_before_anything_was_made_leaves_nothing() -> None:
    """A file that changed before its POST is not created."""
    talk = upload(RIDES, changes_at=1)

    failed(talk, SourceChanged)
    assert talk.memory == ""


def test_somebody_elses_upload_is_not_deleted() -> None:
    """An upload that the caller brought is left to the caller."""
    talk = upload(
        "HEAD u1 -> 200 Upload-Offset=0 Upload-Length=5",
        changes_at=1,
        upload_url=U1,
        entry="old",
    )

    failed(talk, SourceChanged)
    assert talk.memory == ""


def test_a_source_that_cannot_be_read_leaves_an_upload_to_go_on_with() -> None:
    """A disk that fails is no reason to delete anything."""
    talk = upload("HEAD old -> 200 Upload-Offset=4", entry="old", data=b"Hel", length=None)

    assert failed(talk, SourceError).url == OLD
    assert talk.memory == ""
