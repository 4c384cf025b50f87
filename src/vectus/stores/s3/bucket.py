"""A bucket as the store speaks of it: objects, and uploads in parts. Every method makes one call.

Keys are made here and nowhere else: ``<prefix>/<id>`` for an upload's object, ``.info`` behind it
for its record and ``.part`` for its tail, as tusd names them, and ``.joins/<id>`` for what is being
joined. Ids have no dots and no slashes, so that none of these can be mistaken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote

from vectus.stores.s3.client import Answer, Missing, Rejected, Taken, map_errors
from vectus.stores.s3.place import Place

INFO = ".info"
TAIL = ".part"
JOINS = ".joins/"


class Calls(Protocol):
    """What a ``Gateway`` does."""

    def call(self, operation: str, **parameters: Any) -> Answer:
        """Make one call."""


class Readable(Protocol):
    """Bytes that can be sent, more than once if need be."""

    def __len__(self) -> int: ...
    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go somewhere else."""

    def tell(self) -> int:
        """Return where we are."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a listing."""

    name: str
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Some objects, and where the next ones are to be had, or None if these were the last."""

    listed: list[Listed]
    more: str | None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A multipart upload in a listing."""

    name: str
    multipart: str
    initiated: float


class Bucket:
    """The objects of one store.

    Args:
        gateway: makes the calls.
        place: the bucket, and how objects are kept.
    """

    def __init__(self, gateway: Calls, place: Place) -> None:
        self.name = place.bucket
        self._call = gateway.call
        self._place = place
        self._prefix = f"{place.prefix}/" if place.prefix else ""

    def key(self, name: str) -> str:
        """Return the key of what the store calls so."""
        return self._prefix + name

    # Objects.

    def get(self, name: str) -> bytes:
        """Return a small object's bytes.

        Raises:
            Missing: there is none.
        """
        with map_errors():
            body = self.open(name)
            try:
                return bytes(body.read())
            finally:
                body.close()

    def open(self, name: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        """Open an object, or a range of it that is not empty."""
        span = {} if stop is None else {"Range": f"bytes={start}-{stop - 1}"}
        body: BinaryIO = self._call("get_object", Key=self.key(name), **span)["Body"]
        return body

    def put(self, name: str, data: Readable | bytes) -> None:
        """Make or replace an object of our own."""
        self._put(name, data, self._place.encryption)

    def put_new(self, name: str, data: bytes) -> None:
        """Make an object of our own.

        Raises:
            Taken: there is another already, and the server is one that can tell.
        """
        self._put_new(name, data, self._place.encryption)

    def publish(self, name: str, data: Readable | bytes, headers: Mapping[str, str]) -> None:
        """Make the object of a finished upload; another one is replaced."""
        self._put(name, data, {**self._place.extras, **headers})

    def publish_new(self, name: str, data: bytes, headers: Mapping[str, str]) -> None:
        """Make the object of a finished upload; see ``put_new``."""
        self._put_new(name, data, {**self._place.extras, **headers})

    def _put_new(self, name: str, data: bytes, extras: Mapping[str, str]) -> None:
        try:
            self._put(name, data, {**extras, "IfNoneMatch": "*"})
        except Rejected:  # the server does not know the condition; ids are never made twice
            self._put(name, data, extras)
        except Taken:
            # Perhaps by ourselves, just now, and the answer was lost.
            if self.get(name) != data:
                raise

    def _put(self, name: str, data: Readable | bytes, extras: Mapping[str, str]) -> None:
        self._call("put_object", Key=self.key(name), Body=data, ContentLength=len(data), **extras)

    def size(self, name: str) -> int | None:
        """Return the size of an object, or None where there is none."""
        try:
            return int(self._call("head_object", Key=self.key(name))["ContentLength"])
        except Missing:
            return None

    def delete(self, name: str) -> None:
        """Make sure that there is no such object."""
        try:
            self._call("delete_object", Key=self.key(name))
        except Missing:
            return

    def list(self, under: str = "", after: str | None = None) -> Listing:
        """Return the next objects right under a name, sorted, and where to go on."""
        more = {"ContinuationToken": after} if after else {}
        found = self._call("list_objects_v2", Prefix=self.key(under), Delimiter="/", **more)
        cut = len(self._prefix)
        listed = [
            Listed(each["Key"][cut:], each.get("ETag", ""), each["Size"])
            for each in found.get("Contents", ())
        ]
        return Listing(listed, found["NextContinuationToken"] if found.get("IsTruncated") else None)

    def list_all(self, under: str = "") -> Iterator[Listed]:
        """Yield all objects right under a name."""
        page = self.list(under)
        while page.more is not None:
            yield from page.listed
            page = self.list(under, page.more)
        yield from page.listed

    # Uploads in parts.

    def begin(self, name: str, headers: Mapping[str, str]) -> str:
        """Begin a multipart upload of the object of a finished upload; return its id."""
        extras = {**self._place.extras, **headers}
        return str(self._call("create_multipart_upload", Key=self.key(name), **extras)["UploadId"])

    def send(self, name: str, multipart: str, number: int, data: Readable | bytes) -> str:
        """Send a part; return its entity tag."""
        sent = self._call(
            "upload_part",
            **self._part(name, multipart, number),
            Body=data,
            ContentLength=len(data),
        )
        return str(sent["ETag"])

    def copy(
        self, name: str, multipart: str, number: int, source: str, start: int, stop: int
    ) -> str:
        """Make a part of a range of an object; return its entity tag."""
        copied = self._call(
            "upload_part_copy",
            **self._part(name, multipart, number),
            CopySource=quote(f"{self.name}/{self.key(source)}"),
            CopySourceRange=f"bytes={start}-{stop - 1}",
        )
        return str(copied["CopyPartResult"]["ETag"])

    def complete(self, name: str, multipart: str, etags: tuple[str, ...]) -> None:
        """Put the parts together."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        self._call(
            "complete_multipart_upload",
            Key=self.key(name),
            UploadId=multipart,
            MultipartUpload={"Parts": parts},
        )

    def abort(self, name: str, multipart: str) -> None:
        """Make sure that a multipart upload is no more. Never called after ``complete``: there are
        servers that would delete the object's bytes."""
        try:
            self._call("abort_multipart_upload", Key=self.key(name), UploadId=multipart)
        except Missing:
            return

    def is_open(self, name: str, multipart: str) -> bool:
        """Whether a multipart upload is there."""
        try:
            self._call("list_parts", Key=self.key(name), UploadId=multipart, MaxParts=1)
        except Missing:
            return False
        return True

    def part_sizes(self, name: str, multipart: str) -> dict[int, int]:
        """Return the sizes of all parts by their numbers; several calls where there are many."""
        sizes: dict[int, int] = {}
        marker = 0
        while True:
            found = self._call(
                "list_parts", Key=self.key(name), UploadId=multipart, PartNumberMarker=marker
            )
            new = {part["PartNumber"]: part["Size"] for part in found.get("Parts", ())}
            sizes |= new
            if not found.get("IsTruncated") or not new:
                return sizes
            marker = max(new)

    def unfinished(self, under: str = "") -> Iterator[Unfinished]:
        """Yield the multipart uploads under a name; ours are among them, and maybe others'."""
        markers: dict[str, str] = {}
        while True:
            found = self._call("list_multipart_uploads", Prefix=self.key(under), **markers)
            for each in found.get("Uploads", ()):
                name = each["Key"][len(self._prefix) :]
                yield Unfinished(name, each["UploadId"], each["Initiated"].timestamp())
            if not found.get("IsTruncated"):
                return
            markers = {
                "KeyMarker": found["NextKeyMarker"],
                "UploadIdMarker": found["NextUploadIdMarker"],
            }

    def _part(self, name: str, multipart: str, number: int) -> dict[str, Any]:
        return {"Key": self.key(name), "UploadId": multipart, "PartNumber": number}
