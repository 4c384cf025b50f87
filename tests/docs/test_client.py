"""The snippets of docs/client.md, run one after the other as they stand, but for the address."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WRITTEN = "http://127.0.0.1:8080"
CONTENT = random.Random(8).randbytes(1_500_000)
SNIPPETS = re.findall(
    r"(?ms)^## ([^\n]*)$|^```python\n(.*?)^```", (ROOT / "docs" / "client.md").read_text()
)


def snippets() -> list[tuple[str, str]]:
    """Return each snippet with the heading it stands under."""
    heading, found = "", []
    for title, code in SNIPPETS:
        heading = title or heading
        if code:
            found.append((heading, code))
    return found


@pytest.fixture
def site(start: Callable[..., Any], tmp_path: Path) -> str:
    """A server, with what the snippets upload beside it: where it is."""
    for name in ("film.mp4", "poster.png", "clips/one.mp4", "clips/two.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(CONTENT)
    command = [Path(sys.executable).parent / "vectus", "serve", "./data", "--port", "0"]
    return str(start(*command, ready=r"Listening on (http://\S+)/files/").ready[1])


@pytest.mark.parametrize(("heading", "code"), snippets())
def test_snippets(heading: str, code: str, site: str, tmp_path: Path) -> None:
    """Each snippet does what the page says, and every file it uploads arrives whole."""
    (tmp_path / "snippet.py").write_text(code.replace(WRITTEN, site))
    done = subprocess.run(
        [sys.executable, "-W", "error", "snippet.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=45,
    )
    finished = [info.with_suffix("").read_bytes() for info in (tmp_path / "data").glob("*.info")]

    assert (done.returncode, done.stderr) == (0, ""), heading
    assert done.stdout
    assert finished or heading == "Trouble"
    if heading in {"One call", "A client", "Resuming", "Over several connections"}:
        assert CONTENT in finished
