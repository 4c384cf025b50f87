"""kill -9 of the client at random points: the same call again goes on where the server is.

A proxy stops each client at a random byte, where it is killed; what had left it then still arrives,
as it would on a real network.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fault_proxy import Edit, Hold, Proxy, Trap
from fault_wire import Seen
from sides import SIDES
from uploaders import Uploaders

from server import Server
from server_fixtures import Run

pytestmark = pytest.mark.timeout(240)

MIB = 1 << 20

WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "chunked": {"chunk_size": MIB},
    "checksummed": {"chunk_size": MIB, "checksum": "sha256"},
    "parallel": {"parallel": 3},
}

ROUNDS = {
    ("blocking", "plain"): 5,
    ("blocking", "chunked"): 3,
    ("blocking", "checksummed"): 2,
    ("blocking", "parallel"): 3,
    ("asyncio", "plain"): 5,
    ("asyncio", "chunked"): 3,
    ("asyncio", "checksummed"): 2,
    ("asyncio", "parallel"): 3,
}
"""How often a client of each kind is killed in the middle of a body, which every round asserts."""

APART = {("OPTIONS", None): Edit({"Tus-Extension": "creation,termination,checksum,concatenation"})}
"""No bytes travel with the creation, as if the files were larger."""

Make = Callable[[int], Path]


class Round:
    """One file that is uploaded by a client that is killed, and by another one then.

    Args:
        server: where to.
        uploaders: who runs the clients.
        side: which driver they use.
        file: what they upload.
        options: how.
    """

    def __init__(
        self, server: Server, uploaders: Uploaders, side: str, file: Path, **options: Any
    ) -> None:
        self._server = server
        self._uploaders = uploaders
        self._side = side
        self._file = file
        self._options = options
        self._before = self._ids()

    def run(self, method: str, number: int, fault: Hold | Trap) -> list[Seen]:
        """Kill the first client when it has come to a point; have the second one end it. Returns
        the requests of the first, and puts those of the second into ``later``."""
        script = {**APART, (method, number): fault}
        with Proxy(self._server.port, script) as proxy:
            self._uploaders.begin("one", self._side, self._file, proxy.url, **self._options)
            assert fault.reached.wait(20), f"{method} {number} did not come"
            self._uploaders.kill("one")
            fault.go.set()
            proxy.settle()
            self.kept = sum(map(self._server.offset, self._open()))
            first = list(proxy.requests)
            del proxy.script[method, number]
            self.told = self._uploaders.upload(self._side, self._file, proxy.url, **self._options)
            self.later = proxy.requests[len(first) :]
        return first

    def check(self, uploads: int) -> None:
        """Everything is there, nothing was sent twice, and nothing but what has a reason is left
        behind, at the server and in the resume store."""
        data = self._file.read_bytes()
        assert self._server.get(urlsplit(self.told["url"]).path) == data
        assert self.told["notices"] == []
        assert self.told["resumed"] == self.kept
        assert sum(seen.body for seen in self.later) == len(data) - self.kept
        assert len(self._ids() - self._before) == uploads
        assert self._uploaders.remembered == 0

    def posts(self) -> int:
        """How many uploads the second client has made."""
        return sum(seen.method == "POST" for seen in self.later)

    def _open(self) -> set[str]:
        """The uploads of the first client that bytes can be sent to."""
        return {f"/files/{name}" for name in self._ids() - self._before}

    def _ids(self) -> set[str]:
        return {path.stem for path in self._server.store.glob("*.info")}


def test_there_are_rounds_enough() -> None:
    """At least 20 kills land in the middle of a body, and there are 30 with those elsewhere."""
    assert sum(ROUNDS.values()) >= 20
    assert sum(ROUNDS.values()) + 2 * 5 >= 30


@pytest.mark.parametrize(("side", "way"), ROUNDS)
def test_killed_in_mid_body(
    side: str, way: str, serve: Run, uploaders: Uploaders, make: Make, rng: random.Random
) -> None:
    """After kill -9 in the middle of a body the same call finds its upload, sends what the server
    does not have, and nothing else; the content is exact, and nothing is left behind."""
    server = serve("--durability", "none")
    options = WAYS[way]
    for _ in range(ROUNDS[side, way]):
        file = make(rng.randrange(3 * MIB, 5 * MIB))
        one = Round(server, uploaders, side, file, **options)
        parts = options.get("parallel", 0)
        # A part whose first PATCH has not come may be lost between its creation and its entry.
        number = rng.randrange(1, 4) if "chunk_size" in options else parts or 1

        first = one.run("PATCH", number, Trap(rng.randrange(1, MIB)))

        broken = [seen for seen in first if 0 < seen.body < seen.announced]
        assert broken, "not in the middle of the body"
        one.check(uploads=1 + parts)
        assert one.kept > 0 or "checksum" in options
        assert one.posts() <= (1 + parts if parts else 0)


@pytest.mark.parametrize("side", SIDES)
def test_killed_before_the_url_is_known(
    side: str, serve: Run, uploaders: Uploaders, make: Make
) -> None:
    """An upload whose URL never came back is lost; the same call makes another one."""
    one = Round(serve(), uploaders, side, make(MIB))

    first = one.run("POST", 1, Hold(None))

    assert [seen.method for seen in first] == ["OPTIONS", "POST"]
    one.check(uploads=2)


@pytest.mark.parametrize("side", SIDES)
def test_killed_before_the_first_byte(
    side: str, serve: Run, uploaders: Uploaders, make: Make
) -> None:
    """The URL is remembered before any byte is sent there: no second upload is made."""
    one = Round(serve(), uploaders, side, make(MIB))

    one.run("PATCH", 1, Trap())

    one.check(uploads=1)
    assert one.posts() == 0


@pytest.mark.parametrize("side", SIDES)
def test_killed_after_the_last_byte(
    side: str, serve: Run, uploaders: Uploaders, make: Make
) -> None:
    """When the server has it all and the answer never came, no byte is sent again; that it has is
    asked twice."""
    one = Round(serve(), uploaders, side, make(MIB))

    one.run("PATCH", 1, Hold(None))

    one.check(uploads=1)
    assert [seen.method for seen in one.later] == ["HEAD", "HEAD"]


@pytest.mark.parametrize("side", SIDES)
def test_killed_while_parts_are_joined(
    side: str, serve: Run, uploaders: Uploaders, make: Make
) -> None:
    """Parts that are all there are joined by the same call, without sending a byte again."""
    one = Round(serve(), uploaders, side, make(MIB), parallel=2)

    one.run("POST", 3, Hold(None))
    one.kept = MIB  # the joined upload, whose URL never came, has them as well

    one.check(uploads=4)


@pytest.mark.parametrize("side", SIDES)
def test_killed_after_parts_were_joined(
    side: str, serve: Run, uploaders: Uploaders, make: Make
) -> None:
    """What was joined already is not joined again."""
    one = Round(serve(), uploaders, side, make(MIB), parallel=2, verify="length")

    one.run("HEAD", 1, Hold())
    one.kept = MIB  # the joined upload has them as well

    one.check(uploads=3)
    assert one.posts() == 0
