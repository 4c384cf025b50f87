"""What ``s3://`` URLs say, and how a store refuses what cannot be."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from s3_places import make_place

from vectus.errors import ConfigurationError, LockHeld
from vectus.stores.s3.place import Place, parse
from vectus.wiring import check_store, open_locker


def test_a_url_says_everything() -> None:
    """Every option can be given, and what is left out is AWS's affair."""
    assert parse("s3://bucket") == Place("bucket")
    assert parse("s3://bucket/a/b%20c/") == Place("bucket", "a/b c")
    assert parse(
        "s3://b.u-c/p?endpoint=http://127.0.0.1:9000&region=r&storage_class=GLACIER_IR&sse=aws:kms"
        "&sse_key=k&acl=private&tags=a%3D1%26b%3D2&part_size=16MiB&equal_parts=true&spool=1GiB"
        "&spool_directory=/var/spool&parts_in_flight=3&parts_per_upload=2"
    ) == Place(
        "b.u-c",
        "p",
        "http://127.0.0.1:9000",
        "r",
        storage_class="GLACIER_IR",
        sse="aws:kms",
        sse_key="k",
        acl="private",
        tags="a=1&b=2",
        part_size=16 << 20,
        equal_parts=True,
        spool=1 << 30,
        spool_directory="/var/spool",
        parts_in_flight=3,
        parts_per_upload=2,
    )


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("s3://", "no bucket"),
        ("s3:///prefix", "no bucket"),
        ("s3://bucket/#x", "no bucket"),
        ("s3://user:pass@bucket", "no bucket"),
        ("s3://bucket?color=red", "no option 'color'|There is no option"),
        ("s3://bucket?smallest=1", "There is no option"),
        ("s3://bucket?part_size=4MiB", "not what S3 takes"),
        ("s3://bucket?part_size=6GiB", "not what S3 takes"),
        ("s3://bucket?part_size=big", "not understood"),
        ("s3://bucket?equal_parts=maybe", "not understood"),
        ("s3://bucket?region=", "not understood"),
        ("s3://bucket?spool=1MiB", "no room"),
        ("s3://bucket?parts_in_flight=0", "No part"),
        ("s3://bucket?parts_per_upload=99", "No part"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_hint(where: str, words: str) -> None:
    """A wrong URL says what is wrong with it, and what to write."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        parse(where)
    assert caught.value.hint


def test_a_bucket_that_is_not_there_is_found_at_the_start(moto: str) -> None:
    """A wrong name, or a server that is away, is a sentence at the start and no later 503."""
    with pytest.raises(ConfigurationError, match="NoSuchBucket") as caught:
        check_store(f"s3://nobody-has-it/p?endpoint={moto}&region=us-east-1")
    assert caught.value.hint


def test_without_boto_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    for name in ("boto3", "vectus.stores.s3.client", "vectus.stores.s3.store"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigurationError, match="boto3") as caught:
        check_store("s3://bucket/unseen")
    assert "vectus[s3]" in caught.value.hint


async def test_a_machines_processes_share_their_locks(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --locks the workers of one machine are kept apart, by a directory of this user."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    place = make_place(moto)
    where = f"s3://{place.bucket}/p?endpoint={moto}&region=us-east-1"
    one, other = map(open_locker, (where, where + "&part_size=16MiB"))
    async with one.hold("id"):
        with pytest.raises(LockHeld):
            async with other.hold("id", ask=False, patience=0):
                pass
    for locker in (one, other):
        await locker.aclose()
    (tmp_path / f"vectus-{os.geteuid()}").chmod(0o777)
    with pytest.raises(ConfigurationError, match="not this user's alone"):
        open_locker(where)
