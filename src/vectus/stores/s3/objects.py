"""The objects that uploads become: whatever they are called, and however they are kept.

An object that is not its upload's own is treated as if it were not there; nothing is done to it.
Every call blocks.
"""

from __future__ import annotations

import re
from typing import Any, BinaryIO
from urllib.parse import quote

from vectus.errors import KeyTaken
from vectus.protocol.upload import Role, Upload
from vectus.stores.s3.bucket import Bucket, Readable
from vectus.stores.s3.claims import Claims
from vectus.stores.s3.client import Missing, Taken
from vectus.stores.s3.naming import mark_of, metadata_of, name_of
from vectus.stores.s3.record import metadata

_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w.+-]+=[\w.+-]+)*", re.ASCII)


class Objects:
    """The objects of one store's uploads.

    Args:
        bucket: where they are.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._transient = bucket.transient
        self.claims = Claims(bucket)

    def size(self, upload: Upload) -> int | None:
        """Return the size of an upload's object, or None where there is none."""
        return self._bucket.size(name_of(upload), mark_of(upload))

    def open(self, upload: Upload, start: int, stop: int) -> BinaryIO:
        """Open a range of an upload's object that is not empty.

        Raises:
            Missing: there is none.
        """
        return self._bucket.open(name_of(upload), start, stop, mark_of(upload))

    def delete(self, upload: Upload) -> None:
        """Make sure that an upload has no object. Whoever has a chosen key is looked at first."""
        if upload.key is None or self.size(upload) is not None:
            self._bucket.delete(name_of(upload))

    def put_new(self, upload: Upload, data: bytes) -> None:
        """Make the object of an upload that is about to be created; see ``Bucket.put_new``.

        Raises:
            KeyTaken: something else has come under the key that was chosen.
        """
        try:
            self._where(upload).publish_new(name_of(upload), data, _told(upload))
        except Taken:
            if upload.key is None:
                raise
            raise KeyTaken(upload.key) from None

    def put_first(self, upload: Upload, data: Readable | bytes) -> None:
        """Make an upload's object; see ``Bucket.publish_first``."""
        self._where(upload).publish_first(name_of(upload), data, _told(upload))

    def put_over(self, upload: Upload, data: Readable | bytes) -> None:
        """Make an upload's object over the one that is there now; see ``Bucket.put_over``."""
        name = name_of(upload)
        try:
            tag = self._bucket.tag(name)
        except Missing:
            tag = ""
        self._where(upload).publish_over(name, data, tag, _told(upload))

    def put(self, upload: Upload, data: bytes) -> None:
        """Make or replace an upload's object."""
        self._where(upload).publish(name_of(upload), data, _told(upload))

    def begin(self, upload: Upload) -> str:
        """Begin a multipart upload of an upload's object; return its id."""
        return self._where(upload).begin(name_of(upload), _told(upload))

    def complete(self, upload: Upload, multipart: str, etags: tuple[str, ...]) -> None:
        """Put an upload's parts together, or find that this was done.

        Raises:
            Missing: there are no parts, and no object.
        """
        try:
            self._bucket.complete(name_of(upload), multipart, etags)
        except Missing:
            if self.size(upload) != upload.length:
                raise
        self.keep_tags(upload)

    def keep_tags(self, upload: Upload) -> None:
        """Make sure that an object made of parts has the tags it is to have."""
        self._where(upload).keep_tags(name_of(upload))

    def _where(self, upload: Upload) -> Bucket:
        """A partial is read again when it is joined, which some storage classes forbid; and it is
        no finished upload of anybody's."""
        return self._transient if upload.role is Role.PARTIAL else self._bucket


def _told(upload: Upload) -> dict[str, Any]:
    return {**headers_of(upload), **metadata_of(upload)}


def headers_of(upload: Upload) -> dict[str, str]:
    """Return what the metadata say of the object: its type, and its name."""
    told = metadata(upload)
    kinds = (told.get(name) for name in ("filetype", "type", "contentType"))
    names = (told.get(name) for name in ("filename", "name"))
    headers = {}
    if (kind := next(filter(None, kinds), None)) and _TYPE.fullmatch(kind):
        headers["ContentType"] = kind
    if name := next(filter(None, names), None):
        headers["ContentDisposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return headers
