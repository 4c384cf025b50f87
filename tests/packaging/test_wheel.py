"""What is built is what a user gets: the wheel works without the source tree."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vectus

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, folder=ROOT)
    return folder


def run(*command: str | Path, folder: Path) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def installed(built: Path, tmp_path: Path) -> Path:
    """A fresh environment with the wheel in it: the folder of its programs.

    What vectus depends on is borrowed from this environment, so that nothing is downloaded; our
    own editable installation does not come along.
    """
    home = tmp_path / "environment"
    venv.create(home)
    python = home / "bin" / "python"
    wheel = next(built.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    run(*pip, "--disable-pip-version-check", wheel, folder=tmp_path)
    place = run(python, "-c", "import site; print(site.getsitepackages()[0])", folder=tmp_path)
    Path(place.strip(), "borrowed.pth").write_text("\n".join(site.getsitepackages()))
    return home / "bin"


def test_what_the_wheel_holds(built: Path) -> None:
    """The wheel holds the package with its types and licence, and nothing beside it."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = wheel.namelist()

    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"vectus"}
    assert "vectus/py.typed" in names
    assert [name for name in names if name.endswith("/licenses/LICENSE")]


def test_what_the_source_archive_holds(built: Path) -> None:
    """The source archive holds the tests and no downloads."""
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]

    assert {"src/vectus/__init__.py", "tests/conftest.py", "LICENSE"} <= set(names)
    assert [name for name in names if "node_modules" in name or ".venv" in name] == []


def test_the_command_line_is_there(installed: Path, tmp_path: Path) -> None:
    """`vectus --version` of an installed wheel tells the version."""
    told = run(installed / "vectus", "--version", folder=tmp_path)
    where = run(
        installed / "python", "-c", "import vectus; print(vectus.__file__)", folder=tmp_path
    )

    assert told.strip() == f"vectus {vectus.__version__}"
    assert Path(where).is_relative_to(tmp_path)


def test_the_server_is_there(installed: Path, start: Callable[..., Any], tmp_path: Path) -> None:
    """`vectus serve` of an installed wheel listens."""
    program = start(installed / "vectus", "serve", "--port", "0", ready=r"Listening on http://")

    assert (tmp_path / "data").is_dir()
    assert program.stop() == os.EX_OK
