"""What is tried again, how often, how long after, and what is made smaller or anew."""

from __future__ import annotations

import pytest
from conversing import DONE, MADE, OFFER, RIDES, U1, failed, upload

from vectus.client.happenings import Retrying
from vectus.client.job import Patience
from vectus.errors import (
    ServerUnreachable,
    UploadGone,
    UploadMismatch,
    UploadRefused,
    UploadTooLarge,
)


@pytest.mark.parametrize(
    "trouble", ["broken", 408, 409, 423, 425, 429, 460, 500, 502, 503, 504, 507, 520]
)
def test_what_may_pass_is_tried_again(trouble: str | int) -> None:
    """Network errors, 408, 409, 423, 429, 460 and 5xx: wait, ask for the offset, go on; POST, HEAD
    and OPTIONS are tried again as well."""
    talk = upload(f"""
        OPTIONS -> {trouble}
        {OFFER}
        POST -> {trouble}
        POST -> 201 Location=u1
        PATCH u1 0-5 -> {trouble}
        HEAD u1 -> 200 Upload-Offset=2 Upload-Length=5
        PATCH u1 2-5 -> {trouble}
        HEAD u1 -> {trouble}
        HEAD u1 -> 200 Upload-Offset=2 Upload-Length=5
        PATCH u1 2-5 -> 204 Upload-Offset=5
    """)

    assert talk.result is not None
    assert talk.result.retries == len(talk.waits) == 5


@pytest.mark.parametrize("status", [400, 401, 402, 403, 405, 412, 415, 422, 451, 501, 505])
def test_what_will_not_pass_is_final(status: int) -> None:
    """Other refusals are final, name what was asked, and leave the upload to go on with."""
    talk = upload(f"{MADE}\nPATCH u1 0-5 -> {status} text=because")

    assert isinstance(talk.error, UploadRefused)
    assert talk.error.status == status
    assert talk.error.url == U1
    assert "because" in talk.error.problem
    assert talk.memory == "keep u1"


def test_waits_grow_and_have_an_end() -> None:
    """Waits double up to the longest, and there is one for each try; chance is the driver's."""
    talk = upload(
        f"{MADE}\n"
        + "PATCH u1 0-5 -> broken\nHEAD u1 -> 200 Upload-Offset=0\n" * 6
        + "PATCH u1 0-5 -> broken",
        patience=Patience(retries=6, delay=1, longest=10),
    )

    assert [longest for longest, _ in talk.waits] == [1, 2, 4, 8, 10, 10]
    assert failed(talk, ServerUnreachable, "Tried 7 times", "the connection failed").url == U1
    told = [what for what in talk.player.told if isinstance(what, Retrying)]
    assert [(what.tries, what.of, what.delay) for what in told][:2] == [(1, 6, 1), (2, 6, 2)]


def test_thousands_of_tries_are_no_overflow() -> None:
    """Who wants to wait for days can."""
    talk = upload("OPTIONS -> broken\n" * 1501, patience=Patience(retries=1500))

    assert failed(talk, ServerUnreachable, "1501 times").url is None
    assert max(talk.waits) == (30, 0)


def test_no_retries_are_no_retries() -> None:
    """With no tries left the first trouble is the last."""
    talk = upload("OPTIONS -> broken", patience=Patience(retries=0))

    failed(talk, ServerUnreachable, "Tried once")


def test_the_budget_starts_anew_when_bytes_are_confirmed() -> None:
    """Progress, and nothing else, gives all tries back."""
    lines = [OFFER, "POST -> 201 Location=u1"]
    for offset in range(5):
        lines += [
            f"PATCH u1 {offset}-5 -> 503",
            "HEAD u1 -> 503",
            f"HEAD u1 -> 200 Upload-Offset={offset} Upload-Length=5",
            f"PATCH u1 {offset}-5 -> broken",
            f"HEAD u1 -> 200 Upload-Offset={offset + 1} Upload-Length=5",
        ]

    assert upload("\n".join(lines)).result is not None


