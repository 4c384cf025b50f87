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
        expire_after: seconds an unfinished upload lives after its last byte, or None for ever.
        expire_finished: seconds a finished upload lives, or None for ever.
        drop_partials: whether partials are used up by the final upload that joins them.
        cors: who may use it from other origins; None leaves CORS to somebody else.
    """

    features: frozenset[Feature] = frozenset(Feature)
    max_size: int | None = None
    expire_after: float | None = 7 * 86400.0
    expire_finished: float | None = None
    drop_partials: bool = False
    cors: Cors | None = Cors()
