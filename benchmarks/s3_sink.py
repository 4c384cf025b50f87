"""An S3 server that throws parts away: what is in front of it is measured, not it.

A thread for each connection, and parts never leave the kernel (``MSG_TRUNC``), so that it costs
next to nothing. Objects that are put whole (records, tails) are kept in memory and can be read
back; of one that was put together only the size is known, and zeros are read. It checks no
signature, knows any bucket, and counts its calls: ``GET /-/calls`` tells them as JSON. It must
never become an S3 server that anybody uses.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import mmap
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

SCRAP = 64 << 20
"""How much is dropped with one call; nothing of it is ever in memory."""

CALLS = "/-/calls"
PART = re.compile(rb"<PartNumber>(\d+)</PartNumber>")


class Request(NamedTuple):
    """A request's head."""

    method: str
    path: str
    query: Mapping[str, str]
    fields: Mapping[str, str]
    length: int

    @property
    def key(self) -> str:
        """What it is about: a bucket, or an object in it."""
        return unquote(self.path)


class Answer(NamedTuple):
    """What is answered. ``length`` is told instead of the body's where there is none to a HEAD."""

    status: str
    body: bytes = b""
    fields: Mapping[str, str] = {}
    length: int | None = None


class Refused(Exception):
    """A request that comes to nothing.

    Args:
        status: HTTP's word for it.
        code: S3's.
    """

    def __init__(self, status: str, code: str) -> None:
        super().__init__(code)
        self.answer = Answer(status, xml("Error", Code=code, Message=code))


@dataclass(slots=True)
class Object:
    """An object: its size, and its bytes unless it was put together of parts."""

    etag: str
    size: int
    data: bytes | None = None
    made: float = field(default_factory=time.time)


@dataclass(slots=True)
class Multipart:
    """A multipart upload: the sizes of its parts by number."""

    key: str
    sizes: dict[int, int] = field(default_factory=dict)
    made: float = field(default_factory=time.time)


class Shelf:
    """All that is kept; shared by all connections. What is done to it is done in one step each."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.multiparts: dict[str, Multipart] = {}
        self.calls: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._conditions = threading.Lock()

    def number(self) -> str:
        """Return an entity tag, or an id, that nothing else has."""
        return f"{next(self._numbers):032x}"

    def put(self, request: Request, data: bytes) -> Answer:
        """Keep an object, if what the request says of the one that is there is so."""
        with self._conditions:
            there = self.objects.get(request.key)
            wanted = request.fields.get("if-match", "").strip('"')
            if there is not None and "if-none-match" in request.fields:
                raise Refused("412 Precondition Failed", "PreconditionFailed")
            if wanted and (there is None or there.etag != wanted):
                raise Refused("412 Precondition Failed", "PreconditionFailed")
            kept = self.objects[request.key] = Object(self.number(), len(data), data)
        return Answer("200 OK", fields=tag(kept.etag))

    def get(self, request: Request) -> Answer:
        """Return an object, or a range of it."""
        found = self._find(request)
        data = bytes(found.size) if found.data is None else found.data
        if (span := request.fields.get("range")) is None:
            return Answer("200 OK", data, described(found))
        first, last = (int(each) for each in span.removeprefix("bytes=").split("-"))
        told = {**described(found), "Content-Range": f"bytes {first}-{last}/{found.size}"}
        return Answer("206 Partial Content", data[first : last + 1], told)

    def head(self, request: Request) -> Answer:
        """Tell of an object, or that there is a bucket."""
        if "/" not in request.key.strip("/"):
            return Answer("200 OK")
        found = self._find(request)
        return Answer("200 OK", fields=described(found), length=found.size)

    def _find(self, request: Request) -> Object:
        try:
            return self.objects[request.key]
        except KeyError:
            raise Refused("404 Not Found", "NoSuchKey") from None

    def delete(self, request: Request) -> Answer:
        """Forget an object."""
        self.objects.pop(request.key, None)
        return Answer("204 No Content")

    def delete_all(self, request: Request, body: bytes) -> Answer:
        """Forget several."""
        for key in re.findall(rb"<Key>([^<]*)</Key>", body):
            self.objects.pop(f"{request.key.rstrip('/')}/{key.decode()}", None)
        return Answer("200 OK", xml("DeleteResult"))

    def list(self, request: Request) -> Answer:
        """List the objects right under a prefix, all at once."""
        bucket = request.key.rstrip("/") + "/"
        under = bucket + request.query.get("prefix", "")
        found = [
            entry("Contents", Key=key[len(bucket) :], **told(each))
            for key, each in sorted(self.objects.copy().items())
            if key.startswith(under) and "/" not in key[len(under) :]
        ]
        return Answer(
            "200 OK", xml("ListBucketResult", "".join(found), IsTruncated="false", KeyCount=0)
        )

    def begin(self, request: Request) -> Answer:
        """Begin a multipart upload."""
        id = self.number()
        self.multiparts[id] = Multipart(request.key)
        return Answer("200 OK", xml("InitiateMultipartUploadResult", UploadId=id))

    def take(self, request: Request) -> Answer:
        """Note a part that has been dropped."""
        self._multipart(request).sizes[int(request.query["partNumber"])] = request.length
        return Answer("200 OK", fields=tag(self.number()))

    def complete(self, request: Request, body: bytes) -> Answer:
        """Make an object of parts."""
        sizes = self._multipart(request).sizes
        numbers = [int(number) for number in PART.findall(body)]
        if not numbers or not set(numbers) <= sizes.keys():
            raise Refused("400 Bad Request", "InvalidPart")
        kept = Object(self.number(), sum(sizes[number] for number in numbers))
        self.objects[request.key] = kept
        self.multiparts.pop(request.query["uploadId"], None)
        return Answer("200 OK", xml("CompleteMultipartUploadResult", ETag=f'"{kept.etag}"'))

    def abort(self, request: Request) -> Answer:
        """Forget a multipart upload."""
        self._multipart(request)
        self.multiparts.pop(request.query["uploadId"], None)
        return Answer("204 No Content")

    def parts(self, request: Request) -> Answer:
        """List parts."""
        after = int(request.query.get("part-number-marker") or 0)
        most = int(request.query.get("max-parts") or 1000)
        numbers = sorted(n for n in self._multipart(request).sizes if n > after)
        sizes = self._multipart(request).sizes
        found = "".join(
            entry("Part", PartNumber=n, ETag=f"{n:032x}", Size=sizes[n]) for n in numbers[:most]
        )
        cut = str(len(numbers) > most).lower()
        last = numbers[:most][-1] if numbers else 0
        return Answer(
            "200 OK", xml("ListPartsResult", found, IsTruncated=cut, NextPartNumberMarker=last)
        )

    def _multipart(self, request: Request) -> Multipart:
        try:
            return self.multiparts[request.query["uploadId"]]
        except KeyError:
            raise Refused("404 Not Found", "NoSuchUpload") from None

    def multipart_uploads(self, request: Request) -> Answer:
        """List multipart uploads."""
        bucket = request.key.rstrip("/") + "/"
        under = bucket + request.query.get("prefix", "")
        found = "".join(
            entry("Upload", Key=each.key[len(bucket) :], UploadId=id, Initiated=moment(each.made))
            for id, each in self.multiparts.copy().items()
            if each.key.startswith(under)
        )
        return Answer("200 OK", xml("ListMultipartUploadsResult", found, IsTruncated="false"))


def name_of(request: Request) -> str:
    """Return S3's name for a call."""
    query, method = request.query, request.method
    bucket = "/" not in request.key.strip("/")
    if "uploadId" in query:
        in_part = {"GET": "ListParts", "POST": "CompleteMultipartUpload", "PUT": "UploadPart"}
        return in_part.get(method, "AbortMultipartUpload")
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if bucket and method == "GET":
        return "GetBucketLifecycleConfiguration" if "lifecycle" in query else "ListObjectsV2"
    if method == "POST" and "delete" in query:
        return "DeleteObjects"
    return f"{method.capitalize()}{'Bucket' if bucket else 'Object'}"


def actions(shelf: Shelf) -> dict[str, Callable[[Request, bytes], Answer]]:
    """Return what is done for each call whose body is read; ``UploadPart`` is not among them."""
    plain: dict[str, Callable[[Request], Answer]] = {
        "CreateMultipartUpload": shelf.begin,
        "AbortMultipartUpload": shelf.abort,
        "ListParts": shelf.parts,
        "ListMultipartUploads": shelf.multipart_uploads,
        "ListObjectsV2": shelf.list,
        "GetObject": shelf.get,
        "HeadObject": shelf.head,
        "HeadBucket": shelf.head,
        "PutBucket": lambda _: Answer("200 OK"),
        "DeleteObject": shelf.delete,
    }
    return {
        **{name: ignoring_body(action) for name, action in plain.items()},
        "CompleteMultipartUpload": shelf.complete,
        "PutObject": shelf.put,
        "DeleteObjects": shelf.delete_all,
        "GetBucketLifecycleConfiguration": no_rules,
    }


def ignoring_body(action: Callable[[Request], Answer]) -> Callable[[Request, bytes], Answer]:
    """Return an action that takes a body and does not look at it."""
    return lambda request, _: action(request)


