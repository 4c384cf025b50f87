"""The file store, killed at every call that changes something on disk (``crashing.py``)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vectus.stores import __file__ as stores

PROGRAM = Path(__file__).with_name("crashing.py")

SCENARIOS = """
create
create with bytes
create finished
create final
plain
plain after a crash
plain after tusd
revocable
revocable after a crash
revocable after tusd
abandoned
save
remove
join
join again
join by moving
join again by moving
join on by moving
""".strip().splitlines()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("durability", ["none", "finish"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_kill_at_any_line_is_harmless(scenario: str, durability: str, tmp_path: Path) -> None:
    """Invariant 1, D1, D8: wherever a process dies, what is left is right and can be gone on."""
    source = Path(stores).parents[2]
    run = subprocess.run(
        [sys.executable, PROGRAM, scenario, durability, tmp_path],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={"PYTHONPATH": str(source)},
    )

    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 4
