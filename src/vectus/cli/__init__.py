"""The command line: reads arguments, calls the rest, and words what went wrong.

One file per command. What a command needs is imported when it runs, so that ``--help`` comes at
once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vectus.cli import codes, serve, upload, version
from vectus.cli.parser import Parser
from vectus.errors import ConfigurationError, VectusError

COMMANDS = (serve, upload, version)
"""A command is a module with ``add``, which describes it to the parser and names its function."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code (see ``codes``)."""
    try:
        chosen = _parser().parse_args(arguments)
        code: int = chosen.run(chosen)
    except ConfigurationError as error:
        print(f"vectus: {error}", file=sys.stderr)
        return codes.USAGE
    except VectusError as error:
        print(f"vectus: {error}", file=sys.stderr)
        return codes.FAILED
    except KeyboardInterrupt:
        return codes.INTERRUPTED
    return code


def _parser() -> Parser:
    parser = Parser(
        prog="vectus",
        description="Resumable uploads: a tus 1.0.0 server that loses nothing, and a client.",
        epilog="`vectus COMMAND --help` tells more about each.",
    )
    parser.add_argument(
        "--version", action="version", version=version.text(), help="show the version and exit"
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True, parser_class=Parser
    )
    for command in COMMANDS:
        command.add(commands)
    return parser
