"""S3 servers as they misbehave: what each does otherwise, in front of one that is sound."""

from __future__ import annotations

import io
import threading
from typing import Any

from botocore.exceptions import ClientError

from vectus.stores.s3.client import Answer, Gateway, map_errors
from vectus.stores.s3.place import Place


def refuse(operation: str, code: str, message: str = "", status: int = 400, **more: str) -> None:
    """Fail a call as a server does."""
    told = {"Code": code, "Message": message, **more}
    with map_errors():
        raise ClientError(
            {"Error": told, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}}},
            operation,
        )


STATUS = {"NotImplemented": 501, "AccessDenied": 403, "NoSuchBucket": 404}


class Refusing(Gateway):
    """Says no to some operations.

    Args:
        place: where.
        refusals: the code of each, by operation.
    """

    def __init__(self, place: Place, **refusals: str) -> None:
        super().__init__(place)
        self._refusals = refusals

    def call(self, operation: str, **parameters: Any) -> Answer:
        if code := self._refusals.get(operation):
            refuse(operation, code, "said the server", STATUS.get(code, 400))
        return super().call(operation, **parameters)


class R2(Gateway):
    """Puts parts together only if all but the last have one size."""

    def call(self, operation: str, **parameters: Any) -> Answer:
        if operation == "complete_multipart_upload":
            about = {name: parameters[name] for name in ("Key", "UploadId")}
            sizes = [part["Size"] for part in super().call("list_parts", **about)["Parts"]]
            if len(set(sizes[:-1])) > 1:
                refuse(operation, "InvalidPart", "All non-trailing parts must have the same length")
        return super().call(operation, **parameters)


class Rclone(Refusing):
    """Copies nothing and says that it did; heeds no conditions; knows no lifecycle."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, get_bucket_lifecycle_configuration="NotImplemented")

    def call(self, operation: str, **parameters: Any) -> Answer:
        parameters.pop("IfMatch", None)
        parameters.pop("IfNoneMatch", None)
        if operation == "upload_part_copy":
            part = {name: parameters[name] for name in ("Key", "UploadId", "PartNumber")}
            etag = super().call("upload_part", **part, Body=b"", ContentLength=0)["ETag"]
            return Answer(CopyPartResult={"ETag": etag})
        return super().call(operation, **parameters)


class Swift(Refusing):
    """Takes no rule, and does not know If-Match."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, put_bucket_lifecycle_configuration="MalformedXML")

    def call(self, operation: str, **parameters: Any) -> Answer:
        if "IfMatch" in parameters:
            refuse(operation, "NotImplemented", status=501)
        return super().call(operation, **parameters)


class Racy(Gateway):
    """Heeds conditions of those who come one after the other; of several at once all win."""

    def call(self, operation: str, **parameters: Any) -> Answer:
        if threading.current_thread() is not threading.main_thread():
            parameters.pop("IfMatch", None)
            parameters.pop("IfNoneMatch", None)
        return super().call(operation, **parameters)


class Atomic(Gateway):
    """Heeds conditions of any number at once, which moto does most of the time only."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._one_by_one = threading.Lock()

    def call(self, operation: str, **parameters: Any) -> Answer:
        with self._one_by_one:
            return super().call(operation, **parameters)


class MinIO(Refusing):
    """Says who it is."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, put_bucket_lifecycle_configuration="InvalidArgument")

    def call(self, operation: str, **parameters: Any) -> Answer:
        answer = super().call(operation, **parameters)
        answer.setdefault("ResponseMetadata", {}).setdefault("HTTPHeaders", {})["server"] = "MinIO"
        return answer


class Whole(Gateway):
    """Gives the whole object, whatever part is asked for."""

    def call(self, operation: str, **parameters: Any) -> Answer:
        parameters.pop("Range", None)
        return super().call(operation, **parameters)


class Undead(Gateway):
    """Aborts nothing, and says that it did."""

    def call(self, operation: str, **parameters: Any) -> Answer:
        if operation == "abort_multipart_upload":
            return Answer()
        return super().call(operation, **parameters)


class Mixed(Gateway):
    """Puts parts together in the wrong order."""

    def call(self, operation: str, **parameters: Any) -> Answer:
        answer = super().call(operation, **parameters)
        if operation == "get_object" and "Range" in parameters:
            answer["Body"] = io.BytesIO(answer["Body"].read()[::-1])
        return answer
