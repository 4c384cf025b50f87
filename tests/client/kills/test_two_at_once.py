"""Two processes upload the same file at the same time, with one resume store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fault_proxy import Edit, Hold, Proxy
from sides import SIDES
from uploaders import Uploaders

from server_fixtures import Run

APART = {("OPTIONS", None): Edit({"Tus-Extension": "creation,termination,concatenation"})}


@pytest.mark.parametrize("options", [{}, {"parallel": 2}])
@pytest.mark.parametrize(("first", "second"), [tuple(SIDES), tuple(SIDES)[::-1]])
def test_each_makes_its_own(
    first: str,
    second: str,
    options: dict[str, Any],
    serve: Run,
    uploaders: Uploaders,
    make: Callable[[int], Path],
) -> None:
    """Each makes an upload of its own, the second one says so, and both are right; nobody's entry
    is touched by the other, and none is left."""
    server, file, hold = serve("--durability", "none"), make(1 << 20), Hold(100_000)
    with Proxy(server.port, {**APART, ("PATCH", 1): hold}) as proxy:
        uploaders.begin("first", first, file, proxy.url, **options)
        assert hold.reached.wait(20)
        known = uploaders.remembered
        assert known >= 1

        uploaders.begin("second", second, file, proxy.url, **options)
        told = [uploaders.wait("second")]
        assert uploaders.remembered >= known
        hold.go.set()
        told.append(uploaders.wait("first"))

    assert told[0]["url"] != told[1]["url"]
    for each in told:
        assert server.get(urlsplit(each["url"]).path) == file.read_bytes()
        assert each["resumed"] == 0
    assert "Somebody else" in " ".join(told[0]["notices"])
    assert told[1]["notices"] == []
    assert proxy.body() == 2 * file.stat().st_size
    assert uploaders.remembered == 0