def no_rules(request: Request, body: bytes) -> Answer:
    """Say that the bucket has no lifecycle."""
    raise Refused("404 Not Found", "NoSuchLifecycleConfiguration")


class Caller:
    """One connection: reads requests and answers them, one after the other, in one thread."""

    def __init__(self, connection: socket.socket, shelf: Shelf, scrap: memoryview) -> None:
        self._connection = connection
        self._shelf = shelf
        self._scrap = scrap
        self._actions = actions(shelf)
        self._come = b""

    def serve(self) -> None:
        """Answer until the client goes away."""
        with self._connection, contextlib.suppress(OSError):
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while request := self._head():
                self._send(request, self._answer(request))

    def _head(self) -> Request | None:
        while b"\r\n\r\n" not in self._come:
            data = self._connection.recv(1 << 16)
            if not data:
                return None
            self._come += data
        head, _, self._come = self._come.partition(b"\r\n\r\n")
        request = parsed(head.decode("latin-1"))
        if "expect" in request.fields and not self._come:
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return request

    def _answer(self, request: Request) -> Answer:
        if request.path == CALLS:
            return Answer("200 OK", json.dumps(self._shelf.calls).encode())
        name = name_of(request)
        self._shelf.calls[name] += 1
        try:
            if name == "UploadPart":
                self._drop(request.length)
                return self._shelf.take(request)
            body = self._body(request.length)
            if action := self._actions.get(name):
                return action(request, body)
            raise Refused("501 Not Implemented", "NotImplemented")
        except Refused as refused:
            return refused.answer

    def _drop(self, size: int) -> None:
        """Have the kernel throw a body away."""
        left = size - len(self._come)
        self._come = b""
        while left > 0:
            got = self._connection.recv_into(
                self._scrap, min(left, SCRAP), socket.MSG_TRUNC | socket.MSG_WAITALL
            )
            if not got:
                raise ConnectionError
            left -= got

    def _body(self, size: int) -> bytes:
        data = bytearray(size)
        at = min(size, len(self._come))
        data[:at], self._come = self._come[:at], self._come[at:]
        view = memoryview(data)
        while at < size:
            got = self._connection.recv_into(view[at:])
            if not got:
                raise ConnectionError
            at += got
        return bytes(data)

    def _send(self, request: Request, answer: Answer) -> None:
        length = len(answer.body) if answer.length is None else answer.length
        fields = {"Content-Length": str(length), "x-amz-request-id": "0", **answer.fields}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        head = f"HTTP/1.1 {answer.status}\r\n{lines}\r\n".encode("latin-1")
        self._connection.sendall(head + (b"" if request.method == "HEAD" else answer.body))


def parsed(head: str) -> Request:
    """Read a request's head; a body without a length is none."""
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    path, _, query = target.partition("?")
    pairs = (line.partition(":") for line in lines)
    fields = {name.lower(): value.strip() for name, _, value in pairs}
    length = int(fields.get("content-length", 0))
    return Request(method, path, dict(parse_qsl(query, keep_blank_values=True)), fields, length)


def tag(etag: str) -> dict[str, str]:
    """Return the field with an entity tag."""
    return {"ETag": f'"{etag}"'}


def described(kept: Object) -> dict[str, str]:
    """Return the fields that tell of an object."""
    return {**tag(kept.etag), "Last-Modified": formatdate(kept.made, usegmt=True)}


def told(kept: Object) -> dict[str, object]:
    """Return what a listing tells of an object."""
    return {"ETag": f'"{kept.etag}"', "Size": kept.size, "LastModified": moment(kept.made)}


def moment(when: float) -> str:
    """Return a time as listings have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(when))


def xml(root: str, inside: str = "", **texts: object) -> bytes:
    """Build a document."""
    return f'<?xml version="1.0" encoding="UTF-8"?>{entry(root, inside, **texts)}'.encode()


def entry(name: str, inside: str = "", /, **texts: object) -> str:
    """Build an element with elements of text in it."""
    told = "".join(f"<{key}>{escape(str(text))}</{key}>" for key, text in texts.items())
    return f"<{name}>{told}{inside}</{name}>"


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.s3_sink", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    shelf, scrap = Shelf(), memoryview(mmap.mmap(-1, SCRAP))
    listener = socket.create_server(("127.0.0.1", options.port), backlog=1024)
    while True:
        connection, _ = listener.accept()
        caller = Caller(connection, shelf, scrap)
        threading.Thread(target=caller.serve, daemon=True).start()


if __name__ == "__main__":
    main()
