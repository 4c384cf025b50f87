"""Answers in the middle of an upload: those that mean something of their own, and nonsense."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from benchmarks.slow_link import LinkThread
from fault_proxy import Cut, Edit, Farewell, Hold, Reset, Say, Swallow, TooLarge
from ground import CHUNK, DATA, PATCHED, Ground
from sides import Side

from vectus.client import Noticed, Progress
from vectus.errors import (
    NotTus,
    ServerUnreachable,
    SourceChanged,
    UploadCancelled,
    UploadError,
    UploadGone,
    UploadMismatch,
    UploadRefused,
    VerificationFailed,
)

QUICK: dict[str, Any] = {"retry_delay": 0.01, "timeout": 10}


# --- Too much, and gone ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "iterator"])
@pytest.mark.parametrize("options", [{}, {"checksum": "sha256"}, {"parallel": 2}])
def test_too_large_a_chunk(side: Side, kind: str, options: dict[str, Any], ground: Ground) -> None:
    """413 on PATCH halves the chunk until it passes; nothing is lost and nothing made twice."""
    proxy = ground.proxy(PATCHED, {("PATCH", None): TooLarge(100_000)})

    result = side.upload(ground.source(kind), proxy.url, **options, **QUICK)

    assert ground.content(result.url) == DATA
    taken = [seen.announced for seen in proxy.of("PATCH") if seen.status == 204]
    assert sum(taken) == len(DATA)
    assert max(taken) <= 100_000
    assert ground.uploads == 1 + len(result.parts)


def test_too_large_however_small(side: Side, ground: Ground) -> None:
    """Below the floor it is an error, which says where the upload is."""
    proxy = ground.proxy(PATCHED, {("PATCH", None): TooLarge(1000)})

    with pytest.raises(UploadRefused) as caught:
        side.upload(ground.source("path"), proxy.url, **QUICK)

    assert caught.value.status == 413
    assert ground.offset(caught.value.url or "") == 0
    assert min(seen.announced for seen in proxy.of("PATCH")) >= 64 << 10


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("method", ["PATCH", "HEAD"])
def test_gone_in_the_middle(side: Side, status: int, method: str, ground: Ground) -> None:
    """An upload that is gone is made anew, once, of a source that can be read again."""
    script = {("PATCH", 2): Reset(), ("HEAD", 1): Say(status)}
    if method == "PATCH":
        script = {("PATCH", 2): Say(status)}
    proxy = ground.proxy(PATCHED, script)
    heard: list[Any] = []

    result = side.upload(
        ground.source("path"), proxy.url, chunk_size=CHUNK, on_event=heard.append, **QUICK
    )

    assert ground.content(result.url) == DATA
    assert (proxy.count("POST"), ground.uploads) == (2, 2)
    assert any(isinstance(what, Noticed) for what in heard)
    confirmed = [what.confirmed for what in heard if isinstance(what, Progress)]
    assert (max(confirmed), confirmed[-1]) == (len(DATA), len(DATA))


def test_gone_twice(side: Side, ground: Ground) -> None:
    """A server that loses everything is not fed for ever."""
    proxy = ground.proxy(PATCHED, {("PATCH", 2): Say(404), ("PATCH", 3): Say(404)})

    with pytest.raises(UploadGone) as caught:
        side.upload(ground.source("path"), proxy.url, chunk_size=CHUNK, **QUICK)
    assert caught.value.url is None
    assert proxy.count("POST") == 2


@pytest.mark.parametrize("kind", ["stream", "iterator"])
def test_gone_and_not_to_be_read_again(side: Side, kind: str, ground: Ground) -> None:
    """A source that can be read once cannot begin anew, once bytes of it are confirmed; before
    that it can."""
    early = ground.proxy(PATCHED, {("PATCH", 1): Say(404)})
    result = side.upload(ground.source(kind), early.url, chunk_size=CHUNK, **QUICK)
    assert ground.content(result.url) == DATA

    late = ground.proxy(PATCHED, {("PATCH", 2): Say(404)})
    with pytest.raises(UploadGone):
        side.upload(ground.source(kind), late.url, chunk_size=CHUNK, **QUICK)
    assert late.count("POST") == 1


# --- Answers that make no sense -------------------------------------------------------------------


@pytest.mark.parametrize("offset", ["banana", "-1", "", None, "1e3", "\xb2", "0"])
def test_a_strange_offset(side: Side, offset: str | None, ground: Ground) -> None:
    """What a PATCH's answer says and cannot be is asked again by HEAD, not believed."""
    proxy = ground.proxy(PATCHED, {("PATCH", 1): Edit({"Upload-Offset": offset})})

    result = side.upload(ground.source("path"), proxy.url, chunk_size=CHUNK, **QUICK)

    assert ground.content(result.url) == DATA
    assert [seen.offset // CHUNK for seen in proxy.of("PATCH")] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "offset", ["7", str(CHUNK + 1), str(len(DATA)), str(len(DATA) + 1), "9" * 30]
)
def test_a_wrong_offset(side: Side, offset: str, ground: Ground) -> None:
    """An offset that could be, or is beyond what was sent, and is not where the server is, does no
    harm: in the end it is what HEAD says that is gone on with."""
    proxy = ground.proxy(PATCHED, {("PATCH", 1): Edit({"Upload-Offset": offset})})

    result = side.upload(ground.source("path"), proxy.url, chunk_size=CHUNK, **QUICK)

    assert ground.content(result.url) == DATA


