"""tus-js-client, as npm has it, against a real server process."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import Callable
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from cutter import Cutter
from driven import Server, Told

from server import until
from vectus.wiring import open_locker

CHUNK = 256 * 1024


def ask(method: str, url: str, **headers: str) -> HTTPResponse:
    """Send one request without a body, and return the answer."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=20)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, parts.path, headers={"Tus-Resumable": "1.0.0", **fields})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def create(server: Server, length: int) -> str:
    """Create an upload, and return its URL."""
    location = ask("POST", server.url, Upload_Length=str(length)).headers["Location"]
    return f"http://127.0.0.1:{server.port}{location}"


def test_a_plain_upload(server: Server, photo: Path, tus_js: Callable[..., Told]) -> None:
    """A file arrives whole, in one POST and one PATCH (T21, T41, T42)."""
    told = tus_js(photo, server.url)

    assert (told.error, told.requests) == (None, ["POST 201", "PATCH 204"])
    assert server.stored(told.url) == photo.read_bytes()


def test_chunks_and_metadata(server: Server, photo: Path, tus_js: Callable[..., Told]) -> None:
    """A file in chunks arrives whole, and HEAD repeats its metadata (T21, T39)."""
    options = {"chunkSize": CHUNK, "metadata": {"filename": "Grüße.jpg", "filetype": "image/jpeg"}}
    told = tus_js(photo, server.url, source="file", options=options)

    name = base64.b64encode("Grüße.jpg".encode()).decode()
    assert told.requests == ["POST 201", *["PATCH 204"] * 5]
    assert f"filename {name}" in ask("HEAD", told.url).headers["Upload-Metadata"]
    assert server.stored(told.url) == photo.read_bytes()


def test_an_empty_file(
    server: Server, make_file: Callable[[int], Path], tus_js: Callable[..., Told]
) -> None:
    """A file without bytes is complete with its POST (T38, C11)."""
    told = tus_js(make_file(0), server.url)

    assert (told.error, told.requests) == (None, ["POST 201"])
    assert server.stored(told.url) == b""


def test_patch_by_override(server: Server, photo: Path, tus_js: Callable[..., Told]) -> None:
    """A client that cannot send PATCH uploads by POST with an override (T11, T12)."""
    told = tus_js(photo, server.url, options={"overridePatchMethod": True})

    assert (told.error, told.requests) == (None, ["POST 201", "POST 204"])
    assert server.stored(told.url) == photo.read_bytes()


def test_parallel_uploads(server: Server, photo: Path, tus_js: Callable[..., Told]) -> None:
    """Three partial uploads at once become one file in the right order (T68, T69)."""
    told = tus_js(photo, server.url, source="file", options={"parallelUploads": 3})

    assert told.error is None
    assert sorted(told.requests) == sorted([*["POST 201", "PATCH 204"] * 3, "POST 201"])
    assert server.stored(told.url) == photo.read_bytes()


def test_bytes_with_the_creation(server: Server, photo: Path, tus_js: Callable[..., Told]) -> None:
    """The first bytes come with the POST, the others with PATCHes (T43, T45)."""
    options = {"uploadDataDuringCreation": True, "chunkSize": CHUNK}
    told = tus_js(photo, server.url, options=options)

    assert (told.error, told.requests) == (None, ["POST 201", *["PATCH 204"] * 4])
    assert server.stored(told.url) == photo.read_bytes()


def test_a_whole_file_with_the_creation(
    server: Server, photo: Path, tus_js: Callable[..., Told]
) -> None:
    """A whole file comes with one POST (T45)."""
    told = tus_js(photo, server.url, options={"uploadDataDuringCreation": True})

    assert (told.error, told.requests) == (None, ["POST 201"])
    assert server.stored(told.url) == photo.read_bytes()


def test_a_stream_of_deferred_length(
    server: Server, photo: Path, tus_js: Callable[..., Told]
) -> None:
    """A stream whose length nobody knows before its end arrives whole (T36)."""
    options = {"uploadLengthDeferred": True, "chunkSize": CHUNK}
    told = tus_js(photo, server.url, source="stream", options=options)

    assert told.error is None
    assert server.stored(told.url) == photo.read_bytes()


def test_a_stream_cut_in_its_last_chunk(
    server: Server, photo: Path, tus_js: Callable[..., Told], cut: Callable[[Server, int], Cutter]
) -> None:
    """A stream of deferred length, cut in the chunk that declares the length, is resumed and the
    same length declared again (C12, D4)."""
    network = cut(server, 1_200_000)
    options = {"uploadLengthDeferred": True, "chunkSize": CHUNK}
    told = tus_js(photo, network.url, source="stream", options=options)

    assert (told.error, network.cuts) == (None, 1)
    assert "HEAD 200" in told.requests
    assert told.requests.count("POST 201") == 1
    assert server.stored(told.url) == photo.read_bytes()


