"""What the parts of vectus say of themselves when somebody looks: findings, in words for people.

``vectus check`` shows them; stores and locks make them. Nothing in here looks at anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Grade(Enum):
    """How good a finding is, the better ones first."""

    OK = "ok"
    """It works."""
    NOTE = "note"
    """It is not there, and nothing needs it."""
    WARNING = "warning"
    """It works, with something to know or to do."""
    FAILURE = "failure"
    """Something that is needed does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        subject: what, in a word or two.
        grade: how good it is.
        says: what was found, in a sentence.
        hint: what to do about it.
        options: options that the store's URL should have, or should not, where there is no value.
        unreached: whether nobody answered at all.
    """

    subject: str
    grade: Grade
    says: str
    hint: str = ""
    options: Mapping[str, str | None] = field(default_factory=dict)
    unreached: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be looked at.

    Args:
        store: a directory or a URL.
        expire_after: seconds an unfinished upload will live after its last byte, or None.
        locks: the URL of locks that several machines share, or None.
    """

    store: str
    expire_after: float | None = None
    locks: str | None = None


Probe = Callable[[Question], Iterator[Finding]]
"""Looks at one side of a place. It tries things out, and leaves nothing behind, not even when its
iterator is closed early."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that can be set right, and has not been yet.

    Args:
        where: what would be changed.
        difference: how, in lines that begin with ``+``, ``-`` or a space.
        make: makes the change, and says what came of it.
    """

    where: str
    difference: Sequence[str]
    make: Callable[[], Finding]


Mend = Callable[[Question], Change | Finding]
"""Says what would have to be changed, or why nothing can or must be."""
