"""What of an upload counts, and what has to be done: decided from what the record says and what S3
shows, without doing anything.

The record is the truth. It lists the parts that S3 has acknowledged, in an unbroken run from the
first, and beside them the tail: bytes that are too few for a part, in an object of their own. What
else S3 has of an upload does not count, and is written over or dropped when the parts are put
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from vectus.protocol.upload import Role, Upload
from vectus.stores.s3.parts import Schedule


@dataclass(frozen=True, slots=True)
class Ack:
    """A part that S3 has taken."""

    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class State:
    """Where the bytes of an upload are.

    Args:
        schedule: how long its parts are.
        multipart: S3's id of the multipart upload, or None while there is none.
        etags: of the parts, from the first.
        end: how many bytes are in parts.
        tail: how many bytes after them are in the tail object, at least.
        crc: CRC-32 of those.
        tag: the tail object's entity tag when it was recorded last, or empty where there was none.
            The object may outlive what counts of it.
        turn: how often the record had been written, so that no two are alike. It tells nothing of
            where the bytes are.
        seen: when the multipart upload was last seen to be there, in seconds since the epoch.
        setbacks: how often S3 has refused to put the parts together; see ``salvaging.py``.
    """

    schedule: Schedule
    multipart: str | None = None
    etags: tuple[str, ...] = ()
    end: int = 0
    tail: int = 0
    crc: int = 0
    tag: str = field(default="", compare=False)
    turn: int = field(default=0, compare=False)
    seen: int = field(default=0, compare=False)
    setbacks: int = field(default=0, compare=False)

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self.end + self.tail

    @property
    def next(self) -> int:
        """The number of the part that comes next."""
        return len(self.etags) + 1

    @property
    def consistent(self) -> bool:
        """Whether it can be: all parts but the last are whole, and nothing follows one that is
        not."""
        least, most = (self.schedule.start_of(self.next - 1 + more) for more in (0, 1))
        if not self.etags:
            return self.end == 0
        short = self.end < most
        return self.multipart is not None and least < self.end <= most and not (short and self.tail)


def extended(state: State, acks: Mapping[int, Ack]) -> State:
    """Return a state with the parts that follow on it without a gap; their bytes took the tail's
    place."""
    run: list[Ack] = []
    while (number := state.next + len(run)) in acks:
        run.append(acks[number])
    if not run:
        return state
    return replace(
        state,
        etags=(*state.etags, *(ack.etag for ack in run)),
        end=state.end + sum(ack.size for ack in run),
        tail=0,
        crc=0,
    )


def tail_in_the_way(recorded: State, wanted: State) -> bool:
    """Whether a new tail would be written over one that the record still counts on, and that is no
    beginning of it. Then the record must first say where those bytes are now."""
    return bool(recorded.tail and wanted.tail) and recorded.end != wanted.end


def own_bytes(upload: Upload) -> bool:
    """Whether an upload's bytes are told by its state. A final upload's come from others, and those
    of a partial that was used up are another's."""
    return upload.role is not Role.FINAL and upload.taken_by is None


def whole(upload: Upload, size: int) -> bool:
    """Whether so many bytes are all that an upload is to have, so that an object of them is its
    object."""
    return not own_bytes(upload) or size == upload.length


def counted(upload: Upload, state: State) -> Upload:
    """Give a record the offset that its state tells."""
    if not own_bytes(upload):
        return upload
    if upload.finished and upload.length is not None:
        return replace(upload, offset=upload.length)
    bounds = (state.size, upload.pending, upload.length)
    return replace(upload, offset=min(bound for bound in bounds if bound is not None))


def in_doubt(upload: Upload, state: State) -> bool:
    """Whether S3 has to be asked if the parts are still there."""
    return own_bytes(upload) and not upload.closed and state.multipart is not None


class Fate(Enum):
    """What became of a multipart upload."""

    OPEN = auto()
    """It is there."""
    DONE = auto()
    """It was put together, and nobody recorded it."""
    GONE = auto()
    """Somebody took it away: the upload can never be finished."""


LOST = "What was stored of it has been removed from the storage."
"""Why an upload has failed whose multipart upload is gone."""


def fate(upload: Upload, *, listed: bool, found: int | None) -> Fate:
    """Judge a multipart upload.

    Args:
        upload: with the offset that counts.
        listed: whether S3 still has it.
        found: the size of the object it becomes, or None where there is none. It is made of all of
            the upload's bytes and of nothing else: a record that tells of fewer was put over a
            later one, by a writer whose lock was lost.
    """
    if listed:
        return Fate.OPEN
    return Fate.DONE if found is not None and found == upload.length else Fate.GONE


def judged(upload: Upload, fate: Fate) -> Upload:
    """Return an upload as it is after what became of its multipart upload."""
    match fate:
        case Fate.OPEN:
            return upload
        case Fate.DONE:
            return replace(upload, offset=upload.length or 0)
        case Fate.GONE:
            return replace(upload, failed=LOST)


class Way(Enum):
    """How the object of a complete upload is made."""

    NONE = auto()
    """It is made by others."""
    PUT = auto()
    """The tail, or nothing at all, is put as it is."""
    LAST_PART = auto()
    """The tail becomes the last part, and then the parts are put together."""
    COMPLETE = auto()
    """The parts are put together."""


def way(upload: Upload, state: State) -> Way:
    """Say how a complete upload becomes an object."""
    if upload.role is Role.FINAL and upload.length == 0:
        return Way.PUT  # there is nothing to join
    if not own_bytes(upload):
        return Way.NONE
    if state.multipart is None or not (state.etags or state.tail):
        return Way.PUT
    return Way.LAST_PART if state.tail else Way.COMPLETE
