"""The record of an upload and its life cycle, as a table.

The record says what was promised and how far it got; where the bytes are is the store's affair.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""The grammar of an upload's id (D13); what does not match it never reaches a store or a lock."""


class Role(Enum):
    """What an upload is in a concatenation."""

    PLAIN = auto()
    PARTIAL = auto()
    FINAL = auto()


class Stage(Enum):
    """Where an upload is in its life."""

    RECEIVING = auto()
    """Bytes are missing, or the length is not known yet."""
    FINISHING = auto()
    """All bytes are there; that it is finished is not recorded yet."""
    FINISHED = auto()
    """Recorded as finished: it never changes again."""
    AWAITING = auto()
    """A final upload that is not joined: partials are missing bytes, or nobody began yet."""
    JOINING = auto()
    """A final upload whose joining is recorded: its partials are pinned until it is done."""
    GONE = auto()
    """It can never be finished, or its bytes now belong to a final upload."""


@dataclass(frozen=True, slots=True)
class Upload:
    """Everything known about one upload. Changed by ``dataclasses.replace`` only.

    Args:
        id: its name under the mount, matching ``messages.ID``.
        role: plain, partial or final.
        length: bytes in all, or None while it is not declared.
        offset: bytes that are there and count.
        metadata: the ``Upload-Metadata`` value exactly as the client sent it, or None.
        concat: the ``Upload-Concat`` value exactly as the client sent it, or None.
        parts: ids of a final upload's partials, in order; one may come twice.
        created: when, in seconds since the epoch.
        expires: when it may be dropped, in seconds since the epoch, or None for never.
        finished: whether its finish is recorded.
        announced: whether the listeners have been told that it is finished.
        joining: whether the joining of a final upload is recorded.
        failed: why it can never be finished, or None.
        taken_by: the final upload that took this partial's bytes over, or None.
        pending: where bytes begin that may have to be taken back; no byte from there on counts.
        fence: the number of the last lease under which it was written.
        foreign: whether the record was written by tusd and not yet by us.
        key: what a listener had its bytes called in the store, or None for what its id says.
    """

    id: str
    role: Role = Role.PLAIN
    length: int | None = None
    offset: int = 0
    metadata: str | None = None
    concat: str | None = None
    parts: tuple[str, ...] = ()
    created: float = 0.0
    expires: float | None = None
    finished: bool = False
    announced: bool = False
    joining: bool = False
    failed: str | None = None
    taken_by: str | None = None
    pending: int | None = None
    fence: int = 0
    foreign: bool = False
    key: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every byte is there."""
        return self.length is not None and self.offset == self.length

    @property
    def closed(self) -> bool:
        """Whether nothing more becomes of it: it is finished, or failed."""
        return self.finished or self.failed is not None

    @property
    def tag(self) -> str:
        """A strong validator of a finished upload, as an entity tag: its bytes never change."""
        return f'"{self.id}-{self.offset}"'

    @property
    def stage(self) -> Stage:
        """Where the upload is in its life: the first row of ``LIFE`` that holds."""
        for stage, holds in LIFE:
            if holds(self):
                return stage
        raise AssertionError("The last row of LIFE always holds.")


LIFE = (
    (Stage.GONE, lambda u: u.failed is not None or u.taken_by is not None),
    (Stage.FINISHED, lambda u: u.finished),
    (Stage.FINISHING, lambda u: u.complete),
    (Stage.JOINING, lambda u: u.role is Role.FINAL and u.joining),
    (Stage.AWAITING, lambda u: u.role is Role.FINAL),
    (Stage.RECEIVING, lambda _: True),
)
"""What each stage looks like in a record, the first that holds deciding."""
