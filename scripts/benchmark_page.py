"""Writes docs/benchmarks.md from the newest full result of every case in benchmarks/results.

With ``--measure`` it measures first; whatever follows goes to the benchmark::

    python scripts/benchmark_page.py --measure --peer 'tusd=tusd -port {port} -upload-dir {dir}'

With ``--check`` nothing is written: it exits with 1 if the page is not what would be written. No
figure is ever typed by hand: what is said of a missed bound is here, and is shown only while the
bound is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
sys.path.append(str(ROOT))  # the benchmark is no installed package

from benchmarks.cases import CASES  # noqa: E402
from benchmarks.table import OURS, Row, columns, number, spread  # noqa: E402

HEAD = """\
# Benchmarks

<!-- Made by scripts/benchmark_page.py from benchmarks/results: measure anew, do not edit. -->

What `make bench` measured. Every row is one figure: a median, with the lowest and the highest round
in brackets. The *floor* is a bare server with a thread per connection and no HTTP, in the same run:
what the machine can do at all. A `×` column says how many times another's figure ours is, as the
median of the rounds' ratios. Into S3 the *floor + boto3* is the sum of the floor and of a bare
boto3 that sends the same parts from a file. Load generator and server share the cores, so
throughputs hold for this machine only; ratios travel better. What is done in each case, and how to
do it yourself, is in [benchmarks/README.md](../benchmarks/README.md).
"""

MARKS = {"met": "✔", "missed": "✘", "open": ""}

REASONS: Mapping[tuple[str, str], str] = {
    ("requests", "POST CPU"): (
        "A new upload is two files, and making them is the kernel's work, the same for everybody; "
        "the rest is Python against Go. With listeners, or with a body that does not fit into a "
        "few KiB, a creation costs more than here."
    ),
    ("requests", "HEAD CPU"): "A HEAD is HTTP in Python, a lock, and a look at two files.",
    ("requests", "PATCH CPU"): (
        "A small PATCH asks little of the kernel: what is left is Python against Go."
    ),
    ("requests", "rate"): (
        "Server and load generator keep both cores busy, so how many requests there are in a "
        "second follows from the CPU for each; whatever else runs on the machine takes from it, "
        "and the more threads a server has, the less from that server."
    ),
    ("tls", ""): (
        "Decrypting a GiB takes OpenSSL 0.26 s, and the floor 0.42 s without it: so one core can "
        "do at most 1.4 times what plain ASGI does here, and twice that would be more than vectus "
        "does without TLS. It is above the floor, a bare thread, on less CPU. What differs from "
        "run to run is plain ASGI, by a factor of three, and with it the ratio."
    ),
    ("client", "tuspy's best"): (
        "A bare socket that reads the file and sends it, and does nothing else, is the floor here: "
        "the bound leaves about as much as that takes. With sendfile it takes the same here."
    ),
    ("client", "asyncio's"): (
        "asyncio sends what a socket does not take at once a second time, from a buffer of its own."
    ),
}
"""Why a bound is missed, by case and a part of the figure's name."""

Result = dict[str, Any]


def main() -> None:
    """Measure if asked to; then write the page, or check it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--measure", action="store_true", help="measure everything first")
    parser.add_argument("--check", action="store_true", help="write nothing, complain")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are")
    options, further = parser.parse_known_args()
    if further and not options.measure:
        parser.error(f"without --measure there is no use for {' '.join(further)}")
    if options.measure:
        measure(options.results, further)
    results = newest(options.results)
    if not results:
        sys.exit(f"There is no full result in {options.results}: measure first.")
    text = render(results)
    if options.check:
        sys.exit(
            None if PAGE.exists() and PAGE.read_text() == text else "docs/benchmarks.md is old"
        )
    PAGE.write_text(text)
    print(f"docs/benchmarks.md has {len(results)} of {len(CASES)} cases.")


def measure(results: Path, further: Sequence[str]) -> None:
    """Run the benchmark. That a bound was missed is no failure here: the page says so."""
    command = [sys.executable, "-m", "benchmarks", "--results", str(results), *further]
    if subprocess.run(command, cwd=ROOT, check=False).returncode not in (0, 1):
        sys.exit("The benchmark could not run.")


def newest(folder: Path) -> dict[str, Result]:
    """Return the newest full result of every case, in the cases' order."""
    found: dict[str, Result] = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        if result["kind"] == "full":
            found[result["case"]] = result
    return {case.name: found[case.name] for case in CASES if case.name in found}


