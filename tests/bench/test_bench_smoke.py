"""That the benchmark runs, and that what it says of a figure is so. How fast anything is has no
place in here."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))  # the benchmark is no installed package

from benchmarks import known, measure  # noqa: E402
from benchmarks.cases import CASES  # noqa: E402
from benchmarks.crew import Crew, LoadFailed  # noqa: E402
from benchmarks.load import Probe, Requests, Span, Stream  # noqa: E402
from benchmarks.servers import Contender, ServerFailed, started  # noqa: E402
from benchmarks.table import Bound, Row, Sheet, Verdict, render  # noqa: E402
from benchmarks.wire import Connection, chunks, portions  # noqa: E402

pytestmark = pytest.mark.platform("linux")


ELSEWHERE = [case.name for case in CASES if case.name.startswith(("s3", "locks"))]
ON_DISK = {case.name for case in CASES}.difference(ELSEWHERE)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "wanted", [ON_DISK, *({name} for name in ELSEWHERE)], ids=["on disk", *ELSEWHERE]
)
def test_a_quick_run_measures_every_case(tmp_path, wanted):
    """``--quick`` goes through every case and writes each one's figures, ours and the floor's; but
    for those that need programs which are not here."""
    results = tmp_path / "results"
    only = [option for name in wanted for option in ("--only", name)]
    options = ["--quick", "--no-peers", *only, "--dir", tmp_path, "--results", results]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    files = {path.stem.split("-", 3)[3]: json.loads(path.read_text()) for path in results.iterdir()}
    left_out = set(re.findall(r"^  (\S+) is left out:", done.stderr, re.MULTILINE))
    assert files.keys() == wanted - left_out
    assert left_out == not_here(wanted)
    for case in files.values():
        assert all(row["medians"].get("vectus") is not None for row in case["rows"]), case
        assert {row["verdict"] for row in case["rows"]} == {"open"}
    with_floor = {"stream", "s3", "s3-rgw"} & files.keys()
    assert all("floor" in files[name]["rows"][0]["medians"] for name in with_floor)
    assert [path for path in tmp_path.iterdir() if path != results] == []


def not_here(wanted):
    """Return the cases whose programs are not installed."""
    needs = {"s3-rgw": ("radosgw", "ceph-mon", "ceph-osd"), "locks": ("redis-server",)}
    absent = {name for name, needed in needs.items() if not all(map(shutil.which, needed))}
    return wanted & absent


def test_the_floor_keeps_what_it_is_sent(tmp_path):
    """The floor is no cheat: every byte is in its file, at its place, and can be read back."""
    with started(known.FLOOR, tmp_path) as server:
        connection = Connection(server.target)
        upload = connection.create(3 << 20)
        for offset, size in chunks(3 << 20, 2 << 20):
            connection.append(upload, offset, size)
        told = connection.ask(connection.language.inspect(upload))
        connection.fetch(upload, 3 << 20)
        connection.close()

        kept = (server.directory / upload).read_bytes()
        assert told.length == len(kept) == 3 << 20
        assert kept[: 1 << 20] == kept[2 << 20 :]
        assert len(set(kept)) == 256


def test_a_crew_runs_jobs_and_cleans_up(tmp_path):
    """Jobs run at the same time, are measured, and leave no upload behind."""
    with started(known.FLOOR, tmp_path) as server, Crew() as crew:
        jobs = [Stream(server.target, 1 << 20, 1 << 18)] * 2
        with crew.prepared(jobs) as run:
            spans = run().results
            kept = sorted(path.stat().st_size for path in server.directory.iterdir())

        assert all(isinstance(span, Span) and span.seconds > 0 for span in spans)
        assert kept == [1 << 20] * 2
        assert list(server.directory.iterdir()) == []


def test_a_job_that_fails_says_why(tmp_path):
    """A failure in a load process reaches whoever asked for the job."""
    with started(known.FLOOR, tmp_path) as server, Crew() as crew:
        jobs = [Requests(server.target, "BREW", 0.1)]
        with pytest.raises(LoadFailed, match="BREW"), crew.prepared(jobs) as run:
            run()


def test_a_contender_that_ends_at_once_is_told_of(tmp_path):
    """A server that does not start fails with what it printed."""
    broken = Contender("broken", (sys.executable, "-c", "raise SystemExit('no disk today')"))
    with pytest.raises(ServerFailed, match="no disk today"), started(broken, tmp_path):
        pass


def test_children_are_charged_to_their_server():
    """CPU, memory and descriptors are those of a process and of all below it."""
    script = "import subprocess, sys; subprocess.run(['cat'])"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        parent.stdin.write(b"x\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == b"x\n"

        assert len(measure.tree(parent.pid)) == 2
        assert measure.memory(parent.pid) > measure.field(parent.pid, "smaps_rollup", "Pss")
        assert measure.descriptors(parent.pid) >= 6
        assert measure.cpu(parent.pid) >= 0
        parent.stdin.close()


@pytest.mark.parametrize(
    ("bound", "verdict"),
    [
        (Bound("≤", 1.25, "floor"), Verdict.MET),
        (Bound("≤", 1.1, "floor"), Verdict.MISSED),
        (Bound("≥", 1.2, "floor"), Verdict.MET),
        (Bound("<", 1.2), Verdict.MISSED),
        (Bound("≤", 1.2), Verdict.MET),
        (Bound("≤", 1, "somebody who is not here"), Verdict.OPEN),
        (None, Verdict.OPEN),
    ],
)
def test_a_bound_is_judged_by_medians(bound, verdict):
    """A ratio is the median of the rounds' ratios, so one disturbed round decides nothing."""
    row = Row("CPU", "s", {"floor": [1.0, 1.0, 5.0], "vectus": [1.2, 1.2, 6.0]}, bound)

    assert row.verdict() is verdict


