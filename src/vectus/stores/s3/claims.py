"""Whose a key is that the application chose: one small note for each such upload that is open.

``.keys/<hash of the key>`` says which upload's object it will be, from before that upload exists
until its object does, which then says so itself. A note is made where there is none, or not at all;
there are servers that do not know such a condition, or heed it only mostly. So whoever is about to
make an object looks at the note again, and at what is under the key. Every call blocks.
"""

from __future__ import annotations

import contextlib
import json

from vectus.errors import KeyTaken, StoreError, StoreUnavailable
from vectus.protocol.upload import Upload
from vectus.stores.s3.bucket import Bucket, Listed
from vectus.stores.s3.client import Missing, Taken
from vectus.stores.s3.naming import CLAIMS, claim_of


class Claims:
    """The notes of one store. What concerns an upload whose key is its id does nothing.

    Args:
        bucket: where they are.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: dict[str, tuple[str, tuple[str, str]]] = {}

    def take(self, upload: Upload) -> None:
        """Take the key of an upload that is about to be created.

        Raises:
            KeyTaken: there is something under it, or will be.
        """
        if upload.key is None:
            return
        if self._holder(upload.key) not in (None, upload.id):
            raise KeyTaken(upload.key)  # asked first for servers that know no conditions
        self._put(upload.id, upload.key)
        # Looked at last: whoever held it before let go only after its object was there.
        if self._bucket.look(upload.key) is not None:
            self.drop(upload)
            raise KeyTaken(upload.key)

    def check(self, upload: Upload) -> None:
        """Make sure that the object of an upload may be made now: nothing else is under its key,
        or will be.

        Raises:
            StoreUnavailable: something is. It may go away, and nothing of the upload is lost
                meanwhile.
        """
        if upload.key is None:
            return
        try:
            holder = self._holder(upload.key)
            if holder is None:
                self._put(upload.id, upload.key)
        except KeyTaken:
            holder = ""
        seen = self._bucket.look(upload.key)
        if holder not in (None, upload.id) or (seen is not None and seen.mark != upload.id):
            raise StoreUnavailable(f"something else is under the key {upload.key!r} of {upload.id}")

    def drop(self, upload: Upload) -> None:
        """Let go of the key of an upload that has its object, or never will. If that fails, a sweep
        does it later."""
        if upload.key is not None:
            with contextlib.suppress(StoreError):
                if self._holder(upload.key) == upload.id:
                    self._bucket.delete(claim_of(upload.key))

    def listed(self, before: float) -> list[tuple[Listed, str, str]]:
        """Return the notes that were made before a time, each with its upload's id and its key."""
        found = [each for each in self._bucket.list_all(CLAIMS) if each.modified < before]
        self._known = {each.name: (each.etag, self._read_known(each)) for each in found}
        return [(each, *self._known[each.name][1]) for each in found]

    def forget(self, note: Listed) -> None:
        """Delete a note that is of no use to anybody."""
        self._bucket.delete(note.name)

    def _put(self, id: str, key: str) -> None:
        note = json.dumps({"id": id, "key": key}).encode()
        try:
            self._bucket.put_new(claim_of(key), note)
        except Taken:
            raise KeyTaken(key) from None

    def _holder(self, key: str) -> str | None:
        return self._read(claim_of(key))[0] or None

    def _read_known(self, listed: Listed) -> tuple[str, str]:
        tag, known = self._known.get(listed.name, ("", ("", "")))
        return known if tag and tag == listed.etag else self._read(listed.name)

    def _read(self, name: str) -> tuple[str, str]:
        """Return what a note says, or nothing where it says nothing."""
        try:
            note = json.loads(self._bucket.get(name))
            return str(note["id"]), str(note["key"])
        except (Missing, ValueError, KeyError, TypeError):
            return "", ""
