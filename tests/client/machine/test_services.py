"""Checksums, verification, credentials, method override, and hosts that are no tus server."""

from __future__ import annotations

import pytest
from conversing import BARE, DONE, MADE, OFFER, OLD, U1, failed, upload
from pure_server import ENDPOINT

from vectus.client.commands import Pause
from vectus.errors import (
    NotOffered,
    NotTus,
    SourceChanged,
    UploadRefused,
    VerificationFailed,
)

# --- Checksums and verification -------------------------------------------------------------------


def test_checksums_protect_every_chunk() -> None:
    """Each chunk carries the digest of its bytes."""
    upload(
        f"""
        {MADE}
        PATCH u1 0-3 Upload-Checksum=sha1_28LR/tDcN6cK6g83aVjIAu3cBVk= -> 204 Upload-Offset=3
        PATCH u1 3-5 Upload-Checksum=sha1_Y46PAXFXWGQybwbSpfjnIodCexU= -> 204 Upload-Offset=5
        """,
        size=3,
        checksum="sha1",
    )


def test_a_checksum_that_the_server_does_not_verify_is_refused_before_anything_is_made() -> None:
    """Nobody is given a false sense of safety."""
    other = upload(OFFER, checksum="sha512")
    none = upload(BARE, checksum="auto")
    resumed = upload(f"HEAD old -> 200 Upload-Offset=0\n{BARE}", checksum="sha1", entry="old")

    failed(other, NotOffered, "sha512", "It knows sha1.")
    failed(none, NotOffered, "It verifies none.")
    assert failed(resumed, NotOffered).url == OLD


def test_what_the_server_verifies_is_asked_where_only_an_upload_is_known() -> None:
    """Without an endpoint the upload's own URL is asked."""
    upload(
        f"""
        HEAD u1 -> 200 Upload-Offset=0 Upload-Length=5
        {OFFER.replace("OPTIONS", "OPTIONS u1")}
        PATCH u1 0-5 -> 204 Upload-Offset=5
        """,
        upload_url=U1,
        endpoint=None,
        checksum="auto",
    )


def test_a_finished_uploads_length_is_verified() -> None:
    """``verify="length"`` asks how much the server has, and is not content with less, or with no
    word; what failed is forgotten, so that the same command tries it anew."""
    good = upload(
        f"{MADE}\n{DONE}\nHEAD u1 -> 200 Upload-Offset=5 Upload-Length=5", verify="length"
    )
    assert good.result is not None
    for said in ("200 Upload-Offset=4 Upload-Length=5", "200 Upload-Offset=5", "404"):
        bad = upload(f"{MADE}\n{DONE}\nHEAD u1 -> {said}", verify="length")
        assert failed(bad, VerificationFailed).url == U1
        assert bad.memory == "keep u1, forget"


def test_a_finished_upload_is_read_back() -> None:
    """``verify="download"`` compares every byte; it is tried again, credentials too."""
    start = f"{MADE}\n{DONE}\n"
    good = upload(
        f"{start}GET u1 -> 503\nGET u1 -> broken\nGET u1 -> 401\nGET u1 -> same",
        verify="download",
        fresh=1,
    )
    bad = upload(f"{start}GET u1 -> byte:3", verify="download")
    closed = upload(f"{start}GET u1 -> 403", verify="download")
    broken = upload(f"{start}GET u1 -> untrusted", verify="download")

    assert good.result is not None
    failed(bad, VerificationFailed, "byte 3")
    assert failed(closed, UploadRefused, "GET").url == U1
    assert closed.memory == "keep u1"
    failed(broken, UploadRefused, "not trusted")


# --- Everything else ------------------------------------------------------------------------------


def test_credentials_are_refreshed_once_in_a_row() -> None:
    """A 401 asks for other credentials and tries the same again; a second one is final, and a
    success lets them run out again."""
    good = upload(
        """
        OPTIONS -> 401
        OPTIONS -> 204 Tus-Version=1.0.0 Tus-Extension=creation-with-upload
        POST 0-5 -> 401
        POST 0-5 -> 201 Location=u1 Upload-Offset=2
        PATCH u1 2-5 -> 401
        PATCH u1 2-5 -> 204 Upload-Offset=5
        """,
        fresh=9,
    )
    twice = upload(f"{MADE}\nPATCH u1 0-5 -> 401\nPATCH u1 0-5 -> 401", fresh=9)
    none = upload(f"{MADE}\nPATCH u1 0-5 -> 401")
    between = upload(f"{OFFER}\nPOST -> 401\nPOST -> 503\nPOST -> 401", fresh=9)

    failed(between, UploadRefused, "401")
    assert good.result is not None
    assert failed(twice, UploadRefused, "401", "credentials").url == U1
    assert failed(none, UploadRefused, "401").url == U1


