"""Calls to S3, what they cost, and how the cost sheet words them."""

from __future__ import annotations

from dataclasses import dataclass

from cost_words import dollars, number, plain

PUT_PRICE, GET_PRICE = 5.0, 0.4
"""Dollars for a million calls, the dear ones and the others."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls to S3, the dear ones and the others."""

    dear: float
    cheap: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.dear + self.cheap

    @property
    def price(self) -> float:
        """Dollars."""
        return (self.dear * PUT_PRICE + self.cheap * GET_PRICE) / 1e6

    def __add__(self, other: Calls) -> Calls:
        return Calls(self.dear + other.dear, self.cheap + other.cheap)

    def times(self, count: float) -> Calls:
        """Return as many of each."""
        return Calls(self.dear * count, self.cheap * count)


def words(calls: Calls) -> str:
    """Word calls."""
    return f"{plain(calls.dear)} PUT + {plain(calls.cheap)} GET"


def called(calls: Calls) -> str:
    """Word calls in all, and their price."""
    return f"{number(calls.total)}, {dollars(calls.price)}"
