"""What is being joined, in the bucket: one small note for each final upload that is not closed.

``.joins/<final>`` says which partials it names, and S3's id of the multipart upload that its object
is made by. Which uploads exist, and whose bytes are whose, is for the records to say. Every call
blocks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from vectus.stores.s3.bucket import Bucket
from vectus.stores.s3.client import Missing
from vectus.stores.s3.naming import JOINS


class Ledger:
    """The notes of one store.

    Args:
        bucket: where they are.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._parts: dict[str, frozenset[str]] = {}  # they never change, so each is read once

    def enlist(self, final: str, parts: Sequence[str], multipart: str | None = None) -> None:
        """Note a final upload that is not closed, and by what it is being joined."""
        note = {"parts": list(parts), "multipart": multipart}
        self._bucket.put(JOINS + final, json.dumps(note).encode())

    def multipart(self, final: str) -> str | None:
        """Return by what a final upload was being joined last, or None."""
        found = self._read(final).get("multipart")
        return found if isinstance(found, str) else None

    def knows(self, final: str) -> bool:
        """Whether there is a note of a final upload."""
        return self._bucket.size(JOINS + final) is not None

    def strike(self, final: str) -> None:
        """Forget a final upload: it is closed."""
        self._bucket.delete(JOINS + final)

    def naming(self, part: str) -> list[str]:
        """Return the final uploads that name a partial; some may be closed by now."""
        self._parts = {final: self._parts_of(final) for final in self.finals()}
        return [final for final, parts in self._parts.items() if part in parts]

    def finals(self) -> list[str]:
        """Return the final uploads there are notes of."""
        return [listed.name.removeprefix(JOINS) for listed in self._bucket.list_all(JOINS)]

    def _parts_of(self, final: str) -> frozenset[str]:
        known = self._parts.get(final)
        if known is not None:
            return known
        parts = self._read(final).get("parts")
        return frozenset(map(str, parts)) if isinstance(parts, list) else frozenset()

    def _read(self, final: str) -> dict[str, object]:
        try:
            note = json.loads(self._bucket.get(JOINS + final))
        except (Missing, ValueError):
            return {}
        return note if isinstance(note, dict) else {}
