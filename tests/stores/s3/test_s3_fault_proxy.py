"""The proxy that the other tests put faults in with does what it says."""

from __future__ import annotations

import threading
from collections.abc import Iterator

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


@pytest.fixture
def proxy(rgw: str) -> Iterator[S3Proxy]:
    """A proxy in front of the real server."""
    make_bucket(rgw)
    with S3Proxy(rgw) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: S3Proxy):
    """A client that tries twice, and does not wait for long."""
    client = make(proxy.url, 2)
    yield client
    client.close()


def make(url: str, tries: int):
    """Return a client."""
    config = Config(
        request_checksum_calculation="when_required",
        read_timeout=0.4,
        retries={"total_max_attempts": tries, "mode": "standard"},
    )
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=config)


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
def test_a_fault_of_one_try_is_tried_again(proxy: S3Proxy, client, name: str) -> None:
    """The client tries again, and that is the same call."""
    rule = proxy.fail(FAULTS[name][0], "PutObject", nth=1)
    put(client, "proxied/once")

    assert rule.fired == 1
    assert [(call.nth, call.attempt) for call in proxy.calls] == [(1, 1), (1, 2)]
    assert get(client, "proxied/once") == DATA


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_every_try(proxy: S3Proxy, client, name: str) -> None:
    """The call fails, and S3 has obeyed it or not as the fault says; another call passes."""
    fault, there = FAULTS[name]
    key = f"proxied/every/{name}/"
    proxy.fail(fault, "PutObject", nth=1, times=None)
    with pytest.raises((ClientError, HTTPClientError)):
        put(client, key)

    assert proxy.count("PutObject") == 2
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=key)
    assert found["KeyCount"] == there


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


def test_a_request_that_arrives_late(proxy: S3Proxy) -> None:
    """A request may reach S3 after its client has given it up, and done something else since."""
    client = make(proxy.url, 1)
    late = Late()
    proxy.fail(late, "PutObject")
    with pytest.raises(HTTPClientError):
        put(client, "proxied/late", b"first")
    put(client, "proxied/late", b"second")
    assert get(client, "proxied/late") == b"second"
    late.go.set()

    assert late.done.wait(20)
    assert get(client, "proxied/late") == b"first"
    client.close()


def test_what_is_held_is_let_go(proxy: S3Proxy, client) -> None:
    """Cleared in time, the proxy passes on what it has held."""
    rule = proxy.fail(lost, "PutObject", times=None)
    threading.Timer(0.1, proxy.clear).start()
    put(client, "proxied/held")

    assert rule.fired == 1
    assert get(client, "proxied/held") == DATA
