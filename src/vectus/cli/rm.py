"""``vectus rm``: have uploads deleted."""

from __future__ import annotations

import argparse

from vectus.cli import codes, connection, outcomes, outlet
from vectus.cli.outcomes import Outcome
from vectus.cli.parser import Commands, Parser
from vectus.cli.wording import clean
from vectus.errors import VectusError

ABOUT = """Delete uploads from a tus server, finished ones and others. Every URL is tried, whatever
becomes of those before it."""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describe the command to the parser."""
    parser = commands.add_parser(
        "rm",
        help="Delete uploads.",
        description=ABOUT,
        epilog=codes.EPILOG,
        usage="%(prog)s [options] URL...",
    )
    assert isinstance(parser, Parser)
    parser.scattered = "urls"
    parser.add_argument("urls", metavar="URL...", nargs="+", help="the uploads' URLs")
    connection.add(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="one JSON object per URL")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Delete each, and return the worst code."""
    places = [connection.parse_place(url) for url in options.urls]
    return max(_one(options, place) for place in places)


def _one(options: argparse.Namespace, place: connection.Place) -> int:
    link = connection.Connection(options, place)
    outcome = _remove(link, place.url)
    problem = link.veil(outcome.sentence)
    if options.json:
        import json

        fields = {"url": place.url, "outcome": outcome.kind, "code": outcome.code}
        outlet.out(json.dumps({**fields, "error": problem or None}))
    elif outcome.code:
        outlet.err(f"vectus rm: {clean(problem)}")
    return outcome.code


def _remove(link: connection.Connection, url: str) -> Outcome:
    try:
        with link.client() as client:
            if client.terminate(url):
                return Outcome("removed")
    except VectusError as error:
        return outcomes.of_error(error)
    return Outcome("gone", codes.FAILED, problem=f"There is no upload at {url}.")
