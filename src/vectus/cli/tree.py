"""The commands and their options as data, read out of the parser: for completion and for docs."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Literal

from vectus.cli.parser import Commands

Value = Literal["none", "word", "file"]

FILES = {"FILE", "STORE", "FILE... URL"}
"""Metavars of what is a path."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option, or a positional argument, which has no flags."""

    flags: tuple[str, ...]
    help: str
    metavar: str = ""
    value: Value = "none"
    choices: tuple[str, ...] = ()
    group: str = ""

    @property
    def takes(self) -> bool:
        """Whether a word follows it."""
        return self.value != "none" or bool(self.choices)


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or the program itself."""

    name: str
    help: str
    usage: str
    about: str
    options: tuple[Option, ...]
    arguments: tuple[Option, ...]


def read(parser: argparse.ArgumentParser) -> tuple[Command, ...]:
    """Return the program and then its commands."""
    found = [_command(parser, "", "")]
    for action in parser._actions:
        if isinstance(action, Commands):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            found += [_command(p, name, helps[name]) for name, p in action.choices.items()]
    return tuple(found)


def _command(parser: argparse.ArgumentParser, name: str, help: str) -> Command:
    options = tuple(
        _option(parser, action, group.title or "")
        for group in parser._action_groups
        for action in _of(group)
        if not isinstance(action, Commands)
    )
    return Command(
        name,
        help,
        parser.usage % {"prog": parser.prog} if parser.usage else "",
        " ".join((parser.description or "").split()),
        tuple(option for option in options if option.flags),
        tuple(option for option in options if not option.flags),
    )


def _of(group: argparse._ArgumentGroup) -> list[argparse.Action]:
    return group._group_actions


def _option(parser: argparse.ArgumentParser, action: argparse.Action, group: str) -> Option:
    takes = action.nargs != 0
    metavar = action.metavar or (action.dest.upper() if takes else "")
    assert isinstance(metavar, str)
    value: Value = "none" if not takes else "file" if metavar in FILES else "word"
    known = dict(vars(action), prog=parser.prog)
    return Option(
        tuple(action.option_strings),
        (action.help or "") % known,
        metavar if not action.choices else "",
        value,
        tuple(map(str, action.choices or ())),
        group,
    )
