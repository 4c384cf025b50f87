"""What ``vectus upload`` shows on a terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vectus.cli.bars import Bars
from vectus.cli.files import Item
from vectus.cli.outcomes import Outcome
from vectus.cli.wording import Veil
from vectus.client.happenings import Progress, Retrying

pytestmark = pytest.mark.platform("linux", "darwin")
QUICK = ("--retry-delay", "0.01")


class Terminal:
    """A command on a terminal, and what it shows there."""

    def __init__(self, folder: Path, *arguments: object, out: bool = False) -> None:
        ours, theirs = os.openpty()
        command = [sys.executable, "-m", "vectus", *map(str, arguments)]
        environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
        self._shown = bytearray()
        self._ours = os.fdopen(ours, "rb", buffering=0)
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=theirs if out else subprocess.PIPE,
            stderr=theirs,
            text=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._drain)
        self._reader.start()

    def _drain(self) -> None:
        # the other side's end is told by an error
        with contextlib.suppress(OSError):
            while data := self._ours.read(65536):
                self._shown += data

    def ended(self) -> tuple[int, str, str]:
        """Wait for the end: exit code, standard output, and what the terminal got."""
        try:
            out, _ = self.process.communicate(timeout=40)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(10)
            self._ours.close()
        return self.process.returncode, out or "", self._shown.decode()


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "[bold]name.bin"
    path.write_bytes(bytes(24 << 20))
    return path


def test_a_bar_with_troubles_above_it(fake, file, tmp_path) -> None:
    """On a terminal progress is a bar with figures; troubles stand above it and are counted, and
    the URL is all of standard output. A name is never markup."""
    fake.tricks = {"PATCH": [-5_000_000]}

    code, out, shown = Terminal(tmp_path, "upload", file.name, fake.url, *QUICK).ended()

    assert (code, out) == (0, f"{fake.url}one\n")
    assert "━" in shown
    assert "24.0 MiB/24.0 MiB" in shown
    assert "Trying again" in shown
    assert "1 retry" in shown
    assert "[bold]name" in shown
    assert "\x1b[?25h" in shown


def test_a_line_for_all_files(tus, tmp_path) -> None:
    """With several files there is a line for all of them; errors are told, and the results are
    below the bars if they go to the same terminal."""
    (tmp_path / "a.bin").write_bytes(bytes(3 << 20))
    (tmp_path / "b.bin").write_bytes(bytes(1 << 20))

    code, _, shown = Terminal(
        tmp_path, "upload", "a.bin", "gone", "b.bin", tus.url, out=True
    ).ended()

    assert code == 2
    assert "2 of 3 files" in shown
    assert "4.0 MiB/4.0 MiB" in shown
    assert "There is no file gone." in shown
    _, after = shown.rsplit("\x1b[?25h", 1)
    assert [line.partition("\t")[2] for line in after.split()] != []
    assert after.count(tus.url) == 2


def test_json_needs_no_terminal(tus, tmp_path) -> None:
    """With --json and with -q nothing is drawn."""
    (tmp_path / "a.bin").write_bytes(bytes(1 << 20))
    for option in ("--json", "-q"):
        code, _, shown = Terminal(tmp_path, "upload", "a.bin", tus.url, option).ended()

        assert (code, shown) == (0, "")


def test_ctrl_c_leaves_the_terminal_as_it_was(fake, file, tmp_path) -> None:
    """Ctrl-C ends it at once; the cursor is back, and it says that the same command goes on."""
    there = threading.Event()

    def interrupt(_: object) -> None:
        assert there.wait(20)
        terminal.process.send_signal(signal.SIGINT)
        fake.release.wait(20)

    fake.tricks = {"PATCH": [interrupt]}
    terminal = Terminal(tmp_path, "upload", file, fake.url)
    there.set()

    code, out, shown = terminal.ended()

    assert (code, out) == (130, "")
    assert "Stopped. The same command goes on from there." in shown
    assert f"{fake.url}one" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert "Traceback" not in shown


def test_a_terminal_that_goes_away_ends_nothing(monkeypatch, capsys) -> None:
    """Troubles that nobody can be told of any more do not end the upload, nor those after it."""
    ours, theirs = os.openpty()
    items = [Item(name, size=3) for name in ("one", "two")]
    with open(theirs, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        with Bars(Veil([]), items, several=True) as bars:
            bars.begin(items[0])
            os.close(ours)
            bars.event(Progress(1, 1, 3))
            bars.event(Retrying("the server was away", 1.0, 1, 8))
            bars.end(items[0], Outcome("refused", 1, problem="The server refused it."))
            bars.begin(items[1])
            bars.end(items[1], Outcome("uploaded", url="https://h/files/2", length=3))

    assert capsys.readouterr().out == "https://h/files/2\ttwo\n"
