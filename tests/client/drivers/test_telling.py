"""What the caller hears: progress, events, and what becomes of a caller that raises."""

from __future__ import annotations

import io
import threading

import httpx2
import pytest
from mock_tus import DATA, EVERYTHING, Tus, without
from pure_server import ENDPOINT

import vectus
from vectus.client import Confirmed, Finished, Noticed, Progress, Retrying, Started
from vectus.protocol.policy import Feature


def test_what_is_confirmed_is_there(side):
    """``confirmed`` is never above what the server has, ``sent`` never above the length, and the
    last word is all of it."""
    tus, heard = Tus(), []

    def on_progress(now):
        have = sum(map(len, tus.server.data.values()))
        heard.append(now)
        assert now.confirmed <= have
        assert now.confirmed <= now.sent <= now.length == len(DATA)
        assert 0 <= now.rate < 1e12

    with tus.client(side) as client:
        client.upload(DATA, chunk_size=100_000, on_progress=on_progress)
    assert heard[-1].confirmed == len(DATA)
    assert len(heard) > len(DATA) // 100_000


def test_progress_over_several_connections(side):
    """It is the true sum, told by one thread at a time, and never goes back."""
    tus, heard, turn = Tus(), [], threading.Lock()

    def on_progress(now):
        assert turn.acquire(blocking=False), "called by two threads at once"
        try:
            assert now.confirmed <= sum(map(len, tus.server.data.values()))
            heard.append(now)
        finally:
            turn.release()

    with tus.client(side) as client:
        client.upload(DATA, parallel=4, chunk_size=50_000, on_progress=on_progress)
    assert heard[-1].sent == heard[-1].confirmed == len(DATA)
    confirmed = [now.confirmed for now in heard]
    assert confirmed == sorted(confirmed)


@pytest.mark.parametrize("parallel", [1, 3])
def test_events_come_in_order(side, parallel):
    """Started, then what is confirmed, Finished last and once."""
    tus, heard = Tus(), []
    with tus.client(side) as client:
        url = client.upload(DATA, parallel=parallel, on_event=heard.append).url
    told = [each for each in heard if not isinstance(each, Progress)]
    if parallel == 1:
        assert told == [
            Started(url, 0, len(DATA), resumed=False),
            Confirmed(len(DATA)),
            Finished(url, len(DATA)),
        ]
    assert heard[-1] == Finished(url, len(DATA))
    assert [each for each in heard if isinstance(each, Finished)] == heard[-1:]


def test_trouble_is_told(side):
    """A try that failed is a Retrying, and bytes that were sent in vain do not count."""
    failures = [httpx2.ConnectError("cut"), httpx2.Response(503)]
    heard = []
    tus = Tus(
        twist=lambda request: (request.method == "PATCH" and failures and failures.pop()) or None
    )
    with tus.client(side) as client:
        result = client.upload(DATA, on_event=heard.append)
    assert len([each for each in heard if isinstance(each, Retrying)]) == 2
    assert result.retries == 2
    assert tus.content(result.url) == DATA


class Own(Exception):
    """A caller's own error."""


@pytest.mark.parametrize("error", [Own, StopIteration, httpx2.ReadError, UnicodeError])
@pytest.mark.parametrize("parallel", [1, 3])
def test_a_caller_that_raises(side, error, parallel):
    """What ``on_progress`` raises ends the upload, whatever it looks like; it is not tried again,
    it can be gone on with, and the next call does."""
    tus, calls = Tus(), []

    def on_progress(now):
        calls.append(now)
        if len(calls) == 2:
            raise error("enough")

    wanted = RuntimeError if error is StopIteration else error
    with tus.client(side) as client:
        with pytest.raises(wanted):
            client.upload(DATA, parallel=parallel, chunk_size=100_000, on_progress=on_progress)
        heard = len(calls)
        result = client.upload(DATA, parallel=parallel)
    assert len(calls) == heard, "it was called after its upload was over"
    assert tus.content(result.url) == DATA
    made = len(tus.of("POST"))
    assert made <= (1 if parallel == 1 else parallel * 2 + 1)


def test_a_caller_that_raises_at_an_event(side):
    """The same for ``on_event``, at every event there is."""
    kinds = [Started, Confirmed, Finished, Noticed]
    for kind in kinds:
        tus = Tus(without(Feature.CONCATENATION))

        def on_event(what, kind=kind):
            if isinstance(what, kind):
                raise Own

        with tus.client(side) as client, pytest.raises(Own):
            client.upload(DATA, on_event=on_event, parallel=2)


def test_the_callers_stream_stays_open(side, tmp_path):
    """Files and streams of the caller's are not closed, whether it went well or not."""
    path = tmp_path / "film"
    path.write_bytes(DATA)
    good, bad = Tus(), Tus(twist=lambda _: httpx2.Response(403))
    for tus in (good, bad):
        with tus.client(side) as client, path.open("rb") as file:
            memory = io.BytesIO(DATA)
            for source in (file, memory):
                try:
                    client.upload(source)
                except vectus.UploadRefused:
                    assert source.tell() == 0
                else:
                    assert source.tell() == len(DATA)
                assert not source.closed


def test_one_call(side):
    """``upload`` and ``aupload`` take the arguments of the client and of the upload."""
    tus, heard = Tus(EVERYTHING), []
    result = side.upload(
        b"abc",
        ENDPOINT,
        http=tus.http(side),
        headers={"X-Mine": "1"},
        metadata={"filename": "a"},
        on_event=heard.append,
        retries=0,
    )
    assert tus.content(result.url) == b"abc"
    assert tus.seen[0].headers["x-mine"] == "1"
    assert heard[-1] == Finished(result.url, 3)
    with pytest.raises(TypeError, match="colour"):
        side.upload(b"", ENDPOINT, http=tus.http(side), colour="red")
