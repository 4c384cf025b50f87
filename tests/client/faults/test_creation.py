"""Troubles while an upload is made: it is made once, or what is left behind has a reason."""

from __future__ import annotations

from typing import Any

import pytest
from fault_proxy import Cut, Edit, Garble, Reset, Say, Stall, Swallow
from ground import CHUNK, DATA, PATCHED, Ground, without
from sides import Side, impatient

from server import until
from vectus.client import Noticed, Retrying
from vectus.errors import NotOffered, NotTus, UploadRefused, UploadTooLarge

QUICK: dict[str, Any] = {"retry_delay": 0.01, "timeout": 10}

ALONG = {
    "along": {},
    "apart": PATCHED,
}
"""Whether the bytes travel with the creation."""


@pytest.mark.parametrize("way", ALONG)
@pytest.mark.parametrize("kind", ["path", "iterator"])
@pytest.mark.parametrize(
    ("fault", "orphans"),
    [
        (Reset(), 0),
        (Say(503, {"Retry-After": "0"}), 0),
        (Say(429, {"Retry-After": "0"}), 0),
        (Say(500), 0),
        (Swallow(), 1),
    ],
    ids=["reset", "503", "429", "500", "swallow"],
)
def test_a_creation_is_tried_again(
    side: Side, way: str, kind: str, fault: Any, orphans: int, ground: Ground
) -> None:
    """POST is tried again like anything else; only an upload whose URL was lost on its way stays
    behind."""
    proxy = ground.proxy(ALONG[way], {("POST", 1): fault})

    result = side.upload(ground.source(kind), proxy.url, **QUICK)

    assert ground.content(result.url) == DATA
    assert (proxy.count("POST"), ground.uploads) == (2, 1 + orphans)
    assert result.retries == 1


@pytest.mark.parametrize("kind", ["path", "bytes", "iterator"])
@pytest.mark.parametrize("fault", [Cut(300_000), Reset(300_000), Stall(300_000)])
def test_a_creation_breaks_in_its_body(side: Side, kind: str, fault: Any, ground: Ground) -> None:
    """Bytes travel with the first try only: the URL of what they made may be lost, and they are
    not sent to be lost again."""
    proxy = ground.proxy({("POST", 1): fault})

    if isinstance(fault, Stall):
        with side.client(proxy.url, retry_delay=0.01, timeout=0.5) as client:
            stalled = impatient(client, lambda *which: which == ("POST", 1))
            result = stalled.upload(ground.source(kind))
    else:
        result = side.upload(ground.source(kind), proxy.url, **QUICK)

    assert ground.content(result.url) == DATA
    assert [seen.announced for seen in proxy.of("POST")] == [len(DATA), 0]
    until(lambda: ground.uploads == 2)  # the one whose URL was lost, and this one


def test_a_byte_goes_wrong(side: Side, ground: Ground) -> None:
    """What travels with its creation is protected by its checksum as well."""
    proxy = ground.proxy({("POST", 1): Garble(77)})

    result = side.upload(ground.source("path"), proxy.url, checksum="sha256", **QUICK)

    assert proxy.of("POST")[0].status == 460
    assert ground.content(result.url) == DATA


@pytest.mark.usefixtures("long_lived")
def test_one_request_is_enough(side: Side, ground: Ground) -> None:
    """A source that fits one chunk travels with its creation: two requests, one connection."""
    proxy = ground.proxy()

    result = side.upload(ground.source("path"), proxy.url, **QUICK)

    assert ground.content(result.url) == DATA
    assert [seen.method for seen in proxy.requests] == ["OPTIONS", "POST"]
    assert proxy.connections == 1


def test_the_wait_that_is_asked_for(side: Side, ground: Ground) -> None:
    """Retry-After is waited for, and told."""
    proxy = ground.proxy({("POST", 1): Say(503, {"Retry-After": "1"}, "Back soon.")})
    heard: list[Any] = []

    side.upload(ground.source("path"), proxy.url, on_event=heard.append, **QUICK)

    (retrying,) = [what for what in heard if isinstance(what, Retrying)]
    assert (retrying.delay, retrying.tries) == (1.0, 1)
    assert "Back soon" in retrying.why


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, UploadRefused), (403, UploadRefused), (405, UploadRefused), (501, UploadRefused)],
)
def test_a_final_refusal(side: Side, status: int, kind: type, ground: Ground) -> None:
    """Other refusals are final: one POST, the status, the server's words, and nothing left."""
    proxy = ground.proxy({("POST", None): Say(status, text="We do not like you.")})

    with pytest.raises(kind) as caught:
        side.upload(ground.source("path"), proxy.url, **QUICK)

    assert caught.value.status == status
    assert "We do not like you" in str(caught.value)
    assert caught.value.url is None
    assert (proxy.count("POST"), ground.uploads) == (1, 0)


def test_too_large_an_upload(side: Side, ground: Ground) -> None:
    """413 on POST is final, and names the server's limit."""
    proxy = ground.proxy(PATCHED, {("POST", None): Say(413, {"Tus-Max-Size": "1000"})})

    with pytest.raises(UploadTooLarge) as caught:
        side.upload(ground.source("path"), proxy.url, **QUICK)

    assert caught.value.limit == 1000
    assert "1000" in str(caught.value)
    assert (proxy.count("POST"), ground.uploads) == (1, 0)


def test_too_large_by_its_offer(side: Side, ground: Ground) -> None:
    """What the server says beforehand to be too much is not even tried."""
    proxy = ground.proxy({("OPTIONS", None): Edit({"Tus-Max-Size": "1000"})})

    with pytest.raises(UploadTooLarge) as caught:
        side.upload(ground.source("path"), proxy.url, **QUICK)

    assert (caught.value.limit, proxy.count("POST")) == (1000, 0)


