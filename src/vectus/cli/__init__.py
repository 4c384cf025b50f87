"""The command line: reads arguments, calls the rest, and words what went wrong.

One file per command. What a command needs is imported when it runs, so that ``--help`` comes at
once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vectus.cli import (
    check,
    codes,
    completion,
    info,
    outcomes,
    outlet,
    rm,
    serve,
    upload,
    version,
)
from vectus.cli.parser import Commands, Parser
from vectus.cli.wording import clean
from vectus.errors import VectusError

COMMANDS = (serve, check, upload, info, rm, version)
"""A command is a module with ``add``, which describes it to the parser and names its function."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code (see ``codes``)."""
    try:
        chosen = parser().parse_args(arguments)
        return _run(chosen)
    except KeyboardInterrupt:
        return codes.INTERRUPTED


def _run(chosen: argparse.Namespace) -> int:
    try:
        code: int = chosen.run(chosen)
    except VectusError as error:
        outlet.err(f"{chosen.parser.prog}: {clean(str(error))}")
        return outcomes.of_error(error).code
    return code


def parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="vectus",
        description="Resumable uploads: a tus 1.0.0 server that loses nothing, and a client.",
        epilog="`vectus COMMAND --help` tells more about each.",
    )
    parser.add_argument(
        "--version", action="version", version=version.text(), help="show the version and exit"
    )
    commands: Commands[argparse.ArgumentParser] = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True, parser_class=Parser
    )
    for command in COMMANDS:
        command.add(commands)
    completion.add(commands, parser)
    return parser
