"""An S3 server in this process's memory, without HTTP: for what has to be done a thousand times.

Entity tags are MD5, as AWS's are; a part may be of any size. It knows conditional puts, or takes
them and does not look, as some servers do.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import threading
from collections import Counter
from itertools import count
from typing import Any
from urllib.parse import unquote

from vectus.stores.s3.client import Answer, Missing, Rejected, Taken

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def tag(data: bytes) -> str:
    """Return an entity tag."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def read(body: Any, between: Any = lambda: None) -> bytes:
    """Read a body block by block; call ``between`` before the last."""
    if isinstance(body, bytes):
        between()
        return body
    found, size = b"", len(body)
    while len(found) < size:
        if not found or len(found) + (512 << 10) >= size:
            between()
        found += body.read(1024)
    return found


class MemoryS3:
    """All buckets are one.

    Args:
        conditional: whether it looks at ``If-Match``. At ``If-None-Match`` it does always.
    """

    def __init__(self, *, conditional: bool) -> None:
        self.objects: dict[str, bytes] = {}
        self.multiparts: dict[str, tuple[str, dict[int, bytes]]] = {}
        self.calls: Counter[str] = Counter()
        self.metadata: dict[str, dict[str, str]] = {}
        self._conditional = conditional
        self._made: dict[str, Answer] = {}
        self._numbers = count(1)
        self._one_at_a_time = threading.RLock()

    def call(self, operation: str, **sent: Any) -> Answer:
        """Make a call."""
        if "Body" in sent:
            sent["Body"] = read(sent["Body"])
        with self._one_at_a_time:
            self.calls[operation] += 1
            answer: Answer = getattr(self, operation)(**sent)
            return answer

    def sign(self, operation: str, seconds: int, **_: Any) -> str:
        """Give out no URL."""
        raise Rejected("NotImplemented", operation)

    def put_object(self, Key: str, Body: bytes, **said: Any) -> Answer:  # noqa: N803
        there = self.objects.get(Key)
        if "IfNoneMatch" in said and there is not None:
            raise Taken("put_object")
        if self._conditional and "IfMatch" in said:
            if there is None:
                raise Missing("put_object")
            if tag(there) != said["IfMatch"]:
                raise Taken("put_object")
        self.objects[Key] = Body
        self.metadata[Key] = said.get("Metadata", {})
        return {"ETag": tag(Body)}

    def get_object(self, Key: str, Range: str = "", **_: Any) -> Answer:  # noqa: N803
        data = self._find(Key)
        if Range:
            start, last = (int(each) for each in Range.removeprefix("bytes=").split("-"))
            if start >= len(data):
                raise Rejected("InvalidRange", Key)
            return {"Body": io.BytesIO(data[start : last + 1]), "ETag": tag(data)}
        return {"Body": io.BytesIO(data), "ETag": tag(data)}

    def head_object(self, Key: str, **_: Any) -> Answer:  # noqa: N803
        data = self._find(Key)
        metadata = self.metadata.get(Key, {})
        return {"ContentLength": len(data), "ETag": tag(data), "Metadata": metadata}

    def _find(self, key: str) -> bytes:
        try:
            return self.objects[key]
        except KeyError:
            raise Missing(key) from None

    def delete_object(self, Key: str, **_: Any) -> Answer:  # noqa: N803
        self.objects.pop(Key, None)
        return {}

    def list_objects_v2(self, Prefix: str = "", **_: Any) -> Answer:  # noqa: N803
        found = [
            {"Key": key, "ETag": tag(data), "Size": len(data), "LastModified": LONG_AGO}
            for key, data in sorted(self.objects.items())
            if key.startswith(Prefix) and "/" not in key[len(Prefix) :]
        ]
        return {"Contents": found, "IsTruncated": False}

    def create_multipart_upload(self, Key: str, **_: Any) -> Answer:  # noqa: N803
        id = f"multipart-{next(self._numbers)}"
        self.multiparts[id] = (Key, {})
        return {"UploadId": id}

    def upload_part(self, UploadId: str, PartNumber: int, Body: bytes, **_: Any) -> Answer:  # noqa: N803
        self._multipart(UploadId)[1][PartNumber] = Body
        return {"ETag": tag(Body)}

    def upload_part_copy(
        self,
        UploadId: str,  # noqa: N803
        PartNumber: int,  # noqa: N803
        CopySource: str,  # noqa: N803
        CopySourceRange: str,  # noqa: N803
        **_: Any,
    ) -> Answer:
        data = self._find(unquote(CopySource).partition("/")[2])
        start, last = (int(each) for each in CopySourceRange.removeprefix("bytes=").split("-"))
        if last >= len(data):
            raise Rejected("InvalidRange", CopySource)
        return {"CopyPartResult": self.upload_part(UploadId, PartNumber, data[start : last + 1])}

    def list_parts(self, UploadId: str, **_: Any) -> Answer:  # noqa: N803
        parts = self._multipart(UploadId)[1]
        found = [
            {"PartNumber": number, "Size": len(part), "ETag": tag(part)}
            for number, part in sorted(parts.items())
        ]
        return {"Parts": found}

    def complete_multipart_upload(self, UploadId: str, MultipartUpload: Any, **_: Any) -> Answer:  # noqa: N803
        if UploadId in self._made:
            return self._made[UploadId]
        key, parts = self._multipart(UploadId)
        data = b""
        for each in MultipartUpload["Parts"]:
            part = parts.get(each["PartNumber"])
            if part is None or tag(part) != each["ETag"]:
                raise Rejected("InvalidPart", key)
            data += part
        del self.multiparts[UploadId]
        self.objects[key] = data
        self._made[UploadId] = {"ETag": tag(data)}
        return self._made[UploadId]

    def abort_multipart_upload(self, UploadId: str, **_: Any) -> Answer:  # noqa: N803
        self._multipart(UploadId)
        del self.multiparts[UploadId]
        return {}

    def list_multipart_uploads(self, Prefix: str = "", **_: Any) -> Answer:  # noqa: N803
        found = [
            {"Key": key, "UploadId": id, "Initiated": LONG_AGO}
            for id, (key, _) in self.multiparts.items()
            if key.startswith(Prefix)
        ]
        return {"Uploads": found}

    def get_bucket_lifecycle_configuration(self) -> Answer:
        raise Rejected("NoSuchLifecycleConfiguration", "there is none")

    def _multipart(self, id: str) -> tuple[str, dict[int, bytes]]:
        try:
            return self.multiparts[id]
        except KeyError:
            raise Missing(id) from None


class Stoppable:
    """A door to such a server, at which whoever calls is stopped once, as by a SIGSTOP.

    Args:
        server: the server.
        nth: at which call.
        within: whether in the middle of what is sent with it, if anything is, instead of before.
    """

    def __init__(self, server: MemoryS3, nth: int, *, within: bool) -> None:
        self.server = server
        self.calls = server.calls
        self.stopped = threading.Event()
        self.goes_on = threading.Event()
        self.log: list[str] = []
        self._nth = nth
        self._within = within

    def call(self, operation: str, **sent: Any) -> Answer:
        """Make a call, now or later."""
        self.log.append(f"{operation} {sent.get('Key', '')}")
        if len(self.log) != self._nth:
            return self.server.call(operation, **sent)
        if not self._within:
            self._stop()
        elif "Body" in sent:
            sent["Body"] = read(sent["Body"], self._stop)
        return self.server.call(operation, **sent)

    def sign(self, operation: str, seconds: int, **sent: Any) -> str:
        """Give out no URL."""
        return self.server.sign(operation, seconds, **sent)

    def _stop(self) -> None:
        if not self.stopped.is_set():
            self.stopped.set()
            assert self.goes_on.wait(30)