def test_patch_and_delete_travel_as_post_through_crippled_networks() -> None:
    """With the method override nothing but GET, HEAD, OPTIONS and POST is sent."""
    talk = upload(
        f"""
        {OFFER}
        POST X-HTTP-Method-Override=- -> 201 Location=u1
        POST u1 0-3 X-HTTP-Method-Override=PATCH -> 204 Upload-Offset=3
        POST u1 X-HTTP-Method-Override=DELETE -> 204
        """,
        override=True,
        size=3,
        changes_at=1,
    )

    failed(talk, SourceChanged)


@pytest.mark.parametrize("answer", ["404", "405", "403", "401", "200", "501", "302 Location=/x"])
def test_a_host_that_answers_no_options_is_used_all_the_same(answer: str) -> None:
    """Hosted endpoints do not say what they can do: then nothing is taken for granted."""
    upload(f"OPTIONS -> {answer}\nPOST Upload-Length=5 -> 201 Location=u1\n{DONE}")


@pytest.mark.parametrize(("answer", "learnt"), [("404", True), ("401", False), ("403", False)])
def test_a_refusal_for_want_of_credentials_is_not_remembered(answer: str, *, learnt: bool) -> None:
    """What an endpoint offers is asked again when it might be told to others."""
    talk = upload(f"OPTIONS -> {answer}\nPOST -> 201 Location=u1\n{DONE}")

    assert (ENDPOINT in talk.player.offers) == learnt


def test_an_endpoint_is_asked_once() -> None:
    """What is known of an endpoint is not asked again, and its fragment is no part of it."""
    talk = upload(
        f"""
        {OFFER}
        POST -> 201 Location=u1
        PATCH u1 0-5 -> 404
        POST -> 201 Location=u2
        PATCH u2 0-5 -> 204 Upload-Offset=5
        """,
        endpoint=f"{ENDPOINT}#top",
    )

    assert talk.result is not None


def test_a_server_of_another_version_is_none() -> None:
    """A server that names versions, and not ours, is not sent anything."""
    talk = upload("OPTIONS -> 204 Tus-Version=0.2.2,2.0.0")

    failed(talk, NotTus, "0.2.2, 2.0.0")


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(("404", "404"), id="nothing there"),
        pytest.param(("404", "405"), id="not for POST"),
        pytest.param(("200", "200 text=hello"), id="a web page"),
        pytest.param(("204 Tus-Version=1.0.0", "201"), id="no Location"),
        pytest.param(("404", "201 Location=mailto:x"), id="no URL"),
    ],
)
def test_a_url_that_is_no_tus_server_is_one_sentence(answers: tuple[str, str]) -> None:
    """What does not create uploads is named, and nothing is remembered."""
    talk = upload(f"OPTIONS -> {answers[0]}\nPOST -> {answers[1]}")

    assert ENDPOINT in failed(talk, NotTus).problem
    assert talk.memory == ""


def test_a_hosts_own_words_are_passed_on() -> None:
    """A host that speaks tus only where it must is not called a stranger for a refusal."""
    talk = upload("OPTIONS -> 404\nPOST -> 400 text=bucket_not_found")

    failed(talk, UploadRefused, "400", "bucket not found")


def test_an_endpoint_that_moved_is_named() -> None:
    """Redirections are not followed blindly with a body, but told."""
    talk = upload("OPTIONS -> 301 Location=https://h/new/\nPOST -> 301 Location=https://h/new/")

    assert failed(talk, UploadRefused, "301").hint == "Try https://h/new/."


def test_a_certificate_that_is_not_trusted_is_not_tried_again() -> None:
    """What no other try mends is told at once, with what does."""
    talk = upload("OPTIONS -> untrusted")

    assert failed(talk, UploadRefused, "not trusted").hint == "Name the CA."


def test_every_pause_is_told_before() -> None:
    """Whoever watches knows why nothing happens."""
    talk = upload("OPTIONS -> 503 text=busy\n" * 4)
    log = talk.player.log

    for number, command in enumerate(log):
        if isinstance(command, Pause):
            before = log[number - 1]
            assert "503: busy" in before.what.why  # type: ignore[union-attr]


def test_a_server_that_vanishes_while_verifying_a_join_is_waited_for() -> None:
    """A join that is not done has no offset yet."""
    talk = upload(
        f"""
        {MADE}
        {DONE}
        HEAD u1 -> 200 Upload-Concat=final;a_b Upload-Length=5
        HEAD u1 -> 200 Upload-Concat=final;a_b Upload-Length=5 Upload-Offset=5
        """,
        verify="length",
    )

    assert talk.waits == [(0.5, 1)]
