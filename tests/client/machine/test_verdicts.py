"""What answers mean: every status, every form of Retry-After, every kind of Location."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from vectus.client.commands import Answer
from vectus.client.verdicts import (
    LONGEST_WAIT,
    Verdict,
    adopted_url,
    created_url,
    describe,
    judge,
    no_creation,
    patience_asked,
    refusal,
)
from vectus.errors import NotTus, UploadRefused, UploadTooLarge
from vectus.protocol.dialects.tus1_client import Offer
from vectus.protocol.messages import Headers

URL = "https://h/files/"


def answer(status: int, text: str = "", **fields: str) -> Answer:
    """An answer; ``retry_after`` is Retry-After."""
    return Answer(status, Headers((n.replace("_", "-"), v) for n, v in fields.items()), text)


def expected(status: int) -> Verdict:
    """The issue's table."""
    special = {401: Verdict.REFRESH, 404: Verdict.GONE, 410: Verdict.GONE, 413: Verdict.SMALLER}
    passing = {408, 409, 423, 425, 429, 460} | set(range(500, 600)) - {501, 505, 510, 511}
    return Verdict.AGAIN if status in passing else special.get(status, Verdict.FINAL)


@pytest.mark.parametrize("hundreds", range(1, 6))
def test_every_status_has_its_verdict(hundreds: int) -> None:
    """408, 409, 423, 425, 429, 460 and 5xx may pass, but for what a server will never do; 401,
    404, 410 and 413 are cases of their own; everything else is final."""
    for status in range(hundreds * 100, hundreds * 100 + 100):
        assert judge(answer(status)) is expected(status), status
        assert answer(status).good == (hundreds == 2)


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("0", "", 0),
        ("7", "", 7),
        (" 7 ", "", 7),
        ("99999999999999999999", "", LONGEST_WAIT),
        ("-1", "", 0),
        ("1.5", "", 0),
        ("７", "", 0),
        ("", "", 0),
        ("soon", "", 0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 1999 23:59:49 GMT", 10),
        ("Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 1999 20:59:49 GMT", LONGEST_WAIT),
        ("Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 1999 23:59:59 GMT", 0),
        ("Fri, 31 Dec 1999 23:59:49 GMT", "Fri, 31 Dec 1999 23:59:59 GMT", 0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", "", 0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", "today", 0),
        ("Fri, 31 Dec 1999 23:59:59 -0000", "Fri, 31 Dec 1999 23:59:49 GMT", 0),
        ("Fri, 31 Dec 1999 23:59:59 +9999", "Fri, 31 Dec 1999 23:59:49 GMT", 0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", "Fri, 31 Dec 1999 23:59:49 GMT", 0),
    ],
)
def test_retry_after_in_every_form(value: str, date: str, seconds: float) -> None:
    """Seconds, or a date that counts from the answer's own; nonsense asks for nothing, and nobody
    makes us wait for hours."""
    fields = {"retry_after": value} | ({"date": date} if date else {})

    assert patience_asked(answer(503, **fields)) == seconds


@given(st.text(), st.text())
def test_no_retry_after_breaks_anything(value: str, date: str) -> None:
    """Whatever stands there, it is a number of seconds within reason."""
    assert 0 <= patience_asked(answer(503, retry_after=value, date=date)) <= LONGEST_WAIT


@pytest.mark.parametrize(
    ("endpoint", "location", "url"),
    [
        (URL, "https://h/files/u", "https://h/files/u"),
        (URL, "/files/u", "https://h/files/u"),
        (URL, "u", "https://h/files/u"),
        ("https://h/files", "u", "https://h/u"),
        (URL, "//other/u", "https://other/u"),
        (URL, "?id=u", "https://h/files/?id=u"),
        (URL, "u?token=t#top", "https://h/files/u?token=t"),
        (URL, "../u", "https://h/u"),
        (URL, "https://other/u", "https://other/u"),
        (URL, "http://h/files/u", "https://h/files/u"),
        (URL, "http://H:80/files/u", "https://h/files/u"),
        ("https://h:8443/files/", "http://h:8080/files/u", "https://h:8443/files/u"),
        ("http://h/files/", "https://h/files/u", "https://h/files/u"),
        ("http://h/files/", "http://other:81/u", "http://other:81/u"),
        ("https://me:pw@h/files/", "/files/u", "https://me:pw@h/files/u"),
    ],
)
def test_a_new_upload_has_an_absolute_url(endpoint: str, location: str, url: str) -> None:
    """Relative or absolute, on this host or another; and never less safe than what was asked."""
    assert created_url(endpoint, answer(201, location=location)) == url


