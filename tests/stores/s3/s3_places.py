"""Places in S3 for tests: each in a bucket of its own."""

from __future__ import annotations

from functools import cache
from itertools import count
from urllib.parse import quote

import boto3
import ceph

from vectus.stores.s3.place import Place

LEAST = ceph.LEAST_PART
"""The least a part may have at our RGW."""

BUCKET = "vectus-tests"

_numbers = count()


def make_place(url: str) -> Place:
    """Return a place at a server that nobody else uses."""
    make_bucket(url)
    return Place(BUCKET, f"a prefix/{next(_numbers)}", endpoint=url, region="us-east-1")


def make_url(url: str) -> str:
    """Return the URL of such a place, as servers are told it."""
    place = make_place(url)
    query = f"endpoint={url}&region={place.region}&part_size=5MiB"
    return f"s3://{place.bucket}/{quote(place.prefix)}?{query}"


@cache
def make_bucket(url: str) -> None:
    """Make the bucket that all places of a server are in."""
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    client.close()
