"""How an upload is shown: nothing, plain lines, or one JSON object per line. ``bars.py`` has the
display for terminals.

What is shown comes from files' names and from servers: it is made harmless here, by ``clean`` and
by the veil over secrets.
"""

from __future__ import annotations

import json
from time import monotonic
from types import TracebackType
from typing import Any, Protocol, Self

from vectus.cli import outlet
from vectus.cli.files import Item
from vectus.cli.outcomes import Outcome
from vectus.cli.wording import Veil, clean, percent, size, unicode
from vectus.client.happenings import (
    Confirmed,
    Finished,
    Happening,
    Noticed,
    Progress,
    Retrying,
    Started,
)

STEP = 0.5
"""Seconds between two events of progress."""


class Display(Protocol):
    """Shows the uploads of one command, one after the other."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""

    def begin(self, item: Item) -> None:
        """This file is next."""

    def event(self, what: Happening) -> None:
        """Something happened to it."""

    def end(self, item: Item, outcome: Outcome) -> None:
        """This is what became of it."""

    def notice(self, text: str) -> None:
        """Say something that concerns all files."""


class Quiet:
    """Results on standard output, and what went wrong on standard error; no more.

    Args:
        veil: over what is shown.
        several: whether a result must say whose it is.
    """

    def __init__(self, veil: Veil, *, several: bool) -> None:
        self.veil = veil
        self.several = several

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def begin(self, item: Item) -> None:
        """Nothing yet."""

    def event(self, what: Happening) -> None:
        """Nothing."""

    def end(self, item: Item, outcome: Outcome) -> None:
        """Tell the upload's URL, or why there is none."""
        if not outcome.code:
            self.result(item, outcome)
            return
        whose = f"{clean(item.name)}: " if self.several and item.trouble is None else ""
        self.complain(whose + outcome.sentence)
        if outcome.url is not None:
            self.complain(f"{whose}The unfinished upload is {outcome.url}")

    def notice(self, text: str) -> None:
        """Nothing."""

    def result(self, item: Item, outcome: Outcome) -> None:
        """Tell a result: the URL, and whose it is where there are several."""
        url = outcome.url or ""
        outlet.out(f"{url}\t{clean(item.name)}" if self.several else url)

    def complain(self, text: str) -> None:
        """Tell what went wrong."""
        say(self.veil(text))


def say(text: str) -> None:
    """Write a line to standard error."""
    outlet.err(f"vectus upload: {clean(text)}")


class Lines(Quiet):
    """Progress for a log or a pipe: a line for each tenth, and for each trouble."""

    def __init__(self, veil: Veil, *, several: bool) -> None:
        super().__init__(veil, several=several)
        self._name = ""
        self._tenth = 0

    def begin(self, item: Item) -> None:
        """Begin to count."""
        self._name, self._tenth = clean(item.name), 0

    def event(self, what: Happening) -> None:
        """Say what is worth a line."""
        match what:
            case Started(offset=offset, length=length) if what.resumed:
                self._tenth = _tenth(offset, length)
                self.line(f"goes on at {_amount(offset, length)}")
            case Progress():
                self._progress(what)
            case Retrying():
                why = what.why.rstrip(".")
                self.line(f"{why}. Trying again in {what.delay:.1f} s ({what.tries}/{what.of}).")
            case Noticed():
                self.line(what.text)
            case Finished():
                self.line(f"{size(what.length)} confirmed")

    def notice(self, text: str) -> None:
        """Say it."""
        say(text)

    def line(self, text: str) -> None:
        """Write a line about this file."""
        say(f"{self._name}: {self.veil(text)}")

    def _progress(self, what: Progress) -> None:
        tenth = _tenth(what.sent, what.length)
        if tenth > self._tenth and what.length:
            self.line(f"{10 * tenth} % of {size(what.length)} sent")
        self._tenth = max(tenth, self._tenth)


def _tenth(count: int, length: int | None) -> int:
    return percent(count, length) // 10 if length else 0


def _amount(count: int, length: int | None) -> str:
    return size(count) if length is None else f"{size(count)} of {size(length)}"


class Json:
    """One object per line on standard output; ``docs/cli.md`` lists the fields.

    Args:
        veil: over what servers said.
        progress: whether to tell more than the end of each file.
    """

    def __init__(self, veil: Veil, *, progress: bool) -> None:
        self._veil = veil
        self._wanted = progress
        self._file: str | None = None
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def begin(self, item: Item) -> None:
        """From now on it is about this file."""
        self._file, self._next = unicode(item.name), 0.0

    def event(self, what: Happening) -> None:
        """Tell it."""
        if not self._wanted:
            return
        match what:
            case Started(url, offset, length, resumed):
                self._tell("started", url=url, offset=offset, length=length, resumed=resumed)
            case Progress(sent, confirmed, length, rate):
                if monotonic() >= self._next:
                    self._next = monotonic() + STEP
                    values = {"sent": sent, "confirmed": confirmed, "length": length}
                    self._tell("progress", **values, rate=round(rate))
            case Confirmed(offset):
                self._tell("confirmed", offset=offset)
            case Retrying(why, delay, tries, of):
                self._tell("retrying", why=self._veil(why), delay=delay, tries=tries, of=of)
            case Noticed(text):
                self._tell("notice", text=self._veil(text))

    def end(self, item: Item, outcome: Outcome) -> None:
        """Tell what became of it."""
        self._tell(
            "end",
            outcome=outcome.kind,
            code=outcome.code,
            url=outcome.url,
            length=outcome.length,
            resumed=outcome.resumed,
            retries=outcome.retries,
            error=self._veil(outcome.problem) or None,
            hint=self._veil(outcome.hint) or None,
        )

    def notice(self, text: str) -> None:
        """Tell it."""
        if self._wanted:
            self._file = None
            self._tell("notice", text=self._veil(text))

    def _tell(self, event: str, **values: Any) -> None:
        fields = {name: unicode(v) if isinstance(v, str) else v for name, v in values.items()}
        outlet.out(json.dumps({"event": event, "file": self._file, **fields}))
