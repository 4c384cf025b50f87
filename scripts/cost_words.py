"""How the cost sheet words its numbers, and its tables."""

from __future__ import annotations

from collections.abc import Iterator

from benchmark_page import line

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def heading(title: str) -> Iterator[str]:
    """Yield a heading."""
    yield f"\n### {title}\n"


def table(header: list[str], rows: Iterator[list[str]] | list[list[str]]) -> Iterator[str]:
    """Yield a table, with an empty line behind it."""
    yield line(header)
    yield line(["---", *["--:" if index else "---" for index in range(1, len(header))]])
    yield from map(line, rows)
    yield ""


def plain(value: float) -> str:
    """Word a small number."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def seconds(value: float) -> str:
    """Word a time."""
    return f"{number(value)} s" if value >= 10 else f"{value:.2g} s"


def number(value: float) -> str:
    """Word a number, its thousands apart."""
    return f"{value:,.0f}".replace(",", " ")


def rate(value: float) -> str:
    """Word a number that may be small."""
    return number(value) if value >= 10 else f"{value:.2g}"


def span(count: int, least: float, most: float) -> str:
    """Word the least and the most."""
    return f"{number(count * least)} to {number(count * most)}"


def dollars(value: float) -> str:
    """Word a price."""
    if value >= 100:
        return f"{number(value)} $"
    if value < 0.001:
        return "below 0.001 $"
    return f"{value:.2f} $" if value >= 0.1 else f"{value:.2g} $"


def size(value: float) -> str:
    """Word bytes."""
    for unit, name in ((1 << 40, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if value >= unit:
            amount = value / unit
            digits = 0 if amount >= 100 or amount == int(amount) else 1
            return f"{amount:.{digits}f} {name}"
    return f"{value:.0f} bytes"
