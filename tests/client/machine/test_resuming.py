"""Which upload it is: a new one, one that is remembered, one that somebody else has made."""

from __future__ import annotations

import pytest
from conversing import DONE, MADE, OFFER, OLD, RIDES, U1, failed, upload

from vectus.client.commands import Exchange
from vectus.client.happenings import Confirmed, Finished, Retrying, Started
from vectus.errors import (
    ServerUnreachable,
    UploadGone,
    UploadMismatch,
    UploadRefused,
)

# --- How it works ---------------------------------------------------------------------------------

WHOLE = "HEAD old -> 200 Upload-Offset=5 Upload-Length=5"


def test_a_new_upload_is_made_kept_and_sent_in_one_request() -> None:
    """A source that nobody knows is created, its URL stored before any byte is sent, sent in one
    request, and forgotten after success."""
    talk = upload(f"""
        {OFFER}
        POST Upload-Length=5 Tus-Resumable=1.0.0 Content-Type=- -> 201 Location=u1
        PATCH u1 0-5 Upload-Offset=0 Upload-Length=- Tus-Resumable=1.0.0 -> 204 Upload-Offset=5
    """)

    assert talk.result is not None
    assert (talk.result.url, talk.result.length, talk.result.resumed) == (U1, 5, 0)
    assert talk.memory == "keep u1, forget"
    kinds = [type(c).__name__ for c in talk.player.log if not isinstance(c, Exchange)]
    assert kinds.index("Keep") < len(kinds) - kinds[::-1].index("Hold")
    assert [what for what in talk.player.told if not isinstance(what, Retrying)] == [
        Started(U1, 0, 5, resumed=False),
        Confirmed(5),
        Finished(U1, 5),
    ]


def test_a_known_upload_is_gone_on_with() -> None:
    """A URL that is remembered is asked with HEAD and gone on with from where the server is."""
    talk = upload(
        """
        HEAD old -> 200 Upload-Offset=2 Upload-Length=5
        PATCH old 2-5 -> 204 Upload-Offset=5
        """,
        entry="old",
    )

    assert talk.result is not None
    assert talk.result.resumed == 2
    assert talk.memory == "forget"
    assert talk.player.told[:2] == [Started(OLD, 2, 5, resumed=True), Confirmed(2)]


def test_a_known_upload_that_is_complete_is_only_asked_about() -> None:
    """What is there already is not sent again."""
    talk = upload(f"{WHOLE}\n{WHOLE}", entry="old")

    assert talk.result is not None
    assert talk.result.resumed == 5


def test_that_nothing_is_missing_is_asked_twice() -> None:
    """The first answer may be about another upload, having come twice on the connection."""
    talk = upload(
        f"""
        {WHOLE}
        HEAD old -> 200 Upload-Offset=2 Upload-Length=5
        PATCH old 2-5 -> 204 Upload-Offset=5
        """,
        entry="old",
    )

    assert talk.result is not None
    assert talk.result.resumed == 2


@pytest.mark.parametrize("status", [404, 410])
def test_a_known_upload_that_is_gone_is_forgotten_and_made_anew(status: int) -> None:
    """A remembered URL that is gone (404, 410) leads to POST."""
    talk = upload(
        f"""
        HEAD old -> {status}
        {OFFER}
        POST -> 201 Location=u1
        {DONE}
        """,
        entry="old",
    )

    assert talk.memory == "forget, keep u1, forget"
    assert talk.player.notices == ["The server has the upload no more. It is uploaded anew."]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("403", id="403"),
        pytest.param("200 Upload-Offset=2 Upload-Length=6", id="another length"),
        pytest.param("200 Upload-Offset=6", id="beyond the source"),
        pytest.param("200 Upload-Concat=final;a_b", id="to be joined from others"),
        pytest.param("200 Content-Type=text/html", id="no upload at all"),
        pytest.param("200 Upload-Offset=9 Upload-Length=5", id="nonsense"),
    ],
)
def test_a_known_upload_of_no_use_is_replaced_by_the_new_one_only(answer: str) -> None:
    """A remembered URL that is of no use leads to POST, and its entry is replaced only after
    that."""
    start = f"""
        HEAD old -> {answer}
        {OFFER}
    """
    made = upload(f"{start}\nPOST -> 201 Location=u1\n{DONE}", entry="old")
    refused = upload(f"{start}\nPOST -> 403", entry="old")

    assert made.memory == "keep u1, forget"
    assert made.player.notices[0].endswith("It is uploaded anew.")
    assert refused.memory == ""
    assert failed(refused, UploadRefused, "403").url is None