def test_an_offset_that_comes_again_is_no_progress() -> None:
    """A server that loses bytes and gets them again does not keep the client busy for ever."""
    around = """
        PATCH u1 3-5 -> 500
        HEAD u1 -> 200 Upload-Offset=0 Upload-Length=5
        PATCH u1 0-3 -> 204 Upload-Offset=3
    """
    talk = upload(
        f"{MADE}\nPATCH u1 0-3 -> 204 Upload-Offset=3\n" + around * 3 + "PATCH u1 3-5 -> 500",
        size=3,
    )

    failed(talk, ServerUnreachable)


@pytest.mark.parametrize("status", [429, 503, 423])
def test_retry_after_is_honoured(status: int) -> None:
    """What the server asks for is the least that is waited."""
    talk = upload(f"""
        {MADE}
        PATCH u1 0-5 -> {status} Retry-After=7
        HEAD u1 -> 200 Upload-Offset=0 Upload-Length=5
        {DONE}
    """)

    assert talk.waits == [(0.5, 7)]
    told = [what for what in talk.player.told if isinstance(what, Retrying)]
    assert told[0].delay == 7


def test_413_on_post_is_final_and_names_the_limit() -> None:
    """The limit is that of the answer, or that of OPTIONS, or unknown."""
    said = upload(f"{OFFER}\nPOST -> 413 Tus-Max-Size=3")
    unsaid = upload(f"{OFFER}\nPOST -> 413")

    assert isinstance(said.error, UploadTooLarge)
    assert said.error.limit == 3
    assert "3 bytes" in said.error.problem
    assert isinstance(unsaid.error, UploadTooLarge)
    assert unsaid.error.limit is None


def test_what_is_too_large_is_not_even_tried() -> None:
    """A limit that is known beforehand costs no POST."""
    talk = upload(f"{OFFER} Tus-Max-Size=4")

    assert failed(talk, UploadTooLarge, "5 bytes", "4 bytes").limit == 4  # type: ignore[attr-defined]


def test_what_is_exactly_as_large_as_can_be_is_uploaded() -> None:
    """A limit may be reached."""
    upload(f"{OFFER} Tus-Max-Size=5\nPOST -> 201 Location=u1\n{DONE}")


def test_413_on_a_post_with_bytes_may_be_a_proxys() -> None:
    """A proxy that takes no such body knows nothing of the upload: it is made without."""
    talk = upload(f"""
        {RIDES}
        POST 0-5 -> 413
        POST -> 201 Location=u1
        {DONE}
    """)

    assert talk.waits == []


def test_413_on_patch_halves_the_chunks_down_to_a_floor() -> None:
    """Chunks too large for the server are halved, and stay so; the floor is final."""
    data = bytes(16)
    start = f"""
        {MADE}
        PATCH u1 0-16 -> 413
        HEAD u1 -> 200 Upload-Offset=0 Upload-Length=16
        PATCH u1 0-8 -> 413
        HEAD u1 -> 200 Upload-Offset=0 Upload-Length=16
    """
    good = upload(
        f"""
        {start}
        PATCH u1 0-4 -> 204 Upload-Offset=4
        PATCH u1 4-8 -> 204 Upload-Offset=8
        PATCH u1 8-12 -> 204 Upload-Offset=12
        PATCH u1 12-16 -> 204 Upload-Offset=16
        """,
        data=data,
        length=16,
    )
    floor = upload(f"{start}\nPATCH u1 0-5 -> 413", data=data, length=16, smallest=5)

    assert good.waits == []
    assert failed(floor, UploadRefused, "413").url == U1


def test_413_on_patch_because_of_the_whole_is_final() -> None:
    """Smaller chunks do not make an upload smaller: a stream beyond the limit ends there."""
    talk = upload(
        f"""
        {OFFER} Tus-Max-Size=4
        POST -> 201 Location=u1
        PATCH u1 0-3 -> 204 Upload-Offset=3
        PATCH u1 3-6 -> 413
        """,
        data=bytes(9),
        length=None,
        size=3,
    )

    assert failed(talk, UploadTooLarge, "4 bytes").url == U1


