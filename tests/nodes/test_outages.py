"""What nodes need is away for a while: their locks, or the last call of an upload to S3."""

from __future__ import annotations

import json
import random
import select
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cluster import Node, StartNodes, with_ttl
from driven import Told
from leftovers import Leftovers

import s3proxy
from backends import Postgres, Redis
from programs import Program
from s3proxy import S3Proxy
from server import Server, Start, until
from vectus.stores.s3.place import Place

pytestmark = pytest.mark.timeout(240)

MIB = 1 << 20
DATA = random.Random(6).randbytes(12 * MIB)

TRY_AGAIN = ("HEAD 423", "PATCH 423", "PATCH 503")
"""How a client is told to try again (D3)."""

Balance = Callable[[Sequence[Server]], Server]
Client = Callable[..., Program]
Locks = tuple[Redis | Postgres, str]


@pytest.fixture(params=["redis", "postgres"])
def locks(request: pytest.FixtureRequest) -> Locks:
    """A server of the test's own that keeps locks, and their URL."""
    server: Redis | Postgres = request.getfixturevalue(f"{request.param}_server")
    return server, with_ttl(server) if isinstance(server, Redis) else server.url


@pytest.fixture
def tus_js(start: Start, js_command: Callable[..., list[str]], tmp_path: Path) -> Client:
    """Start tus-js-client on so many bytes, returned once it has sent some of them. It tries again
    for as long as any outage here may last."""
    file = tmp_path / "film.mp4"

    def run(size: int, server: Server, **options: object) -> Program:
        file.write_bytes(DATA[:size])
        options = {"retryDelays": [200] * 200, **options}
        return start(*js_command(file, server.url, options=options), ready="PATCH")

    return run


def told(client: Program) -> Told:
    """Return what a client tells at its end."""
    client.process.wait(150)
    client.stop()
    return Told(**json.loads(client.lines[-1]))


def test_tus_js_client_and_redis(
    start_nodes: StartNodes,
    balance: Balance,
    proxied_store: str,
    proxy: S3Proxy,
    redis_server: Redis,
    tus_js: Client,
) -> None:
    """Redis is killed in the middle of an upload and comes back empty: tus-js-client is only ever
    told to try again, keeps its URL, and ends with everything (D3)."""
    front = balance(start_nodes(2, proxied_store, with_ttl(redis_server)))
    third = proxy.fail(
        s3proxy.lost, "PutObject", ".part", where=lambda call: call.nth > 2, times=None
    )
    client = tus_js(6 * MIB, front, chunkSize=256 * 1024)
    until(lambda: third.fired, "the third chunk")
    redis_server.kill()
    proxy.clear()
    until(lambda: "HEAD 423" in client.output, "the client's being told")
    redis_server.start()
    end = told(client)
    assert end.error is None
    assert end.requests.count("POST 201") == 1
    assert set(end.requests) <= {"POST 201", "PATCH 204", "HEAD 200", *TRY_AGAIN}
    assert front.get(urlsplit(end.url).path) == DATA[: 6 * MIB]


@pytest.mark.parametrize(
    ("fault", "times"), [(s3proxy.error(503, "SlowDown"), 7), (s3proxy.lose_answer, 1)]
)
def test_tus_js_client_and_a_failed_completion(
    start_nodes: StartNodes,
    proxied_store: str,
    proxy: S3Proxy,
    place: Place,
    redis_locks: str,
    tus_js: Client,
    fault: s3proxy.Fault,
    times: int,
) -> None:
    """S3 fails again and again to put an upload's parts together, or its answer is lost:
    tus-js-client keeps its URL, is only told to try again, and ends with everything (D2, D3)."""
    node = start_nodes(1, proxied_store, redis_locks)[0]
    failing = proxy.fail(fault, "CompleteMultipartUpload", times=times)
    end = told(tus_js(len(DATA), node))
    assert failing.fired == times
    assert end.error is None
    assert end.requests.count("POST 201") == 1
    assert set(end.requests) <= {"POST 201", "PATCH 204", "HEAD 200", *TRY_AGAIN}
    assert node.get(urlsplit(end.url).path) == DATA
    assert Leftovers(place).after_a_sweep() == []


class Hanging:
    """A PATCH that has come to a node as far as its client has sent it.

    Args:
        node: which.
        left: what shows that a part has been recorded.
        wires: where its connection is closed at last.
    """

    def __init__(self, node: Node, left: Leftovers, wires: ExitStack) -> None:
        self.node = node
        self._begin(wires)
        until(lambda: left.recorded(self.path) or self._ended, "the record of a part", 60)
        while not left.recorded(self.path):  # a busy machine has lost its lock
            node.ask_again("DELETE", self.path)
            self._begin(wires)
            until(lambda: left.recorded(self.path) or self._ended, "the record of a part", 60)

    def _begin(self, wires: ExitStack) -> None:
        self.path = self.node.create(len(DATA))
        self.wire = wires.enter_context(self.node.connect())
        self.wire.patch(self.path, 0, len(DATA))
        with suppress(ConnectionError):
            self.wire.send(DATA[: 6 * MIB])

    @property
    def _ended(self) -> bool:
        """Whether it was answered, or broken off."""
        return bool(select.select([self.wire.socket], [], [], 0)[0])


def test_locks_are_away(start_nodes: StartNodes, store: str, place: Place, locks: Locks) -> None:
    """With the locks gone, uploads under way on two nodes stop, and requests hear what D3 says;
    downloads go on. With the locks back, and empty, the other node goes on with what had been
    committed; contents are exact."""
    (server, url), left = locks, Leftovers(place)
    nodes = start_nodes(2, store, url)
    done = nodes[0].create(300_000)
    nodes[1].bring(done, DATA[:300_000])
    with ExitStack() as wires:
        hanging = [Hanging(node, left, wires) for node in (*nodes, *nodes)]
        server.kill()
        assert {each.wire.answer().status for each in hanging} == {423}
        for node, each in zip(nodes, hanging[1:], strict=False):
            asked = ("HEAD", node.ask("HEAD", each.path)), ("PATCH", node.patch(each.path, 0, b"x"))
            answers = dict(asked) | {"DELETE": node.ask("DELETE", each.path)}
            statuses = {method: answer.status for method, answer in answers.items()}
            assert statuses == {"HEAD": 423, "PATCH": 503, "DELETE": 503}
            assert all("retry-after" in answer.headers for answer in answers.values())
            assert not any("upload-offset" in answer.headers for answer in answers.values())
            assert node.get(done) == DATA[:300_000]
        server.start()
    for each in hanging:
        other = nodes[each.node is nodes[0]]
        assert other.bring(each.path, DATA) >= 5 * MIB
        assert each.node.get(each.path) == DATA
    assert left.after_a_sweep() == []
