"""Where uploads into S3 go: our own sink, which costs next to nothing, or a real Ceph RGW.

What is done there, and by whom, is the cases' matter.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from benchmarks.bench import Absent
from benchmarks.s3_sink import CALLS
from benchmarks.servers import ROOT, Contender, started

BUCKET, REGION = "bench", "us-east-1"
TESTS = ROOT / "tests"
CEPH = TESTS / "stores" / "s3" / "ceph.py"
LEAST_PART = 5 << 20

SINK = Contender("S3 sink", (sys.executable, "-m", "benchmarks.s3_sink", "--port", "{port}"))


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket that is empty at first.

    Args:
        endpoint: the server's URL.
        environment: what lets somebody in.
        settle: waits until nothing is left to do for the server but what comes next.
    """

    endpoint: str
    environment: Mapping[str, str]
    settle: Callable[[], None] = nothing

    def given_to(self, contender: Contender) -> Contender:
        """Return a contender that keeps its uploads here."""
        command = tuple(
            part.replace("{endpoint}", self.endpoint).replace("{bucket}", BUCKET)
            for part in contender.command
        )
        return replace(contender, command=command, environment=self.environment)

    def calls(self) -> Counter[str]:
        """Return how often each call was made so far; only the sink can tell."""
        with urllib.request.urlopen(self.endpoint + CALLS, timeout=10) as answer:
            return Counter(json.load(answer))


@contextlib.contextmanager
def sink(directory: Path) -> Iterator[Bucket]:
    """Run the sink.

    Raises:
        Absent: there is no boto3, so nobody of ours could speak to it.
    """
    need_boto3()
    with started(SINK, directory) as server:
        access = environment("AK", "SK", directory)
        yield Bucket(f"http://127.0.0.1:{server.target.port}", access)


@contextlib.contextmanager
def rgw(directory: Path) -> Iterator[Bucket]:
    """Run the Ceph RGW that the tests use.

    Raises:
        Absent: it is not installed, or boto3 is not.
    """
    need_boto3()
    ceph = load_ceph()
    if not ceph.is_here():
        raise Absent("Ceph's radosgw, ceph-mon and ceph-osd are not installed.")
    # Ceph's sockets have names that may not be long.
    with (
        tempfile.TemporaryDirectory(prefix="rgw", ignore_cleanup_errors=True) as folder,
        ceph.Ceph(Path(folder), LEAST_PART) as server,
    ):
        access = environment(ceph.ACCESS, ceph.SECRET, directory)
        make_bucket(server.url, ceph.ACCESS, ceph.SECRET)
        yield Bucket(server.url, access, lambda: collect_garbage(Path(folder)))


def load_ceph() -> Any:
    """Return the tests' module about Ceph; a folder of tests is no package."""
    sys.path.append(str(TESTS))  # for what it imports itself
    spec = spec_from_file_location("ceph", CEPH)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def collect_garbage(folder: Path) -> None:
    """Have Ceph free now what was deleted: it keeps objects in memory, and does it when it likes,
    which may be in the middle of the next turn."""
    command = ("radosgw-admin", "-c", str(folder / "ceph.conf"), "gc", "process", "--include-all")
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def make_bucket(endpoint: str, access: str, secret: str) -> None:
    """Make the bucket at a server that is empty."""
    import boto3  # type: ignore[import-untyped]

    keys = {"aws_access_key_id": access, "aws_secret_access_key": secret}
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name=REGION, **keys)
    s3.create_bucket(Bucket=BUCKET)


def environment(access: str, secret: str, directory: Path) -> dict[str, str]:
    """Return what lets somebody in, whoever runs the benchmark; locks of this machine go into the
    case's own folder."""
    return {
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "XDG_RUNTIME_DIR": str(directory),
    }


def need_boto3() -> None:
    """Raise where boto3 is not installed."""
    if find_spec("boto3") is None:
        raise Absent("boto3 is not installed: pip install 'vectus[s3]'")
