"""Lets a bucket's lifecycle configuration pass through boto as the XML it is.

boto knows the rules of its day, and drops what it does not know; whoever reads a configuration,
changes one rule and writes it back must keep all of it. So an answer has the body under ``RAW``,
and a request may have one there. Nothing in here knows what is in it.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import md5
from typing import Any

RAW = "Raw"
"""The parameter, and the key in an answer."""

_READ = "s3.GetBucketLifecycleConfiguration"
_WRITE = "s3.PutBucketLifecycleConfiguration"


def attach(client: Any) -> None:
    """Teach a boto client these ways."""
    events = client.meta.events
    events.register(f"after-call.{_READ}", _show)
    events.register(f"provide-client-params.{_WRITE}", _lay_aside)
    events.register(f"before-call.{_WRITE}", _put_in)


def _show(http_response: Any, parsed: dict[str, Any], **_: object) -> None:
    parsed[RAW] = http_response.content


def _lay_aside(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    context[RAW] = params.pop(RAW)


def _put_in(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    params["body"] = context[RAW]
    # Servers ask for it, and boto has gone over to checksums that they do not know.
    digest = md5(context[RAW], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = b64encode(digest).decode()
