"""Writes the tables of docs/cli.md: every command and option, as the help has them.

Only what stands between the marks is written; the rest of the page is prose. With ``--check``
nothing is written: it exits with 1 if the page is not what would be written.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from vectus.cli import parser
from vectus.cli.tree import Command, Option, read

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
BEGIN = "<!-- Made by `make docs` from the help of `vectus {}`: change that, not this. -->"
END = "<!-- End of what is made. -->"


def main() -> None:
    """Write the page, or check it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true", help="write nothing, complain")
    only_check = arguments.parse_args().check
    text = PAGE.read_text(encoding="utf-8")
    made = text
    for command in read(parser())[1:]:
        made = put(made, command)
    if not only_check:
        PAGE.write_text(made, encoding="utf-8")
    elif made != text:
        sys.exit("docs/cli.md is not what the help says: make docs")


def put(text: str, command: Command) -> str:
    """Put a command's tables into its place on the page."""
    begin = BEGIN.format(command.name)
    place = re.compile(f"(?s){re.escape(begin)}\n.*?{re.escape(END)}\n")
    if len(place.findall(text)) != 1:
        sys.exit(f"docs/cli.md must have one place for `vectus {command.name}`.")
    made = "\n".join([begin, *render(command), END, ""])
    return place.sub(lambda _: made, text)


def render(command: Command) -> Iterator[str]:
    """Write a command: its usage, what it does, and a table of its options by their groups."""
    arguments = " ".join(value(argument) for argument in command.arguments)
    yield "```"
    yield command.usage or f"vectus {command.name} [options] {arguments}".rstrip()
    yield "```"
    yield ""
    yield cell(command.about)
    rows = [*command.arguments, *(o for o in command.options if "--help" not in o.flags)]
    for title, group in groupby(rows, key=lambda option: option.group):
        yield ""
        yield f"| {title} | |"
        yield "|---|---|"
        yield from (f"| {spelled(option)} | {cell(option.help)} |" for option in group)


def spelled(option: Option) -> str:
    """Write an option with what follows it."""
    return f"`{', '.join(option.flags)} {value(option)}`".replace("` ", "`").replace(" `", "`")


def value(option: Option) -> str:
    """Write what follows an option, or stands for an argument."""
    return option.metavar or ("{" + ",".join(option.choices) + "}" if option.choices else "")


def cell(text: str) -> str:
    """Write help so that Markdown leaves it as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    quiet = [part if part.startswith("`") else re.sub(r"([|<*])", r"\\\1", part) for part in parts]
    return "".join(quiet)


if __name__ == "__main__":
    main()
