"""Progress on a terminal: a line for the file, a line for all files, troubles above them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.progress import Progress as Live, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from vectus.cli import outlet
from vectus.cli.display import Quiet
from vectus.cli.files import Item
from vectus.cli.outcomes import Outcome
from vectus.cli.wording import Veil, clean, plural, size, span
from vectus.client.happenings import Happening, Noticed, Progress, Retrying, Started

WIDEST = 40


@dataclass(frozen=True, slots=True)
class Gauge:
    """A bar of what is confirmed, what is only sent, and the rest."""

    confirmed: float
    sent: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, WIDEST)
        full, half, rest = "#-." if options.ascii_only else "━╌ "
        solid = int(width * self.confirmed)
        thin = int(width * self.sent) - solid
        bar = Text(full * solid, "green")
        bar.append(half * thin, "cyan")
        bar.append(rest * (width - solid - thin))
        yield bar

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(4, WIDEST)


class Name(ProgressColumn):
    """Whose line it is."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis", ratio=1))

    def render(self, task: Task) -> Text:
        """Write it, whatever it has in it, as it is."""
        return Text(task.description, overflow="ellipsis", no_wrap=True)


class Amounts(ProgressColumn):
    """The bar."""

    max_refresh = 0.1

    def render(self, task: Task) -> Gauge:
        """Draw it; of an unknown length it stays empty."""
        if not task.total:
            full = 1.0 if task.total == 0 or task.finished else 0.0
            return Gauge(full, full)
        confirmed, sent = task.fields["confirmed"], task.completed
        return Gauge(min(confirmed / task.total, 1.0), min(max(sent, confirmed) / task.total, 1.0))


class Figures(ProgressColumn):
    """Confirmed bytes, rate, time left and retries."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        """Write them."""
        confirmed, rate = task.fields["confirmed"], task.fields["rate"]
        words = [size(confirmed) if task.total is None else f"{size(confirmed)}/{size(task.total)}"]
        if rate >= 1:
            words.append(f"{size(rate)}/s")
            if task.total is not None and task.total > task.completed:
                words.append(span((task.total - task.completed) / rate))
        if task.fields["retries"]:
            words.append(plural(task.fields["retries"], "retry", "retries"))
        return Text("  ".join(words))


class Terminal:
    """A stream that may go away, as a terminal does whose window is closed or whose line is cut:
    that ends no upload, and what is still to come goes nowhere.

    Args:
        stream: where it goes until then.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if that is possible."""
        try:
            self._stream.write(text)
        except OSError:
            outlet.silence(self._stream)
        return len(text)

    def flush(self) -> None:
        """Bring it there, if that is possible."""
        try:
            self._stream.flush()
        except OSError:
            outlet.silence(self._stream)


class Bars(Quiet):
    """The display.

    Args:
        veil: over what is shown.
        several: whether a result must say whose it is.
        items: all files.
    """

    def __init__(self, veil: Veil, items: list[Item], *, several: bool) -> None:
        super().__init__(veil, several=several)
        self._console = Console(file=cast("TextIO", Terminal(sys.stderr)))
        # Standard output stays what it is: the URLs go there, maybe into a file.
        self._live = Live(
            *(Name(), Amounts(), Figures()),
            console=self._console,
            expand=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._items = len(items)
        sizes = [item.size for item in items if item.trouble is None]
        self._total = None if None in sizes else sum(size or 0 for size in sizes)
        self._all: TaskID | None = None
        self._one: TaskID | None = None
        self._done = 0  # files
        self._before = 0  # bytes of the files before this one
        self._retries = 0
        self._retries_before = 0
        self._held: list[tuple[Item, Outcome]] = []

    def __enter__(self) -> Self:
        self._live.start()
        if self._items > 1:
            self._all = self._add(self._all_files(), self._total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()
        for item, outcome in self._held:
            super().result(item, outcome)

    def begin(self, item: Item) -> None:
        """Show a line for this file."""
        self._retries = 0
        if self._one is not None and self.several:
            self._live.remove_task(self._one)
        self._one = self._add(clean(item.name), item.size)

    def event(self, what: Happening) -> None:
        """Move the bars, or say what went wrong above them."""
        match what:
            case Started(offset=offset, length=length):
                self._move(Progress(offset, offset, length))
            case Progress():
                self._move(what)
            case Retrying():
                self._retries += 1
                why = what.why.rstrip(".")
                self._above(f"{why}. Trying again in {what.delay:.1f} s.")
                self._count_retries()
            case Noticed():
                self._above(what.text)

    def end(self, item: Item, outcome: Outcome) -> None:
        """Count the file, and tell what became of it."""
        self._before += outcome.length or 0
        if outcome.code and self._total is not None:
            self._total -= item.size or 0
        self._retries_before += self._retries
        self._retries = 0
        self._done += not outcome.code
        if self._all is not None:
            done = self._before
            self._live.update(self._all, description=self._all_files(), total=self._total)
            self._live.update(self._all, completed=done, confirmed=done)
        super().end(item, outcome)

    def notice(self, text: str) -> None:
        """Say it above the bars."""
        self._above(text)

    def result(self, item: Item, outcome: Outcome) -> None:
        """Tell a result; on the same terminal only when the bars are gone."""
        if sys.stdout is not None and sys.stdout.isatty():
            self._held.append((item, outcome))
        else:
            super().result(item, outcome)

    def complain(self, text: str) -> None:
        """Tell what went wrong."""
        self._above(f"vectus upload: {text}")

    def _above(self, text: str) -> None:
        line = Text(clean(self.veil(text)))
        self._console.print(line, soft_wrap=True)

    def _add(self, name: str, total: int | None) -> TaskID:
        return self._live.add_task(name, total=total, confirmed=0, rate=0.0, retries=0)

    def _all_files(self) -> str:
        return f"{self._done} of {plural(self._items, 'file')}"

    def _move(self, now: Progress) -> None:
        if self._one is not None:
            self._update(self._one, now.sent, now.confirmed, now.rate, total=now.length)
        if self._all is not None:
            sent, confirmed = self._before + now.sent, self._before + now.confirmed
            self._update(self._all, sent, confirmed, now.rate)

    def _update(
        self, task: TaskID, sent: int, confirmed: int, rate: float, total: int | None = None
    ) -> None:
        self._live.update(task, total=total, completed=sent, confirmed=confirmed, rate=rate)

    def _count_retries(self) -> None:
        if self._one is not None:
            self._live.update(self._one, retries=self._retries)
        if self._all is not None:
            self._live.update(self._all, retries=self._retries_before + self._retries)
