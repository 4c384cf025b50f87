"""Entries as JSON objects, and the documents that hold them: tuspy's, which are TinyDB's.

``{"_default": {"1": {"key": "the fingerprint", "url": "https://..."}}}``: tuspy knows ``key`` and
``url``; the rest of a row is ours, and tuspy leaves it alone. Pure: what is read and written here
are values, and rows that are not understood stay as they are.
"""

from __future__ import annotations

import json
from typing import Any

from vectus.client.contracts import Entry

Row = dict[str, Any]
Document = dict[str, Any]

_TABLE = "_default"


def to_row(entry: Entry) -> Row:
    """Return an entry as a JSON object; ``of`` is the URL that the rest belongs to."""
    return {
        "url": entry.url,
        "length": entry.length,
        "created": entry.created,
        "extra": entry.extra,
        "of": entry.url,
    }


def to_entry(row: object) -> Entry | None:
    """Return what a JSON object says, or None if it names no URL; what is no such thing is left
    out.

    Where tuspy has changed the URL of a row of ours, the rest is about an upload of the past.
    """
    url = row.get("url") if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(url, str) or not url:
        return None
    if row.get("of", url) != url:
        return Entry(url)
    return Entry(
        url, _length(row.get("length")), _created(row.get("created")), _extra(row.get("extra"))
    )


def parse(raw: bytes) -> Document:
    """Return the document in a file; an empty file, as tuspy makes it, is an empty document.

    Raises:
        ValueError: it is none.
    """
    try:
        document = json.loads(raw or b"{}")
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(document, dict) or not isinstance(document.get(_TABLE, {}), dict):
        raise ValueError("not a document of tables")  # noqa: TRY004
    return document


def dump(document: Document) -> bytes:
    """Return a document as the content of a file; in ASCII, as tuspy reads in the locale's way."""
    return json.dumps(document).encode("ascii")


def find(document: Document, fingerprint: str) -> Entry | None:
    """Return the first entry with a URL that a document has for a fingerprint."""
    table = document.get(_TABLE, {})
    entries = (to_entry(table[id]) for id in _ids(table, fingerprint))
    return next((entry for entry in entries if entry), None)


def put(document: Document, fingerprint: str, entry: Entry) -> None:
    """Make an entry the only one for a fingerprint; fields of others in its row are kept."""
    table = document.setdefault(_TABLE, {})
    id, *surplus = _ids(table, fingerprint) or [_next_id(table)]
    for other in surplus:
        del table[other]
    table[id] = {**table.get(id, {}), "key": fingerprint, **to_row(entry)}


def drop(document: Document, fingerprint: str) -> bool:
    """Take out what there is for a fingerprint, and say whether there was anything."""
    table = document.get(_TABLE, {})
    ids = _ids(table, fingerprint)
    for id in ids:
        del table[id]
    return bool(ids)


def _ids(table: dict[str, Any], fingerprint: str) -> list[str]:
    return [
        id for id, row in table.items() if isinstance(row, dict) and row.get("key") == fingerprint
    ]


def _next_id(table: dict[str, Any]) -> str:
    return str(max((int(id) for id in table if id.isdecimal()), default=0) + 1)


def _length(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _created(value: object) -> float:
    known = isinstance(value, int | float) and 0 <= value < 1e18  # neither NaN nor infinity
    return float(value) if known and isinstance(value, int | float) else 0.0


def _extra(value: object) -> dict[str, str]:
    items = value.items() if isinstance(value, dict) else ()
    return {key: text for key, text in items if isinstance(text, str)}
