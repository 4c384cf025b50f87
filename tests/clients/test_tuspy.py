"""tuspy, as PyPI has it, against a real server process."""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from driven import Server, Told

CHUNK = 256 * 1024


def test_a_plain_upload(server: Server, photo: Path, tuspy: Callable[..., Told]) -> None:
    """A file arrives whole, in one POST and one PATCH; its empty metadata is none (C14)."""
    told = tuspy(photo, server.url)

    assert told.requests == ["POST 201", "PATCH 204"]
    assert server.stored(told.url) == photo.read_bytes()


def test_an_upload_in_chunks(server: Server, photo: Path, tuspy: Callable[..., Told]) -> None:
    """A file in chunks arrives whole (T21)."""
    told = tuspy(photo, server.url, options={"chunk_size": CHUNK})

    assert told.requests == ["POST 201", *["PATCH 204"] * 5]
    assert server.stored(told.url) == photo.read_bytes()


def test_an_empty_file(
    server: Server, make_file: Callable[[int], Path], tuspy: Callable[..., Told]
) -> None:
    """A file without bytes is complete with its POST (T38)."""
    told = tuspy(make_file(0), server.url)

    assert told.requests == ["POST 201"]
    assert server.stored(told.url) == b""


@pytest.mark.parametrize("chunk_size", [CHUNK, 10_000_000])
def test_checksums(
    server: Server, photo: Path, tuspy: Callable[..., Told], chunk_size: int
) -> None:
    """Chunks that carry their checksum are verified and taken (T54, T56)."""
    options = {"upload_checksum": True, "chunk_size": chunk_size}
    told = tuspy(photo, server.url, options=options)

    assert set(told.requests[1:]) == {"PATCH 204"}
    assert server.stored(told.url) == photo.read_bytes()


def test_resuming(server: Server, photo: Path, tmp_path: Path, tuspy: Callable[..., Told]) -> None:
    """Another run of the client finds the stored URL and sends only what is missing (T13, T18)."""
    job = {"store": str(tmp_path / "urls.json"), "options": {"chunk_size": CHUNK}}
    first = tuspy(photo, server.url, stop_at=2 * CHUNK, **job)
    second = tuspy(photo, server.url, **job)

    assert first.requests == ["POST 201", *["PATCH 204"] * 2]
    assert second.requests == ["HEAD 200", *["PATCH 204"] * 3]
    assert second.url == first.url
    assert server.stored(second.url) == photo.read_bytes()


def test_metadata(server: Server, photo: Path, tuspy: Callable[..., Told]) -> None:
    """Metadata is repeated by HEAD as it was sent (T39)."""
    told = tuspy(photo, server.url, options={"metadata": {"empty": "", "filename": "Grüße.jpg"}})
    head = urllib.request.Request(told.url, method="HEAD", headers={"Tus-Resumable": "1.0.0"})
    with urllib.request.urlopen(head, timeout=20) as answer:
        metadata = answer.headers["Upload-Metadata"]

    assert metadata == f"empty ,filename {base64.b64encode('Grüße.jpg'.encode()).decode()}"