def test_a_table_shows_medians_spread_and_bound():
    """Every figure stands beside the floor, with what it must reach and whether it does."""
    sheet = Sheet()
    for value in (1.0, 2.0, 3.0):
        sheet.note("floor", {"CPU": value})
        sheet.note("vectus", {"CPU": value * 2})

    text = render("a case", [sheet.row("CPU", "s/GiB", Bound("≤", 1.25, "floor"))])

    assert text.splitlines()[0].split() == [
        *("a", "case", "floor", "vectus", "×", "floor", "reached", "must", "be")
    ]
    assert text.splitlines()[2].split() == [
        *("CPU", "s/GiB", "2.00", "(1.00…3.00)", "4.00", "(2.00…6.00)"),
        *("2.00", "2.00", "≤", "1.25", "×", "floor", "✘"),
    ]


def test_peers_are_given_as_commands():
    """``--peer`` takes a name and a command with the two places to fill in."""
    peer = known.given("other=serve -p {port} '{dir}'")

    assert peer == Contender("other", ("serve", "-p", "{port}", "{dir}"))
    assert not peer.on_s3
    assert known.given("other=serve {port} {endpoint} {bucket}").on_s3
    for incomplete in ("other=serve", "other=serve {port} {endpoint}", "serve {port} {dir}"):
        with pytest.raises(ValueError, match="NAME=COMMAND"):
            known.given(incomplete)


def test_uploads_are_cut_without_a_gap():
    """PATCHes follow each other and add up."""
    assert portions(10, 4) == [4, 4, 2]
    assert portions(8, 4) == [4, 4]
    assert chunks(10, 4) == [(0, 4), (4, 4), (8, 2)]


def test_a_probe_asks_at_least_once():
    """However soon it is stopped, it has a delay to tell: on a busy machine it may be that soon."""
    connection = Mock()

    delays = Probe(Mock()).run((connection, "/files/1"), lambda: True)

    connection.ask.assert_called_once()
    assert len(delays.within(Span(0.0, 0.0))) == 1