@pytest.mark.parametrize(
    "headers",
    [
        {"Upload-Offset": str(len(DATA) + 1)},
        {"Upload-Offset": str(len(DATA))},
        {"Upload-Length": "5"},
        {"Upload-Length": str(len(DATA) + 1)},
    ],
)
def test_a_state_that_cannot_be(side: Side, headers: dict[str, str], ground: Ground) -> None:
    """A server that has bytes nobody sent, or another length, is told of, and sent nothing."""
    proxy = ground.proxy(PATCHED, {("PATCH", 2): Reset(), ("HEAD", None): Edit(headers)})

    with pytest.raises((UploadMismatch, ServerUnreachable), match=r"bytes|beyond") as caught:
        side.upload(ground.source("path"), proxy.url, chunk_size=CHUNK, retries=2, **QUICK)

    assert caught.value.url is not None
    assert proxy.count("PATCH") == 2
    assert ground.offset(caught.value.url) == CHUNK


@pytest.mark.parametrize(
    "headers",
    [
        {"Upload-Offset": "banana"},
        {"Upload-Offset": "-1"},
        {"Upload-Offset": None},
        {"Upload-Length": "-1"},
        dict.fromkeys(("Upload-Offset", "Upload-Length", "Tus-Resumable", "Cache-Control")),
    ],
)
def test_head_without_sense(side: Side, headers: dict[str, Any], ground: Ground) -> None:
    """Where HEAD says nothing of use, once is no harm, and for ever is an error that says so."""
    once = ground.proxy(PATCHED, {("PATCH", 2): Reset(), ("HEAD", 1): Edit(headers)})
    result = side.upload(ground.source("path"), once.url, chunk_size=CHUNK, **QUICK)
    assert ground.content(result.url) == DATA

    ever = ground.proxy(PATCHED, {("PATCH", 2): Reset(), ("HEAD", None): Edit(headers)})
    with pytest.raises(UploadError) as caught:
        side.upload(ground.source("path"), ever.url, chunk_size=CHUNK, retries=2, **QUICK)
    assert isinstance(caught.value, NotTus | ServerUnreachable)
    assert caught.value.url is not None
    assert ever.count("PATCH") == 2


def test_bytes_that_were_lost(side: Side, ground: Ground) -> None:
    """A server that has lost what it acknowledged gets it again, where that can be read again;
    where it cannot, it is an error, after it was asked some more."""
    script = {("PATCH", 2): Reset(), ("HEAD", None): Edit({"Upload-Offset": "0"})}
    proxy = ground.proxy(PATCHED, script)
    with pytest.raises(UploadGone):
        side.upload(ground.source("iterator"), proxy.url, chunk_size=CHUNK, retries=2, **QUICK)
    assert proxy.count("PATCH") == 2

    # The server of this test has them after all: it answers 409 to what comes again.
    lagging = ground.proxy(PATCHED, {("PATCH", 2): Reset(), ("HEAD", 1): script["HEAD", None]})
    result = side.upload(ground.source("path"), lagging.url, chunk_size=CHUNK, **QUICK)
    assert ground.content(result.url) == DATA