def render(results: Mapping[str, Result]) -> str:
    """Return the text of the page."""
    titles = {case.name: case.title for case in CASES}
    parts = [HEAD, *settings(results), *summary(results, titles)]
    for name, result in results.items():
        parts += [
            f"## {titles[name][0].upper()}{titles[name][1:]}\n",
            *table(result),
            *notes(result),
        ]
    return "\n".join(parts)


def settings(results: Mapping[str, Result]) -> Iterator[str]:
    """Say on what it was measured, and when; cases measured alike share a sentence."""
    alike: dict[str, list[str]] = {}
    for name, result in results.items():
        alike.setdefault(setting(result), []).append(name)
    for words, names in alike.items():
        which = (
            "Measured"
            if len(alike) == 1
            else f"{', '.join(f'`{name}`' for name in names)}: measured"
        )
        yield f"{which} {words}.\n"


def setting(result: Result) -> str:
    """Return the kind of machine a case was measured on, which tells nothing of the one."""
    known = result["setting"]
    disk = result.get("file system")
    parts = [
        f"{known['cores']} cores",
        " ".join(filter(None, [known["system"], known.get("kernel", "")])),
        *([f"files on {disk}"] if disk else []),
        f"Python {known['python']}",
        *(f"{name} {known[name]}" for name in ("uvicorn", "httptools", "uvloop") if name in known),
    ]
    busy = result.get("busy before", 0)
    disturbed = f", while {number(busy)} cores were busy with something else" if busy > 0.2 else ""
    return f"on {result['date']}: {', '.join(parts)}{disturbed}"


def summary(results: Mapping[str, Result], titles: Mapping[str, str]) -> Iterator[str]:
    """List the bounds: how many are met, and which are missed."""
    judged = [(name, row) for name, result in results.items() for row in result["rows"]]
    met = sum(row["verdict"] == "met" for _, row in judged)
    missed = [(name, row) for name, row in judged if row["verdict"] == "missed"]
    yield "## Targets\n"
    yield f"{met} of {met + len(missed)} are met.{' Missed:' if missed else ''}\n"
    for name, row in missed:
        reached = number(row["reached"])
        yield f"- {titles[name]}, {row['what']}: {reached}, and must be {row['must be']}"
    yield "" if missed else "Nothing is missed.\n"


def table(result: Result) -> Iterator[str]:
    """Yield one case's table."""
    rows = [Row(row["what"], row["unit"], row["samples"]) for row in result["rows"]]
    names = columns(rows)
    others = [
        name
        for name in names
        if not name.startswith(OURS) and any(row.ratio(OURS, name) for row in rows)
    ]
    header = ["", "", *names, *(f"× {name}" for name in others), "must be", ""]
    yield line(header)
    yield line(["---", "---", *["--:"] * (len(header) - 4), "---", "---"])
    for row, known in zip(rows, result["rows"], strict=True):
        yield line(
            [
                row.what,
                row.unit,
                *(spread(row.samples.get(name, ())) for name in names),
                *(number(row.ratio(OURS, name)) for name in others),
                known["must be"],
                MARKS[known["verdict"]],
            ]
        )
    yield ""


def notes(result: Result) -> Iterator[str]:
    """Say of each bound that is missed why."""
    reasons = {
        reason
        for row in result["rows"]
        if row["verdict"] == "missed"
        for (case, part), reason in REASONS.items()
        if case == result["case"] and part in row["what"]
    }
    if reasons:
        yield " ".join(reason for reason in REASONS.values() if reason in reasons) + "\n"


def line(cells: Sequence[str]) -> str:
    """Return one line of a table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
