"""That the cost sheet of docs/scaling.md is what was measured, and that its arithmetic is right."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "cost_sheet.py"
sys.path.append(str(SCRIPT.parent))  # scripts are no package

import cost_sheet  # noqa: E402
from cost_sheet import Calls, Course  # noqa: E402


def check(*options):
    """Run the script, which writes nothing."""
    return subprocess.run(
        [sys.executable, SCRIPT, "--check", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_sheet_is_what_was_measured():
    """docs/scaling.md has the figures of the newest results and today's defaults, nothing else."""
    done = check()

    assert (done.returncode, done.stderr) == (0, "")


def test_without_results_there_is_no_sheet(tmp_path):
    """A sheet is never made of a part of the figures."""
    done = check("--results", tmp_path)

    assert done.returncode == 1
    assert "no full result of locks, s3, s3-calls, s3-memory, s3-sweep" in done.stderr


def test_an_upload_costs_what_its_parts_cost():
    """The calls of any number of parts follow from those of two and of five."""
    rows = {"16": (10, 15), "40": (16, 24)}
    results = {
        "s3-calls": {
            "rows": [
                {
                    "what": f"whole upload of {mib} MiB, one slow PATCH",
                    "medians": {cost_sheet.DEAR: dear, cost_sheet.OURS: all_calls},
                }
                for mib, (dear, all_calls) in rows.items()
            ]
        }
    }
    course = cost_sheet.Figures(results).course(cost_sheet.SLOW)

    assert course == Course(Calls(6, 3), Calls(2, 1))
    assert course.of(2) == Calls(10, 5)
    assert course.of(128).total == 9 + 128 * 3


def test_calls_have_two_prices():
    """A PUT costs what a PUT costs, and everything else what a GET does."""
    assert Calls(1e6, 0).price == cost_sheet.PUT_PRICE
    assert Calls(0, 1e6).price == cost_sheet.GET_PRICE


@pytest.mark.parametrize(
    ("value", "text"),
    [(512, "512 bytes"), (8 << 20, "8 MiB"), (52 * 1024 + 300, "52.3 KiB"), (781 << 30, "781 GiB")],
)
def test_sizes_are_words(value, text):
    """A size has the unit that a reader would choose."""
    assert cost_sheet.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0009, "below 0.001 $"), (0.0012, "0.0012 $"), (4.786, "4.79 $"), (1234.5, "1 234 $")],
)
def test_prices_are_words(value, text):
    """A price has as many digits as somebody would pay."""
    assert cost_sheet.dollars(value) == text
