"""docs/cli.md says what the help says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from vectus.cli import codes
from vectus.cli.outcomes import KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_the_tables_are_the_help() -> None:
    """Every command and every option is on the page, in the words of its help."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "cli_reference.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_every_code_and_every_outcome_is_there() -> None:
    """Exit codes and outcomes are a promise to scripts."""
    numbers = {value for name, value in vars(codes).items() if isinstance(value, int)}
    listed = {int(number) for number in re.findall(r"(?m)^\| (\d+) \|", PAGE)}

    assert listed == numbers
    assert {kind for kind, _ in KINDS.values() if f"`{kind}`" not in PAGE} == set()