def test_a_known_upload_that_cannot_be_asked_about_stays_known() -> None:
    """While the server is away nothing is given up, and the error says what is there."""
    talk = upload("HEAD old -> 503\n" * 4, entry="old")

    assert failed(talk, ServerUnreachable, "Tried 4 times", "503").url == OLD
    assert talk.memory == ""


@pytest.mark.parametrize("status", [400, 401, 405])
def test_a_known_upload_that_is_refused_stays_known(status: int) -> None:
    """Other refusals are no reason to give up what is there."""
    talk = upload(f"HEAD old -> {status}", entry="old")

    assert failed(talk, UploadRefused, "HEAD", str(status)).url == OLD
    assert talk.memory == ""


def test_a_source_that_fits_one_chunk_travels_in_its_post() -> None:
    """Where the server offers creation-with-upload a small source takes one request."""
    talk = upload(f"""
        {RIDES}
        POST 0-5 Content-Type=application/offset+octet-stream -> 201 Location=u1 Upload-Offset=5
    """)

    assert talk.result is not None
    assert talk.memory == "keep u1, forget"


def test_a_source_of_two_chunks_does_not_travel_in_its_post() -> None:
    """What does not fit one chunk is created first."""
    upload(
        f"""
        {RIDES}
        POST Upload-Length=5 Content-Type=- -> 201 Location=u1
        PATCH u1 0-3 -> 204 Upload-Offset=3
        PATCH u1 3-5 -> 204 Upload-Offset=5
        """,
        size=3,
    )


def test_bytes_that_did_not_arrive_with_the_post_follow() -> None:
    """The answer to the POST says how far it got; without a word HEAD does."""
    for said in ("Upload-Offset=2", ""):
        asked = "" if said else "HEAD u1 -> 200 Upload-Offset=2 Upload-Length=5"
        talk = upload(f"""
            {RIDES}
            POST 0-5 -> 201 Location=u1 {said}
            {asked}
            PATCH u1 2-5 -> 204 Upload-Offset=5
        """)
        assert talk.waits == []


def test_a_second_post_carries_no_bytes() -> None:
    """The URL of a POST that broke may be lost: its bytes are not sent blindly once more."""
    upload(f"""
        {RIDES}
        POST 0-5 -> broken
        POST -> 201 Location=u1
        {DONE}
    """)


@pytest.mark.parametrize("status", [500, 503, 460, 423])
def test_an_upload_that_a_failed_post_has_made_is_adopted(status: int) -> None:
    """A failed POST with a Location has made an upload, which is kept and gone on with."""
    talk = upload(f"""
        {RIDES}
        POST 0-5 -> {status} Location=u1
        HEAD u1 -> 200 Upload-Offset=2 Upload-Length=5
        PATCH u1 2-5 -> 204 Upload-Offset=5
    """)

    assert talk.memory == "keep u1, forget"


