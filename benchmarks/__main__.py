"""``python -m benchmarks``: measure, print the table, write it down."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path

from benchmarks import known, measure, record
from benchmarks.bench import FAILURES, FULL, QUICK, Absent, Bench, say
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
        type=cases_like,
        help="only this case, or those of a pattern like 's3*', can be given again: "
        + ", ".join(case.name for case in CASES),
    )
    parser.add_argument(
        "--peer",
        metavar="NAME=COMMAND",
        action="append",
        type=known.given,
        default=[],
        help="a server to compare with; {port} and {dir} are filled in, or for one with uploads in "
        "S3 {port}, {endpoint} and {bucket}; its URL is /files/",
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


def cases_like(pattern: str) -> list[Case]:
    """Return the cases whose names match.

    Raises:
        ArgumentTypeError: there are none.
    """
    found = [case for case in CASES if fnmatch(case.name, pattern)]
    if not found:
        raise argparse.ArgumentTypeError(f"no case is called {pattern!r}")
    return found


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
    peers = {(peer.name, peer.on_s3): peer for peer in [*options.found(), *options.peer]}
    on_s3 = tuple(peer for peer in peers.values() if peer.on_s3)
    on_disk = tuple(peer for peer in peers.values() if not peer.on_s3)
    chosen = list(dict.fromkeys(chain(*options.only))) if options.only else CASES
    verdicts: list[Verdict] = []
    with Crew() as crew:
        for case in chosen:
            with ground(options.dir) as folder:
                bench = Bench(options.scale, crew, folder, on_disk, on_s3)
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
    except Absent as absent:
        say(f"  {case.name} is left out: {absent}")
        return []
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
