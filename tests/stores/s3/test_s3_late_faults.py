"""Requests that S3 obeys long after their sender has given them up and done other things.

Where S3 honours conditions (``conditional_put``) they are harmless. RGW of these days does not, so
this is on the quick server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from s3_places import LEAST, make_place

from s3proxy import Late, S3Proxy
from vectus.errors import StoreUnavailable
from vectus.protocol.upload import Upload
from vectus.stores.s3.client import Answer, Gateway
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import ID, bytes_of, pattern, plan

SILENCE = 1.0
DATA = pattern(2 * LEAST)
CUTS = (1000, 3000, LEAST, len(DATA))


@pytest.fixture
def proxy(moto: str) -> Iterator[S3Proxy]:
    """A proxy in front of the quick server."""
    with S3Proxy(moto) as proxy:
        yield proxy


class Hasty(Gateway):
    """A gateway that waits for one kind of put as long as it must, and for all else as long as a
    busy machine may take."""

    def __init__(self, place: Place, key: str) -> None:
        super().__init__(place, pauses=())
        self._key = key
        self._hasty = Gateway(replace(place, timeout=SILENCE), pauses=())

    def call(self, operation: str, **parameters: object) -> Answer:
        if operation == "put_object" and str(parameters["Key"]).endswith(self._key):
            return self._hasty.call(operation, **parameters)
        return super().call(operation, **parameters)

    def close(self) -> None:
        super().close()
        self._hasty.close()


async def append(store: S3Store, stop: int) -> None:
    """Bring an upload to some offset, whatever it has."""
    upload = await store.load(ID)
    if upload.finished:
        return
    async with store.append(upload, plan(upload.offset, len(DATA) - upload.offset)) as sink:
        if (writing := sink.write(memoryview(DATA[upload.offset : stop]))) is not None:
            await writing
        done = stop == len(DATA)
        await sink.commit(replace(upload, offset=stop, finished=done, announced=done))


@pytest.mark.parametrize("step", range(len(CUTS)))
@pytest.mark.parametrize("key", [".info", ".part"])
async def test_a_late_request_changes_nothing(proxy: S3Proxy, key: str, step: int) -> None:
    """An append gets lost and is repeated, others follow; then the lost record, or the lost tail,
    arrives. No offset goes back, and what comes out is what was sent."""
    place = replace(
        make_place(proxy.url),
        smallest=LEAST,
        part_size=10 * LEAST,
        spool=40 * LEAST,
        conditional_put=True,
    )
    late = Late()
    with closing(Gateway(place, pauses=())) as patient, closing(Hasty(place, key)) as gateway:
        store, other = S3Store(place, gateway), S3Store(place, patient)
        await other.create(Upload(ID, length=len(DATA)))
        for cut in CUTS[:step]:
            await append(other, cut)
        lost = proxy.fail(late, "PutObject", key)
        try:
            await append(store, CUTS[step])
        except StoreUnavailable:
            assert lost.fired
        for cut in CUTS[step:]:
            await append(other, cut)
            if cut != len(DATA) and step % 2:
                break
        before = await other.load(ID)
        late.go.set()
        if lost.fired:
            assert late.done.wait(30)

        after = await other.load(ID)
        assert (after.offset, after.finished) == (before.offset, before.finished)
        for cut in CUTS:
            if cut > after.offset:
                await append(other, cut)
        assert await bytes_of(other, ID) == DATA
        await other.remove(ID)
        await other.aclose()
        await store.aclose()
