"""What tests/conftest.py promises: on CI, a test that cannot run is a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = [Path(__file__).parents[1] / name for name in ("conftest.py", "programs.py")]
TESTS = """\
import pytest

def test_here(): pass

def test_no_node(): pytest.skip("node is not here")

@pytest.mark.skipif(True, reason="no curl either")
def test_no_curl(): pass

@pytest.mark.platform("plan9")
def test_elsewhere(): pass

@pytest.mark.peer("no-such-server")
def test_beside_another(): pass
"""


def run(folder: Path, tests: str, ci: str) -> str:
    """Run tests beside our conftest, and return what pytest prints."""
    for file in SHARED:
        shutil.copy(file, folder)
    (folder / "test_some.py").write_text(tests)
    (folder / "pytest.ini").write_text(
        "[pytest]\nmarkers = platform(*names)\n  peer(program)\naddopts = -rs\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    environment = {**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout


def test_without_ci(tmp_path: Path) -> None:
    """What cannot be had is skipped, with a line that names it."""
    told = run(tmp_path, TESTS, ci="")

    assert "1 passed, 4 skipped" in told
    assert told.count("node is not here") == 1
    assert "only on plan9" in told
    assert "only beside no-such-server" in told


def test_with_ci(tmp_path: Path) -> None:
    """The same skips are failures, but for what is about another platform or server."""
    told = run(tmp_path, TESTS, ci="true")

    assert "1 failed, 1 passed, 2 skipped, 1 error" in told
    assert "nothing may be skipped, and this was: Skipped: node is not here" in told


@pytest.mark.parametrize(("ci", "verdict"), [("", "1 skipped"), ("true", "1 error")])
def test_whole_files(tmp_path: Path, ci: str, verdict: str) -> None:
    """A file that skips itself counts in the same way."""
    told = run(tmp_path, 'import pytest\npytest.importorskip("plan9")\n', ci)

    assert verdict in told.splitlines()[-1]
