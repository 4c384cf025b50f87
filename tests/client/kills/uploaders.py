"""The test's end of ``uploading.py``: uploads in processes of their own, which can be killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

PATIENCE = 60.0


class Uploaders:
    """Runs uploads of one file in child processes, with one resume store, until its context ends.

    Args:
        folder: for the resume store, and what the children tell.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.resume = folder / "resume.json"
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("uploading.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        assert self._hear() == {}
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE)
        self._process.stdout.close()

    def begin(self, name: str, side: str, file: Path, endpoint: str, **options: Any) -> None:
        """Start an upload."""
        self._told(name).unlink(missing_ok=True)
        self._order(
            do="begin",
            name=name,
            side=side,
            file=str(file),
            endpoint=endpoint,
            resume=str(self.resume),
            told=str(self._told(name)),
            options={"retry_delay": 0.05, "timeout": 20, **options},
        )

    def kill(self, name: str) -> None:
        """Kill it; it must not have been done."""
        assert self._order(do="kill", name=name) == -9, "it was done before it was killed"

    def wait(self, name: str) -> dict[str, Any]:
        """What came of it, once it is done."""
        assert self._order(do="wait", name=name) == 0
        told: dict[str, Any] = json.loads(self._told(name).read_text())
        assert "error" not in told, told
        return told

    def upload(self, side: str, file: Path, endpoint: str, **options: Any) -> dict[str, Any]:
        """Do one from start to end."""
        self.begin("one", side, file, endpoint, **options)
        return self.wait("one")

    @property
    def remembered(self) -> int:
        """How many URLs are known to the resume store."""
        if not self.resume.exists():
            return 0
        return self.resume.read_text().count("http://")

    def _told(self, name: str) -> Path:
        return self._folder / f"{name}.told"

    def _order(self, **order: Any) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._hear()["answer"])

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the uploading process has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer
