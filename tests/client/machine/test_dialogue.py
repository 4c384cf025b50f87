"""Questions that carry no bytes: what an upload is, what an endpoint can do, deleting, joining."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conversing import OFFER, Talk, converse
from pure_server import ENDPOINT

from vectus.client.commands import Steps
from vectus.client.dialogue import (
    Budget,
    Requests,
    choose_algorithm,
    discover,
    inspect,
    join,
    terminate,
    verify_content,
)
from vectus.client.job import Patience
from vectus.errors import (
    NotOffered,
    NotTus,
    ServerUnreachable,
    UploadError,
    UploadGone,
    UploadRefused,
    UploadTooLarge,
)
from vectus.protocol.dialects.tus1_client import Offer
from vectus.protocol.policy import Feature

U1 = f"{ENDPOINT}u1"


def ask(question: Callable[..., Steps[Any]], table: str, *what: object, **how: bool) -> Talk:
    """Ask a question."""
    return converse(question(Requests(Budget(Patience(retries=2)), **how), *what), table)


@pytest.mark.parametrize(
    ("answer", "there"),
    [("204", True), ("200", True), ("404", False), ("410", False)],
)
def test_terminating_says_whether_it_was_there(answer: str, *, there: bool) -> None:
    """What is gone already is no error; a lock, or a server away, is waited for."""
    talk = ask(terminate, f"DELETE u1 -> 423\nDELETE u1 -> broken\nDELETE u1 -> {answer}", U1)

    assert talk.result is there


def test_terminating_may_be_refused() -> None:
    """A server that does not delete says so."""
    talk = ask(terminate, "DELETE u1 -> 405", U1)

    assert type(talk.error) is UploadRefused


def test_terminating_through_a_crippled_network() -> None:
    """DELETE travels as POST where it must."""
    talk = ask(terminate, "POST u1 X-HTTP-Method-Override=DELETE -> 204", U1, override=True)

    assert talk.result is True


def test_the_state_of_an_upload() -> None:
    """Everything that HEAD says."""
    talk = ask(
        inspect,
        "HEAD u1 -> 200 Upload-Offset=2 Upload-Length=5 Upload-Metadata=a_eA== Upload-Expires=x",
        U1,
    )
    state: Any = talk.result

    assert (state.offset, state.length, state.metadata, state.expires) == (2, 5, "a eA==", "x")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("404", UploadGone),
        ("410", UploadGone),
        ("403", UploadRefused),
        ("412", NotTus),
        ("200", NotTus),
        ("200 Upload-Offset=x", NotTus),
        ("200 Upload-Concat=partial", NotTus),
        ("untrusted", UploadRefused),
        ("503\nHEAD u1 -> 503\nHEAD u1 -> 503", ServerUnreachable),
    ],
)
def test_what_is_no_upload(answer: str, kind: type[UploadError]) -> None:
    """Each way not to be an upload has its error."""
    talk = ask(inspect, f"HEAD u1 -> {answer}", U1)

    assert type(talk.error) is kind


def test_parts_are_joined() -> None:
    """The parts' URLs are named in their order, and no length; it is tried again."""
    talk = ask(
        join,
        """
        POST -> 503
        POST Upload-Concat=final;a_b Upload-Metadata=n Upload-Length=- -> 201 Location=u1
        """,
        ENDPOINT,
        ("a", "b"),
        "n",
    )

    assert talk.result == U1  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [("400", UploadRefused), ("413", UploadTooLarge), ("201", NotTus), ("404", UploadRefused)],
)
def test_parts_that_are_not_joined(answer: str, kind: type[UploadError]) -> None:
    """Each way not to join has its error."""
    talk = ask(join, f"POST -> {answer}", ENDPOINT, ("a", "b"), "")

    assert type(talk.error) is kind


def test_an_offer_is_remembered() -> None:
    """An endpoint is asked once."""

    def twice(requests: Requests, endpoint: str) -> Steps[Any]:
        first = yield from discover(requests, endpoint)
        second = yield from discover(requests, endpoint)
        return (first, second)

    first, second = ask(twice, OFFER, ENDPOINT).result  # type: ignore[misc]

    assert first is second
    assert first.algorithms == ("sha1",)


@pytest.mark.parametrize(
    ("wanted", "offered", "choice"),
    [
        ("auto", ("md5", "sha1", "sha256"), "sha256"),
        ("auto", ("crc32",), "crc32"),
        ("md5", ("sha1", "md5"), "md5"),
        ("auto", ("whirlpool",), None),
        ("whirlpool", ("whirlpool",), "whirlpool"),
        ("sha512", ("sha1",), None),
    ],
)
def test_the_algorithm_is_one_that_is_offered(
    wanted: str, offered: tuple[str, ...], choice: str | None
) -> None:
    """The caller's own, or the best that both know; else it is refused."""
    offer = Offer(features=frozenset({Feature.CHECKSUM}), algorithms=offered)
    if choice is None:
        with pytest.raises(NotOffered, match="does not verify"):
            choose_algorithm(wanted, offer)
    else:
        assert choose_algorithm(wanted, offer) == choice


def test_algorithms_without_the_extension_are_none() -> None:
    """A server that only names algorithms verifies nothing."""
    with pytest.raises(NotOffered):
        choose_algorithm("sha1", Offer(algorithms=("sha1",)))


def test_a_download_that_never_comes_is_given_up() -> None:
    """Reading back is tried as often as anything else."""
    talk = ask(verify_content, "GET u1 -> broken\n" * 3, U1)

    assert type(talk.error) is ServerUnreachable


def test_a_budget_below_nothing_is_nothing() -> None:
    """Fewer than no tries are none."""
    talk = converse(discover(Requests(Budget(Patience(retries=-1))), ENDPOINT), "OPTIONS -> 503")  # type: ignore[arg-type]

    assert type(talk.error) is ServerUnreachable
