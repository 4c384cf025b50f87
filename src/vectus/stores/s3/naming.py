"""What objects are called: an upload's own by its id, or by a key that the application chose.

Pure. Names are relative to the store's prefix. A chosen key may be anybody's, so it is never taken
for ours by its name alone: the object bears its upload's mark. So does a tail, which is known by it
when there is no record that names it.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

from vectus.errors import KeyRefused
from vectus.protocol.upload import ID, Upload

INFO = ".info"
TAIL = ".part"
JOINS = ".joins/"
CLAIMS = ".keys/"

MARK = "vectus-upload"
"""Under which word of an object's metadata the id of its upload is. Tails bear it too."""

LONGEST = 1024
"""Of how many bytes a key may be, in UTF-8, the store's prefix included."""

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
"""What listings, logs or files cannot hold."""


def name_of(upload: Upload) -> str:
    """Return the name of an upload's object."""
    return upload.id if upload.key is None else upload.key


def mark_of(upload: Upload) -> str | None:
    """Return the mark by which an upload's object is known; None where its name says enough, as
    ids are never used twice."""
    return None if upload.key is None else upload.id


def metadata_of(upload: Upload) -> dict[str, Any]:
    """Return what S3 is told so that an upload's object bears its mark."""
    return marking(mark_of(upload))


def marking(mark: str | None) -> dict[str, Any]:
    """Return what S3 is told so that an object bears a mark, if it is to bear one."""
    return {} if mark is None else {"Metadata": {MARK: mark}}


def marked(metadata: dict[str, str]) -> str | None:
    """Return the mark in an object's metadata; servers differ in the case of words."""
    return next((value for word, value in metadata.items() if word.lower() == MARK), None)


def claim_of(key: str) -> str:
    """Return the name of the note that says whose a chosen key is."""
    return CLAIMS + sha256(key.encode()).hexdigest()


def scanned_as(endpoint: str | None, bucket: str, prefix: str) -> str:
    """Return the name of the lock of whoever scans a store for all: of this store alone, as others
    may have their locks in the same place; and longer than an id of ours is."""
    whole = "\n".join(((endpoint or "").rstrip("/"), bucket, prefix))
    return f"sweeping-{sha256(whole.encode()).hexdigest()}"


def check_key(key: str, prefix: str) -> None:
    """Judge a key that was chosen.

    Args:
        key: relative to the prefix.
        prefix: what comes before it, with its slash.

    Raises:
        KeyRefused: it cannot be one.
    """
    segments = key.split("/")
    if not all(segments):
        raise KeyRefused(key, "a part of it is empty")
    if {".", ".."} & set(segments):
        raise KeyRefused(key, "it has a dot segment in it")
    if _UNSAFE.search(key):
        raise KeyRefused(key, "it has control characters in it")
    if len((prefix + key).encode()) > LONGEST:
        raise KeyRefused(key, f"it has more than {LONGEST} bytes")
    if key.startswith(".") or key.endswith((INFO, TAIL)) or ID.fullmatch(key):
        raise KeyRefused(key, "the store itself may use it")
