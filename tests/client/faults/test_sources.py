"""A trouble in the middle of a body, for every kind of source and every way of sending it.

The bytes that the server had are not sent again, those that it had not are sent, and it all
becomes one upload.
"""

from __future__ import annotations

from typing import Any

import pytest
from fault_proxy import Cut, Garble, Reset, Say, Stall, Swallow, Twice
from fault_wire import Fault
from ground import CHUNK, DATA, PATCHED, Ground
from sides import EVERYWHERE, SIDES, Side, impatient

from vectus.errors import UploadError

QUICK: dict[str, Any] = {"retry_delay": 0.01, "timeout": 10}

AT = 300_000
"""Where a body breaks."""

TROUBLES: dict[str, tuple[Fault, int]] = {
    "cut": (Cut(AT), AT),
    "reset": (Reset(AT), AT),
    "reset-at-once": (Reset(), 0),
    "stall-at-once": (Stall(), 0),
    "stall": (Stall(AT), AT),
    "408": (Say(408), 0),
    "409": (Say(409), 0),
    "423": (Say(423), 0),
    "425": (Say(425), 0),
    "429": (Say(429, {"Retry-After": "0"}), 0),
    "460": (Say(460), 0),
    "500": (Say(500, text="Oops."), 0),
    "502": (Say(502, {"Content-Type": "text/html"}, "<html>" * 20_000), 0),
    "503": (Say(503, {"Retry-After": "0"}), 0),
}
"""What happens to the first PATCH, and how many of its bytes the server has then."""


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("kind", ["path", "iterator"])
def test_a_trouble_in_the_middle(side: Side, kind: str, trouble: str, ground: Ground) -> None:
    """Whatever happens to a request that may be tried again: the server is asked how far it is,
    and gets what is missing, and nothing else."""
    fault, kept = TROUBLES[trouble]
    proxy = ground.proxy(PATCHED, {("PATCH", 1): fault})

    if isinstance(fault, Stall):
        with side.client(proxy.url, retry_delay=0.01, timeout=0.4) as client:
            stalled = impatient(client, lambda *which: which == ("PATCH", 1))
            result = stalled.upload(ground.source(kind))
        # A server that sleeps then has read less of what came: only that it has counts.
        kept = min(kept, proxy.of("PATCH")[1].offset)
    else:
        result = side.upload(ground.source(kind), proxy.url, **QUICK)

    assert ground.content(result.url) == DATA
    assert (result.length, result.resumed, result.retries) == (len(DATA), 0, 1)
    assert [seen.offset for seen in proxy.of("PATCH")] == [0, kept]
    assert proxy.of("PATCH")[1].body == len(DATA) - kept
    assert (proxy.count("POST"), proxy.count("HEAD"), ground.uploads) == (1, 1, 1)


@pytest.mark.parametrize(("side", "kind"), EVERYWHERE)
@pytest.mark.parametrize(("fault", "kept"), [(Cut(AT), AT), (Swallow(), len(DATA))])
def test_every_source_goes_on(
    side: str, kind: str, fault: Fault, kept: int, ground: Ground
) -> None:
    """Any source goes on behind the byte that the server has last, be it the last of all, whose
    answer was lost."""
    proxy = ground.proxy(PATCHED, {("PATCH", 1): fault})
    source = ground.source(kind)

    result = SIDES[side].upload(source, proxy.url, **QUICK)

    assert ground.content(result.url) == DATA
    assert proxy.body() == len(DATA) + (AT - kept if kept < AT else 0)
    assert [seen.offset for seen in proxy.of("PATCH")] == [0, kept][: 1 + (kept < len(DATA))]
    assert (proxy.count("POST"), ground.uploads) == (1, 1)


WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "chunked": ("path", {"chunk_size": CHUNK}),
    "checksummed": ("path", {"chunk_size": CHUNK, "checksum": "sha256"}),
    "checksummed-stream": ("stream", {"chunk_size": CHUNK, "checksum": "auto"}),
    "deferred": ("iterator", {"chunk_size": CHUNK}),
    "known": ("iterator", {"chunk_size": CHUNK, "length": len(DATA)}),
    "parallel": ("path", {"parallel": 3}),
    "parallel-chunked": ("bytes", {"parallel": 3, "chunk_size": 100_000}),
    "parallel-checksummed": ("file", {"parallel": 2, "chunk_size": CHUNK, "checksum": "sha1"}),
}
"""How bytes are sent: the kind of source, and options."""

