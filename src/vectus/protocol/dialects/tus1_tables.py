"""tus 1.0.0 as data: names of extensions, status codes, lists of header fields."""

from __future__ import annotations

from vectus.protocol.exchange import Reason
from vectus.protocol.policy import Feature

EXTENSIONS = {
    Feature.CREATION: "creation",
    Feature.CREATION_WITH_UPLOAD: "creation-with-upload",
    Feature.DEFERRED_LENGTH: "creation-defer-length",
    Feature.EXPIRATION: "expiration",
    Feature.CHECKSUM: "checksum",
    Feature.CHECKSUM_TRAILER: "checksum-trailer",
    Feature.TERMINATION: "termination",
    Feature.CONCATENATION: "concatenation",
    Feature.CONCATENATION_UNFINISHED: "concatenation-unfinished",
}

STATUS: dict[Reason, tuple[int, str]] = {
    Reason.VERSION: (412, "unsupported-version"),
    Reason.MALFORMED: (400, "malformed-header"),
    Reason.FRAMING: (400, "broken-framing"),
    Reason.METHOD: (405, "method-not-allowed"),
    Reason.EXPECTATION: (417, "expectation-failed"),
    Reason.MEDIA_TYPE: (415, "unsupported-media-type"),
    Reason.NOT_OFFERED: (400, "not-offered"),
    Reason.NOT_FOUND: (404, "not-found"),
    Reason.GONE: (410, "gone"),
    Reason.FINAL: (403, "final-upload"),
    Reason.OFFSET: (409, "offset-mismatch"),
    Reason.TOO_LARGE: (413, "too-large"),
    Reason.OVERRUN: (413, "overrun"),
    Reason.LENGTH: (400, "length-mismatch"),
    Reason.SOURCES: (400, "bad-concatenation"),
    Reason.ALGORITHM: (400, "unknown-algorithm"),
    Reason.CHECKSUM: (460, "checksum-mismatch"),
    Reason.UNVERIFIED: (400, "checksum-missing"),
    Reason.UNFINISHED: (409, "unfinished"),
    Reason.RANGE: (416, "range-not-satisfiable"),
    Reason.VETOED: (403, "refused"),
    Reason.LOCKED: (423, "locked"),
    Reason.DISPLACED: (423, "displaced"),
    Reason.FINISHING: (423, "finishing"),
    Reason.PINNED: (423, "being-joined"),
    Reason.KEY: (400, "bad-key"),
    # Not 409: clients take that for an offset, and ask again.
    Reason.KEY_TAKEN: (403, "key-taken"),
    Reason.UNAVAILABLE: (503, "unavailable"),
    Reason.FULL: (507, "no-space"),
    Reason.SHUTDOWN: (503, "shutting-down"),
    Reason.STALLED: (500, "timeout"),
    Reason.INTERRUPTED: (400, "interrupted"),
    Reason.INTERNAL: (500, "internal-error"),
}
"""Each reason's status and code word. A time-out is a 500 since clients retry no 408 (C35)."""

EXCEPTIONS: dict[tuple[Reason, str], int] = {
    (Reason.UNAVAILABLE, "HEAD"): 423,
    (Reason.LOCKED, "POST"): 503,
    (Reason.FINISHING, "POST"): 503,
}
"""Where the method matters (D3): tus-js-client forgets its URL on any HEAD but 2xx and 423."""

RETRY_AFTER = {
    Reason.LOCKED: 1,
    Reason.DISPLACED: 1,
    Reason.FINISHING: 1,
    Reason.PINNED: 5,
    Reason.UNAVAILABLE: 5,
    Reason.SHUTDOWN: 2,
    Reason.FULL: 60,
}
"""Seconds after which trying again makes sense."""

OFFSET_SHOWN = frozenset(Reason) - {
    Reason.FINISHING,
    Reason.LOCKED,
    Reason.GONE,
    Reason.UNAVAILABLE,
    Reason.INTERNAL,
    Reason.VETOED,
}
"""Refusals of a POST or PATCH that say where the upload is."""

CLOSES = frozenset({Reason.FRAMING, Reason.STALLED, Reason.SHUTDOWN, Reason.INTERRUPTED})
"""Refusals after which the connection is of no use."""

INERT = frozenset(
    {
        "text/plain",
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/avif",
        "image/bmp",
        "application/ogg",
    }
)
"""Media types that a browser shows without running anything; audio and video come on top."""

METHODS = ("POST", "HEAD", "PATCH", "GET", "DELETE", "OPTIONS")

ACCEPTS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Origin",
    "Range",
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "X-HTTP-Method-Override",
    "X-Request-ID",
    "X-Requested-With",
)

EXPOSES = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "ETag",
    "Location",
    "Retry-After",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Limit",
    "Upload-Metadata",
    "Upload-Offset",
)
