"""Runs the tests on every Python from 3.11 up that is here, and once on the oldest dependencies.

Each gets an environment of its own under ``.venvs``. Standard library only, as it may run before
anything is installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
PROBE = (
    "import sys, venv, ensurepip; "
    "print('{}.{}'.format(*sys.version_info), sys.implementation.name, sys.executable)"
)


@dataclass(frozen=True, slots=True)
class Run:
    """One round of tests: its name, its Python, and further flags of ``environment.py``."""

    name: str
    python: str
    flags: tuple[str, ...] = ()


def main() -> None:
    """Run every round and say how each went."""
    options, arguments = parse()
    results = {run.name: test(run, arguments) for run in runs(only_oldest=options.only_oldest)}
    for name, code in results.items():
        print(f"{name:>8}: {'passed' if code == 0 else f'FAILED (exit code {code})'}")
    sys.exit(any(results.values()))


def parse() -> tuple[argparse.Namespace, list[str]]:
    """Read the command line; what is not ours is pytest's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-oldest", action="store_true", help="the oldest dependencies only")
    return parser.parse_known_args()


def runs(*, only_oldest: bool) -> Iterator[Run]:
    """Yield what there is to run: the Pythons, oldest first, then the oldest dependencies."""
    pythons = find_pythons()
    if not only_oldest:
        yield from (Run(version, path) for version, path in pythons.items())
    yield Run("oldest", next(iter(pythons.values())), ("--oldest",))


def find_pythons() -> dict[str, str]:
    """Return the usable CPythons: version ("3.12") to path, in order of version."""
    found = dict(filter(None, map(probe, candidates())))
    return dict(sorted(found.items(), key=lambda item: number(item[0])))


def candidates() -> Iterator[Path]:
    """Yield what may be a Python, the better of one version last: ours, the path's, pyenv's."""
    yield Path(sys.executable)
    yield from (Path(path) for minor in range(11, 30) if (path := shutil.which(f"python3.{minor}")))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob("versions/3.*/bin/python3"))


def probe(path: Path) -> tuple[str, str] | None:
    """Return a Python's version and path, or None if it cannot be used."""
    done = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    version, implementation, executable = done.stdout.split(maxsplit=2)
    usable = implementation == "cpython" and number(version) >= OLDEST
    return (version, executable.strip()) if usable else None


def number(version: str) -> tuple[int, ...]:
    """Return "3.12" as (3, 12)."""
    return tuple(map(int, version.split(".")))


def test(run: Run, arguments: list[str]) -> int:
    """Set one environment up, run the tests in it, and return the exit code."""
    print(f"\n=== {run.name}: {run.python}", flush=True)
    folder = ROOT / ".venvs" / run.name
    script = ROOT / "scripts" / "environment.py"
    setup = [run.python, str(script), str(folder), "--group", "dev", *run.flags]
    pytest = [f"{folder}/bin/python", "-m", "pytest", "-n", "auto"]
    for command in (setup, [*pytest, *arguments]):
        if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
            return code
    return 0


if __name__ == "__main__":
    main()