def test_460_sends_the_chunk_again() -> None:
    """A checksum that did not match costs the chunk and nothing else."""
    upload(
        f"""
        {MADE}
        PATCH u1 0-5 -> 460
        HEAD u1 -> 200 Upload-Offset=0 Upload-Length=5
        {DONE}
        """,
        checksum="sha1",
    )


@pytest.mark.parametrize("status", [404, 410])
def test_an_upload_that_is_gone_in_the_middle_is_made_anew_once(status: int) -> None:
    """404/410 in the middle starts anew where the source can be read again; once."""
    start = f"""
        {MADE}
        PATCH u1 0-3 -> 204 Upload-Offset=3
        PATCH u1 3-5 -> {status}
        POST -> 201 Location=u2
        PATCH u2 0-3 -> 204 Upload-Offset=3
    """
    end = "PATCH u2 3-5 -> 204 Upload-Offset=5"
    once = upload(f"{start}\n{end}", size=3)
    seen = start.replace(f"-> {status}", f"-> broken\nHEAD u1 -> {status}")
    told = upload(f"{seen}\n{end}", size=3)
    twice = upload(f"{start}\nPATCH u2 3-5 -> broken\nHEAD u2 -> {status}", size=3)

    assert once.memory == told.memory == "keep u1, forget, keep u2, forget"
    assert once.player.notices == ["The server has the upload no more. It is uploaded anew."]
    assert failed(twice, UploadGone, "u2").url is None
    assert twice.memory == "keep u1, forget, keep u2, forget"


def test_a_new_start_owes_nothing_to_the_old_one() -> None:
    """What was sent to, and confirmed of, the upload that is gone counts for nothing."""
    again = f"""
        {MADE}
        PATCH u1 0-3 -> 204 Upload-Offset=3
        PATCH u1 3-5 -> 404
        POST -> 201 Location=u2
        PATCH u2 0-3 -> broken
    """
    foreign = upload(f"{again}\nHEAD u2 -> 200 Upload-Offset=4 Upload-Length=5", size=3)
    renewed = upload(
        f"""
        {again}
        HEAD u2 -> 503
        HEAD u2 -> 503
        HEAD u2 -> 200 Upload-Offset=1 Upload-Length=5
        PATCH u2 1-4 -> 503
        HEAD u2 -> 200 Upload-Offset=1 Upload-Length=5
        PATCH u2 1-4 -> 204 Upload-Offset=4
        PATCH u2 4-5 -> 204 Upload-Offset=5
        """,
        size=3,
    )

    failed(foreign, UploadMismatch, "only 3 were sent")
    assert renewed.result is not None
    assert renewed.result.resumed == 0


def test_a_stream_whose_upload_is_gone_in_the_middle_cannot_start_anew() -> None:
    """404 in the middle of what can't be read twice is ``UploadGone``; before any byte was
    confirmed everything is still at hand."""
    late = upload(
        f"{MADE}\nPATCH u1 0-3 -> 204 Upload-Offset=3\nPATCH u1 3-5 -> 404",
        size=3,
        replayable=False,
    )
    early = upload(
        f"""
        {MADE}
        PATCH u1 0-3 -> 404
        POST -> 201 Location=u2
        PATCH u2 0-3 -> 204 Upload-Offset=3
        PATCH u2 3-5 -> 204 Upload-Offset=5
        """,
        size=3,
        replayable=False,
    )

    assert failed(late, UploadGone).url is None
    assert early.result is not None


def test_a_server_that_is_beyond_what_was_sent_is_an_error() -> None:
    """Bytes that nobody here has sent are somebody else's."""
    talk = upload(
        f"{MADE}\nPATCH u1 0-3 -> broken\nHEAD u1 -> 200 Upload-Offset=4 Upload-Length=5", size=3
    )

    assert failed(talk, UploadMismatch, "4 bytes", "only 3 were sent").url == U1


