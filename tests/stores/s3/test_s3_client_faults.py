"""What the door to S3 makes of a server that fails: what it says, how often it tries, how long it
waits. Most of it needs no S3, as the proxy answers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from pauses import again_if_paused
from s3_places import LEAST, make_place

from s3proxy import (
    Exchange,
    S3Proxy,
    cut,
    cut_answer,
    cut_request,
    error,
    failure,
    garble,
    hidden_error,
    lose_answer,
    lost,
    slow,
)
from vectus.errors import ConfigurationError, StoreError, StoreFull, StoreUnavailable
from vectus.protocol.upload import Upload
from vectus.stores.s3.bucket import Bucket
from vectus.stores.s3.client import PAUSES, Gateway, Missing, Rejected, Taken
from vectus.stores.s3.place import Place, parse
from vectus.stores.s3.spool import Shelf, Spool, SpoolReader
from vectus.stores.s3.store import S3Store
from vectus.stores.s3.threads import SMALL
from vectus.testing.stores import ID, pattern, plan

ALL = 1 + len(PAUSES)
SHORT = 1.0
LONG = 30.0

SAYINGS = [
    (500, "InternalError", StoreUnavailable, ALL),
    (503, "SlowDown", StoreUnavailable, ALL),
    (503, "ServiceUnavailable", StoreUnavailable, ALL),
    (429, "TooManyRequests", StoreUnavailable, ALL),
    (400, "RequestTimeout", StoreUnavailable, ALL),
    (400, "IncompleteBody", StoreUnavailable, ALL),
    (409, "OperationAborted", StoreUnavailable, ALL),
    (409, "ConditionalRequestConflict", StoreUnavailable, ALL),
    (400, "ExpiredToken", StoreUnavailable, 1),
    (400, "InvalidToken", StoreUnavailable, 1),
    (400, "AuthorizationHeaderMalformed", StoreUnavailable, 1),
    (400, "KMS.DisabledException", StoreUnavailable, 1),
    (403, "RequestTimeTooSkewed", StoreUnavailable, 1),
    (403, "InvalidAccessKeyId", StoreUnavailable, 1),
    (403, "SomethingNew", StoreUnavailable, 1),
    (404, "NoSuchBucket", StoreUnavailable, 1),
    (307, "TemporaryRedirect", StoreUnavailable, None),
    (403, "QuotaExceeded", StoreFull, 1),
    (507, "InsufficientStorage", StoreFull, 1),
    (404, "NoSuchKey", Missing, 1),
    (412, "PreconditionFailed", Taken, 1),
    (501, "NotImplemented", Rejected, 1),
    (405, "MethodNotAllowed", Rejected, 1),
    (400, "InvalidArgument", Rejected, 1),
    (400, "InvalidPart", Rejected, 1),
    (416, "InvalidRange", Rejected, 1),
]
"""What S3 may say, what that means, and how often it is asked, unless that is boto's affair."""


@pytest.fixture
def nobody(credentials: None) -> Iterator[S3Proxy]:
    """A proxy with nobody behind it."""
    with S3Proxy("http://127.0.0.1:1") as proxy:
        yield proxy


@pytest.fixture
def proxy(rgw: str) -> Iterator[S3Proxy]:
    """A proxy with a real server behind it."""
    with S3Proxy(rgw) as proxy:
        yield proxy


@pytest.fixture
def gateway(nobody: S3Proxy) -> Iterator[Gateway]:
    """The door to nobody."""
    with closing(Gateway(place_at(nobody), pauses=(0.0,) * len(PAUSES))) as gateway:
        yield gateway


def place_at(proxy: S3Proxy, timeout: float = LONG) -> Place:
    """Return a place there."""
    return Place(
        "bucket", endpoint=proxy.url, region="us-east-1", timeout=timeout, long_timeout=LONG
    )


def get(gateway: Gateway) -> None:
    """Make a call."""
    gateway.call("get_object", Key="key")


@pytest.mark.parametrize(("status", "code", "meaning", "tries"), SAYINGS)
def test_what_s3_says(
    nobody: S3Proxy, gateway: Gateway, status: int, code: str, meaning: type, tries: int | None
) -> None:
    """What time or an operator can mend costs nobody an upload, and is tried again where that may
    help at once; what is final is said at once."""
    nobody.fail(error(status, code), "GetObject", times=None)
    with pytest.raises(StoreError) as caught:
        get(gateway)

    assert isinstance(caught.value, meaning)
    assert isinstance(caught.value, StoreUnavailable) is (meaning is StoreUnavailable)
    assert nobody.count("GetObject") == (tries or nobody.count("GetObject"))


