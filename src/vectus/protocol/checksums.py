"""The checksums that tus knows by name, as hashers: what server and client compute alike."""

from __future__ import annotations

import hashlib
import zlib
from typing import Protocol


class Hasher(Protocol):
    """What hashlib gives."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take bytes in."""

    def digest(self) -> bytes:
        """Return the digest of what was taken in."""


class Crc32:
    """CRC-32 as a hasher; its digest is four bytes, big-endian."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        """Take bytes in."""
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        """Return the checksum of what was taken in."""
        return self._value.to_bytes(4, "big")


def hasher(algorithm: str) -> Hasher:
    """Return a new hasher for one of ``policy.ALGORITHMS``."""
    if algorithm == "crc32":
        return Crc32()
    return hashlib.new(algorithm, usedforsecurity=False)
