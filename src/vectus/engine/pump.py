"""The pump: payload bytes move here, from a body into a sink, and nowhere else."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from vectus.contracts import Body, Sink, Take
from vectus.errors import StoreFull
from vectus.protocol.exchange import Ending, Payload, Plan, Received
from vectus.protocol.messages import Headers
from vectus.protocol.policy import ALGORITHMS

Claim = Callable[[Headers], tuple[str, bytes] | None]
"""Reads a checksum out of trailers: the algorithm and the digest, or None."""


class Hasher(Protocol):
    """What hashlib gives."""

    def update(self, data: memoryview, /) -> None:
        """Take bytes in."""

    def digest(self) -> bytes:
        """Return the digest of what was taken in."""


class Crc32:
    """CRC-32 as a hasher; its digest is four bytes, big-endian."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        """Take bytes in."""
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        """Return the checksum of what was taken in."""
        return self._value.to_bytes(4, "big")


def _hasher(algorithm: str) -> Hasher:
    if algorithm == "crc32":
        return Crc32()
    return hashlib.new(algorithm, usedforsecurity=False)


def hashers(payload: Payload) -> dict[str, Hasher]:
    """Return what must be computed while the bytes pass. A trailer names its algorithm only after
    them, so all are computed for it."""
    if payload.checksum:
        return {payload.checksum.algorithm: _hasher(payload.checksum.algorithm)}
    return {name: _hasher(name) for name in ALGORITHMS} if payload.trailer else {}


async def pump(body: Body, sink: Sink, plan: Plan, claim: Claim) -> Received:
    """Move a body into a sink until it ends, for whatever reason, and say what came of it.

    A cancellation is an ending like any other: it is reported, and the caller raises it again once
    all is settled.

    Raises:
        OSError, StoreError: the sink failed for another reason than want of room.
    """
    digests = hashers(plan.payload)
    try:
        ending = await body.pour(_gauge(body, sink, plan.room, list(digests.values())))
    except StoreFull:
        ending = Ending.FULL
    except asyncio.CancelledError:
        ending = Ending.CANCELLED
    body.stop(ending)
    algorithm, claimed = _claimed(plan.payload, body.trailers, claim)
    hasher = digests.get(algorithm)
    return Received(sink.count, ending, hasher.digest() if hasher else None, claimed)


def _gauge(body: Body, sink: Sink, room: int | None, digests: list[Hasher]) -> Take:
    """Return a take that never lets more pass than there is room for."""
    write, left = sink.write, room

    def take(piece: memoryview) -> Awaitable[None] | None:
        nonlocal left
        if left is not None:
            left -= len(piece)
            if left < 0:
                body.stop(Ending.OVERRUN)
                return None
        for digest in digests:
            digest.update(piece)
        return write(piece)

    return take


def _claimed(payload: Payload, trailers: Headers, claim: Claim) -> tuple[str, bytes | None]:
    if payload.checksum:
        return payload.checksum.algorithm, payload.checksum.digest
    return (claim(trailers) if payload.trailer else None) or ("", None)
