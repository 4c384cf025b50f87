"""Two servers: Ceph's RGW, which is real, and moto, which is quick."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import ceph
import pytest
from s3_faults import FaultyGateway
from s3_places import LEAST, make_place

from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store

credentials, rgw = ceph.credentials, ceph.rgw


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests time for the start of the servers, which the first one to need them waits for."""
    for item in items:
        ours = item.path.is_relative_to(Path(__file__).parent)
        if ours and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(180))


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of a busy machine take their time."""
    monkeypatch.setattr("world.LIMIT", 60.0)


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
