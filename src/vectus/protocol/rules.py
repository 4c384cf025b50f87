"""The whole judgement: what is admitted before the bytes, what is settled after them.

Pure functions of an intent, a record, the policy and the time. They never know which dialect asked,
and they never do anything: a refusal is raised, everything else is returned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto

from vectus.protocol.exchange import (
    Append,
    Create,
    Download,
    Downloaded,
    Ending,
    Payload,
    Plan,
    Reason,
    Received,
    Refused,
    Unchanged,
)
from vectus.protocol.fields import parse_range
from vectus.protocol.policy import ALGORITHMS, Feature, Policy
from vectus.protocol.upload import Role, Stage, Upload

# --- Creating -------------------------------------------------------------------------------------


def admit_create(
    intent: Create, sources: Sequence[Upload | None], policy: Policy, id: str, now: float
) -> Upload:
    """Judge a wish for a new upload.

    Args:
        intent: the wish.
        sources: for a final upload, the uploads it names, None for one that is not there.
        policy: what is on offer.
        id: what it will be called.
        now: seconds since the epoch.

    Returns:
        The record to create.
    """
    _offered(intent, policy)
    length = _joined_length(sources, policy) if intent.role is Role.FINAL else intent.length
    _within(length, policy.largest, None)
    if intent.payload:
        _admit_payload(intent.payload, _room(length, 0, policy.largest_deferred), None)
    upload = Upload(
        id=id,
        role=intent.role,
        length=length,
        metadata=intent.metadata,
        concat=intent.concat,
        parts=intent.parts,
        created=now,
        expires=expiry(policy.expire_after, now),
    )
    return bounded(upload, policy)


def _offered(intent: Create, policy: Policy) -> None:
    deferred = intent.length is None and intent.role is not Role.FINAL
    if Feature.CREATION not in policy.features:
        raise Refused(Reason.NOT_OFFERED, "This server does not create uploads.")
    if deferred and Feature.DEFERRED_LENGTH not in policy.features:
        raise Refused(Reason.NOT_OFFERED, "This server wants the length at creation.")
    if intent.role is not Role.PLAIN and Feature.CONCATENATION not in policy.features:
        raise Refused(Reason.NOT_OFFERED, "This server does not join uploads.")


def _joined_length(sources: Sequence[Upload | None], policy: Policy) -> int | None:
    """Judge what a final upload names, and return its length if it can be told already."""
    for source in sources:
        # One answer for all three, so that nobody can probe which uploads exist.
        if source is None or source.role is not Role.PARTIAL or source.stage is Stage.GONE:
            raise Refused(Reason.SOURCES, "A final upload can be made of partial uploads only.")
    partials = [source for source in sources if source is not None]
    unfinished = not all(partial.complete for partial in partials)
    if unfinished and Feature.CONCATENATION_UNFINISHED not in policy.features:
        raise Refused(Reason.SOURCES, "A partial upload is not finished yet.")
    return joined_length(partials)


def joined_length(partials: Sequence[Upload]) -> int | None:
    """Return the sum of the partials' lengths, or None while one is not declared."""
    lengths = [partial.length for partial in partials]
    return None if None in lengths else sum(length for length in lengths if length is not None)


def _within(length: int | None, limit: int | None, upload: Upload | None) -> None:
    if length is not None and limit is not None and length > limit:
        raise Refused(Reason.TOO_LARGE, f"An upload may have at most {limit} bytes.", upload)


def _room(length: int | None, offset: int, limit: int | None) -> int | None:
    """Return how many bytes may still come, or None for no limit.

    Args:
        length: the upload's, or None while it is not declared.
        offset: how far it is.
        limit: how many bytes it may have while its length is not declared.
    """
    most = length if length is not None else limit
    return None if most is None else max(0, most - offset)