# --- Patience -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "iterator"])
def test_progress_renews_the_patience(side: Side, kind: str, ground: Ground) -> None:
    """However often it breaks: as long as bytes are confirmed in between, it goes on."""
    script = {("PATCH", number): Cut(40_000) for number in range(1, 16)}
    proxy = ground.proxy(PATCHED, script)

    result = side.upload(ground.source(kind), proxy.url, retries=2, **QUICK)

    assert ground.content(result.url) == DATA
    assert [seen.offset for seen in proxy.of("PATCH")] == [40_000 * n for n in range(16)]
    assert result.retries == 15


@pytest.mark.parametrize("fault", [Say(503, {"Retry-After": "0"}), Reset(), Say(423)])
def test_patience_ends(side: Side, fault: Any, ground: Ground) -> None:
    """Without any progress it gives up after so many tries, says where the upload is, and the
    same client goes on with it."""
    proxy = ground.proxy(PATCHED, {("PATCH", None): fault, ("PATCH", 1): Cut(100_000)})

    with side.client(proxy.url, retries=3, **QUICK) as client:
        source = ground.source("path")
        with pytest.raises(ServerUnreachable) as caught:
            client.upload(source)
        assert caught.value.tries == 4
        assert ground.offset(caught.value.url or "") == 100_000

        proxy.script.clear()
        result = client.upload(source)

    assert (result.url, result.resumed) == (caught.value.url, 100_000)
    assert ground.content(result.url) == DATA
    assert (proxy.count("POST"), ground.uploads) == (1, 1)


def test_a_server_that_is_not_there(side: Side, ground: Ground) -> None:
    """Nobody listens: the error says where, after the tries."""
    with pytest.raises(ServerUnreachable, match=r"127\.0\.0\.1") as caught:
        side.upload(ground.source("path"), "http://127.0.0.1:1/files/", retries=2, **QUICK)
    assert caught.value.tries == 3


@pytest.mark.usefixtures("long_lived")
def test_one_connection(side: Side, ground: Ground) -> None:
    """All requests of an upload go over one connection, however many chunks there are."""
    proxy = ground.proxy(PATCHED)

    result = side.upload(ground.source("path"), proxy.url, chunk_size=50_000, **QUICK)

    assert ground.content(result.url) == DATA
    assert (proxy.count("PATCH"), proxy.connections) == (15, 1)


@pytest.mark.parametrize("kind", ["path", "iterator"])
def test_connections_that_do_not_last(side: Side, kind: str, ground: Ground) -> None:
    """A server that ends its connections as it likes is no trouble, and nothing is sent twice."""
    ends = {(method, None): Farewell() for method in ("OPTIONS", "POST", "PATCH", "HEAD")}
    proxy = ground.proxy(ends, {("OPTIONS", 1): PATCHED["OPTIONS", None]})

    result = side.upload(ground.source(kind), proxy.url, chunk_size=CHUNK, **QUICK)

    assert ground.content(result.url) == DATA
    assert (proxy.count("POST"), proxy.body(), ground.uploads) == (1, len(DATA), 1)


@pytest.mark.usefixtures("long_lived")
def test_no_more_connections_than_parts(side: Side, ground: Ground) -> None:
    """A parallel upload has a connection for each part."""
    proxy = ground.proxy(PATCHED)

    result = side.upload(ground.source("path"), proxy.url, parallel=3, **QUICK)

    assert ground.content(result.url) == DATA
    assert proxy.connections <= 3


def test_a_crippled_network(side: Side, ground: Ground) -> None:
    """Where only GET, HEAD, POST and OPTIONS pass, PATCH and DELETE travel as POST."""
    no = Say(405)
    proxy = ground.proxy(PATCHED, {("PATCH", None): no, ("DELETE", None): no})

    with side.client(proxy.url, method_override=True, **QUICK) as client:
        result = client.upload(ground.source("path"))
        assert ground.content(result.url) == DATA
        assert client.terminate(result.url) is True
        assert client.terminate(result.url) is False

    assert (proxy.count("PATCH"), proxy.count("DELETE"), ground.uploads) == (0, 0, 0)


def test_a_slow_link(side: Side, ground: Ground) -> None:
    """Over a slow link everything arrives, and nothing is sent twice for impatience."""
    proxy = ground.proxy(PATCHED)
    with LinkThread(proxy.port, rate=4e6, delay=0.02) as link:
        url = f"http://127.0.0.1:{link.port}/files/"
        result = side.upload(ground.source("path"), url, parallel=2, **QUICK)

    assert ground.content(result.url) == DATA
    assert proxy.body() == len(DATA)