FAULTS = {
    "cut": Cut(50_000),
    "swallow": Swallow(),
    "503": Say(503, {"Retry-After": "0"}),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_survives(side: Side, way: str, fault: str, ground: Ground) -> None:
    """However bytes are sent, the second, the third and the last request may fail."""
    kind, options = WAYS[way]
    script = {("PATCH", number): FAULTS[fault] for number in (2, 3, 4)}
    proxy = ground.proxy(PATCHED, script)

    result = side.upload(ground.source(kind), proxy.url, **options, **QUICK)

    assert ground.content(result.url) == DATA
    assert result.length == len(DATA)
    parts = options.get("parallel", 0)
    assert len(result.parts) == parts
    assert ground.uploads == 1 + parts
    assert proxy.count("POST") == 1 + parts
    assert proxy.body() <= len(DATA) + 3 * CHUNK + 300_000  # nothing from the start again


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize("way", ["chunked", "checksummed", "deferred"])
def test_an_answer_comes_twice(side: Side, way: str, number: int, ground: Ground) -> None:
    """An answer that comes twice confuses nobody for long: what it says is asked again."""
    kind, options = WAYS[way]
    proxy = ground.proxy(PATCHED, {("PATCH", number): Twice()})

    with side.client(proxy.url, retry_delay=0.01, timeout=1) as client:
        # An answer out of step may have no end, which is waited for. An upload is made in peace.
        waiting = impatient(client, lambda method, _: method in {"PATCH", "HEAD"})
        result = waiting.upload(ground.source(kind), **options)

    assert ground.content(result.url) == DATA
    assert (result.length, ground.uploads) == (len(DATA), 1)


def test_an_answer_that_comes_twice_is_no_other_uploads(side: Side, ground: Ground) -> None:
    """The answer to one creation, heard again by the next on the same connection, does not make a
    file seem to be uploaded that never was."""
    proxy = ground.proxy({}, {("POST", 1): Twice()})
    first, second = DATA[:5000], DATA[5000:10_000]

    with side.client(proxy.url, retry_delay=0.01, timeout=1) as client:
        results = [client.upload(data) for data in (first, second, first)]

    assert [ground.content(each.url) for each in results] == [first, second, first]
    assert len({each.url for each in results}) == 3


def test_an_answer_that_comes_twice_completes_no_other_upload(side: Side, ground: Ground) -> None:
    """That one upload is whole, heard again when another of the same length is asked about, does
    not make that one seem whole."""
    proxy = ground.proxy(PATCHED, {("PATCH", 2): Say(403), ("HEAD", 1): Twice()})
    first, second = DATA[:5000], DATA[5000:10_000]

    with side.client(proxy.url, retry_delay=0.01, timeout=1) as client:
        with pytest.raises(UploadError):
            client.upload(second, chunk_size=1000)
        client.upload(first, verify="length")
        result = client.upload(second)

    assert ground.content(result.url) == second
    assert result.resumed == 1000


def test_an_answer_comes_twice_to_one_of_several(side: Side, ground: Ground) -> None:
    """Where parts share connections, an answer that comes twice may be taken for another part's:
    then the upload fails rather than be wrong, and another call ends it."""
    proxy = ground.proxy(PATCHED, {("PATCH", number): Twice() for number in (1, 2, 3)})
    options = {"parallel": 3, "chunk_size": 100_000, "retry_delay": 0.01, "timeout": 1}
    source = ground.source("path")
    with side.client(proxy.url, retry_delay=0.01, timeout=1) as client:
        try:
            result = client.upload(source, parallel=3, chunk_size=100_000)
        except UploadError:
            proxy.script.clear()
            result = side.upload(source, proxy.url, **options)

    assert ground.content(result.url) == DATA


@pytest.mark.parametrize("kind", ["path", "iterator"])
def test_a_byte_goes_wrong(side: Side, kind: str, ground: Ground) -> None:
    """A chunk that arrived wrong is found out by its checksum, and sent again: nothing else is."""
    proxy = ground.proxy(PATCHED, {("PATCH", 2): Garble(77)})

    result = side.upload(
        ground.source(kind), proxy.url, chunk_size=CHUNK, checksum="sha256", **QUICK
    )

    assert ground.content(result.url) == DATA
    assert proxy.of("PATCH")[1].status == 460
    assert [seen.offset // CHUNK for seen in proxy.of("PATCH")] == [0, 1, 1, 2, 3]


@pytest.mark.parametrize(("side", "kind"), EVERYWHERE)
def test_nothing_at_all(side: str, kind: str, ground: Ground) -> None:
    """An empty source is an upload of no bytes, though its first answer is lost."""
    proxy = ground.proxy({("OPTIONS", 1): Reset(), ("POST", 1): Reset()})

    result = SIDES[side].upload(ground.source(kind, b""), proxy.url, **QUICK)

    assert (result.length, ground.content(result.url), ground.uploads) == (0, b"", 1)
