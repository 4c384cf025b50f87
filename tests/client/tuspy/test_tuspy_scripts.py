"""The same small programs with tuspy and with the shim, against a real server: they see the
same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server import Server

pytest.importorskip("tusclient", reason="tuspy is not here")

TUSPY, SHIM = "tusclient", "vectus.client.tuspy"
SCRIPT = Path(__file__).with_name("tuspy_script.py")
DATA = bytes(range(250)) * 4


@pytest.fixture
def run(real: Server, photo: Path, tmp_path: Path) -> Callable[[str, str], Any]:
    """Run a script with a package, and return what it saw."""

    def script(package: str, name: str) -> Any:
        storage = tmp_path / "urls.json"
        command = [sys.executable, SCRIPT, package, name, real.url, photo, storage]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, timeout=45
        )
        assert done.returncode == 0, done.stderr
        assert package == TUSPY or done.stderr == ""
        return json.loads(done.stdout)

    return script


@pytest.mark.parametrize("name", ["whole", "awaited", "chunks", "by_hand", "refused"])
def test_both_see_the_same(run: Callable[[str, str], Any], real: Server, name: str) -> None:
    """Offsets, headers, statuses and errors are tuspy's, and so is what the server has."""
    theirs, ours = run(TUSPY, name), run(SHIM, name)

    assert (ours["state"], ours["seen"]) == (theirs["state"], theirs["seen"])
    assert real.stored(ours["url"]) == real.stored(theirs["url"])
    assert name == "refused" or real.stored(ours["url"]) == DATA


@pytest.mark.parametrize(("first", "second"), [(TUSPY, SHIM), (SHIM, TUSPY), (SHIM, SHIM)])
def test_one_goes_on_with_the_other_s(
    run: Callable[[str, str], Any], real: Server, first: str, second: str
) -> None:
    """An upload begun with one is finished with the other: the storage's file is the same."""
    begun = run(first, "begin")
    ended = run(second, "go_on")

    assert begun["state"]["offset"] == 600
    assert ended["seen"] == [begun["url"], 600]
    assert real.stored(ended["url"]) == DATA
