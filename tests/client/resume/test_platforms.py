"""The file store where there is no ``fcntl``: Windows has other locks, WebAssembly has none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ELSEWHERE = """\
import errno, os, sys, threading, types
import fcntl

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in {blocked!r}:
            raise ModuleNotFoundError(name)

def locking(fd, mode, count):
    try:
        fcntl.flock(fd, fcntl.LOCK_UN if mode == 0 else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EACCES, "Permission denied")  # as the C library of Windows has it

windows = types.SimpleNamespace(LK_UNLCK=0, LK_NBLCK=2, locking=locking)
for name in {blocked!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocked())
if "msvcrt" not in {blocked!r}:
    sys.modules["msvcrt"] = windows

import vectus
from vectus.client.contracts import Entry
from vectus.client.resume import FileResume, SQLiteResume, locking as used

print(used._KIND.__name__)
one, two = {store}(sys.argv[1]), {store}(sys.argv[1])

def is_free():
    with two.claim("film") as claim:
        return claim is not None

def fill(store, name):
    for number in range(20):
        store.set(f"{{name}}-{{number}}", Entry("https://host/1"))

with one.claim("film") as claim:
    assert claim.renew()
    assert not is_free()
    assert not is_free()
assert is_free()
threads = [threading.Thread(target=fill, args=(s, n)) for s, n in ((one, "a"), (two, "b"))]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert all(one.get(f"{{name}}-{{number}}") for name in "ab" for number in range(20))
assert os.listdir(sys.argv[1] + ".claims") == []
"""


@pytest.mark.platform("linux", "darwin")
@pytest.mark.parametrize("store", ["FileResume", "SQLiteResume"])
@pytest.mark.parametrize(
    ("blocked", "kind"),
    [(("fcntl",), "_WindowsGrip"), (("fcntl", "msvcrt"), "_LonelyGrip")],
    ids=["windows", "wasm"],
)
def test_without_fcntl(tmp_path: Path, blocked: tuple[str, ...], kind: str, store: str) -> None:
    """Importing works and so do the stores: entries are kept, claims exclude each other."""
    program = ELSEWHERE.format(blocked=blocked, store=store)
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "store"],
        capture_output=True,
        text=True,
        check=False,
        timeout=40,
    )

    assert (done.stderr, done.stdout.strip()) == ("", kind)
