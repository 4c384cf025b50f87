"""What `make` does before there is anything to run: finding a Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "find-python.sh"
BARE = """\
#!/bin/sh
case "$2" in
    *ensurepip*) exit 1 ;;
    *) exec {python} "$@" ;;
esac
"""
OLD = "#!/bin/sh\nexit 1\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that is the whole path."""
    for tool in ("sh", "cat"):
        found = next(p for p in os.environ["PATH"].split(":") if Path(p, tool).exists())
        (tmp_path / tool).symlink_to(Path(found, tool))
    return tmp_path


def make(place: Path, name: str, program: str) -> None:
    """Put a program called so into the folder."""
    path = place / name
    path.write_text(program)
    path.chmod(0o755)


def find(place: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Look for a Python where only that folder is on the path."""
    return subprocess.run(
        ["sh", SCRIPT, *flags],
        env={"PATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_python(place: Path) -> None:
    """Where there is none, or only an old one, one sentence says what is needed."""
    make(place, "python3", OLD)
    done = find(place)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "Python 3.11 or later" in done.stderr


def test_a_bare_debian(place: Path) -> None:
    """Where Python cannot make environments, one sentence names the package that is missing."""
    make(place, "python3", BARE.format(python=sys.executable))
    done = find(place)

    package = "python{}.{}-venv".format(*sys.version_info)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"install the package {package}" in done.stderr
    assert find(place, "--any").returncode == 0


def test_a_later_one_is_found(place: Path) -> None:
    """Where python3 is old or bare, another one that is better is taken."""
    make(place, "python3", OLD)
    make(place, "python3.13", BARE.format(python=sys.executable))
    make(place, "python3.12", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    done = find(place)

    assert (done.returncode, done.stdout.strip()) == (0, sys.executable)
