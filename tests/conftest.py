"""What every test folder shares: how skips count, Ctrl-C, and programs that a test starts.

Anything that knows vectus belongs into the folder whose tests need it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from programs import Program

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

SKIPS_FAIL = os.environ.get("CI", "").lower() in {"1", "true"}
"""Whether a test that cannot run is a failure: on CI everything has to be there."""

# Where a machine stops for a moment, that is no fault of the example which runs just then.
settings.register_profile(
    "unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")

EXCUSED = ("platform", "peer")
"""The markers of tests that need not run everywhere, not even on CI."""


def pytest_configure() -> None:
    """Let Ctrl-C work in the programs that tests start: run in a shell's background, we ignore it,
    and they would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run two processes to a core with ``-n auto``: most tests wait most of the time."""
    return min(8, 2 * (os.cpu_count() or 1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is about other platforms, or about a server that is not here."""
    for item in items:
        about, peer = map(item.get_closest_marker, EXCUSED)
        if about is not None and sys.platform not in about.args:
            item.add_marker(pytest.mark.skip(reason=f"only on {' and '.join(about.args)}"))
        elif peer is not None and shutil.which(peer.args[0]) is None:
            item.add_marker(pytest.mark.skip(reason=f"only beside {peer.args[0]}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a skip a failure on CI, unless the test is excused from running there."""
    report = yield
    allowed = hasattr(report, "wasxfail") or any(map(item.get_closest_marker, EXCUSED))
    return report if allowed else judge(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same for whole files that skip themselves."""
    return judge((yield))


def judge(report: Report) -> Report:
    """Turn a skip into a failure where skips fail."""
    if SKIPS_FAIL and report.skipped:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"With CI=true nothing may be skipped, and this was: {why}"
    return report


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start programs, each returned once it has said that it is ready."""
    with ExitStack() as programs:

        def run(
            *argv: str | Path,
            ready: str,
            environ: Mapping[str, str] | None = None,
            folder: Path = tmp_path,
            patience: float = 30.0,
        ) -> Program:
            program = programs.enter_context(Program(argv, ready, folder, environ))
            program.wait_until_ready(patience)
            return program

        yield run
