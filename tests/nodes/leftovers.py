"""What nodes have put into S3, seen without them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import boto3
import pytest

from vectus.errors import StoreError
from vectus.protocol.fields import parse_metadata
from vectus.protocol.upload import Upload
from vectus.stores.s3 import walk
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store

TAIL = ".part"
"""What the keys of tails end with."""

AT_ONCE = -60.0
"""Seconds after which nobody can be using what no record names, when all nodes are at rest."""


class Leftovers:
    """A look at a place in S3, for most of it when nobody is at work there any more.

    Args:
        place: which.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def recorded(self, path: str) -> int:
        """Return how many bytes of an upload the record counts."""

        async def load() -> int:
            store = S3Store(self._place)
            try:
                return (await store.load(path.rpartition("/")[2])).offset
            finally:
                await store.aclose()

        return asyncio.run(load())

    def finished(self) -> dict[str, list[str]]:
        """Return the ids of the finished uploads, by the number in their metadata."""
        found: dict[str, list[str]] = defaultdict(list)
        for upload in self._scan():
            if upload.finished:
                found[parse_metadata(upload.metadata or "")["number"].decode()].append(upload.id)
        return found

    def after_a_sweep(self) -> list[str]:
        """Return the keys of multipart uploads and of tails that are there after a sweep."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(walk, "OLD", AT_ONCE)
            self._scan()
        where = {"Bucket": self._place.bucket, "Prefix": f"{self._place.prefix}/"}
        client = boto3.client(
            "s3", endpoint_url=self._place.endpoint, region_name=self._place.region
        )
        try:
            parts = client.list_multipart_uploads(**where).get("Uploads", [])
            objects = client.list_objects_v2(**where).get("Contents", [])
        finally:
            client.close()
        tails = [each for each in objects if each["Key"].endswith(TAIL)]
        return [each["Key"] for each in (*parts, *tails) if not self._was_completed(each)]

    def _was_completed(self, each: Mapping[str, Any]) -> bool:
        """Whether this is a multipart upload that an object was made by. RGW goes on listing one
        that two nodes completed at the same moment; nobody may abort it."""
        store = S3Store(self._place)
        try:
            kept = store._vault.find(each["Key"].rpartition("/")[2])
        except StoreError:
            return False
        finally:
            asyncio.run(store.aclose())
        return kept.upload.finished and kept.state.multipart == each.get("UploadId", "")

    def _scan(self) -> list[Upload]:
        async def scan() -> list[Upload]:
            store = S3Store(self._place)
            try:
                return [upload async for upload in store.scan()]
            finally:
                await store.aclose()

        return asyncio.run(scan())
