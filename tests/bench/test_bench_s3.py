"""That what stands in for S3 in the benchmark answers as S3 does, and counts what it is asked."""

import argparse
import contextlib
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))  # the benchmark is no installed package

from benchmarks import (
    __main__ as program,
    buckets,
    known,
)
from benchmarks.bench import QUICK, Absent, Bench
from benchmarks.cases import CASES, Case
from benchmarks.cases.calls import COMMAND
from benchmarks.crew import Crew
from benchmarks.load import Errand
from benchmarks.servers import started

pytestmark = pytest.mark.platform("linux")

boto3 = pytest.importorskip("boto3")

PART = 3 << 20


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The sink."""
    with buckets.sink(tmp_path_factory.mktemp("sink")) as bucket:
        yield bucket


@pytest.fixture
def s3(bucket):
    """A client of the sink's."""
    keys = {"aws_access_key_id": "AK", "aws_secret_access_key": "SK"}
    with contextlib.closing(
        boto3.client("s3", endpoint_url=bucket.endpoint, region_name=buckets.REGION, **keys)
    ) as client:
        yield client


@pytest.fixture
def target(request):
    """An object that no other test knows."""
    return {"Bucket": buckets.BUCKET, "Key": f"{request.node.name}/key"}


def codes(error):
    """Return S3's word for an error."""
    return error.value.response["Error"]["Code"]


def test_what_is_put_can_be_read_back(s3, target):
    """Objects that are put whole are kept, listed, and gone when deleted."""
    put = s3.put_object(**target, Body=b"0123456789")

    got = s3.get_object(**target)
    assert (got["Body"].read(), got["ETag"]) == (b"0123456789", put["ETag"])
    assert s3.get_object(**target, Range="bytes=2-4")["Body"].read() == b"234"
    assert s3.head_object(**target)["ContentLength"] == 10
    assert abs(time.time() - got["LastModified"].timestamp()) < 60
    listed = s3.list_objects_v2(Bucket=buckets.BUCKET, Prefix=target["Key"])["Contents"]
    assert [(each["Key"], each["Size"]) for each in listed] == [(target["Key"], 10)]

    s3.delete_object(**target)
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(**target)


def test_conditions_hold(s3, target):
    """An object is put only where none is, or over the one that is named."""
    there = s3.put_object(**target, Body=b"1", IfNoneMatch="*")["ETag"]

    for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"another"'}):
        with pytest.raises(s3.exceptions.ClientError) as error:
            s3.put_object(**target, Body=b"2", **condition)
        assert codes(error) == "PreconditionFailed"
    s3.put_object(**target, Body=b"3", IfMatch=there)
    assert s3.get_object(**target)["Body"].read() == b"3"
    s3.delete_object(**target)


def test_parts_are_thrown_away_and_counted(s3, target, bucket):
    """A multipart upload comes to an object of its parts' size; each call is counted once."""
    before = bucket.calls()
    begun = {**target, "UploadId": s3.create_multipart_upload(**target)["UploadId"]}
    tags = {n: s3.upload_part(**begun, PartNumber=n, Body=bytes(PART))["ETag"] for n in (1, 2)}
    assert [part["Size"] for part in s3.list_parts(**begun)["Parts"]] == [PART, PART]
    assert s3.list_multipart_uploads(Bucket=buckets.BUCKET)["Uploads"][0]["Key"] == target["Key"]

    parts = [{"PartNumber": number, "ETag": tag} for number, tag in tags.items()]
    s3.complete_multipart_upload(**begun, MultipartUpload={"Parts": parts})

    assert s3.head_object(**target)["ContentLength"] == 2 * PART
    with pytest.raises(s3.exceptions.NoSuchUpload):
        s3.list_parts(**begun)
    assert bucket.calls() - before == Counter(
        CreateMultipartUpload=1,
        UploadPart=2,
        ListParts=2,
        ListMultipartUploads=1,
        CompleteMultipartUpload=1,
        HeadObject=1,
    )


def test_a_part_that_never_came_completes_nothing(s3, target):
    """Completing wants parts that are there; an upload that was aborted is gone."""
    begun = {**target, "UploadId": s3.create_multipart_upload(**target)["UploadId"]}
    parts = [{"PartNumber": 1, "ETag": '"0"'}]

    with pytest.raises(s3.exceptions.ClientError) as error:
        s3.complete_multipart_upload(**begun, MultipartUpload={"Parts": parts})
    assert codes(error) == "InvalidPart"
    s3.abort_multipart_upload(**begun)
    with pytest.raises(s3.exceptions.NoSuchUpload):
        s3.abort_multipart_upload(**begun)


def test_bare_boto3_sends_every_part(bucket, tmp_path):
    """What boto3 costs by itself is the cost of as many parts as are asked for."""
    before = bucket.calls()
    line = f'{{"uploads": 2, "size": {2 * PART + 1}, "part": {PART}}}'
    with (
        started(bucket.given_to(known.boto3()), tmp_path) as server,
        Crew() as crew,
        crew.prepared([Errand(server.target, line)]) as run,
    ):
        run()

    assert (bucket.calls() - before)["UploadPart"] == 6


def test_a_case_that_lacks_something_says_so_and_fails_nothing(tmp_path, capsys):
    """What is not installed leaves its case out, in one line."""

    def measure(bench):
        raise Absent("there is no disk today")

    with Crew() as crew:
        bench = Bench(QUICK, crew, tmp_path, ())
        assert program.play(bench, Case("dusk", "nothing", measure), tmp_path / "results") == []

    assert "dusk is left out: there is no disk today" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_cases_are_chosen_by_patterns():
    """``--only`` takes a name or a pattern, and nothing that fits no case."""
    assert [case.name for case in program.cases_like("stream")] == ["stream"]
    s3 = [case for case in CASES if case.name.startswith("s3")]
    assert program.cases_like("s3*") == s3
    with pytest.raises(argparse.ArgumentTypeError, match="no case"):
        program.cases_like("s4*")


def test_what_a_script_does_in_redis_is_no_command_of_ours():
    """Of what Redis shows, only what came over a connection counts."""
    shown = (
        b"+OK\r\n"
        b'+1795430000.123456 [0 127.0.0.1:40000] "EVALSHA" "ab" "1"\r\n'
        b'+1795430000.123457 [0 lua] "set" "x" "1"\r\n'
        b'+1795430000.223456 [0 unix:/socket] "publish" "x"\r\n'
    )
    assert COMMAND.findall(shown) == [b"EVALSHA", b"publish"]
