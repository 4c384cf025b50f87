"""A bucket as the store speaks of it: objects, and uploads in parts. Every method makes one call.

Keys are made here and nowhere else: ``<prefix>/<id>`` for an upload's object, ``.info`` behind it
for its record and ``.part`` for its tail, as tusd names them, and ``.joins/<id>`` for what is being
joined. Ids have no dots and no slashes, so that none of these can be mistaken. What an application
may call an object instead, ``naming.py`` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote

from vectus.errors import StoreUnavailable
from vectus.stores.s3.client import Answer, Missing, Rejected, Taken, map_errors
from vectus.stores.s3.layout import Ack
from vectus.stores.s3.lifecycle import Configuration
from vectus.stores.s3.naming import marked, marking
from vectus.stores.s3.place import Place
from vectus.stores.s3.verbatim import RAW


class Calls(Protocol):
    """What a ``Gateway`` does."""

    def call(self, operation: str, **parameters: Any) -> Answer:
        """Make one call."""

    def sign(self, operation: str, seconds: int, **parameters: Any) -> str:
        """Return a URL by which anybody can make one call, for so long."""


class Readable(Protocol):
    """Bytes that can be sent, more than once if need be."""

    def __len__(self) -> int: ...
    def read(self, size: int = -1, /) -> bytes | memoryview:
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
    modified: float


@dataclass(frozen=True, slots=True)
class Listing:
    """Some objects, where the next ones are to be had, or None if these were the last, and which
    folders are among them."""

    listed: list[Listed]
    more: str | None
    folders: frozenset[str]


@dataclass(frozen=True, slots=True)
class Seen:
    """An object that was looked at: its size, and whose mark it bears, if any."""

    size: int
    mark: str | None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A multipart upload in a listing."""

    name: str
    multipart: str
    initiated: float


class Plain(StoreUnavailable):
    """The server took what was to be encrypted, and did not encrypt it."""