def test_too_large_a_body_of_a_creation(side: Side, ground: Ground) -> None:
    """A proxy that lets no large body pass does not know of uploads: the creation goes without
    one, and the bytes follow in chunks that pass."""
    proxy = ground.proxy({("POST", 1): Say(413)})

    result = side.upload(ground.source("path"), proxy.url, **QUICK)

    assert ground.content(result.url) == DATA
    assert [seen.announced for seen in proxy.of("POST")] == [len(DATA), 0]
    assert ground.uploads == 1


@pytest.mark.parametrize("kind", ["iterator", "stream"])
def test_without_deferred_lengths(side: Side, kind: str, ground: Ground) -> None:
    """Where nobody knows the length, a server that must know it is not asked in vain, and the hint
    says what to do; with a length it works, and so does a source that ends in its first chunk."""
    proxy = ground.proxy(without("creation-defer-length"))

    with pytest.raises(NotOffered, match="--length"):
        side.upload(ground.source(kind), proxy.url, chunk_size=CHUNK, **QUICK)
    assert (proxy.count("POST"), ground.uploads) == (0, 0)

    source = ground.source(kind)
    known = side.upload(source, proxy.url, chunk_size=CHUNK, length=len(DATA), **QUICK)
    short = side.upload(ground.source(kind), proxy.url, **QUICK)
    assert ground.content(known.url) == ground.content(short.url) == DATA


def test_without_concatenation(side: Side, ground: Ground) -> None:
    """Where the server joins nothing, a parallel upload takes one connection, and says so."""
    proxy = ground.proxy(without("concatenation"))
    heard: list[Any] = []

    result = side.upload(
        ground.source("path"), proxy.url, parallel=3, on_event=heard.append, **QUICK
    )

    assert ground.content(result.url) == DATA
    assert (result.parts, ground.uploads, proxy.count("POST")) == ((), 1, 1)
    assert any("one connection" in what.text for what in heard if isinstance(what, Noticed))


def test_without_checksums(side: Side, ground: Ground) -> None:
    """A checksum that nobody would verify is refused before anything is made."""
    proxy = ground.proxy(without("checksum"))

    with pytest.raises(NotOffered):
        side.upload(ground.source("path"), proxy.url, checksum="sha256", **QUICK)
    assert (proxy.count("POST"), ground.uploads) == (0, 0)


@pytest.mark.parametrize("status", [404, 405, 501, 503])
def test_options_that_nobody_answers(side: Side, status: int, ground: Ground) -> None:
    """Hosts that answer OPTIONS for nobody take uploads all the same."""
    script = {("OPTIONS", 1): Say(status, {"Retry-After": "0"})}
    proxy = ground.proxy(script)

    result = side.upload(ground.source("path"), proxy.url, **QUICK)

    assert ground.content(result.url) == DATA


def test_no_tus_server(side: Side, ground: Ground) -> None:
    """A URL that is no tus server's is told as one, and after one POST."""
    page = Say(200, {"Content-Type": "text/html"}, "<h1>Welcome</h1>")
    proxy = ground.proxy({("OPTIONS", None): page, ("POST", None): page})

    with pytest.raises(NotTus, match="tus server"):
        side.upload(ground.source("path"), proxy.url, **QUICK)
    assert (proxy.count("POST"), ground.uploads) == (1, 0)


@pytest.mark.parametrize("location", [None, "ftp://elsewhere/", "http://[::1/"])
def test_a_location_of_no_use(side: Side, location: str | None, ground: Ground) -> None:
    """An upload whose URL is missing or unusable is not taken for made."""
    proxy = ground.proxy({("POST", None): Edit({"Location": location})})

    with pytest.raises(NotTus):
        side.upload(ground.source("path"), proxy.url, **QUICK)
    assert (proxy.count("POST"), proxy.count("PATCH")) == (1, 0)


def test_a_redirection_is_not_followed(side: Side, ground: Ground) -> None:
    """Where the endpoint has moved, the error says so."""
    proxy = ground.proxy({("POST", None): Say(308, {"Location": "https://elsewhere.test/files/"})})

    with pytest.raises(UploadRefused, match="elsewhere") as caught:
        side.upload(ground.source("path"), proxy.url, **QUICK)
    assert caught.value.status == 308


def test_credentials_run_out(side: Side, ground: Ground) -> None:
    """A 401 has the function asked once more, in the middle as well as at the start."""
    proxy = ground.proxy(PATCHED, {("POST", 1): Say(401), ("PATCH", 2): Say(401)})
    given = iter(f"Bearer {number}" for number in range(10))

    result = side.upload(
        ground.source("path"), proxy.url, chunk_size=CHUNK, auth=lambda: next(given), **QUICK
    )

    assert ground.content(result.url) == DATA
    assert [seen.headers["authorization"][-1] for seen in proxy.of("POST")] == ["0", "1"]
    assert [seen.headers["authorization"][-1] for seen in proxy.of("PATCH")] == list("11222")


def test_credentials_that_are_refused_twice(side: Side, ground: Ground) -> None:
    """New credentials that are no better are not asked for again and again."""
    proxy = ground.proxy({("POST", None): Say(401)})

    with pytest.raises(UploadRefused) as caught:
        side.upload(ground.source("path"), proxy.url, auth=lambda: "Bearer x", **QUICK)
    assert (caught.value.status, proxy.count("POST")) == (401, 2)
