"""``vectus version``: what a report of a fault should name."""

from __future__ import annotations

import argparse
import sys

import vectus
from vectus.cli import codes
from vectus.cli.parser import Commands

COMPANIONS = ("uvicorn", "httptools", "uvloop", "httpx2")


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describe the command to the parser."""
    about = "Show the versions of vectus and of what it runs on."
    parser = commands.add_parser("version", help=about, description=about)
    parser.set_defaults(run=run, parser=parser)


def text() -> str:
    """Return the one line of ``--version``."""
    return f"vectus {vectus.__version__}"


def run(_: argparse.Namespace) -> int:
    """Print one name and version per line."""
    from importlib import metadata

    print(text())
    print(f"Python {sys.version.split()[0]}")
    for name in COMPANIONS:
        try:
            print(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            print(f"{name} (not installed)")
    return codes.OK
