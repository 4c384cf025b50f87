"""What every test folder shares: how skips count, and programs that are started and stopped.

Anything that knows vectus belongs into the folder whose tests need it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

SKIPS_FAIL = os.environ.get("CI", "").lower() in {"1", "true"}
"""Whether a test that cannot run is a failure: on CI everything has to be there."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run two processes to a core with ``-n auto``: most tests wait most of the time."""
    return min(8, 2 * (os.cpu_count() or 1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is about other platforms."""
    for item in items:
        about = item.get_closest_marker("platform")
        if about is not None and sys.platform not in about.args:
            item.add_marker(pytest.mark.skip(reason=f"only on {' and '.join(about.args)}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a skip a failure on CI, unless the test is about another platform."""
    report = yield
    allowed = hasattr(report, "wasxfail") or item.get_closest_marker("platform") is not None
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


class Program:
    """A program that runs until the test is over, and what it has printed.

    Args:
        argv: what to run.
        ready: a pattern found in a line of its output once it is ready.
        environ: what its environment has beyond ours.
        folder: where it runs.
    """

    def __init__(
        self, argv: Sequence[str | Path], ready: str, environ: Mapping[str, str], folder: Path
    ) -> None:
        self.ready: re.Match[str] | None = None
        self.lines: list[str] = []
        self._pattern = re.compile(ready)
        self._known = threading.Event()
        self.process = subprocess.Popen(
            argv,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if self.ready is None and (found := self._pattern.search(line)):
                self.ready = found
                self._known.set()
        self._known.set()

    def wait_until_ready(self, patience: float) -> re.Match[str]:
        """Return how the pattern matched; fail with the output if it never does."""
        self._known.wait(patience)
        if self.ready is None:
            pytest.fail(f"{self.process.args} did not get ready:\n{self.output}")
        return self.ready

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return "".join(self.lines)

    def stop(self) -> int:
        """End it, by force if it does not listen, and return its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(15)
        finally:
            self._reader.join(15)
            if self.process.stdout is not None:
                self.process.stdout.close()


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
            program = Program(argv, ready, environ or {}, folder)
            programs.callback(program.stop)
            program.wait_until_ready(patience)
            return program

        yield run
