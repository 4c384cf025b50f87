"""What the client's drivers need of a source and of a resume store; implement it and pass it in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from vectus.client.commands import Held


class Source(Protocol):
    """Bytes to upload, read by the blocking driver, and by the other in a thread.

    Positions count from the source's start. No method is called while another of the same source
    runs, but for ``blocks`` and ``digest`` of a replayable source, which several parts of a
    parallel upload call at once from threads of their own.
    """

    name: str
    """What to call it in a sentence."""
    length: int | None
    """Bytes in all, or None while it is not known."""
    replayable: bool
    """Whether it can be read again from its start."""

    def hold(self, start: int, count: int) -> Held:
        """Have up to ``count`` bytes from ``start`` on at hand, and forget what is before.

        A source that is read once reads ahead far enough to know whether it ends there. A start
        beyond what is at hand skips bytes.

        Raises:
            SourceError: it cannot be read, ends before ``start``, or bytes from ``start`` on are
                forgotten already.
        """

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield bytes that are at hand, in blocks of about a mebibyte.

        Raises:
            SourceChanged: the source is not what it was when it was opened.
            SourceError: it cannot be read.
        """

    def check(self) -> None:
        """Look whether the source is what it was when it was opened.

        Raises:
            SourceChanged: it is not.
        """

    def fingerprint(self, endpoint: str) -> str | None:
        """What it is known by, or None where nothing tells it from another."""

    def close(self) -> None:
        """Free what this object opened, and nothing of the caller's."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a resume store knows of one source: its upload's URL, and what belongs to it.

    Args:
        url: the upload's.
        length: bytes of the source when it was stored, or None where it was not known.
        created: when, in seconds since the epoch; 0 where it is not known.
        extra: anything else that somebody stored with it.
    """

    url: str
    length: int | None = None
    created: float = 0.0
    extra: dict[str, str] = field(default_factory=dict)


class ResumeStore(Protocol):
    """Remembers which source goes to which upload; several processes may use it at once.

    Every method raises ``OSError`` or an error of its library where it cannot do it, and
    ``ConfigurationError`` where what it finds is broken or not its own (it is left as it is); the
    client then goes on without and says so.
    """

    def get(self, fingerprint: str) -> Entry | None:
        """Return what is known of a source, or None."""

    def set(self, fingerprint: str, entry: Entry) -> None:
        """Remember; durably, once it has returned."""

    def remove(self, fingerprint: str) -> None:
        """Forget; what is not there is forgotten already."""


class Claim(Protocol):
    """Says that an entry is in use, until it is released or its process is dead."""

    def renew(self) -> bool:
        """Say that it is still in use, and return whether the claim is ours still.

        Called often while bytes flow, on an event loop as well: it is cheap, never waits and never
        raises; a server is asked elsewhere, and its last answer counts. False means that somebody
        else may use the entry as well: the uploads disturb each other, but mix nothing up.
        """


@runtime_checkable
class Claims(Protocol):
    """A resume store that lets one process at a time use an entry."""

    def claim(self, fingerprint: str) -> AbstractContextManager[Claim | None]:
        """Claim an entry for the length of the ``with``; None if somebody else has it.

        Entering raises what a store's methods raise; leaving raises nothing of its own.
        """