class Bucket:
    """The objects of one store.

    Args:
        gateway: makes the calls.
        place: the bucket, and how objects are kept.
    """

    def __init__(self, gateway: Calls, place: Place) -> None:
        self.name = place.bucket
        self._call = gateway.call
        self._sign = gateway.sign
        self.conditional = place.conditional_put
        self._bare = False
        self._gateway = gateway
        self._place = place
        self.prefix = place.folder

    def key(self, name: str) -> str:
        """Return the key of what the store calls so."""
        return self.prefix + name

    @property
    def transient(self) -> Bucket:
        """The same bucket, as objects are kept in it that are not made to stay."""
        plain = replace(self._place, storage_class=None, acl=None, tags=None)
        return Bucket(self._gateway, plain)

    # Objects.

    def get(self, name: str) -> bytes:
        """Return a small object's bytes.

        Raises:
            Missing: there is none.
        """
        return self.get_tagged(name)[0]

    def get_tagged(self, name: str) -> tuple[bytes, str]:
        """Return a small object's bytes, and the entity tag that tells them from later ones; see
        ``get``."""
        answer = self._call("get_object", Key=self.key(name))
        body = answer["Body"]
        with map_errors():
            try:
                return bytes(body.read()), str(answer.get("ETag", ""))
            finally:
                body.close()

    def open(
        self, name: str, start: int = 0, stop: int | None = None, mark: str | None = None
    ) -> BinaryIO:
        """Open an object, or a range of it that is not empty.

        Raises:
            Missing: there is none, or none that bears the mark, if there is to be one.
        """
        span = {} if stop is None else {"Range": f"bytes={start}-{stop - 1}"}
        answer = self._call("get_object", Key=self.key(name), **span)
        body: BinaryIO = answer["Body"]
        if mark is not None and marked(answer.get("Metadata", {})) != mark:
            body.close()
            raise Missing(f"{name} is somebody else's")
        return body

    def link(self, name: str, kind: str, disposition: str) -> str:
        """Return a URL by which anybody can get an object for a while. Makes no call."""
        return self._sign(
            "get_object",
            self._place.link_lifetime,
            Key=self.key(name),
            ResponseContentType=kind,
            ResponseContentDisposition=disposition,
        )

    def put(self, name: str, data: Readable | bytes) -> str:
        """Make or replace an object of our own; return its entity tag."""
        return self._put(name, data, self._place.encryption)

    def put_over(self, name: str, data: Readable | bytes, tag: str, mark: str | None = None) -> str:
        """Make an object of our own where there is none, if ``tag`` is empty, or replace the one
        that has this entity tag; return the new one. Where the server knows no conditions, replace
        whatever there is.

        Raises:
            Taken: there is another.
            Missing: there is none.
        """
        return self._put_over(name, data, tag, {**self._place.encryption, **marking(mark)})

    def publish_first(self, name: str, data: Readable | bytes, headers: Mapping[str, str]) -> None:
        """Make the object of a finished upload where there is none.

        Raises:
            Taken: there is one, and the server is one that can tell.
        """
        extras = {**self._place.extras, **headers}
        try:
            self._put(name, data, {**extras, "IfNoneMatch": "*"})
        except Rejected:  # it does not know the condition
            self._put(name, data, extras)

    def publish_over(
        self, name: str, data: Readable | bytes, tag: str, headers: Mapping[str, str]
    ) -> str:
        """Make the object of a finished upload; see ``put_over``."""
        return self._put_over(name, data, tag, {**self._place.extras, **headers})

    def _put_over(
        self, name: str, data: Readable | bytes, tag: str, extras: Mapping[str, Any]
    ) -> str:
        if not self.conditional:
            return self._put(name, data, extras)
        if not tag:
            return self._put(name, data, {**extras, "IfNoneMatch": "*"})
        for bare in (self._bare, not self._bare):
            try:
                match = {"IfMatch": tag.strip('"') if bare else tag}
                new = self._put(name, data, {**extras, **match})
            except Taken:
                if self.tag(name) != tag:
                    raise
            else:
                self._bare = bare  # RGW knows entity tags without their quotes only
                return new
        raise StoreUnavailable("its server does not know conditional puts")

    def put_new(self, name: str, data: bytes, mark: str | None = None) -> str:
        """Make an object of our own, with a mark if it is to bear one; return its entity tag.

        Raises:
            Taken: there is another already, and the server is one that can tell.
        """
        return self._put_new(name, data, {**self._place.encryption, **marking(mark)})

    def publish(self, name: str, data: Readable | bytes, headers: Mapping[str, str]) -> None:
        """Make the object of a finished upload; another one is replaced."""
        self._put(name, data, {**self._place.extras, **headers})

    def publish_new(self, name: str, data: bytes, headers: Mapping[str, str]) -> None:
        """Make the object of a finished upload; see ``put_new``."""
        self._put_new(name, data, {**self._place.extras, **headers})

    def _put_new(self, name: str, data: bytes, extras: Mapping[str, Any]) -> str:
        try:
            return self._put(name, data, {**extras, "IfNoneMatch": "*"})
        except Rejected:  # the server does not know the condition; ids are never made twice
            return self._put(name, data, extras)
        except Plain:
            self.delete(name)  # it was put where nothing was
            raise
        except Taken:
            # Perhaps by ourselves, just now, and the answer was lost.
            found, tag = self.get_tagged(name)
            if found != data:
                raise
            return tag

    def _put(self, name: str, data: Readable | bytes, extras: Mapping[str, Any]) -> str:
        if not isinstance(data, bytes):
            data.seek(0)  # it may have been sent before, in vain
        sent = {"Key": self.key(name), "Body": data, "ContentLength": len(data)}
        answer = self._call("put_object", **sent, **extras)
        self._check_encrypted(answer)
        return str(answer.get("ETag", ""))

    def _check_encrypted(self, answer: Answer) -> None:
        """There are servers that take such an option and store what they get as it is."""
        if self._place.sse and answer.get("ServerSideEncryption") != self._place.sse:
            raise Plain(f"its server does not encrypt as sse={self._place.sse} asks")

    def tag(self, name: str) -> str:
        """Return the entity tag of an object.

        Raises:
            Missing: there is none.
        """
        return str(self._call("head_object", Key=self.key(name)).get("ETag", ""))

    def look(self, name: str) -> Seen | None:
        """Look at an object, or return None where there is none."""
        try:
            found = self._call("head_object", Key=self.key(name))
        except Missing:
            return None
        return Seen(int(found["ContentLength"]), marked(found.get("Metadata", {})))

    def size(self, name: str, mark: str | None = None) -> int | None:
        """Return the size of an object, or None where there is none, or none that bears the mark,
        if there is to be one."""
        seen = self.look(name)
        return None if seen is None or (mark is not None and seen.mark != mark) else seen.size

    def keep_tags(self, name: str) -> None:
        """Make sure that an object has the store's tags, if there are any: some servers lose those
        that a multipart upload was begun with."""
        tags = [{"Key": key, "Value": value} for key, value in self._place.tag_pairs]
        if tags:
            self._call("put_object_tagging", Key=self.key(name), Tagging={"TagSet": tags})

    def delete(self, name: str) -> None:
        """Make sure that there is no such object."""
        try:
            self._call("delete_object", Key=self.key(name))
        except Missing:
            return

    def list(self, under: str = "", after: str | None = None) -> Listing:
        """Return the next objects right under a name, sorted, and where to go on."""
        token = {"ContinuationToken": after} if after else {}
        found = self._call("list_objects_v2", Prefix=self.key(under), Delimiter="/", **token)
        cut = len(self.prefix)
        listed = [
            Listed(
                each["Key"][cut:],
                each.get("ETag", ""),
                each["Size"],
                each["LastModified"].timestamp(),
            )
            for each in found.get("Contents", ())
        ]
        folders = frozenset(each["Prefix"][cut:] for each in found.get("CommonPrefixes", ()))
        more = found["NextContinuationToken"] if found.get("IsTruncated") else None
        return Listing(listed, more, folders)

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
        begun = self._call("create_multipart_upload", Key=self.key(name), **extras)
        self._check_encrypted(begun)
        return str(begun["UploadId"])

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
        """Return the sizes of all parts by their numbers; see ``parts``."""
        return {number: part.size for number, part in self.parts(name, multipart).items()}

    def parts(self, name: str, multipart: str) -> dict[int, Ack]:
        """Return all parts that S3 has, by their numbers; several calls where there are many.

        Raises:
            Missing: there is no such multipart upload.
        """
        parts: dict[int, Ack] = {}
        marker = 0
        while True:
            found = self._call(
                "list_parts", Key=self.key(name), UploadId=multipart, PartNumberMarker=marker
            )
            new = {
                part["PartNumber"]: Ack(part.get("ETag", ""), part["Size"])
                for part in found.get("Parts", ())
            }
            parts |= new
            if not found.get("IsTruncated") or not new:
                return parts
            marker = max(new)

    def unfinished(self, under: str = "") -> Iterator[Unfinished]:
        """Yield the multipart uploads under a name; ours are among them, and maybe others'."""
        markers: dict[str, str] = {}
        while True:
            found = self._call("list_multipart_uploads", Prefix=self.key(under), **markers)
            for each in found.get("Uploads", ()):
                name = each["Key"][len(self.prefix) :]
                yield Unfinished(name, each["UploadId"], each["Initiated"].timestamp())
            if not found.get("IsTruncated"):
                return
            markers = {
                "KeyMarker": found["NextKeyMarker"],
                "UploadIdMarker": found["NextUploadIdMarker"],
            }

    # Lifecycle, which is the whole bucket's.

    def lifecycle(self) -> Configuration:
        """Return the bucket's lifecycle configuration, empty where there is none.

        Raises:
            Missing, Rejected: the server does not offer it.
            StoreUnavailable: it may not be read.
        """
        try:
            found = self._call("get_bucket_lifecycle_configuration")
        except Rejected as error:
            if error.code != "NoSuchLifecycleConfiguration":
                raise
            return Configuration()
        return Configuration(found[RAW], found.get("TransitionDefaultMinimumObjectSize"))

    def set_lifecycle(self, wanted: Configuration) -> None:
        """Replace the bucket's lifecycle configuration."""
        minimum = {"TransitionDefaultMinimumObjectSize": wanted.minimum} if wanted.minimum else {}
        self._call("put_bucket_lifecycle_configuration", **{RAW: wanted.xml}, **minimum)

    def _part(self, name: str, multipart: str, number: int) -> dict[str, Any]:
        return {"Key": self.key(name), "UploadId": multipart, "PartNumber": number}
