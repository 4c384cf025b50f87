"""Two servers: Ceph's RGW, which is real, and moto, which is quick."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import ceph
import pytest
from s3_faults import FaultyGateway
from s3_places import LEAST, make_place

from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store


@pytest.fixture(scope="session")
def credentials() -> Iterator[None]:
    """Let boto find who we are, and nothing of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", ceph.ACCESS)
        patch.setenv("AWS_SECRET_ACCESS_KEY", ceph.SECRET)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        patch.delenv("AWS_PROFILE", raising=False)
        yield


@pytest.fixture(scope="session")
def rgw(credentials: None) -> Iterator[str]:
    """The URL of a real server."""
    if not ceph.is_here():
        pytest.skip("Ceph's radosgw is not installed: run make outside")
    # Ceph's sockets have names that may not be long.
    folder = Path(tempfile.mkdtemp(prefix="rgw"))
    try:
        with ceph.Ceph(folder, LEAST) as server:
            yield server.url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def moto(credentials: None) -> Iterator[str]:
    """The URL of a quick one."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def place(rgw: str) -> Place:
    """A place at the real server, whose parts are small."""
    return replace(make_place(rgw), smallest=LEAST, part_size=LEAST, spool=64 * LEAST)


@pytest.fixture
def gateway(place: Place) -> Iterator[FaultyGateway]:
    """The door to it, where faults can be put in."""
    gateway = FaultyGateway(place)
    yield gateway
    gateway.close()


@pytest.fixture
async def store(place: Place, gateway: FaultyGateway):
    """A store there."""
    store = S3Store(place, gateway)
    yield store
    await store.aclose()
