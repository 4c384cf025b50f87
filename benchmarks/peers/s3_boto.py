"""A bare boto3 that sends parts and nothing else: what handing bytes to S3 costs by itself.

It is told what to do in a line on a socket, so that it can be measured as servers are: warm, and
nothing but what it does. The two settings are those that vectus has as well: no checksums that
nobody asked for, no hashing of bodies. It must never learn to receive anything.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

THREADS = 4
PIECE = 1 << 20


def client(endpoint: str) -> Any:
    """Return a client that does no more than it must."""
    config = Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": False, "addressing_style": "path"},
        max_pool_connections=THREADS,
    )
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)


class Slice:
    """A part of a file, as a file to read from: less than reading it into memory first."""

    def __init__(self, file: int, start: int, size: int) -> None:
        self._file = file
        self._start = start
        self._size = size
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        left = self._size - self._at
        data = os.pread(self._file, left if size < 0 else min(size, left), self._start + self._at)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go somewhere else."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Return where we are."""
        return self._at


class Uploads:
    """Uploads of one file's bytes, in parts.

    Args:
        s3: the client.
        bucket: where to.
        spool: a descriptor of the file.
    """

    def __init__(self, s3: Any, bucket: str, spool: int) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._spool = spool

    def run(self, keys: Sequence[str], sizes: Sequence[int]) -> None:
        """Upload objects of parts of these sizes, all at once."""
        begun = [self._begin(key) for key in keys]
        jobs = [(target, number) for number in range(len(sizes)) for target in begun]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda job: self._send(job[0], job[1], sizes), jobs))
        for target in begun:
            self._complete(target, len(sizes))

    def _begin(self, key: str) -> dict[str, str]:
        target = {"Bucket": self._bucket, "Key": key}
        begun = self._s3.create_multipart_upload(**target)
        return {**target, "UploadId": begun["UploadId"]}

    def _send(self, target: dict[str, str], index: int, sizes: Sequence[int]) -> None:
        body = Slice(self._spool, sum(sizes[:index]), sizes[index])
        self._s3.upload_part(**target, PartNumber=index + 1, Body=body)

    def _complete(self, target: dict[str, str], count: int) -> None:
        listed: dict[int, str] = {}
        while len(listed) < count:
            page = self._s3.list_parts(**target, PartNumberMarker=max(listed, default=0))
            listed |= {part["PartNumber"]: part["ETag"] for part in page["Parts"]}
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in listed.items()]
        self._s3.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})


def spooled(directory: str, size: int) -> int:
    """Write a file without a name, and return its descriptor."""
    file, path = tempfile.mkstemp(dir=directory)
    os.unlink(path)
    piece = os.urandom(PIECE)
    for at in range(0, size, PIECE):
        os.pwrite(file, piece[: size - at], at)
    return file


class Errands:
    """Does what it is told to in lines of JSON: ``{"uploads": 1, "size": 4096, "part": 4096}``.

    Args:
        s3: the client.
        bucket: where to.
        directory: where the file goes that is uploaded.
    """

    def __init__(self, s3: Any, bucket: str, directory: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._directory = directory
        self._spools: dict[int, int] = {}

    def serve(self, connection: socket.socket) -> None:
        """Answer each line when it is done."""
        with connection, connection.makefile("r") as lines:
            for line in lines:
                self.run(**json.loads(line))
                connection.sendall(b"done\n")

    def run(self, uploads: int, size: int, part: int) -> None:
        """Upload, and forget. The file is written the first time, which is not counted."""
        if size not in self._spools:
            self._spools[size] = spooled(self._directory, size)
        keys = [f"boto-{number}" for number in range(uploads)]
        full, rest = divmod(size, part)
        sizes = [part] * full + [rest] * bool(rest)
        Uploads(self._s3, self._bucket, self._spools[size]).run(keys, sizes)
        for key in keys:
            self._s3.delete_object(Bucket=self._bucket, Key=key)


def main() -> None:
    """Do errands until told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--bucket", required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    errands = Errands(client(options.endpoint), options.bucket, options.dir)
    listener = socket.create_server(("127.0.0.1", options.port))
    while True:
        errands.serve(listener.accept()[0])


if __name__ == "__main__":
    main()
