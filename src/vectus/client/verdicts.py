"""What an answer means for what was asked: a table and the sentences for people. Pure."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from enum import Enum, auto
from urllib.parse import urljoin, urlsplit, urlunsplit

from vectus.client.commands import Answer
from vectus.errors import NotTus, UploadRefused, UploadTooLarge
from vectus.protocol.dialects.tus1_client import Offer, read_number

LONGEST_WAIT = 300.0
"""Seconds that a server can make us wait by Retry-After."""


class Verdict(Enum):
    """What to do after an answer that is no success."""

    AGAIN = auto()
    """It may pass: ask how far the upload is, and go on from there."""
    REFRESH = auto()
    """The credentials may have run out."""
    SMALLER = auto()
    """That was too much at once."""
    GONE = auto()
    """There is no such upload."""
    FINAL = auto()
    """It will not get better."""


_PASSING = frozenset({408, 409, 423, 425, 429, 460})
"""Statuses below 500 that another try may mend; 460 is a checksum that did not match."""

_NEVER = frozenset({501, 505, 510, 511})
"""Statuses from 500 that no other try mends."""

_VERDICTS = {401: Verdict.REFRESH, 404: Verdict.GONE, 410: Verdict.GONE, 413: Verdict.SMALLER}

_HINTS = {
    401: "Give credentials, or others.",
    403: "Ask whoever runs the server for permission.",
    404: "See whether the URL is right.",
    405: "See whether the URL is that of a tus server's collection.",
}


def judge(answer: Answer) -> Verdict:
    """Say what an answer that is no success asks for."""
    if answer.status in _PASSING or (answer.status >= 500 and answer.status not in _NEVER):
        return Verdict.AGAIN
    return _VERDICTS.get(answer.status, Verdict.FINAL)


_NO_COLLECTION = frozenset({404, 405, 410, 501})
"""How a POST is answered where no uploads are created."""


def describe(answer: Answer) -> str:
    """What the server answered, as the end of a sentence."""
    words = "".join(each for each in answer.text[:200] if each.isprintable()).strip()
    return f"the server answered {answer.status}" + (f": {words}" if words else "")


def refusal(answer: Answer, method: str, url: str) -> UploadRefused:
    """The error for an answer that is final."""
    if 300 <= answer.status < 400:
        elsewhere = answer.headers.get("location")
        problem = f"{url} points elsewhere ({answer.status})."
        hint = f"Try {elsewhere[:200]}." if elsewhere else ""
        return UploadRefused(problem, hint, status=answer.status)
    problem = f"{method} {url} was refused: {describe(answer).rstrip('.')}."
    kind = NotTus if answer.status == 412 else UploadRefused
    hint = _HINTS.get(answer.status, "")
    return kind(problem, hint, status=answer.status, text=answer.text)


def no_creation(answer: Answer, endpoint: str, offer: Offer, length: int | None) -> UploadRefused:
    """The error for an answer to a creation that is final, or a success that made nothing."""
    if judge(answer) is Verdict.SMALLER:
        said = read_number(answer.headers, "tus-max-size")
        return UploadTooLarge(length, offer.max_size if said is None else said)
    stranger = not offer.speaks and "tus-resumable" not in answer.headers
    if answer.good or (stranger and answer.status in _NO_COLLECTION):
        problem = f"{endpoint} does not create uploads: {describe(answer).rstrip('.')}."
        return NotTus(problem, "See whether it is a tus server's URL.", status=answer.status)
    return refusal(answer, "POST", endpoint)


def patience_asked(answer: Answer) -> float:
    """Seconds that Retry-After asks for (RFC 9110, 10.2.3); a date counts from the answer's own,
    so that no clock is needed and a wrong one does no harm."""
    value = (answer.headers.get("retry-after") or "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_WAIT)
    try:
        then = parsedate_to_datetime(value)
        now = parsedate_to_datetime(answer.headers.get("date") or "")
        seconds = (then - now).total_seconds()
    except (TypeError, ValueError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT)


def adopted_url(endpoint: str, answer: Answer) -> str | None:
    """The URL of an upload that a creation has made although it failed, or None.

    That of a redirection is none, and a proxy's own refusal knows of no upload: tus servers say
    what they are in every answer.
    """
    may = judge(answer) is Verdict.AGAIN or "tus-resumable" in answer.headers
    if not may or 300 <= answer.status < 400:
        return None
    try:
        return created_url(endpoint, answer)
    except NotTus:
        return None


def created_url(endpoint: str, answer: Answer) -> str | None:
    """The URL of a new upload, absolute; or None where the answer names none.

    A server behind a proxy often does not know that it is asked over TLS, or at which port, and
    names itself by http: the same host is kept to what it was asked by.

    Raises:
        NotTus: it is no URL to upload to.
    """
    location = answer.headers.get("location")
    if not location:
        return None
    try:
        asked, url = urlsplit(endpoint), urlsplit(urljoin(endpoint, location))
        url.port  # noqa: B018  # raises where it is none
    except ValueError:
        raise _strange(endpoint, location) from None
    if asked.scheme == "https" and url.scheme == "http" and url.hostname == asked.hostname:
        url = url._replace(scheme=asked.scheme, netloc=asked.netloc)
    known = url.scheme in {"http", "https"} and url.hostname
    if not known or (asked.scheme == "https" and url.scheme != "https"):
        raise _strange(endpoint, location)
    return urlunsplit(url._replace(fragment=""))


def _strange(endpoint: str, location: str) -> NotTus:
    return NotTus(f"{endpoint} gave the upload a URL that cannot be used, {location[:200]!r}.")