def _admit_payload(payload: Payload, room: int | None, upload: Upload | None) -> None:
    if payload.checksum and payload.checksum.algorithm not in ALGORITHMS:
        raise Refused(Reason.ALGORITHM, "This server does not know the checksum algorithm.", upload)
    if payload.size is not None and room is not None and payload.size > room:
        raise Refused(Reason.TOO_LARGE, f"The upload has room for {room} bytes only.", upload)


def expiry(seconds: float | None, now: float) -> float | None:
    """Return when something dies that lives for ``seconds`` from ``now``, in whole seconds, as
    dates in HTTP are."""
    return None if seconds is None else float(math.ceil(now + seconds))


def renewed(upload: Upload, policy: Policy, now: float) -> Upload:
    """Return an unfinished upload whose time counts from now."""
    return bounded(replace(upload, expires=expiry(policy.expire_after, now)), policy)


def bounded(upload: Upload, policy: Policy) -> Upload:
    """Return an upload with the time that it has: an unfinished one lasts no longer than its store
    keeps it, whatever its record promises."""
    end = kept_until(upload, policy)
    if end is None:
        return upload
    mortal = policy.expire_after is not None and upload.expires is not None
    return replace(upload, expires=min(upload.expires or end, end) if mortal else end)


def kept_until(upload: Upload, policy: Policy) -> float | None:
    """Return until when the store is sure to keep an upload, or None for ever, as it keeps what is
    finished. What is joined waits for nobody, and begins anew where it was dropped."""
    unfinished = not upload.finished and upload.role is not Role.FINAL
    if policy.kept_for is None or not unfinished or not upload.created:
        return None
    return float(math.floor(upload.created + policy.kept_for))


# --- Whether an upload is there for a request -----------------------------------------------------


class Action(Enum):
    """What a request wants of an upload."""

    INSPECT = auto()
    APPEND = auto()
    DOWNLOAD = auto()
    TERMINATE = auto()


_UNFINISHED = (Reason.UNFINISHED, "The upload is not finished yet.")
_FINAL = (Reason.FINAL, "A final upload takes no bytes of its own.")
FINISHING = (Reason.FINISHING, "The upload is being finished; ask again soon.")
"""How a request is refused while the last step of an upload fails (D3)."""
_JOINING = (Reason.PINNED, "The upload is being joined; ask again later.")

OBSTACLES: dict[tuple[Stage, Action], tuple[Reason, str]] = {
    (Stage.FINISHING, Action.INSPECT): FINISHING,
    (Stage.FINISHING, Action.DOWNLOAD): _UNFINISHED,
    (Stage.RECEIVING, Action.DOWNLOAD): _UNFINISHED,
    (Stage.AWAITING, Action.DOWNLOAD): _UNFINISHED,
    (Stage.JOINING, Action.DOWNLOAD): _UNFINISHED,
    (Stage.JOINING, Action.TERMINATE): _JOINING,
}
"""What stands in the way of an action at a stage; what is not here is allowed."""


def expired(upload: Upload, policy: Policy, now: float) -> bool:
    """Whether an upload's time is over. Where uploads of its kind live for ever now, so does one
    that was promised less."""
    done = upload.finished and upload.role is not Role.PARTIAL
    lifetime = policy.expire_finished if done else policy.expire_after
    mortal = lifetime is not None or kept_until(upload, policy) is not None
    expires = bounded(upload, policy).expires
    return mortal and expires is not None and now >= expires


def admit(action: Action, upload: Upload, policy: Policy, now: float) -> None:
    """Judge whether an upload is there for an action at all."""
    if upload.stage is Stage.GONE:
        raise Refused(Reason.GONE, upload.failed or "Its bytes belong to a final upload now.")
    if expired(upload, policy, now):
        raise Refused(Reason.GONE, "The upload has expired.")
    if action is Action.APPEND and upload.role is Role.FINAL:  # finished or not (T75, C26)
        raise Refused(*_FINAL)
    if obstacle := OBSTACLES.get((upload.stage, action)):
        raise Refused(*obstacle)


# --- Appending ------------------------------------------------------------------------------------


