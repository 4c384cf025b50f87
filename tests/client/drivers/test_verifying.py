"""Whether the server has it all in the end, asked and compared."""

from __future__ import annotations

import httpx2
import pytest
from mock_tus import DATA, Tus

import vectus


@pytest.mark.parametrize("verify", ["length", "download"])
@pytest.mark.parametrize("parallel", [1, 3])
def test_all_is_well(side, verify, parallel):
    """It costs one more question."""
    tus = Tus()
    with tus.client(side) as client:
        result = client.upload(DATA, verify=verify, parallel=parallel)
    assert tus.content(result.url) == DATA
    assert tus.seen[-1].method == ("HEAD" if verify == "length" else "GET")


@pytest.mark.parametrize(
    "given",
    [DATA[:-1], DATA + b"x", DATA[:1000] + b"!" + DATA[1001:], b""],
    ids=["short", "long", "other", "nothing"],
)
def test_a_server_that_gives_back_other_bytes(side, given):
    """One byte is enough, and its number is told; the next run does not believe the old upload."""
    tus = Tus()
    tus.twist = lambda request: (
        httpx2.Response(200, content=given) if request.method == "GET" else None
    )
    with tus.client(side) as client:
        with pytest.raises(vectus.VerificationFailed) as failed:
            client.upload(DATA, verify="download")
        assert failed.value.url
        tus.twist = lambda _: None
        assert client.upload(DATA, verify="download").url != failed.value.url


def test_a_download_that_cannot_be_decoded(side):
    """What claims to be compressed and is not is a failure of the network: it is tried again."""
    tus, broken = Tus(), [1, 1]

    def twist(request):
        if request.method == "GET" and broken:
            broken.pop()
            return httpx2.Response(
                200, headers={"Content-Encoding": "gzip"}, stream=httpx2.ByteStream(b"no gzip")
            )
        return None

    tus.twist = twist
    with tus.client(side) as client:
        assert client.upload(DATA, verify="download").retries == 2


def test_a_server_that_gives_nothing_back(side):
    """A refusal of the download is told as one."""
    tus = Tus(twist=lambda request: httpx2.Response(405) if request.method == "GET" else None)
    with tus.client(side) as client, pytest.raises(vectus.UploadRefused) as refused:
        client.upload(DATA, verify="download")
    assert refused.value.status == 405
    assert refused.value.url
