"""Cross-origin resource sharing (the Fetch standard), as header fields to add to a reply."""

from __future__ import annotations

from collections.abc import Iterable

from vectus.protocol.messages import Head
from vectus.protocol.policy import Cors


def is_preflight(head: Head) -> bool:
    """Whether a browser asks for leave before the real request. It carries no credentials, so it
    must be answered without any."""
    return (
        head.method == "OPTIONS"
        and "origin" in head.headers
        and "access-control-request-method" in head.headers
    )


def grant(
    cors: Cors | None,
    head: Head,
    *,
    methods: Iterable[str],
    accepts: Iterable[str],
    exposes: Iterable[str],
) -> tuple[tuple[str, str], ...]:
    """Return the fields that let the page at the request's origin use the reply.

    Args:
        cors: who may, or None where somebody else sees to it.
        head: the request.
        methods: methods a page may use.
        accepts: request fields a page may set.
        exposes: reply fields a page may read.
    """
    origin = head.headers.get("origin")
    if cors is None or origin is None or not {"*", origin} & set(cors.origins):
        return ()
    anyone = "*" in cors.origins and not cors.credentials
    fields = [("Access-Control-Allow-Origin", "*" if anyone else origin)]
    if not anyone:
        fields.append(("Vary", "Origin"))
    if cors.credentials:
        fields.append(("Access-Control-Allow-Credentials", "true"))
    if not is_preflight(head):
        return (*fields, ("Access-Control-Expose-Headers", ", ".join(exposes)))
    return (
        *fields,
        ("Access-Control-Allow-Methods", ", ".join(methods)),
        ("Access-Control-Allow-Headers", ", ".join(accepts)),
        ("Access-Control-Max-Age", str(cors.max_age)),
    )
