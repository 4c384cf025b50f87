"""``vectus check``: whether a store can do what is asked of it, in plain words, and what to do."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import closing
from urllib.parse import urlsplit

from vectus.cli import codes, outlet
from vectus.cli.parser import Commands, reader
from vectus.cli.wording import Veil, clean, plural
from vectus.findings import Change, Finding, Grade, Question
from vectus.settings import parse_duration

ABOUT = """Try a store from end to end, and say what works, what does not, and what to do about it.
Nothing is left behind. With --fix, the rule that drops what nobody finishes is added to an S3
bucket, or changed; no other rule is touched, and nothing is done before it was agreed to."""

EPILOG = """Exit codes: 0 all that is needed works, whatever the warnings; 1 something that is
needed does not; 2 it cannot be as asked; 3 the server could not be reached; 130 stopped by
Ctrl-C."""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describe the command to the parser."""
    parser = commands.add_parser(
        "check", help="Try whether a store works.", description=ABOUT, epilog=EPILOG
    )
    parser.add_argument(
        "store",
        metavar="STORE",
        help="a directory, a file:///... URL, s3://bucket/prefix?option=value, or memory://",
    )
    parser.add_argument(
        "--locks", metavar="URL", help="try these locks too, as given to `vectus serve`"
    )
    parser.add_argument(
        "--expire-after",
        metavar="TIME",
        type=reader(parse_duration),
        default="7d",
        help="how long unfinished uploads live, as given to `vectus serve` (default: 7d)",
    )
    parser.add_argument("--fix", action="store_true", help="set right what can be, after asking")
    parser.add_argument("--yes", action="store_true", help="agree to what --fix would do")
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Look, show, and set right what was asked for."""
    from vectus import wiring

    question = Question(options.store, options.expire_after, options.locks)
    page = _Json(question) if options.json else _Lines(question)
    with closing(wiring.probe(question)) as findings:
        for finding in findings:
            page.show(finding)
    code = _code(page.findings)
    if options.fix and code != codes.UNREACHABLE:
        code = max(code, _fix(wiring.mend(question), page, agreed=options.yes))
    page.end(code)
    return code


def _code(findings: Iterable[Finding]) -> int:
    failed = [finding for finding in findings if finding.grade is Grade.FAILURE]
    if any(finding.unreached for finding in failed):
        return codes.UNREACHABLE
    return codes.FAILED if failed else codes.OK


# --- Setting right --------------------------------------------------------------------------------

ASK_FIRST = "Nothing was changed: there is no terminal to ask on. Agree with --yes."
DECLINED = "Nothing was changed."


def _fix(change: Change | Finding, page: _Page, *, agreed: bool) -> int:
    if isinstance(change, Finding):
        page.show(change)
        return _code([change])
    page.show_change(change)
    if not agreed and not _can_ask():
        page.show(Finding("fix", Grade.WARNING, ASK_FIRST))
        return codes.USAGE
    if not agreed and not _ask(change):
        page.show(Finding("fix", Grade.NOTE, DECLINED))
        return codes.OK
    made = change.make()
    page.show(made)
    return _code([made])


def _can_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _ask(change: Change) -> bool:
    print(f"Change the {clean(change.where)}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


# --- Showing --------------------------------------------------------------------------------------


class _Page:
    """What was found, and what is to be made of it.

    Args:
        question: what was asked.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self.findings: list[Finding] = []
        secret = urlsplit(question.locks or "").password
        self.veil = Veil([secret] if secret else [])

    def show(self, finding: Finding) -> None:
        """Show a finding, or keep it for the end."""
        self.findings.append(finding)

    def show_change(self, change: Change) -> None:
        """Show what would be changed, or keep it for the end."""

    def end(self, code: int) -> None:
        """Show how it all comes out."""


COLOURS = {Grade.OK: "32", Grade.NOTE: "2", Grade.WARNING: "33", Grade.FAILURE: "1;31"}
LEFT = 9
"""Columns of the grade, and then of the subject, which is a little longer."""
INDENT = " " * (LEFT + LEFT + 4)


class _Lines(_Page):
    """Lines for people, each as soon as it is known."""

    def show(self, finding: Finding) -> None:
        super().show(finding)
        head = f"{finding.grade.value:<{LEFT}}{finding.subject:<{len(INDENT) - LEFT}}"
        lines = [*_wrapped(self.veil(finding.says), head), *_wrapped(self.veil(finding.hint))]
        lines[0] = _coloured(lines[0], finding.grade)
        for line in lines:
            outlet.out(line)

    def show_change(self, change: Change) -> None:
        outlet.out(f"\nThe {clean(change.where)} would become:\n")
        for line in change.difference:
            sign, text = line[0], clean(line[2:])
            for wrapped in textwrap.wrap(
                text, _width(), initial_indent=f"  {sign} ", subsequent_indent="      "
            ):
                outlet.out(wrapped)
        outlet.out("")

    def end(self, code: int) -> None:
        grades = [finding.grade for finding in self.findings]
        failed, warned = grades.count(Grade.FAILURE), grades.count(Grade.WARNING)
        also = [plural(failed, "failure")] if failed else []
        also += [plural(warned, "warning")] if warned else []
        what = "Not all that is needed works" if failed else "All that is needed works"
        outlet.out(f"\n{what}{', with ' if also else ''}{' and '.join(also)}.")
        use = recommended(self.question, self.findings)
        if not failed or use != self.question.store:
            outlet.out(f"Use: {clean(shlex.quote(use))}")


def _wrapped(text: str, head: str = "") -> list[str]:
    first = head or f"{INDENT}=> "
    rest = INDENT if head else f"{INDENT}   "
    return textwrap.wrap(
        clean(text),
        _width(),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _width() -> int:
    return max(60, min(100, shutil.get_terminal_size().columns))


def _coloured(line: str, grade: Grade) -> str:
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    if plain or sys.stdout is None or not sys.stdout.isatty():
        return line
    return f"\x1b[{COLOURS[grade]}m{line[:LEFT]}\x1b[0m{line[LEFT:]}"


class _Json(_Page):
    """One object for programs, at the end."""

    def __init__(self, question: Question) -> None:
        super().__init__(question)
        self._difference: Sequence[str] | None = None

    def show_change(self, change: Change) -> None:
        self._difference = change.difference

    def end(self, code: int) -> None:
        import json

        findings = [
            {
                "subject": finding.subject,
                "grade": finding.grade.value,
                "says": self.veil(finding.says),
                "hint": self.veil(finding.hint) or None,
            }
            for finding in self.findings
        ]
        facts = {
            "store": self.question.store,
            "code": code,
            "findings": findings,
            "difference": self._difference,
            "use": recommended(self.question, self.findings),
        }
        outlet.out(json.dumps(facts))


def recommended(question: Question, findings: Iterable[Finding]) -> str:
    """Return the store's URL with the options that follow from what was found; the others stay as
    they were written."""
    changes = {name: value for finding in findings for name, value in finding.options.items()}
    if not changes:
        return question.store
    place, _, query = question.store.partition("?")
    pairs = [pair for pair in query.split("&") if pair and pair.partition("=")[0] not in changes]
    pairs += [f"{name}={value}" for name, value in changes.items() if value is not None]
    return f"{place}?{'&'.join(pairs)}" if pairs else place
