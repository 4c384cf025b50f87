"""What is being joined, in the bucket: one small note for each final upload that is not closed.

``.joins/<final>`` says which partials it names, and S3's id of the multipart upload that its object
is made by. Which uploads exist, and whose bytes are whose, is for the records to say. Every call
blocks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from vectus.stores.notes import Notes
from vectus.stores.s3.bucket import Bucket
from vectus.stores.s3.client import Missing
from vectus.stores.s3.naming import JOINS


class Ledger(Notes):
    """The notes of one store.

    Args:
        bucket: where they are.
    """

    def __init__(self, bucket: Bucket) -> None:
        super().__init__()
        self._bucket = bucket

    def enlist(self, final: str, parts: Sequence[str], multipart: str | None = None) -> None:
        """Note a final upload that is not closed, and by what it is being joined."""
        note = {"parts": list(parts), "multipart": multipart}
        self._bucket.put(JOINS + final, json.dumps(note).encode())

    def multipart(self, final: str) -> str | None:
        """Return by what a final upload was being joined last, or None."""
        found = self.read(final).get("multipart")
        return found if isinstance(found, str) else None

    def knows(self, final: str) -> bool:
        """Whether there is a note of a final upload."""
        return self._bucket.size(JOINS + final) is not None

    def strike(self, final: str) -> None:
        """Forget a final upload: it is closed."""
        self._bucket.delete(JOINS + final)

    def finals(self) -> list[str]:
        """Return the final uploads there are notes of."""
        return [listed.name.removeprefix(JOINS) for listed in self._bucket.list_all(JOINS)]

    def raw(self, final: str) -> bytes | None:
        """Return a note as it is in the bucket, or None where there is none."""
        try:
            return self._bucket.get(JOINS + final)
        except Missing:
            return None