def test_a_network_that_fails(
    server: Server, photo: Path, tus_js: Callable[..., Told], cut: Callable[[Server, int], Cutter]
) -> None:
    """After a cut the client goes on with the same upload where the bytes ended (T25)."""
    network = cut(server, 600_000)
    told = tus_js(photo, network.url)

    assert (told.error, network.cuts) == (None, 1)
    assert told.requests == ["POST 201", "HEAD 200", "PATCH 204"]
    assert server.stored(told.url) == photo.read_bytes()


def test_parallel_uploads_over_a_network_that_fails(
    server: Server, photo: Path, tus_js: Callable[..., Told], cut: Callable[[Server, int], Cutter]
) -> None:
    """A partial upload that is cut goes on, and the parts still join in order (T69, T25)."""
    network = cut(server, 600_000)
    told = tus_js(photo, network.url, source="file", options={"parallelUploads": 3})

    assert (told.error, network.cuts) == (None, 1)
    assert server.stored(told.url) == photo.read_bytes()


def test_resuming_after_an_abort(
    server: Server, photo: Path, tmp_path: Path, tus_js: Callable[..., Told]
) -> None:
    """Another run of the client finds the stored URL and sends only what is missing (T13, T18)."""
    job = {"source": "file", "store": str(tmp_path / "urls.json"), "options": {"chunkSize": CHUNK}}
    first = tus_js(photo, server.url, play="abort", **job)
    second = tus_js(photo, server.url, play="resume", **job)

    assert first.requests == ["POST 201", "PATCH 204"]
    assert second.requests == ["HEAD 200", *["PATCH 204"] * 4]
    assert second.url == first.url
    assert server.stored(second.url) == photo.read_bytes()


def test_terminating(server: Server, photo: Path, tus_js: Callable[..., Told]) -> None:
    """An upload that the client gives up is removed and gone (T63, T64)."""
    told = tus_js(photo, server.url, play="terminate", options={"chunkSize": CHUNK})

    assert (told.error, told.requests[-1]) == (None, "DELETE 204")
    assert ask("HEAD", told.url).status in {404, 410}


def test_the_newest_request_wins(server: Server, photo: Path, tus_js: Callable[..., Told]) -> None:
    """A PATCH that hangs is displaced with 423 and its offset, and the client that comes anew
    keeps its URL and goes on from there (C36, D3)."""
    content = photo.read_bytes()
    url = create(server, len(content))
    head = (
        f"PATCH {urlsplit(url).path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n"
        "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as hanging:
        hanging.sendall(head.encode() + content[:100_000])
        until(lambda: server.stored(url), "the first bytes")  # it has the upload's lock then
        told = tus_js(photo, server.url, options={"uploadUrl": url})
        displaced = HTTPResponse(hanging)
        displaced.begin()

    assert (told.url, told.error, told.requests) == (url, None, ["HEAD 200", "PATCH 204"])
    assert displaced.status == 423
    assert int(displaced.headers["Upload-Offset"]) <= 100_000
    assert server.stored(url) == content


async def test_a_lock_that_cannot_be_had(
    serve: Callable[..., Server],
    photo: Path,
    start: Callable[..., object],
    js_command: Callable[..., list[str]],
) -> None:
    """While somebody who does not let go holds the upload, the client is told to try again; it
    keeps its URL and completes the upload later (C46, D3)."""
    server = await asyncio.to_thread(serve, "--lock-timeout", "300ms")
    url = await asyncio.to_thread(create, server, photo.stat().st_size)
    locker = open_locker(server.store)
    patient = {"uploadUrl": url, "retryDelays": [0, *[500] * 50]}  # whatever stops us meanwhile
    command = js_command(photo, server.url, options=patient)
    async with locker.hold(url.rpartition("/")[2]):
        refusal = await asyncio.to_thread(ask, "HEAD", url)
        client = await asyncio.to_thread(lambda: start(*command, ready="HEAD 423"))
    await locker.aclose()
    await asyncio.to_thread(client.process.wait, 30)
    client.stop()
    told = Told(**json.loads(client.lines[-1]))

    assert (refusal.status, int(refusal.headers["Retry-After"]) > 0) == (423, True)
    assert refusal.headers["Upload-Offset"] is None
    assert (told.url, told.error) == (url, None)
    assert told.requests[-2:] == ["HEAD 200", "PATCH 204"]
    assert told.requests[0] == "HEAD 423"
    assert set(told.requests[:-2]) <= {"HEAD 423", "HEAD 200", "PATCH 423"}  # a slow machine's
    assert server.stored(url) == photo.read_bytes()