def test_an_upload_that_a_refused_post_has_made_is_named() -> None:
    """A final refusal that has made an upload says where it is, and the next run goes on there."""
    talk = upload(f"""
        {RIDES}
        POST 0-5 -> 403 Location=u1 Tus-Resumable=1.0.0 text=no_such_luck
    """)

    assert failed(talk, UploadRefused, "POST", "403", "no such luck").url == U1
    assert talk.memory == "keep u1"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("503 Location=mailto:x", id="no URL"),
        pytest.param("502 Location=http://other/u1", id="not over TLS"),
    ],
)
def test_a_location_of_no_use_on_a_failed_post_is_none(answer: str) -> None:
    """A failed POST is tried again where its Location is nothing to upload to."""
    upload(f"""
        {OFFER}
        POST -> {answer}
        POST -> 201 Location=u1
        {DONE}
    """)


@pytest.mark.parametrize("answer", ["302 Location=/login", "401 Location=/login"])
def test_a_redirection_makes_no_upload(answer: str) -> None:
    """A Location that no tus server gave is no upload's."""
    talk = upload(f"{OFFER}\nPOST -> {answer}")

    assert failed(talk, UploadRefused).url is None
    assert talk.memory == ""


def test_an_empty_source_is_done_when_it_is_made() -> None:
    """A source of no bytes needs no PATCH, and no body."""
    for offer in (OFFER, RIDES):
        talk = upload(f"{offer}\nPOST Upload-Length=0 -> 201 Location=u1", data=b"", length=0)
        assert talk.result is not None
        assert talk.result.length == 0


def test_metadata_and_a_part_are_said_at_creation() -> None:
    """Metadata and the role of a part stand in the POST."""
    upload(
        f"""
        {OFFER}
        POST Upload-Metadata=name,of Upload-Concat=partial -> 201 Location=u1
        {DONE}
        """,
        metadata="name,of",
        partial=True,
    )


def test_a_part_stays_remembered_when_it_is_done() -> None:
    """Parts of a parallel upload are forgotten together, when they are joined."""
    talk = upload(f"{MADE}\n{DONE}", partial=True, keep_entry=True)

    assert talk.memory == "keep u1"


# --- Uploads that somebody else has made ----------------------------------------------------------


def test_an_upload_that_exists_is_used() -> None:
    """``upload_url`` is gone on with; nothing is kept or forgotten, and nobody asks an endpoint."""
    talk = upload(
        """
        HEAD u1 -> 200 Upload-Offset=2 Upload-Length=5
        PATCH u1 2-5 -> 204 Upload-Offset=5
        """,
        upload_url=U1,
        endpoint=None,
        entry="old",
    )

    assert talk.memory == ""
    assert talk.player.entry == OLD


def test_an_upload_that_should_exist_is_never_replaced() -> None:
    """``upload_url`` is what is meant: where it is gone nothing is made in its place."""
    gone = upload("HEAD u1 -> 404", upload_url=U1)
    later = upload(
        """
        HEAD u1 -> 200 Upload-Offset=0 Upload-Length=5
        PATCH u1 0-5 -> 410
        """,
        upload_url=U1,
    )

    assert failed(gone, UploadGone, U1).url is None
    assert failed(later, UploadGone, U1).url is None


def test_an_upload_that_exists_and_does_not_fit_is_an_error() -> None:
    """``upload_url`` with another length is an error that says so, and names it."""
    talk = upload("HEAD u1 -> 200 Upload-Offset=0 Upload-Length=9", upload_url=U1)

    assert failed(talk, UploadMismatch, "9 bytes", "has 5").url == U1


def test_a_server_that_keeps_its_length_to_itself_is_told_it() -> None:
    """HEAD without Upload-Length: the length is declared, since nobody knows that it was."""
    upload(
        """
        HEAD old -> 200 Upload-Offset=5
        PATCH old 5-5 Upload-Length=5 -> 204 Upload-Offset=5
        """,
        entry="old",
    )


def test_a_length_that_was_taken_is_not_said_again() -> None:
    """A server that was told the length at creation needs not repeat it."""
    upload(f"""
        {MADE}
        PATCH u1 0-5 Upload-Length=- -> broken
        HEAD u1 -> 200 Upload-Offset=3
        PATCH u1 3-5 Upload-Length=- -> 204 Upload-Offset=5
    """)
