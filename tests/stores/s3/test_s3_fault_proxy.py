"""The proxy that the other tests put faults in with does what it says."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from s3_places import BUCKET, make_bucket

from s3proxy import (
    Late,
    S3Proxy,
    cut,
    cut_answer,
    cut_request,
    error,
    hidden_error,
    lose_answer,
    lost,
    unanswered,
)
from server import until

DATA = bytes(range(256)) * 1024

FAULTS = {
    "error": (error(503, "SlowDown"), False),
    "cut": (cut, False),
    "cut request": (cut_request, False),
    "lost": (lost, False),
    "lost answer": (lose_answer, True),
    "unanswered": (unanswered, True),
}
"""What can be done to a call, and whether S3 has obeyed it after that."""

SILENT = ("lost", "unanswered")
"""What a client has to give up waiting for; a busy machine may make it give up other calls, too."""


@pytest.fixture
def proxy(rgw: str) -> Iterator[S3Proxy]:
    """A proxy in front of the real server."""
    make_bucket(rgw)
    with S3Proxy(rgw) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: S3Proxy):
    """A client that tries twice, and has time."""
    client = make(proxy.url, 2)
    yield client
    client.close()


def make(url: str, tries: int, patience: float = 30.0):
    """Return a client."""
    config = Config(
        request_checksum_calculation="when_required",
        read_timeout=patience,
        retries={"total_max_attempts": tries, "mode": "standard"},
    )
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=config)


@pytest.fixture
def hasty(proxy: S3Proxy):
    """One that does not wait for long, and does not give up soon."""
    client = make(proxy.url, 10, 0.4)
    yield client
    client.close()


def put(client, key: str, data: bytes = DATA) -> None:
    """Put an object."""
    client.put_object(Bucket=BUCKET, Key=key, Body=data)


def get(client, key: str) -> bytes:
    """Return an object."""
    return client.get_object(Bucket=BUCKET, Key=key)["Body"].read()


def test_signed_calls_pass(proxy: S3Proxy, client) -> None:
    """Signatures stay right, large bodies stay whole, and one connection is enough for it all."""
    data = DATA * 32
    begun = client.create_multipart_upload(Bucket=BUCKET, Key="proxied/a b")
    part = {"Bucket": BUCKET, "Key": "proxied/a b", "UploadId": begun["UploadId"]}
    etags = [client.upload_part(**part, PartNumber=number, Body=data)["ETag"] for number in (1, 2)]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    client.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})
    found = client.list_objects_v2(Bucket=BUCKET, Prefix="proxied/")

    assert found["Contents"][0]["Size"] == 2 * len(data)
    assert get(client, "proxied/a b") == data * 2
    client.delete_object(Bucket=BUCKET, Key="proxied/a b")
    assert [(call.operation, call.key, call.nth) for call in proxy.calls] == [
        ("CreateMultipartUpload", "proxied/a b", 1),
        ("UploadPart", "proxied/a b", 1),
        ("UploadPart", "proxied/a b", 2),
        ("CompleteMultipartUpload", "proxied/a b", 1),
        ("ListObjectsV2", "proxied/", 1),
        ("GetObject", "proxied/a b", 1),
        ("DeleteObject", "proxied/a b", 1),
    ]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_one_try_is_tried_again(proxy: S3Proxy, client, hasty, name: str) -> None:
    """The client tries again, and that is the same call."""
    rule = proxy.fail(FAULTS[name][0], "PutObject", nth=1)
    put(hasty if name in SILENT else client, "proxied/once")

    assert rule.fired == 1
    calls = [(call.nth, call.attempt) for call in proxy.calls]
    assert calls[:2] == [(1, 1), (1, 2)]
    assert name in SILENT or len(calls) == 2
    assert get(client, "proxied/once") == DATA


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_every_try(proxy: S3Proxy, client, name: str) -> None:
    """The call fails, and S3 has obeyed it or not as the fault says; another call passes."""
    fault, there = FAULTS[name]
    key = f"proxied/every/{name}/"
    proxy.fail(fault, "PutObject", nth=1, times=None)
    sender = make(proxy.url, 2, 0.4) if name in SILENT else client
    with pytest.raises((ClientError, HTTPClientError)):
        put(sender, key)
    sender.close()

    until(lambda: proxy.count("PutObject") == 2, "the arrival of the second try")
    with closing(make(proxy.url, 2)) as other:

        def found() -> int:
            return int(other.list_objects_v2(Bucket=BUCKET, Prefix=key)["KeyCount"])

        if there:  # S3 obeys it as soon as it can, though nobody waits for that
            until(found, "the object")
        assert found() == there


def test_an_answer_that_breaks_off(proxy: S3Proxy, client) -> None:
    """The body of an answer ends too early, and the client can tell."""
    put(client, "proxied/broken")
    proxy.fail(cut_answer, "GetObject")

    with pytest.raises(Exception, match=r"[Bb]roken|Incomplete"):
        get(client, "proxied/broken")
    assert get(client, "proxied/broken") == DATA


def test_an_error_behind_a_200(proxy: S3Proxy, client) -> None:
    """A completion may fail behind a 200: boto sees that, and tries again."""
    begun = client.create_multipart_upload(Bucket=BUCKET, Key="proxied/hidden")
    part = {"Bucket": BUCKET, "Key": "proxied/hidden", "UploadId": begun["UploadId"]}
    etag = client.upload_part(**part, PartNumber=1, Body=DATA)["ETag"]
    proxy.fail(hidden_error(), "CompleteMultipartUpload")
    parts = [{"PartNumber": 1, "ETag": etag}]
    client.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})

    assert proxy.count("CompleteMultipartUpload") == 2
    assert get(client, "proxied/hidden") == DATA


def test_a_request_that_arrives_late(proxy: S3Proxy, client) -> None:
    """A request may reach S3 after its client has given it up, and done something else since."""
    late = Late()
    proxy.fail(late, "PutObject")
    with closing(make(proxy.url, 1, 0.4)) as hasty, pytest.raises(HTTPClientError):
        put(hasty, "proxied/late", b"first")
    until(lambda: proxy.count("PutObject"), "the arrival of its head")
    put(client, "proxied/late", b"second")
    assert get(client, "proxied/late") == b"second"
    late.go.set()

    assert late.done.wait(20)
    assert get(client, "proxied/late") == b"first"


def test_what_is_held_is_let_go(proxy: S3Proxy, client) -> None:
    """Cleared in time, the proxy passes on what it has held."""
    rule = proxy.fail(lost, "PutObject", times=None)
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(put, client, "proxied/held")
        until(lambda: rule.fired, "the arrival of the call")
        proxy.clear()
        putting.result()

    assert rule.fired == 1
    assert get(client, "proxied/held") == DATA
