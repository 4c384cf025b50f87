"""What S3 sets, in a server on it: the days of a lifecycle rule, and the most that 10 000 parts can
hold."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import count
from time import time

import httpx2
import pytest
from s3_places import LEAST
from s3_servers_odd import Refusing

from vectus import Uploads
from vectus.findings import Change, Question
from vectus.locks.memory import MemoryLocker
from vectus.stores.s3.bucket import Bucket
from vectus.stores.s3.client import Gateway
from vectus.stores.s3.lifecycle import DAY, with_rule
from vectus.stores.s3.mending import plan
from vectus.stores.s3.parts import MIB
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store
from vectus.testing.fakes import ManualClock

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}
Serve = Callable[..., httpx2.AsyncClient]

_buckets = count()


@pytest.fixture
def place(rgw: str) -> Iterator[Place]:
    """A place in a bucket of its own, as rules are the bucket's. They go with the test: RGW works
    off those of all buckets, one after the other."""
    place = Place(
        f"vectus-limits-{next(_buckets)}",
        "in",
        rgw,
        "us-east-1",
        smallest=LEAST,
        part_size=LEAST,
        spool=64 * LEAST,
    )
    gateway = Gateway(place)
    gateway.call("create_bucket")
    yield place
    gateway.call("delete_bucket_lifecycle")
    gateway.close()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve a place."""
    async with AsyncExitStack() as serving:

        async def start(place: Place, gateway: Gateway | None = None, **options: object):
            app = Uploads(S3Store(place, gateway), locker=MemoryLocker(), **options)
            serving.push_async_callback(app.__aexit__)
            transport = httpx2.ASGITransport(app=app)
            client = httpx2.AsyncClient(transport=transport, base_url="http://example.org")
            return await serving.enter_async_context(client)

        yield start


def set_rule(place: Place, days: int, prefix: str) -> None:
    """Have somebody else's rule in the bucket."""
    gateway = Gateway(place)
    bucket = Bucket(gateway, place)
    bucket.set_lifecycle(with_rule(bucket.lifecycle(), prefix, days))
    gateway.close()


def expires(answer: httpx2.Response) -> float:
    """When an upload expires, as an answer says."""
    return parsedate_to_datetime(answer.headers["Upload-Expires"]).timestamp()


@pytest.mark.parametrize(
    ("prefix", "expire_after", "first", "then"),
    [
        ("", "7d", 2, 2),
        ("in/", "never", 2, 2),
        ("in/a", "7d", 2, 2),
        ("out/", "7d", 7, 7.4),
        ("in/", "12h", 0.5, 0.9),
    ],
)
async def test_a_rule_bounds_the_expiry(
    place: Place, serve: Serve, prefix: str, expire_after: str, first: float, then: float
) -> None:
    """A rule of three days gives uploads two from their creation, whoever made it, if it can hit
    them; what --expire-after says holds where it is less."""
    set_rule(place, 3, prefix)
    clock = ManualClock()
    begun = clock.now
    http = await serve(place, expire_after=expire_after, clock=clock)
    created = await http.post("/", headers=TUS | {"Upload-Length": str(3 * LEAST)})
    assert expires(created) == begun + first * DAY
    url = created.headers["Location"]
    clock.advance(0.4 * DAY)
    patched = await http.patch(url, headers=BYTES | {"Upload-Offset": "0"}, content=bytes(LEAST))
    assert patched.status_code == 204
    assert expires(patched) == begun + then * DAY
    clock.advance((then - 0.4) * DAY)

    assert (await http.head(url, headers=TUS)).status_code == 410


async def test_what_fix_sets_is_what_the_server_reads(place: Place, serve: Serve) -> None:
    """``vectus check --fix`` and the server mean the same: with the rule for 7 days, no upload that
    goes on within them has less than its promise for its first 6 days."""
    change = plan(Question("s3://unused", 7 * DAY), place)
    assert isinstance(change, Change)
    change.make()
    http = await serve(place, expire_after="7d")
    created = await http.post("/", headers=TUS | {"Upload-Length": "5"})

    assert abs(expires(created) - time() - 7 * DAY) < 60
    assert S3Store(place).limits().life == 13 * DAY


@pytest.mark.parametrize(
    ("code", "level"), [("AccessDenied", "WARNING"), ("NotImplemented", "INFO")]
)
async def test_rules_that_cannot_be_read(
    place: Place, serve: Serve, caplog: pytest.LogCaptureFixture, code: str, level: str
) -> None:
    """Then there is no bound, and one line in the log."""
    refusing = partial(Refusing, get_bucket_lifecycle_configuration=code)
    with caplog.at_level(logging.INFO, "vectus"):
        http = await serve(place, refusing(place), expire_after="never")
    created = await http.post("/", headers=TUS | {"Upload-Length": "5"})

    assert "Upload-Expires" not in created.headers
    assert [line.levelname for line in caplog.records if code in line.message] == [level]


async def test_equal_parts_have_a_limit(place: Place, serve: Serve) -> None:
    """With equal_parts=true an upload of deferred length has at most 10 000 parts of one size: it
    is said with the upload, and refused with 413 before it comes. A known length chooses its parts,
    up to 5 GiB each."""
    http = await serve(replace(place, equal_parts=True, part_size=8 * MIB, spool=64 * MIB))
    most = 8 * MIB * 10_000
    offered = await http.options("/")
    assert offered.headers["Tus-Max-Size"] == str((5 << 30) * 10_000)
    created = await http.post("/", headers=TUS | {"Upload-Defer-Length": "1"})
    url = created.headers["Location"]
    assert created.headers["Tus-Max-Size"] == str(most)
    beyond = BYTES | {"Upload-Offset": "0", "Upload-Length": str(most + 1)}
    assert (await http.patch(url, headers=beyond, content=b"x")).status_code == 413
    within = BYTES | {"Upload-Offset": "0", "Upload-Length": str(most)}
    assert (await http.patch(url, headers=within, content=b"x")).status_code == 204

    known = await http.post("/", headers=TUS | {"Upload-Length": str(most + 1)})
    too_large = await http.post("/", headers=TUS | {"Upload-Length": str((5 << 30) * 10_000 + 1)})
    assert (known.status_code, too_large.status_code) == (201, 413)