def test_a_server_with_another_length_in_the_middle_is_an_error() -> None:
    """A length never changes."""
    talk = upload(f"{MADE}\nPATCH u1 0-5 -> broken\nHEAD u1 -> 200 Upload-Offset=3 Upload-Length=6")

    assert failed(talk, UploadMismatch, "6 bytes", "has 5").url == U1


@pytest.mark.parametrize("said", ["", "Upload-Offset=x", "Upload-Offset=0", "Upload-Offset=9"])
def test_a_success_that_does_not_say_how_far_it_got_is_doubted(said: str) -> None:
    """An answer that makes no sense is no progress: HEAD tells, and every doubt costs a try."""
    doubt = f"PATCH u1 0-5 -> 204 {said}\nHEAD u1 -> 200 Upload-Offset=0 Upload-Length=5\n"
    healed = upload(f"{MADE}\n{doubt}{DONE}")
    never = upload(f"{MADE}\n{doubt * 3}\nPATCH u1 0-5 -> 204 {said}")

    assert healed.result is not None
    assert failed(never, ServerUnreachable, "does not say that it took").url == U1


def test_a_server_that_took_some_is_sent_the_rest() -> None:
    """Bytes that were not taken are sent again, from where the server says it is."""
    upload(f"{MADE}\nPATCH u1 0-5 -> 204 Upload-Offset=2\nPATCH u1 2-5 -> 204 Upload-Offset=5")


@pytest.mark.parametrize("said", ["", "Upload-Offset=x", "Upload-Offset=3 Upload-Length=2"])
def test_a_head_in_the_middle_that_makes_no_sense_is_asked_again(said: str) -> None:
    """One strange answer between is no reason to end an upload; if it stays so, it is."""
    start = f"{MADE}\nPATCH u1 0-5 -> broken\nHEAD u1 -> 200 {said}\n"
    healed = upload(f"{start}\nHEAD u1 -> 200 Upload-Offset=0 Upload-Length=5\n{DONE}")
    never = upload(start + f"HEAD u1 -> 200 {said}\n" * 2)

    assert healed.result is not None
    assert failed(never, ServerUnreachable, U1).url == U1


def test_a_head_that_is_refused_in_the_middle_is_final() -> None:
    """Whoever may not ask cannot go on."""
    talk = upload(f"{MADE}\nPATCH u1 0-5 -> broken\nHEAD u1 -> 403")

    assert failed(talk, UploadRefused, "HEAD", "403").url == U1
    assert talk.memory == "keep u1"


def test_a_server_that_lags_behind_itself_is_asked_again_for_a_stream() -> None:
    """A HEAD that knows less than was confirmed may be late; if it stays so, the bytes are lost,
    and a stream cannot give them again."""
    start = f"""
        {MADE}
        PATCH u1 0-3 -> 204 Upload-Offset=3
        PATCH u1 3-5 -> broken
        HEAD u1 -> 200 Upload-Offset=0 Upload-Length=5
    """
    healed = upload(
        f"{start}\nHEAD u1 -> 200 Upload-Offset=3 Upload-Length=5\n"
        "PATCH u1 3-5 -> 204 Upload-Offset=5",
        size=3,
        replayable=False,
    )
    never = upload(
        start + "HEAD u1 -> 200 Upload-Offset=0 Upload-Length=5\n" * 2, size=3, replayable=False
    )

    assert healed.result is not None
    assert failed(never, UploadGone, "lost bytes", "cannot be read again").url == U1


def test_a_server_that_lost_bytes_is_given_them_again() -> None:
    """What can be read again is sent again."""
    upload(
        f"""
        {MADE}
        PATCH u1 0-3 -> 204 Upload-Offset=3
        PATCH u1 3-5 -> 409
        HEAD u1 -> 200 Upload-Offset=1 Upload-Length=5
        PATCH u1 1-4 -> 204 Upload-Offset=4
        PATCH u1 4-5 -> 204 Upload-Offset=5
        """,
        size=3,
    )