def admit_append(intent: Append, upload: Upload, policy: Policy, now: float) -> Plan:
    """Judge an append by its head, before the first byte of its body.

    The order of the checks is tusd's (C07), with 404 before 409.
    """
    admit(Action.APPEND, upload, policy, now)
    if intent.offset != upload.offset:
        raise Refused(
            Reason.OFFSET, f"The upload is at {upload.offset}, not at {intent.offset}.", upload
        )
    length = _declared(intent.length, upload, policy)
    room = _room(length, upload.offset, policy.largest_deferred)
    _admit_payload(intent.payload, room, upload)
    return plan(intent.payload, upload, length, policy)


def plan(payload: Payload, upload: Upload, length: int | None, policy: Policy) -> Plan:
    """Say what an append that was admitted may do.

    What the store has no room for is no overrun: of a body without a length it keeps what fits.
    """
    room = _room(length, upload.offset, policy.max_size)
    unverified = payload.checksum is not None or payload.trailer
    may_overrun = payload.size is None and room is not None
    return Plan(
        start=upload.offset,
        room=room,
        length=length,
        payload=payload,
        revocable=unverified or may_overrun,
    )


def _declared(length: int | None, upload: Upload, policy: Policy) -> int | None:
    """Judge a declaration of the length (D4: the same again is fine, another is not)."""
    if length is None or length == upload.length:
        return upload.length
    if upload.length is not None:
        raise Refused(Reason.LENGTH, f"The length is {upload.length} and cannot change.", upload)
    if length < upload.offset:
        raise Refused(Reason.LENGTH, f"The upload has {upload.offset} bytes already.", upload)
    _within(length, policy.largest_deferred, upload)
    return length


UNKEPT = {Ending.OVERRUN, Ending.LOST}
"""Endings of which nothing is kept, whatever the plan."""

VERDICTS: dict[Ending, tuple[Reason, str]] = {
    Ending.GONE: (Reason.INTERRUPTED, "The connection ended before the body did."),
    Ending.STALLED: (Reason.STALLED, "No byte came for too long; what came is kept."),
    Ending.BROKEN: (Reason.FRAMING, "The body's framing is broken."),
    Ending.WANTED: (Reason.DISPLACED, "A newer request took the upload over."),
    Ending.LOST: (Reason.DISPLACED, "The upload was taken over."),
    Ending.SHUTDOWN: (Reason.SHUTDOWN, "The server is stopping; go on elsewhere or later."),
    Ending.CANCELLED: (Reason.INTERRUPTED, "The request was cancelled."),
    Ending.FULL: (Reason.FULL, "The server has no room left; what fitted is kept."),
    Ending.OVERRUN: (Reason.OVERRUN, "More bytes came than the upload may take; none is kept."),
}
"""How a request is answered whose body did not end where its framing said."""


def settle(plan: Plan, upload: Upload, received: Received, policy: Policy, now: float) -> Upload:
    """Judge what came of a body, and return the record as it is to be committed.

    Raises:
        Refused: nothing of the request is kept, its declaration of a length neither (D4).
    """
    if received.ending in UNKEPT:
        raise Refused(*VERDICTS[received.ending], upload)
    if plan.payload.checksum or plan.payload.trailer:
        _verify(upload, received)
    settled = replace(
        upload,
        offset=plan.start + received.count,
        length=plan.length,
        pending=None,
        foreign=False,
        expires=expiry(policy.expire_after, now) if received.count else upload.expires,
    )
    return bounded(settled, policy) if received.count else settled


def _verify(upload: Upload, received: Received) -> None:
    if received.ending is not Ending.COMPLETE:
        raise Refused(*VERDICTS[received.ending], upload)
    if received.claimed is None:
        raise Refused(Reason.UNVERIFIED, "The declared checksum did not come, or is none.", upload)
    if received.digest is None:
        raise Refused(Reason.ALGORITHM, "This server does not know the checksum algorithm.", upload)
    if received.digest != received.claimed:
        raise Refused(Reason.CHECKSUM, "The bytes do not match the checksum.", upload)


