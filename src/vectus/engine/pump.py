"""The pump: payload bytes move here, from a body into a sink, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from vectus.contracts import Body, Lease, Sink
from vectus.errors import StoreFull
from vectus.protocol.checksums import Hasher, hasher
from vectus.protocol.exchange import Ending, Payload, Plan, Received
from vectus.protocol.messages import Headers
from vectus.protocol.policy import ALGORITHMS

Claim = Callable[[Headers], tuple[str, bytes] | None]
"""Reads a checksum out of trailers: the algorithm and the digest, or None."""


def hashers(payload: Payload) -> dict[str, Hasher]:
    """Return what must be computed while the bytes pass. A trailer names its algorithm only after
    them, so all are computed for it."""
    if payload.checksum:
        return {payload.checksum.algorithm: hasher(payload.checksum.algorithm)}
    return {name: hasher(name) for name in ALGORITHMS} if payload.trailer else {}


async def pump(body: Body, sink: Sink, plan: Plan, lease: Lease, claim: Claim) -> Received:
    """Move a body into a sink until it ends, for whatever reason, and say what came of it.

    A cancellation is an ending like any other: it is reported, and the caller raises it again once
    all is settled.

    Raises:
        OSError, StoreError: the sink failed for another reason than want of room.
    """
    digests = hashers(plan.payload)
    gauge = Gauge(body, sink, plan.room, lease, list(digests.values()))
    try:
        ending = await body.pour(gauge)
    except StoreFull:
        ending = Ending.FULL
    except asyncio.CancelledError:
        ending = Ending.CANCELLED
    if gauge.overrun and ending is Ending.COMPLETE:
        ending = Ending.OVERRUN  # what was not taken is not acknowledged, whatever a body says
    if lease.lost and ending is not Ending.CANCELLED:
        ending = Ending.LOST  # a body may be complete before it hears of it
    body.stop(ending)
    algorithm, claimed = _claimed(plan.payload, body.trailers, claim)
    hasher = digests.get(algorithm)
    return Received(sink.count, ending, hasher.digest() if hasher else None, claimed)


class Gauge:
    """A take that lets nothing pass once the lock is lost, and never more than there is room for,
    and digests what passes."""

    __slots__ = ("_body", "_digests", "_lease", "_left", "_write", "overrun")

    def __init__(
        self,
        body: Body,
        sink: Sink,
        room: int | None,
        lease: Lease,
        digests: Sequence[Hasher],
    ) -> None:
        self._body = body
        self._lease = lease
        self._write = sink.write
        self._left = room
        self._digests = digests
        self.overrun = False

    def __call__(self, piece: memoryview) -> Awaitable[None] | None:
        """Take a piece, or stop the body at one that is too much, or comes too late."""
        if self._lease.lost:
            self._body.stop(Ending.LOST)
            return None
        if self._left is not None:
            self._left -= len(piece)
            if self._left < 0:
                self.overrun = True
                self._body.stop(Ending.OVERRUN)
                return None
        for digest in self._digests:
            digest.update(piece)
        return self._write(piece)


def _claimed(payload: Payload, trailers: Headers, claim: Claim) -> tuple[str, bytes | None]:
    if payload.checksum:
        return payload.checksum.algorithm, payload.checksum.digest
    return (claim(trailers) if payload.trailer else None) or ("", None)
