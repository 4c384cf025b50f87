"""That docs/benchmarks.md says what was measured, and nothing of where."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "benchmark_page.py"
sys.path.append(str(SCRIPT.parent))  # scripts are no package

import benchmark_page as page  # noqa: E402


def result(case, date, verdict="met", kind="full", **setting):
    """Return what the benchmark writes of a case with one figure."""
    return {
        "case": case,
        "date": date,
        "kind": kind,
        "busy before": 0.0,
        "file system": "ext4",
        "setting": {"cores": 2, "system": "Linux x86_64", "python": "3.11.7"} | setting,
        "rows": [
            {
                "what": "POST CPU",
                "unit": "ms",
                "samples": {"floor": [0.1, 0.1], "vectus": [0.3, 0.2], "tusd": [0.2, 0.2]},
                "must be": "≤ 1 × tusd",
                "reached": 1.25,
                "verdict": verdict,
            }
        ],
    }


@pytest.fixture
def results(tmp_path):
    """A folder, and what writes results into it."""

    def write(*written):
        for each in written:
            path = tmp_path / f"{each['date']}-{each['case']}.json"
            path.write_text(json.dumps(each))
        return tmp_path

    return write


def test_the_newest_full_result_counts(results):
    """A later result replaces an earlier one; a quick run replaces nothing."""
    folder = results(
        result("stream", "2026-01-02", kernel="6.1"),
        result("stream", "2026-01-01", kernel="5.1"),
        result("stream", "2026-01-03", kind="quick"),
        result("open", "2026-01-01"),
    )
    found = page.newest(folder)

    assert list(found) == ["stream", "open"]
    assert found["stream"]["date"] == "2026-01-02"


def test_a_case_is_a_table(results):
    """Medians with their spread, ratios to floor and peers, the bound and its verdict."""
    text = page.render(page.newest(results(result("requests", "2026-01-02", kernel="6.1"))))

    assert "on 2026-01-02: 2 cores, Linux x86_64 6.1, files on ext4, Python 3.11.7." in text
    assert (
        "| POST CPU | ms | 0.10 (0.10…0.10) | 0.25 (0.20…0.30) | 0.20 (0.20…0.20) "
        "| 2.50 | 1.25 | ≤ 1 × tusd | ✔ |"
    ) in text
    assert "1 of 1 are met." in text
    assert "Python against Go" not in text


def test_what_is_missed_is_said_and_why(results):
    """A missed target is listed at the top, and explained below its table."""
    text = page.render(page.newest(results(result("requests", "2026-01-02", "missed"))))

    assert "0 of 1 are met. Missed:" in text
    assert "- small requests, two workers, POST CPU: 1.25, and must be ≤ 1 × tusd" in text
    assert "Python against Go" in text


def test_without_results_there_is_no_page(tmp_path):
    """The page is never written of nothing."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--check", "--results", tmp_path],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 1
    assert "measure first" in done.stderr