@pytest.mark.parametrize(
    "location",
    [
        "http://other/u",
        "ftp://h/u",
        "mailto:x@h",
        "javascript:alert(1)",
        "http:",
        "https://",
        "https:///",
        "https://[::1",
        "https://h:port/u",
        "https://h:99999/u",
    ],
)
def test_a_url_that_cannot_be_used_is_named(location: str) -> None:
    """What is no http URL, or not over TLS where the endpoint was, is an error that shows it."""
    strange = answer(201, location=location)
    if location in ("https://", "https:///", "http:"):  # these say nothing: the host is the same
        strange = answer(201, location=location.replace("https", "gopher").replace("http:", "ws:"))

    with pytest.raises(NotTus, match="cannot be used"):
        created_url(URL, strange)


@pytest.mark.parametrize("fields", [{}, {"location": ""}])
def test_no_location_is_none(fields: dict[str, str]) -> None:
    """An answer that names no URL has none."""
    assert created_url(URL, answer(201, **fields)) is None


@given(st.text())
def test_no_location_breaks_anything(location: str) -> None:
    """Whatever stands there, it is an http URL, or nothing, or an error that shows it."""
    try:
        url = created_url(URL, answer(201, location=location))
    except NotTus:
        return
    assert url is None or url.startswith("https://")


@pytest.mark.parametrize(
    ("status", "fields", "adopted"),
    [
        (503, {"location": "u"}, True),
        (400, {"location": "u", "tus_resumable": "1.0.0"}, True),
        (413, {"location": "u", "tus_resumable": "1.0.0"}, True),
        (400, {"location": "u"}, False),
        (401, {"location": "/login"}, False),
        (303, {"location": "u", "tus_resumable": "1.0.0"}, False),
        (503, {}, False),
        (503, {"location": "mailto:x"}, False),
    ],
)
def test_what_a_failed_creation_has_left_behind(
    status: int, fields: dict[str, str], *, adopted: bool
) -> None:
    """A tus server's Location counts, however it answered; a redirection's, or a proxy's page, is
    no upload."""
    assert adopted_url(URL, answer(status, **fields)) == (f"{URL}u" if adopted else None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the server answered 418"),
        ("no tea", "the server answered 418: no tea"),
        ("a\x1b[2Jb\x00", "the server answered 418: a[2Jb"),
        ("x" * 999, f"the server answered 418: {'x' * 200}"),
    ],
)
def test_the_servers_words_are_shown_and_do_no_harm(text: str, words: str) -> None:
    """A line of text, with nothing in it that a terminal would obey, and not a page of it."""
    assert describe(answer(418, text)) == words


def test_a_refusal_says_what_to_do() -> None:
    """Status and words are kept, and where we know better there is a hint."""
    error = refusal(answer(403, "not yours."), "PATCH", f"{URL}u")

    assert (error.status, error.text) == (403, "not yours.")
    assert error.problem == f"PATCH {URL}u was refused: the server answered 403: not yours."
    assert "permission" in error.hint
    assert type(refusal(answer(412), "PATCH", URL)) is NotTus


@pytest.mark.parametrize(
    ("fields", "hint"), [({}, ""), ({"location": "https://other/"}, "Try https://other/.")]
)
def test_a_redirection_is_told_and_not_followed(fields: dict[str, str], hint: str) -> None:
    """Where it points to is the user's to judge."""
    error = refusal(answer(307, **fields), "POST", URL)

    assert "points elsewhere (307)" in error.problem
    assert error.hint == hint


@pytest.mark.parametrize(
    ("status", "fields", "speaks", "kind"),
    [
        (413, {}, True, UploadTooLarge),
        (413, {}, False, UploadTooLarge),
        (201, {}, True, NotTus),
        (404, {}, False, NotTus),
        (405, {}, False, NotTus),
        (404, {}, True, UploadRefused),
        (404, {"tus_resumable": "1.0.0"}, False, UploadRefused),
        (400, {}, False, UploadRefused),
        (403, {}, False, UploadRefused),
        (301, {"location": "/x"}, False, UploadRefused),
    ],
)
def test_why_nothing_was_created(
    status: int, fields: dict[str, str], kind: type[UploadRefused], *, speaks: bool
) -> None:
    """A stranger is called one, a tus server's refusal is its own; both keep the status."""
    error = no_creation(answer(status, **fields), URL, Offer(speaks=speaks), 9)

    assert type(error) is kind
    assert error.status == status


def test_the_limit_is_the_answers_or_the_offers() -> None:
    """What the refusal itself says of the limit comes first."""
    offer = Offer(max_size=5)
    said = no_creation(answer(413, tus_max_size="3"), URL, offer, 9)
    unsaid = no_creation(answer(413), URL, offer, None)

    assert isinstance(said, UploadTooLarge)
    assert isinstance(unsaid, UploadTooLarge)
    assert (said.limit, unsaid.limit) == (3, 5)
