"""Types as a user's checker sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.timeout(180)
def test_a_users_code_type_checks(tmp_path):
    """``typing_user.py`` passes mypy's strict mode: what is right is accepted, what is wrong is
    not (an ignore that is not needed is an error)."""
    pytest.importorskip("mypy")
    root = HERE.parents[2]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores"),
            *("--config-file", str(root / "pyproject.toml"), "--cache-dir", str(tmp_path)),
            str(HERE / "typing_user.py"),
        ],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
