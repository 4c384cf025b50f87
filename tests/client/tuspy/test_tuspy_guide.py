"""docs/from-tuspy.md does what it says."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from server import Server

PAGE = (Path(__file__).parents[3] / "docs" / "from-tuspy.md").read_text()
BLOCKS = {
    language: re.findall(rf"(?ms)^```{language}\n(.*?)^```", PAGE) for language in ("python", "sh")
}
ROWS = re.findall(r"(?m)^\| `(from \S+ import [^`]+)` \| `(from \S+ import [^`]+)` \|$", PAGE)
WRITTEN = "http://127.0.0.1:8080/files/"


def names(row: str) -> list[tuple[str, str]]:
    """The modules and names of an import."""
    match = re.fullmatch(r"from (\S+) import (.+)", row)
    assert match
    return [(match[1], name) for name in match[2].split(", ")]


@pytest.mark.parametrize("row", ROWS, ids=[names(old)[0][0] for old, _ in ROWS])
def test_the_table_of_imports(row: tuple[str, str]) -> None:
    """Every import on the left is tuspy's, and the one on the right is its replacement."""
    pytest.importorskip("tusclient", reason="tuspy is not here")
    for each in row:
        for module, name in names(each):
            assert hasattr(importlib.import_module(module), name), each
    assert [name for _, name in names(row[0])] == [name for _, name in names(row[1])]


def test_the_table_is_there() -> None:
    """It was found, with all modules that users import from."""
    assert len(ROWS) == 9


@pytest.mark.platform("linux")  # the sed of others wants another -i
def test_the_replacement(tmp_path: Path) -> None:
    """The command changes every import, and nothing else, however often it is run."""
    before = "import tusclient\nfrom tusclient.client import TusClient\nx = 'mytusclient'\n"
    (tmp_path / "a.py").write_text(before)
    (tmp_path / "b.txt").write_text(before)
    replace = BLOCKS["sh"][0].splitlines()[1]
    for _ in range(2):
        subprocess.run(["sh", "-c", replace], cwd=tmp_path, check=False, timeout=20)

    assert (tmp_path / "a.py").read_text() == (
        "import vectus.client.tuspy\n"
        "from vectus.client.tuspy.client import TusClient\n"
        "x = 'mytusclient'\n"
    )
    assert (tmp_path / "b.txt").read_text() == before


@pytest.mark.parametrize("number", [0, 1])
def test_the_programs(real: Server, tmp_path: Path, number: int) -> None:
    """Both programs upload the file, and say how far they are and where it is."""
    (tmp_path / "film.mp4").write_bytes(bytes(9_000_000))
    program = BLOCKS["python"][number].replace(WRITTEN, real.url)
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=45,
    )

    assert (done.returncode, done.stderr) == (0, "")
    *progress, last = done.stdout.splitlines()
    assert progress[-1] == "9000000 of 9000000"
    assert real.stored(last.removeprefix("uploaded to ")) == bytes(9_000_000)
