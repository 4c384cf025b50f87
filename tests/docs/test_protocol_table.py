"""docs/protocol.md is what the tests make it, and no clause is without a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "protocol_table.py"


def test_every_clause_has_a_test_and_the_table_is_current() -> None:
    """Each requirement and each choice is named by a test, and the page says by which."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
