"""``python -m benchmarks``: measure, print the table, write it down."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import known, measure, record
from benchmarks.bench import FAILURES, FULL, QUICK, Bench, say
from benchmarks.cases import CASES, Case
from benchmarks.crew import Crew
from benchmarks.ground import default, file_system, ground
from benchmarks.servers import ROOT
from benchmarks.table import Verdict, render

RESULTS = Path(__file__).parent / "results"

QUIET = 0.2
"""As many cores may be busy before a case begins."""


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure vectus beside the floor and beside other tus servers.",
    )
    parser.add_argument(
        "--only",
        metavar="CASE",
        action="append",
        choices=[case.name for case in CASES],
        help=f"only this case, can be given again: {', '.join(case.name for case in CASES)}",
    )
    parser.add_argument(
        "--peer",
        metavar="NAME=COMMAND",
        action="append",
        type=known.given,
        default=[],
        help="a server to compare with; {port} and {dir} are filled in; its URL is /files/",
    )
    parser.add_argument(
        "--no-peers",
        dest="found",
        action="store_const",
        const=lambda: (),
        default=known.found,
        help="do not look for installed peers",
    )
    parser.add_argument(
        "--quick",
        dest="scale",
        action="store_const",
        const=QUICK,
        default=FULL,
        help="a small amount of everything, to see that it runs; judges nothing",
    )
    parser.add_argument(
        "--dir", type=Path, default=default(ROOT), help="where the servers' files go"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen cases.

    Returns:
        0 when every bound that could be judged was met (or nothing is judged), 1 when one was
        missed or a case failed, 2 when it cannot run here.
    """
    options = parser().parse_args(arguments)
    if not sys.platform.startswith("linux"):
        say("The benchmark reads /proc and needs Linux.")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends too
    peers = tuple({peer.name: peer for peer in [*options.found(), *options.peer]}.values())
    chosen = [case for case in CASES if not options.only or case.name in options.only]
    verdicts: list[Verdict] = []
    with Crew() as crew:
        for case in chosen:
            with ground(options.dir) as folder:
                bench = Bench(options.scale, crew, folder, peers)
                verdicts += play(bench, case, options.results)
    return int(Verdict.MISSED in verdicts)


def play(bench: Bench, case: Case, results: Path) -> list[Verdict]:
    """Measure one case, print it and write it down; a case that fails spoils no other."""
    busy = measure.busy()
    say(f"{case.name}: {case.title} …")
    if busy > QUIET:
        say(f"  {busy:.1f} cores are busy with something else: no figure can be trusted.")
    try:
        rows = [bench.scale.judged(row) for row in case.measure(bench)]
    except FAILURES as failure:
        say(f"  {case.name} failed: {failure}")
        return [Verdict.MISSED]
    print(render(case.title, rows), end="\n\n", flush=True)
    run = {
        "kind": bench.scale.kind,
        "busy before": busy,
        "file system": file_system(bench.directory),
    }
    record.write(results, case.name, run, rows)
    return [row.verdict() for row in rows]


if __name__ == "__main__":
    sys.exit(main())
