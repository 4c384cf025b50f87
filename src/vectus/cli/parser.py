"""How the command line reads arguments, and how it speaks when they make no sense."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from vectus.cli import codes
from vectus.errors import ConfigurationError

T = TypeVar("T")

Commands = argparse._SubParsersAction
"""What commands are added to; argparse has no public name for it."""


class Help(argparse.HelpFormatter):
    """Help with room for the option names, and lines that are kept as written."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{"max_help_position": 30, **options})


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one sentence with a hint.

    Attributes:
        scattered: the positional argument whose words may stand anywhere between the options, as
            in ``upload a --json b URL``; argparse takes only the first of them.
    """

    scattered: str | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": Help, **options})
        self._optionals.title = "options"
        self._positionals.title = "arguments"

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse, and guess what was meant where an option is unknown."""
        found, unknown = self.parse_known_args(args, namespace)
        parser: Parser = getattr(found, "parser", self)
        if parser.scattered is not None:
            unknown = _gather(getattr(found, parser.scattered), unknown)
        if unknown:
            parser._refuse(unknown[0])
        return found

    def error(self, message: str) -> NoReturn:
        """End with a sentence and a hint instead of the usage."""
        sentence = message.removeprefix("argument ").rstrip(".")
        if not sentence.startswith("-"):
            sentence = sentence[:1].upper() + sentence[1:]
        print(f"{self.prog}: {sentence}. See `{self.prog} --help`.", file=sys.stderr)
        sys.exit(codes.USAGE)

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            self.error(f"there is no use for {word!r} here")
        near = difflib.get_close_matches(word.partition("=")[0], self._option_string_actions, 1)
        guess = f" (did you mean {near[0]}?)" if near else ""
        self.error(f"there is no option {word.partition('=')[0]}{guess}")


def reader(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Make one of the settings' parsers an argument's type, so that its words name the option."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except ConfigurationError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def number(least: int, most: int, what: str) -> Callable[[str], int]:
    """Make an argument's type of a range of numbers."""

    def read(text: str) -> int:
        digits = text.isascii() and text.isdigit() and len(text) < 20
        value = int(text) if digits else -1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} ({least} to {most})")
        return value

    return read


def _gather(words: list[str], unknown: list[str]) -> list[str]:
    """Move the words among what argparse had no use for to the others; return the options."""
    options = []
    after_dashes = False
    for word in unknown:
        if word == "--" and not after_dashes:
            after_dashes = True
        elif after_dashes or word == "-" or not word.startswith("-"):
            words.append(word)
        else:
            options.append(word)
    return options
