"""Programs that run beside a test, and never outlive it.

Knows nothing of vectus: what the programs do is their tests' affair.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest


class Program:
    """A program that runs until it is stopped, or its context is left, and what it has printed.

    It leads a process group of its own, so that what it started can be ended after it.

    Args:
        argv: what to run.
        ready: a pattern found in a line of its output once it is ready.
        folder: where it runs.
        environ: what its environment has beyond ours.
        patience: how many seconds each step of stopping it may take.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        ready: str,
        folder: Path,
        environ: Mapping[str, str] | None = None,
        patience: float = 15.0,
    ) -> None:
        self.ready: re.Match[str] | None = None
        self.lines: list[str] = []
        self._pattern = re.compile(ready)
        self._known = threading.Event()
        self._patience = patience
        self.process = subprocess.Popen(
            argv,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

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
        """End it, by force if it does not listen, and return its exit code.

        Fails if anything that it started lives on; that is ended as well.
        """
        self.process.terminate()
        try:
            return self.process.wait(self._patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(self._patience)
        finally:
            self._end_output()

    def _end_output(self) -> None:
        """Wait for the output's end, which comes when nobody is left who could write to it."""
        self._reader.join(self._patience)
        survived = self._reader.is_alive()
        if survived:
            with suppress(ProcessLookupError):  # the survivor has left the group
                os.killpg(self.process.pid, signal.SIGKILL)
            self._reader.join(self._patience)
        if not self._reader.is_alive() and self.process.stdout is not None:
            self.process.stdout.close()  # while somebody reads, this would wait for ever
        if survived:
            pytest.fail(f"What {self.process.args} had started outlived it:\n{self.output}")
