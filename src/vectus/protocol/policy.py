"""What this server offers and allows: limits, features, algorithms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Feature(Enum):
    """What can be offered beyond the core; a dialect words it in its own terms."""

    CREATION = auto()
    CREATION_WITH_UPLOAD = auto()
    DEFERRED_LENGTH = auto()
    EXPIRATION = auto()
    CHECKSUM = auto()
    CHECKSUM_TRAILER = auto()
    TERMINATION = auto()
    CONCATENATION = auto()
    CONCATENATION_UNFINISHED = auto()
    DOWNLOAD = auto()


ALGORITHMS = ("sha1", "sha256", "sha512", "md5", "crc32")
"""The checksum algorithms; the first is the one every server must know."""


@dataclass(frozen=True, slots=True)
class Cors:
    """Which other origins' pages may use the server: ``("*",)`` is any."""

    origins: tuple[str, ...] = ("*",)
    credentials: bool = False
    max_age: int = 86400


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits and features in force.

    Args:
        features: what the store and the options allow.
        max_size: bytes that one upload may have, or None.
        capacity: the same, as far as the store can keep them.
        capacity_deferred: the same, of an upload whose length is not known when it begins.
        kept_for: seconds after its creation for which the store is sure to keep an unfinished
            upload, or None for ever.
        expire_after: seconds an unfinished upload lives after its last byte, or None for ever.
        expire_finished: seconds a finished upload lives, or None for ever.
        drop_partials: whether partials are used up by the final upload that joins them.
        redirect: whether downloads are sent to the store's own server.
        cors: who may use it from other origins; None leaves CORS to somebody else.
    """

    features: frozenset[Feature] = frozenset(Feature)
    max_size: int | None = None
    capacity: int | None = None
    capacity_deferred: int | None = None
    kept_for: float | None = None
    expire_after: float | None = 7 * 86400.0
    expire_finished: float | None = None
    drop_partials: bool = False
    redirect: bool = False
    cors: Cors | None = Cors()

    @property
    def largest(self) -> int | None:
        """How many bytes an upload may have, or None for no limit."""
        return _least(self.max_size, self.capacity)

    @property
    def largest_deferred(self) -> int | None:
        """The same, of an upload whose length is not known when it begins."""
        return _least(self.largest, self.capacity_deferred)


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
