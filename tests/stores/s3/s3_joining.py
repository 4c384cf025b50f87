"""What tests of joins need: a server in memory that copies parts, and a way to it that fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from s3_memory import MemoryS3, tag

from vectus.errors import StoreUnavailable
from vectus.stores.s3.client import Answer
from vectus.stores.s3.place import Place

LEAST = 4 << 10
LIMIT = 30.0
SMALL = Place(
    "bucket", "uploads", smallest=LEAST, part_size=LEAST, spool=64 * LEAST, conditional_put=True
)


class CopyingS3(MemoryS3):
    """A server that copies parts, and lists them."""

    def upload_part_copy(
        self,
        UploadId: str,  # noqa: N803
        PartNumber: int,  # noqa: N803
        CopySource: str,  # noqa: N803
        CopySourceRange: str,  # noqa: N803
        **_: Any,
    ) -> Answer:
        data = self._find(unquote(CopySource).removeprefix("bucket/"))
        start, last = (int(each) for each in re.findall(r"\d+", CopySourceRange))
        part = data[start : last + 1]
        self._multipart(UploadId)[1][PartNumber] = part
        return {"CopyPartResult": {"ETag": tag(part)}}

    def list_parts(self, UploadId: str, **_: Any) -> Answer:  # noqa: N803
        parts = self._multipart(UploadId)[1]
        return {"Parts": [{"PartNumber": n, "Size": len(data)} for n, data in parts.items()]}


class Door:
    """A way to a server that fails where it is told to; and once it is shut for good.

    Args:
        server: the server.
    """

    def __init__(self, server: MemoryS3) -> None:
        self.server = server
        self.log: list[str] = []
        self.fails: Callable[[str, str], bool] = lambda *_: False
        self.shut_at = 0
        self.answers_last = True

    def call(self, operation: str, **sent: Any) -> Answer:
        """Make a call, or fail."""
        key = sent.get("Key", "")
        self.log.append(f"{operation} {key}")
        shut = self.shut_at and len(self.log) >= self.shut_at
        if self.fails(operation, key):
            raise StoreUnavailable(f"{operation} was not let through")
        if shut and not (len(self.log) == self.shut_at and not self.answers_last):
            raise StoreUnavailable("the process is dead")
        answer = self.server.call(operation, **sent)
        if shut:
            raise StoreUnavailable("the process died before the answer came")
        return answer

    def sign(self, operation: str, seconds: int, **sent: Any) -> str:
        """Give out no URL."""
        return self.server.sign(operation, seconds, **sent)
