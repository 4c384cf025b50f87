"""One source over several connections."""

from __future__ import annotations

import os

import httpx2
import pytest
from mock_tus import DATA, Tus, without

import vectus
from vectus.client import MemoryResume, Noticed
from vectus.protocol.policy import Feature

CHUNK = 50_000


def test_all_of_it(side):
    """The parts are joined in order, and their URLs are told."""
    tus = Tus()
    with tus.client(side) as client:
        result = client.upload(DATA, parallel=4, metadata={"filename": "film.mp4"})
        assert tus.content(result.url) == DATA
        assert len(result.parts) == 4
        assert b"".join(tus.content(url) for url in result.parts) == DATA
        assert tus.server.upload(result.url).metadata == "filename ZmlsbS5tcDQ="
        assert client.upload(DATA, parallel=4).url != result.url, "what was done is forgotten"


@pytest.mark.parametrize("why", ["no concatenation", "a stream", "small"])
def test_in_one_piece_where_it_must(side, why):
    """Where it cannot go in parts it goes in one, and the caller hears why; not where it is too
    small for that to matter."""
    tus = Tus(without(Feature.CONCATENATION) if why == "no concatenation" else without())
    source = {"a stream": iter([DATA]), "small": b"abc"}.get(why, DATA)
    heard = []
    with tus.client(side) as client:
        result = client.upload(source, parallel=4, on_event=heard.append)
    notices = [each for each in heard if isinstance(each, Noticed)]
    assert len(notices) == (0 if why == "small" else 1)
    assert result.parts == ()
    assert tus.content(result.url) == (b"abc" if why == "small" else DATA)


def failing_part(tus, number, answer):
    """Fail every PATCH of one part."""
    return lambda request: (
        answer if request.method == "PATCH" and request.url.path.endswith(f"u{number}") else None
    )


@pytest.mark.usefixtures("unhurried")
def test_each_part_goes_on_by_itself(side):
    """After a failure the next call sends only what is missing."""
    tus = Tus()
    with tus.client(side) as client:
        tus.twist = failing_part(tus, 2, httpx2.Response(403))
        with pytest.raises(vectus.UploadRefused):
            client.upload(DATA, parallel=3, chunk_size=CHUNK)
        had = sum(map(len, tus.server.data.values()))
        tus.twist = lambda _: None
        result = client.upload(DATA, parallel=3, chunk_size=CHUNK)
    assert tus.content(result.url) == DATA
    assert result.resumed == had
    assert tus.server.made == 4


def test_a_failed_part_stops_the_others(side):
    """They do not go on to their ends."""
    tus, sent = Tus(), []

    def twist(request):
        if request.method != "PATCH":
            return None
        if request.url.path.endswith("u1"):
            return httpx2.Response(403)
        sent.append(request)
        return httpx2.Response(503)

    tus.twist = twist
    with (
        tus.client(side, retry_delay=0.05, retries=1000) as client,
        pytest.raises(vectus.UploadRefused),
    ):
        client.upload(DATA, parallel=3, chunk_size=1000)
    assert len(sent) < 100


@pytest.mark.usefixtures("unhurried")
def test_a_source_that_changes(side, tmp_path):
    """Nobody can go on with any part: all of them are removed from the server."""
    path = tmp_path / "film"
    path.write_bytes(DATA)
    tus = Tus()

    def twist(request):
        if request.method == "PATCH" and len(tus.of("PATCH")) == 4:
            os.utime(path, ns=(1, 1))

    tus.twist = twist
    with tus.client(side) as client, pytest.raises(vectus.SourceChanged):
        client.upload(path, parallel=3, chunk_size=CHUNK)
    assert tus.server.uploads == {}


class Keeps(MemoryResume):
    """What a run leaves that ends between the join and its forgetting."""

    def remove(self, fingerprint):
        """Forget nothing."""


def test_a_join_that_was_remembered(side):
    """No byte and no POST follow."""
    tus = Tus()
    with tus.client(side, resume=Keeps()) as client:
        first = client.upload(DATA, parallel=3)
        before = len(tus.seen)
        second = client.upload(DATA, parallel=3)
    assert (second.url, second.resumed) == (first.url, len(DATA))
    assert {request.method for request in tus.seen[before:]} == {"HEAD"}


def test_a_join_that_was_remembered_and_a_server_that_is_away(side):
    """As long as the server does not say that it has lost it, it is not done again."""
    tus = Tus()
    with tus.client(side, resume=Keeps(), retries=0) as client:
        first = client.upload(DATA, parallel=3)
        made = tus.server.made
        tus.twist = lambda request: httpx2.Response(503) if str(request.url) == first.url else None
        with pytest.raises(vectus.ServerUnreachable):
            client.upload(DATA, parallel=3)
    assert tus.server.made == made


@pytest.mark.usefixtures("unhurried")
def test_a_key_of_the_callers_for_a_source_that_has_grown(side):
    """Parts of the same size at the same place are no parts of a longer source: two versions of
    it are never joined."""
    tus = Tus()
    longer = bytes(reversed(DATA)) + b"!"
    with tus.client(side) as client:
        tus.twist = failing_part(tus, 3, httpx2.Response(403))
        with pytest.raises(vectus.UploadRefused):
            client.upload(DATA, parallel=3, fingerprint="mine")
        tus.twist = lambda _: None
        result = client.upload(longer, parallel=3, fingerprint="mine")
    assert tus.content(result.url) == longer
    assert result.resumed == 0