# --- The end, and other ends ----------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"parallel": 2}])
def test_the_end_is_looked_at(side: Side, options: dict[str, Any], ground: Ground) -> None:
    """``verify`` finds a length that is another one, and bytes that are others."""
    good = ground.proxy()
    source = ground.source("path")
    for verify in ("length", "download"):
        result = side.upload(source, good.url, verify=verify, **options, **QUICK)
        assert ground.content(result.url) == DATA

    short = ground.proxy({("HEAD", None): Edit({"Upload-Offset": "5", "Upload-Length": "5"})})
    with pytest.raises(VerificationFailed):
        side.upload(source, short.url, verify="length", **options, **QUICK)

    other = ground.proxy({("GET", 1): Reset(), ("GET", 2): Say(200, text="x" * 99)})
    with pytest.raises(VerificationFailed):
        side.upload(source, other.url, verify="download", **options, **QUICK)


def wait_and(hold: Hold, act: Any) -> threading.Thread:
    """Do something while a request waits, then let it go."""

    def run() -> None:
        assert hold.reached.wait(20)
        act()
        hold.go.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def grow(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, len(DATA) - 1000)


def change(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(b"other")


@pytest.mark.parametrize("act", [grow, shrink, change])
@pytest.mark.parametrize("options", [{}, {"checksum": "sha1"}, {"parallel": 2}])
def test_the_file_changes(side: Side, act: Any, options: dict[str, Any], ground: Ground) -> None:
    """A file that changes in the middle is an error and never a mix of two versions: what was sent
    of it goes away; but for a part that was stopped just then."""
    hold = Hold(50_000)
    proxy = ground.proxy(PATCHED, {("PATCH", 1): hold})
    path = ground.source("path")
    changer = wait_and(hold, lambda: act(path))

    with pytest.raises(SourceChanged) as caught:
        side.upload(path, proxy.url, chunk_size=100_000, **options, **QUICK)

    changer.join(20)
    assert caught.value.url is None
    assert ground.uploads <= options.get("parallel", 1) - 1


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("options", [{}, {"chunk_size": CHUNK}, {"parallel": 2}])
def test_the_caller_stops(side: Side, options: dict[str, Any], ground: Ground) -> None:
    """A cancelled upload ends at once, and the same client goes on with it later."""
    proxy = ground.proxy(PATCHED, {("PATCH", None): Cut(150_000)})
    stop = threading.Event()
    path = ground.source("path")

    def told(progress: Progress) -> None:
        if progress.confirmed >= 100_000:
            stop.set()

    with side.client(proxy.url, **QUICK) as client:
        with pytest.raises(UploadCancelled):
            client.upload(path, cancel=stop, on_progress=told, **options)
        proxy.rest()  # what other parts have sent by then meets the script it was sent under
        sent = proxy.body()
        proxy.script.clear()
        result = client.upload(path, **options)

    assert ground.content(result.url) == DATA
    assert result.resumed >= 100_000
    assert proxy.body() - sent == len(DATA) - result.resumed
    assert ground.uploads == 1 + len(result.parts)


def test_cancelled_while_the_answer_is_awaited(side: Side, ground: Ground) -> None:
    """A silent server cannot keep an upload from being stopped for longer than its time-out."""
    hold, stop = Hold(None), threading.Event()
    # Who asks how far it is hears nothing either, before somebody has said stop.
    proxy = ground.proxy(PATCHED, {("PATCH", 1): hold, ("HEAD", None): Hold(go=stop)})
    stopper = threading.Thread(target=lambda: hold.reached.wait(20) and stop.set(), daemon=True)
    stopper.start()

    source = ground.source("path", DATA[:10_000])  # which no buffer is too small for
    with pytest.raises(UploadCancelled):
        side.upload(source, proxy.url, cancel=stop, retry_delay=0.01, timeout=1)
    stopper.join(20)


def test_the_join_fails(side: Side, ground: Ground) -> None:
    """The joining of parts is tried again; an answer that is lost leaves a joined upload behind,
    and no part is sent again."""
    proxy = ground.proxy(
        PATCHED, {("POST", 3): Say(503, {"Retry-After": "0"}), ("POST", 4): Swallow()}
    )

    result = side.upload(ground.source("path"), proxy.url, parallel=2, **QUICK)

    assert ground.content(result.url) == DATA
    assert proxy.body() == len(DATA)
    assert ground.uploads == 2 + 1 + 1
