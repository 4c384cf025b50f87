"""What stands around the nodes: S3, locks, HAProxy, and machines to run them on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import ceph
import driven
import pytest
from cluster import Node, StartNodes, start_haproxy, start_node, with_ttl
from opening import opened
from s3_places import make_place

import backends
from backends import Postgres, Redis
from s3proxy import S3Proxy
from server import Server, Start
from server_fixtures import port as make_port
from vectus.stores.s3.place import Place

credentials, rgw, port = ceph.credentials, ceph.rgw, make_port
shared_redis, shared_postgres = backends.shared_redis, backends.shared_postgres
redis_server, postgres_server = backends.redis_server, backends.postgres_server
js_command = driven.js_command


@pytest.fixture
def place(rgw: str) -> Place:
    """A place in S3 of the test's own."""
    return make_place(rgw)


def store_url(place: Place, endpoint: str) -> str:
    """Word a place as nodes are told it."""
    query = f"endpoint={endpoint}&region={place.region}&part_size=5MiB"
    return f"s3://{place.bucket}/{quote(place.prefix)}?{query}"


@pytest.fixture
def store(place: Place, rgw: str) -> str:
    """The same, as a URL."""
    return store_url(place, rgw)


@pytest.fixture
def proxy(rgw: str) -> Iterator[S3Proxy]:
    """What stands between nodes and S3, for tests that do something to calls."""
    with S3Proxy(rgw) as proxy:
        yield proxy


@pytest.fixture
def proxied_store(place: Place, proxy: S3Proxy) -> str:
    """The place in S3, behind the proxy."""
    return store_url(place, proxy.url)


@pytest.fixture(scope="session")
def redis_locks(shared_redis: Redis) -> str:
    """Locks in Redis, which gives some out by now."""
    asyncio.run(opened(shared_redis.url))
    return with_ttl(shared_redis)


@pytest.fixture(scope="session")
def lasting_redis_locks(shared_redis: Redis, redis_locks: str) -> str:
    """Locks in Redis that last for long."""
    return f"{shared_redis.url}?ttl=60"


@pytest.fixture
def postgres_locks(shared_postgres: Postgres) -> str:
    """Locks in PostgreSQL."""
    return shared_postgres.url


@pytest.fixture
def start_nodes(start: Start, port: Callable[[], int], tmp_path: Path) -> StartNodes:
    """Start nodes, all at once, on one store and the same locks."""
    numbers = itertools.count()

    def run(count: int, store: object, locks: str, *flags: object) -> list[Node]:
        folders = [tmp_path / f"machine{next(numbers)}" for _ in range(count)]
        ports = [port() for _ in folders]

        def launch(port: int, folder: Path) -> Node:
            return start_node(start, port, folder, store, "--locks", locks, *flags)

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(launch, ports, folders))

    return run


@pytest.fixture
def balance(
    start: Start, port: Callable[[], int], tmp_path: Path
) -> Callable[[Sequence[Server]], Server]:
    """Start HAProxy before some nodes."""
    return lambda nodes: start_haproxy(start, port(), tmp_path, nodes)