@pytest.mark.parametrize(
    ("status", "operation", "meaning"),
    [
        (404, "head_object", Missing),
        (400, "head_object", StoreUnavailable),
        (403, "head_object", StoreUnavailable),
        (404, "get_object", StoreUnavailable),
        (404, "delete_object", StoreUnavailable),
        (400, "get_object", StoreUnavailable),
    ],
)
def test_an_error_without_words(
    nobody: S3Proxy, gateway: Gateway, status: int, operation: str, meaning: type
) -> None:
    """Only a HEAD's 404 means that there is no such object: any other error that S3 gives no reason
    for is of a proxy in front of it, behind which nobody is."""
    nobody.fail(lambda exchange: exchange.say(status, b"<html>Not here</html>"), times=None)
    with pytest.raises(meaning):
        gateway.call(operation, Key="key")


@pytest.mark.parametrize("fault", [cut, cut_answer, lost], ids=["cut", "refused", "lost"])
def test_nobody_is_there(nobody: S3Proxy, fault) -> None:
    """Connections that break, that cannot be made, and that stay silent: S3 is away."""
    nobody.fail(fault, times=None)
    with (
        closing(Gateway(place_at(nobody, SHORT), pauses=(0.0,) * len(PAUSES))) as gateway,
        pytest.raises(StoreUnavailable),
    ):
        get(gateway)


@again_if_paused(0.2)
def test_silence_is_heard_twice(nobody: S3Proxy) -> None:
    """A call that hangs is tried once more, for its connection may be dead. While S3 stays silent,
    calls are made once each; the first answer ends that."""
    nobody.clear()
    with closing(Gateway(place_at(nobody, SHORT), pauses=(0.0,) * len(PAUSES))) as gateway:
        silence = nobody.fail(lost, times=None)
        for tries in (2, 3, 4):
            with pytest.raises(StoreUnavailable):
                get(gateway)
            assert silence.fired == tries
        nobody.clear()
        nobody.fail(error(404, "NoSuchKey"))
        with pytest.raises(Missing):
            get(gateway)
        silence = nobody.fail(lost, times=None)
        with pytest.raises(StoreUnavailable):
            get(gateway)
        assert silence.fired == 2


def test_what_may_take_long(rgw: str, proxy: S3Proxy) -> None:
    """Putting parts together may take minutes, asking for one may not."""
    place = replace(make_place(proxy.url), timeout=LONG, long_timeout=LONG)
    hasty = replace(place, timeout=SHORT)
    with (
        closing(Gateway(place, pauses=())) as patient,
        closing(Gateway(hasty, pauses=())) as gateway,
    ):
        begun = patient.call("create_multipart_upload", Key=f"{place.prefix}/long")["UploadId"]
        etag = Bucket(patient, place).send("long", begun, 1, b"a part")
        bucket = Bucket(gateway, hasty)
        proxy.fail(slow(2 * SHORT), times=None)
        with pytest.raises(StoreUnavailable):
            bucket.size("long")
        bucket.complete("long", begun, (etag,))


@pytest.mark.parametrize(
    "fault", [error(), cut, cut_request, lose_answer], ids=["error", "cut", "request", "answer"]
)
def test_a_part_is_sent_again_from_its_start(proxy: S3Proxy, fault) -> None:
    """Whatever of it had been sent before."""
    data = pattern(3 << 20)
    place = make_place(proxy.url)
    with closing(Gateway(place, pauses=(0.0,))) as gateway, closing(Spool(Shelf())) as spool:
        spool.write(memoryview(data), 0)
        rule = proxy.fail(fault, "PutObject", "again")
        bucket = Bucket(gateway, place)
        gateway.call("put_object", Key=bucket.key("again"), Body=SpoolReader(spool, len(data)))

        assert rule.fired == 1
        assert bucket.get("again") == data


def test_who_is_stopped_does_not_try_again(nobody: S3Proxy, gateway: Gateway) -> None:
    """A part on its way whose request was stopped is not sent once more."""

    def stop(exchange: Exchange) -> None:
        spool.stopped = True
        error()(exchange)

    with closing(Spool(Shelf())) as spool:
        spool.write(memoryview(b"a part"), 0)
        nobody.fail(stop, times=None)
        with pytest.raises(StoreUnavailable, match="stopped"):
            gateway.call("put_object", Key="key", Body=SpoolReader(spool, 6))

    assert nobody.count("PutObject") == 1


