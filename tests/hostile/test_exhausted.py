"""What runs out: room on the disk, and descriptors."""

from __future__ import annotations

import base64
import hashlib
import random
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from http.client import HTTPException

import pytest
from full import SmallDisk

from server import OCTETS, Server, Start, Wire, chunk, until, vectus_serve

Serve = Callable[..., Server]


@pytest.mark.parametrize("durability", ["none", "finish", "always"])
@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_full_disk(
    framing: str, durability: str, start: Start, port: Callable[[], int], small_disk: SmallDisk
) -> None:
    """On a full disk the answer is 507 with Retry-After and what fitted is kept; the server tells
    where it is, and once there is room the upload goes on and ends exact (D12)."""
    data = random.Random(3).randbytes(3 << 20)
    store = small_disk.folder / "store"
    server = vectus_serve(start, port(), store, "--durability", durability)
    path = server.create(len(data))
    small_disk.fill(server)
    with server.connect() as wire:
        if framing == "sized":
            wire.patch(path, 0, len(data))
            body = data
        else:
            fields = {"content_type": OCTETS, "upload_offset": 0}
            wire.head("PATCH", path, transfer_encoding="chunked", **fields)
            body = chunk(data) + chunk(b"")
        with suppress(OSError):
            wire.send(body)
        refused = wire.answer()
    assert refused.status == 507, refused
    assert int(refused.headers["retry-after"]) > 0
    offset = server.offset(path)
    assert refused.offset == offset
    assert 0 < offset < len(data)
    assert server.stored(path)[:offset] == data[:offset]
    small_disk.free(server)
    assert server.patch(path, offset, data[offset:]).status == 204
    assert server.get(path) == data


def test_full_disk_and_a_new_upload(
    start: Start, port: Callable[[], int], small_disk: SmallDisk
) -> None:
    """On a full disk neighbours can still be asked for and deleted, which makes room (D12)."""
    server = vectus_serve(start, port(), small_disk.folder / "store")
    first, second = server.create(5 << 20), server.create(8 << 20)
    assert server.patch(first, 0, bytes(3 << 20)).status == 204
    small_disk.fill(server)
    assert server.patch(second, 0, bytes(8 << 20)).status == 507
    assert server.offset(first) == 3 << 20
    assert server.ask("DELETE", first).status == 204
    offset = server.offset(second)
    assert server.patch(second, offset, bytes(100_000)).status == 204 or offset


def test_checksummed_on_a_full_disk(
    start: Start, port: Callable[[], int], small_disk: SmallDisk
) -> None:
    """Of a checksummed body that does not fit nothing is kept, and the room it took is free again
    (C20, D12)."""
    data = random.Random(4).randbytes(3 << 20)
    claim = f"sha256 {base64.b64encode(hashlib.sha256(data).digest()).decode()}"
    server = vectus_serve(start, port(), small_disk.folder / "store")
    path = server.create(len(data))
    small_disk.fill(server)
    refused = server.patch(path, 0, data, upload_checksum=claim)
    assert refused.status == 507, refused
    assert server.offset(path) == 0
    assert server.size(path) == 0
    small_disk.free(server)
    assert server.patch(path, 0, data, upload_checksum=claim).status == 204
    assert server.get(path) == data


LIMITED = ("sh", "-c", 'ulimit -n 64 && exec "$@"', "sh")


def test_out_of_descriptors(serve: Serve) -> None:
    """A server without descriptors for more connections lets the rest wait and says so once; an
    upload under way ends well, and once connections close everybody is served."""
    server = serve(prefix=LIMITED)
    path = server.create(100_000)
    with server.connect() as wire:
        wire.patch(path, 0, 100_000)
        wire.send(bytes(50_000))
        until(lambda: server.size(path) == 50_000, "the arrival of what was sent")
        with ExitStack() as crowd:
            for _ in range(150):
                crowd.enter_context(server.connect()).send(b"HEAD")
            until(lambda: "slowly" in server.output, "the warning")
            wire.send(bytes(50_000))
            assert wire.answer().status == 204
    assert server.get(path) == bytes(100_000)
    assert server.output.count("slowly") == 1
    assert server.alive


def test_out_of_descriptors_for_files(serve: Serve) -> None:
    """Uploads whose files cannot be opened for want of descriptors hear that they may try again;
    none of them is harmed, and each ends exact afterwards."""
    server = serve(prefix=LIMITED)
    paths = [server.create(2000) for _ in range(40)]
    with ExitStack() as crowd:
        wires = [crowd.enter_context(server.connect()) for _ in paths]
        for wire, path in zip(wires, paths, strict=True):
            wire.patch(path, 0, 2000)
            wire.send(b"a" * 1000)
        threading.Event().wait(1)  # what hangs says nothing; who is refused hears it soon
        heard = [hear(wire) for wire in wires]
    assert {status for status in heard if status} <= {423, 503}, heard
    for path in paths:
        until(lambda path=path: server.ask("HEAD", path).status == 200, "an answer")
    for path in paths:  # by now nothing of the crowd is open any more
        offset = server.offset(path)
        assert offset in {0, 1000}
        assert server.patch(path, offset, (b"a" * 1000 + b"b" * 1000)[offset:]).status == 204
        assert server.get(path) == b"a" * 1000 + b"b" * 1000


def hear(wire: Wire) -> int | None:
    """What a connection has been told, if anything."""
    with suppress(TimeoutError, OSError, HTTPException):
        return wire.answer(patience=0.01).status
    return None
