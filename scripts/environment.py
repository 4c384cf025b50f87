"""Makes a virtual environment and puts vectus into it, from this working tree.

Run by the Makefile with whatever Python there is, before anything is installed: the standard
library is all it may import.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOWER_BOUND = re.compile(r"([A-Za-z0-9._-]+)\s*>=\s*([0-9][0-9.]*)")


def main() -> None:
    """Make the environment and install into it."""
    options = parse()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    python = prepare(options.folder)
    say(f"Installing vectus into {options.folder} ...")
    requirements = [r for group in options.group for r in expand(project, group)]
    install(python, requirements, lower_bounds(project) if options.oldest else [])


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the environment is, or will be")
    parser.add_argument("--group", action="append", default=[], help="a dependency group to add")
    parser.add_argument("--oldest", action="store_true", help="the oldest versions allowed")
    return parser.parse_args()


def prepare(folder: Path) -> Path:
    """Return the environment's Python; make the environment if it is missing or was left half
    made (by another version, a moved folder, or an interrupted run)."""
    python = folder / "bin" / "python"
    if not works(python):
        say(f"Making {folder} with Python {sys.version.split()[0]} ...")
        venv.create(folder, clear=True, with_pip=True)
    return python


def works(python: Path) -> bool:
    """Say whether an environment's Python runs, has pip, and is new enough."""
    check = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        return (
            subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0
        )
    except OSError:
        return False


def expand(project: dict[str, Any], group: str) -> Iterator[str]:
    """Yield a dependency group's requirements, those of the groups it includes among them."""
    for entry in project["dependency-groups"][group]:
        if isinstance(entry, str):
            yield entry
        else:
            yield from expand(project, entry["include-group"])


def lower_bounds(project: dict[str, Any]) -> list[str]:
    """Return constraints that hold every dependency of vectus, those of its extras among them, at
    the oldest version allowed."""
    extras = project["project"]["optional-dependencies"].values()
    return [
        f"{found[1]}=={found[2]}"
        for dependency in [*project["project"]["dependencies"], *chain.from_iterable(extras)]
        if (found := LOWER_BOUND.match(dependency))
    ]


def install(python: Path, requirements: list[str], constraints: list[str]) -> None:
    """Install the working tree, editable, and the requirements."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(constraints))
        file.flush()
        command = [*pip, "--constraint", file.name, "--editable", str(ROOT), *requirements]
        if code := subprocess.run(command, check=False).returncode:
            sys.exit(f"pip could not install what vectus needs (exit code {code}, see above).")


def say(line: str) -> None:
    """Tell whoever waits what is going on."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