def test_an_error_behind_a_200(nobody: S3Proxy, gateway: Gateway) -> None:
    """A completion that fails after S3 began to answer has failed, and is tried again."""
    rule = nobody.fail(hidden_error(), times=None)
    with pytest.raises(StoreUnavailable):
        gateway.call("complete_multipart_upload", Key="key", UploadId="id")

    assert rule.fired == ALL


@pytest.mark.parametrize("body", [b"", b"<a", failure("x")[:40], b"<html>Hello</html>", b"{}"])
def test_what_is_no_answer(nobody: S3Proxy, gateway: Gateway, body: bytes) -> None:
    """Half an answer, or somebody else's, is no reason to fail for good."""
    nobody.fail(lambda exchange: exchange.say(200, body), times=None)
    with pytest.raises(StoreUnavailable):
        _ = gateway.call("create_multipart_upload", Key="key")["UploadId"]


async def test_half_a_record_and_half_a_tail(proxy: S3Proxy) -> None:
    """An object that comes in part is never taken for the whole: the record and the tail are read
    again, and nothing of them is lost."""
    place = replace(
        make_place(proxy.url), smallest=LEAST, part_size=LEAST, spool=8 * LEAST, timeout=LONG
    )
    gateway = Gateway(place, pauses=())
    store = S3Store(place, gateway)
    await store.create(Upload(ID, length=2 * LEAST), b"")
    data = pattern(1000)
    upload = await store.load(ID)
    async with store.append(upload, plan(0, 2 * LEAST)) as sink:
        await sink.write(memoryview(data))
        await sink.commit(replace(upload, offset=1000))
    proxy.fail(cut_answer, "GetObject", ".info")
    with pytest.raises(StoreUnavailable):
        await store.load(ID)
    upload = await store.load(ID)
    assert upload.offset == 1000
    proxy.fail(cut_answer, "GetObject", ".part")
    with pytest.raises(StoreUnavailable):
        async with store.append(upload, plan(1000, 2 * LEAST)) as sink:
            await sink.write(memoryview(data))
    assert (await store.load(ID)).offset == 1000
    content = await store.read(upload, 0, 1000)
    assert b"".join([block async for block in content.blocks()]) == data
    await content.aclose()
    await store.aclose()
    gateway.close()


@pytest.mark.parametrize("fault", [cut_answer, garble], ids=["cut", "short"])
async def test_half_a_download(proxy: S3Proxy, fault) -> None:
    """A download that breaks off ends with an error, not with less."""
    place = replace(make_place(proxy.url), timeout=LONG)
    gateway = Gateway(place, pauses=())
    store = S3Store(place, gateway)
    data = pattern(100_000)
    done = Upload(ID, length=len(data), offset=len(data), finished=True)
    await store.create(done, data)
    proxy.fail(fault, "GetObject", ID)
    content = await store.read(done, 0, len(data))
    with pytest.raises(StoreUnavailable):
        _ = [block async for block in content.blocks()]
    await content.aclose()
    await store.aclose()
    gateway.close()


def test_how_long_is_up_to_the_operator() -> None:
    """The URL says how long to wait for S3; by default a request hears of it within 30 s, before
    most proxies' patience ends."""
    assert parse("s3://bucket").timeout == 15
    place = parse("s3://bucket?timeout=2.5&long_timeout=60")
    assert (place.timeout, place.long_timeout) == (2.5, 60)
    for wrong in ("timeout=0", "timeout=-1", "timeout=400", "timeout=nan", "timeout=soon"):
        with pytest.raises(ConfigurationError):
            parse(f"s3://bucket?{wrong}")


async def test_who_waits_for_a_thread_in_vain(nobody: S3Proxy) -> None:
    """Where S3 is silent, more requests than there are threads all hear of it: nobody waits until
    S3 was asked for everybody before."""
    nobody.fail(lost, times=None)
    place = place_at(nobody, SHORT)
    store = S3Store(place)
    outcomes = await asyncio.gather(
        *(store.load(f"upload-{n}") for n in range(10 * SMALL)), return_exceptions=True
    )

    assert all(isinstance(each, StoreUnavailable) for each in outcomes)
    assert nobody.count("GetObject") < 5 * SMALL
    await store.aclose()