def acknowledge(upload: Upload, received: Received) -> None:
    """Refuse, now that all is kept, a request whose body ended early."""
    if received.ending is not Ending.COMPLETE:
        raise Refused(*VERDICTS[received.ending], upload)


# --- Finishing and joining ------------------------------------------------------------------------


def finish(upload: Upload, policy: Policy, now: float, *, announced: bool = False) -> Upload:
    """Return the record of an upload that is complete, as finished, and as announced where there
    is nobody to tell. A partial goes on expiring like an unfinished upload (D7), but for the store,
    which keeps it now."""
    expires = upload.expires
    if upload.role is not Role.PARTIAL:
        expires = expiry(policy.expire_finished, now)
    elif kept_until(upload, policy) is not None:
        expires = expiry(policy.expire_after, now)
    return replace(
        upload, finished=True, announced=announced, pending=None, foreign=False, expires=expires
    )


def unsettled(upload: Upload) -> bool:
    """Whether an upload waits for a step that needs no more bytes of its own."""
    waiting = upload.stage in (Stage.FINISHING, Stage.AWAITING, Stage.JOINING)
    return waiting or (upload.stage is Stage.FINISHED and not upload.announced)


def review_final(final: Upload, partials: Sequence[Upload | None], policy: Policy) -> Upload:
    """Return a final upload that is not joined as its partials make it: with its length once that
    can be told, failed when it can never be joined."""
    present = [partial for partial in partials if partial is not None]
    if len(present) < len(partials) or any(_lost(partial, final) for partial in present):
        return bereft(final)
    length = joined_length(present)
    if length is not None and policy.largest is not None and length > policy.largest:
        return replace(final, failed=f"Joined it would have more than {policy.largest} bytes.")
    return replace(final, length=length)


def bereft(final: Upload) -> Upload:
    """Return a final upload that has lost a partial."""
    return replace(final, joining=False, failed="A partial upload it was to be made of is gone.")


def join(final: Upload) -> Upload:
    """Return a final upload whose partials are all complete, as one that is being joined. It waits
    for no client any more, so its time is not counted."""
    return replace(final, joining=True, expires=None)


def _lost(partial: Upload, final: Upload) -> bool:
    return partial.stage is Stage.GONE and partial.taken_by != final.id


def pinning(final: Upload) -> bool:
    """Whether a final upload's partials must stay as they are (D8)."""
    return final.stage is Stage.JOINING


def joinable(partials: Sequence[Upload | None]) -> bool:
    """Whether every partial is complete."""
    return all(partial is not None and partial.complete for partial in partials)


# --- Downloading ----------------------------------------------------------------------------------


def admit_download(
    intent: Download, upload: Upload, policy: Policy, now: float
) -> Downloaded | Unchanged:
    """Judge a download and its conditions (RFC 9110, sections 13 and 14)."""
    admit(Action.DOWNLOAD, upload, policy, now)
    tag = upload.tag
    if intent.if_none_match is not None and _matches(intent.if_none_match, tag):
        return Unchanged(upload)
    whole = Downloaded(upload, 0, upload.offset, ranged=False)
    if intent.ranges is None or intent.if_range not in (None, tag):
        return whole
    try:
        asked = parse_range(intent.ranges, upload.offset)
    except ValueError:
        raise Refused(Reason.RANGE, "The range lies outside the upload.", upload) from None
    return whole if asked is None else Downloaded(upload, *asked, ranged=True)


def redirects(found: Downloaded, policy: Policy) -> bool:
    """Whether a download that was admitted is to be had elsewhere; an empty one never is."""
    return policy.redirect and found.upload.offset > 0


def _matches(condition: str, tag: str) -> bool:
    tags = [item.strip(" \t").removeprefix("W/") for item in condition.split(",")]
    return "*" in tags or tag in tags
