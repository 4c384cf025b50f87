"""Gets what the tests need from outside Python: programs from Debian, the JavaScript client.

Run by the Makefile before anything is installed: the standard library is all it may import. What
cannot be had is named in one line, and is no failure: the tests that need it skip themselves.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parent.parent / "tests" / "js"
PROGRAMS = {
    "node": "nodejs",
    "npm": "npm",
    "curl": "curl",
    "redis-server": "redis-server",
    "initdb": "postgresql",
    "haproxy": "haproxy",
    "bindfs": "bindfs",
    "radosgw": "radosgw",
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
}
"""Each program beside Debian's package for it."""

FOLDERS = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
"""Where programs are that Debian keeps out of the path."""


def main() -> None:
    """Get all of it."""
    if missing := missing_packages():
        install_packages(missing)
    install_client()


def missing_packages() -> list[str]:
    """Return the Debian packages of what is not here."""
    packages = [package for name, package in PROGRAMS.items() if not is_here(name)]
    if importlib.util.find_spec("ensurepip") is None:
        packages.append("python{}.{}-venv".format(*sys.version_info))
    return packages


def is_here(name: str) -> bool:
    """Say whether a program can be run."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *FOLDERS])
    return shutil.which(name, path=path) is not None


def install_packages(packages: list[str]) -> None:
    """Install Debian packages where that is possible; say so where it is not."""
    names = " ".join(packages)
    if not (shutil.which("apt-get") and os.geteuid() == 0):
        say(f"Not here, so some tests will be skipped: {names}.")
        return
    say(f"Installing {names} ...")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    steps = (["update"], ["install", "--yes", "--no-install-recommends", *packages])
    for step in steps:
        done = subprocess.run(
            ["apt-get", "-qq", *step], env=environment, stdout=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            say(f"apt-get could not install {names}, so some tests will be skipped.")
            return


def install_client() -> None:
    """Install the JavaScript client as the lock file has it, unless it is there already."""
    if not shutil.which("npm") or is_installed():
        return
    say("Installing tus-js-client ...")
    done = subprocess.run(["npm", "ci", "--silent"], cwd=CLIENT, check=False)
    if done.returncode:
        say("npm could not install tus-js-client, so the tests that use it will be skipped.")


def is_installed() -> bool:
    """Say whether what npm installed last is what the lock file wants now."""
    installed = CLIENT / "node_modules" / ".package-lock.json"
    wanted = CLIENT / "package-lock.json"
    return installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime


def say(line: str) -> None:
    """Tell whoever waits what is going on."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
