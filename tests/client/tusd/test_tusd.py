"""Both drivers against tusd."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fault_proxy import Cut, Edit, Proxy, Say, Swallow
from sides import EVERYWHERE, SIDES, SOURCES, Side

from vectus.client import FileResume
from vectus.errors import ServerUnreachable

pytestmark = pytest.mark.peer("tusd")

DATA = random.Random(7).randbytes(700_001)

QUICK: dict[str, Any] = {"retry_delay": 0.05, "timeout": 20}


def content(url: str) -> bytes:
    """What the server gives back."""
    return httpx2.get(url).raise_for_status().content


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> Side:
    """Each driver."""
    return SIDES[request.param]


@pytest.mark.parametrize(("side", "kind"), EVERYWHERE)
@pytest.mark.parametrize("options", [{}, {"chunk_size": 200_000}])
def test_upload(side: str, kind: str, options: dict[str, Any], tusd: int, tmp_path: Path) -> None:
    """Everything that can be uploaded arrives, of known length or not, and can be deleted."""
    with ExitStack() as stack:
        source = SOURCES[kind](DATA, tmp_path, stack)
        endpoint = f"http://127.0.0.1:{tusd}/files/"
        with SIDES[side].client(endpoint, **QUICK) as client:
            result = client.upload(
                source, metadata={"filename": "é.bin"}, verify="length", **options
            )
            assert content(result.url) == DATA
            assert client.offset(result.url) == len(DATA)
            assert client.terminate(result.url) is True
            assert client.terminate(result.url) is False


@pytest.mark.parametrize("options", [{}, {"chunk_size": 200_000}, {"parallel": 3}])
def test_resume(side: Side, options: dict[str, Any], tusd: int, tmp_path: Path) -> None:
    """What one call has begun, another one ends; what tusd has is not sent again."""
    path = tmp_path / "film.mp4"
    path.write_bytes(DATA)
    options = {**options, **QUICK, "resume": FileResume(tmp_path / "resume.json")}
    apart = Edit({"Tus-Extension": "creation,concatenation"})
    script = {("OPTIONS", None): apart, ("PATCH", None): Say(500), ("PATCH", 1): Cut(100_000)}
    with Proxy(tusd, script) as proxy:
        with pytest.raises(ServerUnreachable):
            side.upload(path, proxy.url, retries=1, **options)
        proxy.settle()
        proxy.script.clear()
        posts, sent = proxy.count("POST"), proxy.body()

        result = side.upload(path, proxy.url, **options)

        assert content(result.url) == DATA
        assert result.resumed > 0
        assert proxy.count("POST") - posts == ("parallel" in options)
        assert proxy.body() - sent == len(DATA) - result.resumed


@pytest.mark.parametrize("options", [{}, {"chunk_size": 100_000}])
def test_parallel(side: Side, options: dict[str, Any], tusd: int) -> None:
    """Parts are joined, whatever happens to some of their answers."""
    with Proxy(tusd, {("PATCH", 2): Swallow(), ("PATCH", 3): Cut(50_000)}) as proxy:
        result = side.upload(DATA, proxy.url, parallel=3, verify="download", **options, **QUICK)

        assert content(result.url) == DATA
        assert len(result.parts) == 3
