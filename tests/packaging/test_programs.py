"""What tests/programs.py promises: nothing that a test starts outlives it, nor makes it hang."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from programs import Program

READY = r"child (\d+)"
PARENT = """\
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], {options})
print("child", child.pid)
time.sleep(300)
"""


def gone(pid: int) -> bool:
    """Wait until a process is no more, or is but a zombie that nobody reaps."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def family(folder: Path, options: str = "") -> tuple[Program, int]:
    """Run a program with a child that it does not care for, and tell the child."""
    code = PARENT.format(options=options)
    program = Program([sys.executable, "-c", code], READY, folder, patience=1.0)
    return program, int(program.wait_until_ready(20)[1])


@pytest.mark.platform("linux")
def test_a_child_that_survives_is_ended(tmp_path: Path) -> None:
    """It keeps the pipe open: that fails the test, in time, and the child is ended."""
    program, child = family(tmp_path)

    with pytest.raises(pytest.fail.Exception, match="outlived it"):
        program.stop()
    assert gone(child)
    program._reader.join(20)
    assert program.stop() == -signal.SIGTERM


def test_a_child_out_of_reach_does_not_make_us_wait(tmp_path: Path) -> None:
    """One that has left the group cannot be found; even so nothing hangs."""
    program, child = family(tmp_path, "start_new_session=True")
    try:
        with pytest.raises(pytest.fail.Exception, match="outlived it"):
            program.stop()
    finally:
        os.kill(child, signal.SIGKILL)
    program._reader.join(20)
    assert program.stop() == -signal.SIGTERM


def test_ctrl_c_works(tmp_path: Path) -> None:
    """Also where these tests run in a shell's background, in which it is ignored."""
    code = "import signal; print('child', int(signal.getsignal(2) is signal.SIG_IGN))"
    with Program([sys.executable, "-c", code], READY, tmp_path) as program:
        assert program.wait_until_ready(20)[1] == "0"
