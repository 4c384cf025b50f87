"""Orders that make no sense, and the rules of hosted endpoints."""

from __future__ import annotations

import pytest
from mock_tus import DATA, Tus
from pure_server import ENDPOINT

from vectus.client import Chunks
from vectus.client.job import MIB
from vectus.client.presets import PRESETS, chunks_of, preset_of


@pytest.mark.parametrize(
    "options",
    [
        {"parallel": 0},
        {"chunk_size": 0},
        {"chunk_size": -5},
        {"verify": "hash"},
        {"length": -1},
        {"metadata": {"a,b": "c"}},
        {"metadata": {"": "c"}},
        {"metadata": {"a": [1]}},
    ],
    ids=str,
)
def test_an_upload_that_makes_no_sense(side, options):
    """It is refused before anything is opened or sent, so not even a missing file is noticed."""
    tus = Tus()
    with tus.client(side) as client, pytest.raises((ValueError, TypeError)):
        client.upload([b"abc"], **options)
    assert tus.seen == []


@pytest.mark.parametrize(
    "options",
    [{"retries": -1}, {"retry_delay": -1}, {"preset": "dropbox"}, {"timeout": 0}, {"timeout": -1}],
    ids=str,
)
def test_a_client_that_makes_no_sense(side, options):
    """It is refused when it is made."""
    with pytest.raises(ValueError, match=r"must|preset"), side.client(ENDPOINT, **options):
        pass


def test_nowhere_to_go(side):
    """No endpoint and no upload's URL."""
    tus = Tus()
    with tus.client(side, endpoint=None) as client:
        with pytest.raises(ValueError, match="Say where to"):
            client.upload(b"x")
        with pytest.raises(ValueError, match="endpoint"):
            client.capabilities()


def test_a_stream_cannot_be_compared(side):
    """What can be read only once is not verified by download; it is said before it is read."""
    tus, blocks = Tus(), iter([b"abc"])
    with tus.client(side) as client, pytest.raises(ValueError, match="only once"):
        client.upload(blocks, verify="download")
    assert next(blocks) == b"abc"
    assert tus.seen == []


def test_an_upload_that_exists(side):
    """``upload_url`` is gone on with, without an endpoint; it is never replaced."""
    tus = Tus()
    tus.server.hold(f"{ENDPOINT}given", DATA[:1000], len(DATA))
    with tus.client(side, endpoint=None) as client:
        result = client.upload(DATA, upload_url=f"{ENDPOINT}given")
    assert (result.url, result.resumed) == (f"{ENDPOINT}given", 1000)
    assert tus.content(result.url) == DATA
    assert not tus.of("POST")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.cloudflare.com/client/v4/accounts/1/stream", "cloudflare"),
        ("https://upload.videodelivery.net/tus/1", "cloudflare"),
        ("https://ref.storage.supabase.co/storage/v1/upload/resumable", "supabase"),
        ("https://FILES.TUS.VIMEO.COM/files/1", "vimeo"),
        ("https://notvimeo.com/", None),
        ("https://vimeo.com.example.org/", None),
        (None, None),
    ],
)
def test_presets_are_guessed_by_the_host(url, name):
    """By the whole labels of its name, and nothing else."""
    assert preset_of(url) == (Chunks() if name is None else PRESETS[name])


@pytest.mark.parametrize(
    ("preset", "size", "fits"),
    [
        ("cloudflare", None, 50 * MIB),
        ("cloudflare", 1, 5 * MIB),
        ("cloudflare", 10 * MIB + 1, 10 * MIB),
        ("cloudflare", 999 * MIB, 200 * MIB),
        ("supabase", 50 * MIB, 6 * MIB),
        (Chunks(multiple=1000), 2_500, 66_000),
        (None, 10, 10),
    ],
)
def test_chunks_fit_the_endpoint(preset, size, fits):
    """Whatever the caller wishes, the endpoint's limits and multiples win."""
    chunks = chunks_of(preset, None, size)
    assert chunks.fit(chunks.size) == fits


def test_requests_have_the_presets_size(side):
    """Each chunk but the last is a multiple of what the endpoint wants."""
    tus = Tus()
    with tus.client(side, preset=Chunks(150_000, smallest=1, multiple=1 << 16)) as client:
        result = client.upload(DATA)
    assert tus.content(result.url) == DATA
    sizes = [len(request.content) for request in tus.of("PATCH")]
    assert set(sizes[:-1]) == {131_072}
