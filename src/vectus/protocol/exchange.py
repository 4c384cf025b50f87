"""What can be asked, what can be answered, what can be refused.

Dialects and rules do not know each other; both speak these words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from vectus.errors import VectusError
from vectus.protocol.policy import Policy
from vectus.protocol.upload import Role, Upload


class Ending(Enum):
    """Why a body came to its end."""

    COMPLETE = auto()
    """It ended where its framing said."""
    GONE = auto()
    """The client went away."""
    STALLED = auto()
    """Nothing came for too long."""
    BROKEN = auto()
    """Its framing made no sense from here on."""
    WANTED = auto()
    """A newer request wants the upload."""
    LOST = auto()
    """The lock was lost; another holder may be writing."""
    SHUTDOWN = auto()
    """The server is stopping."""
    CANCELLED = auto()
    """The task that handled the request was cancelled."""
    FULL = auto()
    """The store has no room left."""
    OVERRUN = auto()
    """More came than the upload may take."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest the client claims. ``digest`` is None while it is still to come as a trailer."""

    algorithm: str
    digest: bytes | None


@dataclass(frozen=True, slots=True)
class Payload:
    """What a head says of the upload data in its body.

    Args:
        size: bytes, or None when the body is chunked.
        checksum: what the bytes must hash to, or None.
        trailer: whether the checksum comes after the bytes.
    """

    size: int | None
    checksum: Checksum | None = None
    trailer: bool = False


@dataclass(frozen=True, slots=True)
class Discover:
    """What can you do?"""


@dataclass(frozen=True, slots=True)
class Create:
    """Make an upload. ``length`` None means deferred; ``payload`` None means no upload data."""

    role: Role
    length: int | None
    metadata: str | None
    concat: str | None = None
    parts: tuple[str, ...] = ()
    payload: Payload | None = None


@dataclass(frozen=True, slots=True)
class Inspect:
    """How far is it?"""

    id: str


@dataclass(frozen=True, slots=True)
class Append:
    """Take these bytes at this offset; ``length`` declares the length, if there."""

    id: str
    offset: int
    length: int | None
    payload: Payload


@dataclass(frozen=True, slots=True)
class Terminate:
    """Forget it."""

    id: str


@dataclass(frozen=True, slots=True)
class Download:
    """Give me its bytes: ``ranges`` and the conditions are the fields' values as sent."""

    id: str
    ranges: str | None = None
    if_range: str | None = None
    if_none_match: str | None = None


Intent = Discover | Create | Inspect | Append | Terminate | Download


@dataclass(frozen=True, slots=True)
class Discovered:
    """What is on offer."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class Created:
    """It exists. ``received`` is whether the request carried upload data."""

    upload: Upload
    received: bool


@dataclass(frozen=True, slots=True)
class Inspected:
    """This is how far it is."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class Appended:
    """The bytes are taken."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class Terminated:
    """It is gone."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """Here are bytes ``start`` to ``stop`` (not included); ``ranged`` if a range was asked for."""

    upload: Upload
    start: int
    stop: int
    ranged: bool


@dataclass(frozen=True, slots=True)
class Redirected:
    """Its bytes are to be had under another URL, for a while."""

    upload: Upload
    url: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The client has these bytes already."""

    upload: Upload


class Reason(Enum):
    """Why a request is refused. The dialects know each one's status code."""

    VERSION = auto()
    MALFORMED = auto()
    FRAMING = auto()
    METHOD = auto()
    EXPECTATION = auto()
    MEDIA_TYPE = auto()
    NOT_OFFERED = auto()
    NOT_FOUND = auto()
    GONE = auto()
    FINAL = auto()
    OFFSET = auto()
    TOO_LARGE = auto()
    OVERRUN = auto()
    LENGTH = auto()
    SOURCES = auto()
    ALGORITHM = auto()
    CHECKSUM = auto()
    UNVERIFIED = auto()
    UNFINISHED = auto()
    RANGE = auto()
    VETOED = auto()
    LOCKED = auto()
    DISPLACED = auto()
    FINISHING = auto()
    PINNED = auto()
    KEY = auto()
    KEY_TAKEN = auto()
    UNAVAILABLE = auto()
    FULL = auto()
    SHUTDOWN = auto()
    STALLED = auto()
    INTERRUPTED = auto()
    INTERNAL = auto()


class Refused(VectusError):
    """The request is refused; it becomes a reply.

    Args:
        reason: which of the known reasons it is.
        detail: a sentence for the client, without anything internal.
        upload: the upload as it is now, where the client may know of it.

    Attributes:
        created: the id of the upload that the refused request has made all the same.
    """

    def __init__(self, reason: Reason, detail: str, upload: Upload | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.upload = upload
        self.created: str | None = None


class Vetoed(Refused):
    """A listener of the application refused, with a status and words of its own."""

    def __init__(self, status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(Reason.VETOED, text)
        self.status = status
        self.headers = headers


Outcome = (
    Discovered
    | Created
    | Inspected
    | Appended
    | Terminated
    | Downloaded
    | Redirected
    | Unchanged
    | Refused
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an admitted append may do.

    Args:
        start: the offset of its first byte.
        room: how many bytes may come, or None for no limit.
        length: the upload's length once this request's declaration counts, or None.
        payload: what the head said of the body.
        revocable: whether its bytes may have to be taken back (they are not verified yet, or may
            overrun), so that none of them counts before the verdict.
    """

    start: int
    room: int | None
    length: int | None
    payload: Payload
    revocable: bool


@dataclass(frozen=True, slots=True)
class Received:
    """What came of a body: bytes the sink took, why it ended, and what they hashed to."""

    count: int
    ending: Ending
    digest: bytes | None = None
    claimed: bytes | None = None
