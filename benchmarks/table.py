"""Figures, what they must reach, and the table they are printed in.

Pure: takes numbers, gives verdicts and text.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import median

OPERATORS = {"≤": operator.le, "<": operator.lt, "≥": operator.ge}

FLOOR, OURS = "floor", "vectus"


class Verdict(Enum):
    """What became of a bound."""

    MET = "✔"
    MISSED = "✘"
    OPEN = "–"
    """Nothing to judge: no bound, or what it compares with was not measured."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure must reach: ``≤ 1.25 × floor``, or ``≤ 24`` when ``against`` is empty."""

    sense: str
    limit: float
    against: str = ""
    subject: str = OURS

    def __str__(self) -> str:
        limit = f"{self.sense} {self.limit:g}"
        return f"{limit} × {self.against}" if self.against else limit


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of a case: of every contender, its value in every round."""

    what: str
    unit: str
    samples: Mapping[str, Sequence[float]]
    bound: Bound | None = None

    def value(self, name: str) -> float | None:
        """Return a contender's median."""
        samples = self.samples.get(name)
        return median(samples) if samples else None

    def ratio(self, name: str, against: str) -> float | None:
        """Return the median of a contender's ratios to another, round by round."""
        pairs = zip(self.samples.get(name, ()), self.samples.get(against, ()), strict=False)
        ratios = [one / other for one, other in pairs if other]
        return median(ratios) if ratios else None

    def reached(self) -> float | None:
        """Return what is held against the bound."""
        if self.bound is None:
            return None
        if self.bound.against:
            return self.ratio(self.bound.subject, self.bound.against)
        return self.value(self.bound.subject)

    def verdict(self) -> Verdict:
        """Judge."""
        reached = self.reached()
        if self.bound is None or reached is None:
            return Verdict.OPEN
        met = OPERATORS[self.bound.sense](reached, self.bound.limit)
        return Verdict.MET if met else Verdict.MISSED


@dataclass(frozen=True, slots=True)
class Sheet:
    """Where a case writes down what it measures: figure, contender, value after value."""

    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def note(self, name: str, figures: Mapping[str, float]) -> None:
        """Write down one round of one contender."""
        for what, value in figures.items():
            self.figures.setdefault(what, {}).setdefault(name, []).append(value)

    def row(self, what: str, unit: str, bound: Bound | None = None, title: str = "") -> Row:
        """Return one figure's row, under another title if one is given."""
        return Row(title or what, unit, self.figures.get(what, {}), bound)


def render(title: str, rows: Sequence[Row]) -> str:
    """Return a case's table."""
    names = columns(rows)
    header = [title, "", *names, "× floor", "reached", "must be", ""]
    return layout([header, *(line(row, names) for row in rows)])


def columns(rows: Sequence[Row]) -> list[str]:
    """Return the contenders of a case: the floor, vectus, then the others as they come."""
    names = dict.fromkeys(name for row in rows for name in row.samples)
    return sorted(names, key=lambda name: (name != FLOOR, name != OURS))


def line(row: Row, names: Sequence[str]) -> list[str]:
    """Return a row's cells."""
    return [
        row.what,
        row.unit,
        *(spread(row.samples.get(name, ())) for name in names),
        number(row.ratio(OURS, FLOOR)),
        number(row.reached()),
        str(row.bound or ""),
        row.verdict().value,
    ]


def spread(samples: Sequence[float]) -> str:
    """Return a median, with the lowest and the highest where there are several."""
    if len(samples) < 2:
        return number(samples[0] if samples else None)
    return f"{number(median(samples))} ({number(min(samples))}…{number(max(samples))})"


def number(value: float | None) -> str:
    """Return a number with three digits that mean something."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return (
        f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
        if abs(value) >= 0.1
        else f"{value:.3f}"
    )


def layout(lines: Sequence[Sequence[str]]) -> str:
    """Pad cells into columns; the first two to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = [
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in lines
    ]
    rule = "─" * max(map(len, texts))
    return "\n".join([texts[0], rule, *texts[1:]])
