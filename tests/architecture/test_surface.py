"""What users may import, and where: public names, and platforms without POSIX."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import vectus

SOURCE = Path(vectus.__file__).parent
NOT_EVERYWHERE = "fcntl resource pwd grp termios tty pty syslog uvloop"

PUBLIC = ["vectus", *(f"vectus.{path.name}" for path in SOURCE.iterdir() if path.name == "testing")]
"""The modules whose names are promises."""


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_listed(name: str) -> None:
    """What a public module gets by an import to hand it on is in its ``__all__``, and is there."""
    module = importlib.import_module(name)
    tree = ast.parse(Path(str(module.__file__)).read_text())
    names = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("vectus")
        for alias in node.names
    }

    assert {n for n in names if not n.startswith("_")} - set(
        getattr(module, "__all__", ())
    ) == set()
    assert [n for n in getattr(module, "__all__", ()) if not hasattr(module, n)] == []


def test_importing_vectus_needs_no_posix() -> None:
    """``import vectus`` works where there is no fcntl, no uvloop and no signal but Ctrl-C."""
    program = (
        "import sys\n"
        f"for name in {NOT_EVERYWHERE!r}.split(): sys.modules[name] = None\n"
        "import vectus\n"
        "vectus.Uploads\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_importing_vectus_is_light() -> None:
    """``import vectus`` loads no server, no client and no terminal library."""
    program = "import sys, vectus; vectus.Uploads; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert {"uvicorn", "httpx2", "rich", "httptools"} & set(done.stdout.split()) == set()
