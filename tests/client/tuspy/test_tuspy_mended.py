"""tuspy's faults, each one seen in tuspy 1.1.0, and none of them here."""

from __future__ import annotations

import asyncio
import copy
import gc
import io
import json
import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx2
import pytest
from scripted_tus import CUT, ScriptedTus

from server import Port
from vectus.client.tuspy import (
    AsyncUploader,
    FileStorage,
    Fingerprint,
    Storage,
    TusClient,
    TusCommunicationError,
    TusUploadFailed,
    Uploader,
    connection as connection_module,
)
from vectus.client.tuspy.uploader import uploader as uploader_module

DATA = bytes(range(250)) * 4
MIB = 1 << 20


@pytest.fixture
def storage(tmp_path: Path) -> FileStorage:
    """A storage with nothing in it."""
    return FileStorage(tmp_path / "urls.json")


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL where nobody listens."""
    port = Port()
    yield f"http://127.0.0.1:{port.number}/files/"
    port.close()


# --- The stream, the file, memory -----------------------------------------------------------------


async def test_the_caller_s_stream_stays_open(
    tus: ScriptedTus, kind: Any, photo: Path, storage: FileStorage
) -> None:
    """With ``store_url`` too: tuspy closed it for its fingerprint, and then could not read it."""
    with photo.open("rb") as stream:
        uploader = kind.make(tus, file_stream=stream, store_url=True, url_storage=storage)
        await kind.do(uploader.upload())
        assert not stream.closed

    assert tus.stored(uploader.url) == DATA


async def test_files_that_are_opened_are_closed(tus: ScriptedTus, kind: Any, photo: Path) -> None:
    """One was left open for every request by tuspy, and one for every look at the size."""
    opened: list[IO[Any]] = []
    uploader = kind.make(tus, str(photo), chunk_size=300)
    open_file = uploader.get_file_stream

    def watched() -> IO[Any]:
        opened.append(open_file())
        return opened[-1]

    uploader.get_file_stream = watched
    await kind.do(uploader.upload())

    assert len(opened) >= 4
    assert all(file.closed for file in opened)


@pytest.mark.parametrize("options", [{}, {"upload_checksum": True}])
async def test_memory_is_bounded(
    tus: ScriptedTus, kind: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    """By default a file travels in one request, and is never in memory as a whole."""
    tus.keep = False
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 64 * MIB)
    uploader = kind.make(tus, str(path), **options)
    tracemalloc.start()
    try:
        await kind.do(uploader.upload())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert tus.methods == ["POST", "PATCH"]
    assert tus.uploads["/files/1"].count == 64 * MIB
    assert peak < 24 * MIB


async def test_a_deferred_length_with_the_default_chunk(tus: ScriptedTus, kind: Any) -> None:
    """It goes in one request; tuspy wanted to read ``sys.maxsize`` bytes: OverflowError."""
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), upload_length_deferred=True)
    await kind.do(uploader.upload())

    assert tus.methods == ["POST", "PATCH"]
    assert tus.of("PATCH")[0].headers["upload-length"] == "1000"
    assert tus.stored(uploader.url) == DATA


async def test_a_deferred_length_of_nothing(tus: ScriptedTus, kind: Any) -> None:
    """An empty stream is declared as that."""
    uploader = kind.make(tus, file_stream=io.BytesIO(), upload_length_deferred=True)
    await kind.do(uploader.upload())

    assert [note.headers["upload-length"] for note in tus.of("PATCH")] == ["0"]


class Pipe(io.RawIOBase):
    """A stream that can be read once."""

    def __init__(self, data: bytes) -> None:
        self._source = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.readinto(buffer)


async def test_a_stream_that_cannot_be_rewound(tus: ScriptedTus, kind: Any) -> None:
    """With a deferred length it is uploaded, and what a retry needs is kept."""
    tus.will("PATCH", None, 500, CUT)
    options = {"upload_length_deferred": True, "retries": 2, "retry_delay": 0, "chunk_size": 300}
    uploader = kind.make(tus, file_stream=Pipe(DATA), **options)
    await kind.do(uploader.upload())

    assert tus.stored(uploader.url) == DATA


@pytest.mark.parametrize(
    "options", [{}, {"upload_length_deferred": True, "store_url": True}], ids=["size", "key"]
)
def test_what_a_stream_that_cannot_be_rewound_has_not(
    tus: ScriptedTus, kind: Any, storage: FileStorage, options: dict[str, Any]
) -> None:
    """Neither a size nor a fingerprint: ValueError says so before anything is read or sent."""
    with pytest.raises(ValueError, match="stream"):
        kind.make(tus, file_stream=Pipe(DATA), url_storage=storage, **options)
    assert tus.notes == []


@pytest.mark.parametrize("left", [100, 300, 500])
async def test_a_file_that_shrinks(tus: ScriptedTus, kind: Any, photo: Path, left: int) -> None:
    """It fails, wherever the file ends now; tuspy sent empty chunks for ever."""
    tus.will("PATCH", None, None, None, 403)  # else it would never end
    options = {"chunk_size": 300, "retries": 3, "retry_delay": 0}
    uploader = kind.make(tus, str(photo), **options)
    await kind.do(uploader.upload_chunk())
    os.truncate(photo, left)
    with pytest.raises(TusUploadFailed, match=f"ends after {left} bytes"):
        await kind.do(uploader.upload())

    assert tus.methods == ["POST", "PATCH"]


async def test_a_file_that_is_replaced(tus: ScriptedTus, kind: Any, photo: Path) -> None:
    """Bytes of another file do not follow those of the first, as they did with tuspy; a new upload
    takes the new file."""
    uploader = kind.make(tus, str(photo), chunk_size=300)
    await kind.do(uploader.upload_chunk())
    other = photo.with_name("other")
    other.write_bytes(bytes(1000))
    other.replace(photo)
    with pytest.raises(TusUploadFailed, match="changed"):
        await kind.do(uploader.upload())
    assert tus.stored(uploader.url) == DATA[:300]

    uploader.url = None
    await kind.do(uploader.upload())
    assert tus.stored(uploader.url) == bytes(1000)


async def test_a_file_that_is_emptied(tus: ScriptedTus, kind: Any, photo: Path) -> None:
    """It fails as well, before its first byte."""
    tus.will("PATCH", None, None, 403)
    uploader = kind.make(tus, str(photo))
    uploader.set_url(await kind.do(uploader.create_url()))
    os.truncate(photo, 0)
    with pytest.raises(TusUploadFailed, match="ends after 0 bytes"):
        await kind.do(uploader.upload())

    assert tus.methods == ["POST"]


# --- Connections ----------------------------------------------------------------------------------


async def test_one_connection(
    tus: ScriptedTus, kind: Any, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks, and what follows a trouble, go over one connection; tuspy opened one for each."""
    limits = copy.copy(connection_module.LIMITS)
    limits.keepalive_expiry = 30  # however long this process is stopped between two requests
    monkeypatch.setattr(connection_module, "LIMITS", limits)
    tus.will("PATCH", None, 500)
    options = {"chunk_size": 50, "retries": 1, "retry_delay": 0}
    uploader = kind.make(tus, str(photo), **options)
    while uploader.offset < uploader.file_size:
        await kind.do(uploader.upload_chunk())

    assert len(tus.notes) == 23
    assert len({note.port for note in tus.notes}) == 1


def test_an_upload_over_several_event_loops(tus: ScriptedTus, photo: Path) -> None:
    """Each loop has its connection, and none is left behind."""
    uploader = TusClient(tus.url).async_uploader(str(photo), chunk_size=400)
    for _ in range(3):
        asyncio.run(uploader.upload_chunk())
    assert tus.stored(uploader.url) == DATA

    uploader = TusClient(tus.url).async_uploader(str(photo), chunk_size=400)
    asyncio.run(uploader.upload_chunk())
    del uploader
    gc.collect()  # a connection that is left open would be told of now, and fail the test


async def test_an_uploader_that_is_forgotten(tus: ScriptedTus, kind: Any, photo: Path) -> None:
    """Its connection is closed without a warning."""
    uploader = kind.make(tus, str(photo), chunk_size=400, url=tus.add(1000))
    await kind.do(uploader.upload_chunk())
    del uploader
    gc.collect()
    await asyncio.sleep(0)


# --- Trying again ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 412, 413, 415, 501])
async def test_what_is_final_is_not_tried_again(tus: ScriptedTus, kind: Any, status: int) -> None:
    """A chunk was sent again by tuspy whatever the answer was."""
    tus.will("PATCH", (status, {}, b"why not"))
    options = {"retries": 2, "retry_delay": 60}
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), **options)
    with pytest.raises(TusUploadFailed) as failed:
        await kind.do(uploader.upload())

    assert tus.methods == ["POST", "PATCH"]
    assert (failed.value.status_code, failed.value.response_content) == (status, b"why not")


@pytest.mark.parametrize("trouble", [503, 429, CUT])
async def test_a_post_is_tried_again(tus: ScriptedTus, kind: Any, trouble: Any) -> None:
    """Making an upload may take several tries; tuspy gave up at once."""
    tus.will("POST", trouble, trouble)
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), retries=2, retry_delay=0)
    await kind.do(uploader.upload())

    assert tus.methods == ["POST", "POST", "POST", "PATCH"]
    assert tus.stored(uploader.url) == DATA


async def test_a_time_out_is_an_error_like_others(
    tus: ScriptedTus, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """It is wrapped, and tried again; there is none for the request as a whole."""
    limits: list[bool] = []

    def short(seconds: float | None, *, body: bool) -> httpx2.Timeout:
        limits.append(body)
        return httpx2.Timeout(20, read=0.2 if body else 20)

    done = threading.Event()
    monkeypatch.setattr("vectus.client.tuspy.connection.timeouts", short)
    tus.will("PATCH", lambda _: done.wait(20) and CUT, lambda _: done.wait(20) and CUT)
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), retries=1, retry_delay=0)
    try:
        with pytest.raises(TusUploadFailed, match="in time") as failed:
            await kind.do(uploader.upload())
    finally:
        done.set()

    assert failed.value.status_code is None
    assert limits == [False, True, False, True]


async def test_a_loop_is_free_while_an_upload_tries_again(tus: ScriptedTus) -> None:
    """The offset is asked for without blocking the loop, as tuspy did."""
    asked, go_on = threading.Event(), threading.Event()

    def wait(_: Any) -> None:
        asked.set()
        go_on.wait(20)

    tus.will("PATCH", 500)
    tus.will("HEAD", wait)
    uploader = TusClient(tus.url).async_uploader(
        file_stream=io.BytesIO(DATA), retries=1, retry_delay=0
    )
    upload = asyncio.create_task(uploader.upload())
    assert await asyncio.to_thread(asked.wait, 20)
    go_on.set()  # only a free loop comes here
    await upload

    assert tus.stored(uploader.url) == DATA


async def test_a_cancelled_upload_goes_on(tus: ScriptedTus) -> None:
    """The task ends at once, and the same uploader can be used again."""
    asked, go_on = threading.Event(), threading.Event()

    def wait(_: Any) -> object:
        asked.set()
        go_on.wait(20)
        return CUT

    tus.will("PATCH", None, wait)
    client = TusClient(tus.url)
    uploader = client.async_uploader(file_stream=io.BytesIO(DATA), chunk_size=300)
    upload = asyncio.create_task(uploader.upload())
    assert await asyncio.to_thread(asked.wait, 20)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    go_on.set()
    assert uploader.offset == 300

    await uploader.upload()
    assert tus.stored(uploader.url) == DATA


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((204, {"Upload-Offset": "0"}), "took any"),
        ((204, {}), "took any"),
        ((204, {"Upload-Offset": "-1"}), "took any"),
        ((204, {"Upload-Offset": "2000"}), "more|only 1000"),
    ],
)
async def test_answers_that_make_no_sense(
    tus: ScriptedTus, kind: Any, answer: Any, words: str
) -> None:
    """They fail, with tuspy's kind of error; tuspy went on for ever, or believed them."""
    tus.will("PATCH", *[answer] * 3)
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), retries=1, retry_delay=0)
    with pytest.raises(TusUploadFailed, match=words):
        await kind.do(uploader.upload())

    assert uploader.offset == 0


async def test_a_deferred_length_that_was_taken_in_part(tus: ScriptedTus, kind: Any) -> None:
    """An upload is not whole before the server has the last byte."""

    def half(note: Any) -> tuple[int, dict[str, str]]:
        kept = tus.uploads[note.path]
        kept.count, kept.data = 400, bytearray(note.body[:400])
        return 204, {"Upload-Offset": "400"}

    tus.will("PATCH", half)
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), upload_length_deferred=True)
    await kind.do(uploader.upload())

    assert tus.methods == ["POST", "PATCH", "PATCH"]
    assert tus.stored(uploader.url) == DATA


async def test_an_upload_that_is_longer_than_the_file(
    tus: ScriptedTus, kind: Any, photo: Path, storage: FileStorage
) -> None:
    """It cannot be this file's: an explicit URL fails, a stored one is dropped. tuspy took it for
    a finished one."""
    url = tus.add(5000, bytes(2000))
    with pytest.raises(TusUploadFailed, match="2000 bytes"):
        kind.make(tus, str(photo), url=url)

    storage.set_item(Fingerprint().get_fingerprint(io.BytesIO(DATA)), url)
    uploader = kind.make(tus, str(photo), store_url=True, url_storage=storage)
    await kind.do(uploader.upload())
    assert tus.stored(uploader.url) == DATA


# --- Stored URLs ----------------------------------------------------------------------------------


def test_a_stored_url_whose_server_is_away(
    kind: Any, photo: Path, storage: FileStorage, nobody: str
) -> None:
    """The constructor raises TusCommunicationError, where tuspy's raised TypeError; the URL stays
    stored."""
    key = Fingerprint().get_fingerprint(io.BytesIO(DATA))
    storage.set_item(key, f"{nobody}1")
    with pytest.raises(TusCommunicationError) as failed:
        kind.make(TusClient(nobody), str(photo), store_url=True, url_storage=storage)

    assert failed.value.status_code is None
    assert storage.get_item(key) == f"{nobody}1"


def test_nothing_is_stored_before_there_is_something(
    tus: ScriptedTus, kind: Any, photo: Path, tmp_path: Path
) -> None:
    """A new uploader stores nothing; tuspy stored a row without a URL."""
    storage = FileStorage(tmp_path / "urls.json")
    kind.make(tus, str(photo), store_url=True, url_storage=storage)

    assert not (tmp_path / "urls.json").exists()


@pytest.mark.parametrize("name", ["upload", "upload_chunk"])
async def test_a_stored_url_is_removed_after_success(
    tus: ScriptedTus, kind: Any, photo: Path, tmp_path: Path, name: str
) -> None:
    """So that the next file with the same fingerprint is an upload of its own."""
    storage = FileStorage(tmp_path / "urls.json")
    options = {"store_url": True, "url_storage": storage, "chunk_size": 500}
    uploader = kind.make(tus, str(photo), **options)
    await kind.do(uploader.upload_chunk())
    rows = json.loads((tmp_path / "urls.json").read_text())["_default"].values()
    assert [row["url"] for row in rows] == [uploader.url]

    await kind.do(getattr(uploader, name)())
    assert json.loads((tmp_path / "urls.json").read_text())["_default"] == {}

    another = kind.make(tus, str(photo), **options)
    assert another.url is None


class Keeping(Storage):
    """A storage of somebody's for tuspy, which never removes anything."""

    def __init__(self) -> None:
        self.items: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.items)

    def get_item(self, key: str) -> str | None:
        return self.items.get(key)

    def set_item(self, key: str, value: str) -> None:
        self.items[key] = value

    def remove_item(self, key: str) -> None:
        raise NotImplementedError


async def test_a_storage_that_cannot_remove(tus: ScriptedTus, kind: Any, photo: Path) -> None:
    """The upload succeeds, with a warning; and a storage that is empty is a storage."""
    storage = Keeping()
    uploader = kind.make(tus, str(photo), store_url=True, url_storage=storage)
    with pytest.warns(RuntimeWarning, match="stays stored"):
        await kind.do(uploader.upload())

    assert list(storage.items.values()) == [uploader.url]
    again = kind.make(tus, str(photo), store_url=True, url_storage=storage)
    assert (again.url, again.offset) == (uploader.url, 1000)


# --- What stays as users know it ------------------------------------------------------------------


async def test_methods_that_are_overridden_are_called(tus: ScriptedTus, photo: Path) -> None:
    """``create_url``, ``get_headers`` and ``set_url`` of a subclass count, in both kinds."""
    seen: list[str] = []

    class Ours(Uploader):
        def create_url(self) -> str:
            return tus.add(1000)

        def get_headers(self) -> dict[str, str]:
            return {**super().get_headers(), "X-Ours": "1"}

        def set_url(self, url: str | None) -> None:
            seen.append(str(url))
            super().set_url(url)

    class AsyncOurs(AsyncUploader):
        async def create_url(self) -> str:
            return tus.add(1000)

    blocking = Ours(str(photo), client=TusClient(tus.url))
    blocking.upload()
    await AsyncOurs(str(photo), client=TusClient(tus.url)).upload()

    assert seen == [blocking.url]
    assert tus.of("PATCH")[0].headers["x-ours"] == "1"
    assert tus.methods == ["PATCH", "PATCH"]


def test_requests_are_looked_up_where_tuspy_s_tests_replace_them() -> None:
    """``TusRequest`` and ``AsyncTusRequest`` are names of the uploader's module."""
    assert {"TusRequest", "AsyncTusRequest"} <= vars(uploader_module).keys()


# --- What the guide says besides ------------------------------------------------------------------


async def test_a_request_knows_no_file_of_a_path(tus: ScriptedTus, kind: Any, photo: Path) -> None:
    """``request.file`` is the caller's stream, or None."""
    uploader = kind.make(tus, str(photo))
    await kind.do(uploader.upload())
    assert uploader.request.file is None

    stream = io.BytesIO(DATA)
    uploader = kind.make(tus, file_stream=stream)
    await kind.do(uploader.upload())
    assert uploader.request.file is stream


async def test_how_much_is_kept_of_a_stream(tus: ScriptedTus, kind: Any) -> None:
    """Of what cannot be read again a request has 8 MiB by default, and 16 at most."""
    tus.keep = False
    for options, size in (({}, 8 * MIB), ({"chunk_size": 64 * MIB}, 16 * MIB)):
        tus.notes.clear()
        pipe = Pipe(bytes(17 * MIB))
        await kind.do(
            kind.make(tus, file_stream=pipe, upload_length_deferred=True, **options).upload()
        )
        lengths = [int(note.headers["content-length"]) for note in tus.of("PATCH")]
        assert (lengths[0], sum(lengths)) == (size, 17 * MIB)


async def test_a_long_answer_is_cut(tus: ScriptedTus, kind: Any) -> None:
    """The content of an error is bounded, whatever a server sends."""
    tus.will("PATCH", (400, {}, bytes(4 * MIB)))
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA))
    with pytest.raises(TusUploadFailed) as failed:
        await kind.do(uploader.upload())

    assert failed.value.response_content is not None
    assert len(failed.value.response_content) <= 64 << 10


def test_the_limits_of_silence() -> None:
    """10 seconds to connect, 60 to send, 300 for the answer to a chunk, and none in all."""
    limits = connection_module.timeouts(None, body=True)

    assert (limits.connect, limits.write, limits.read) == (10, 60, 300)


def test_a_url_of_the_caller_s_is_never_dropped(
    tus: ScriptedTus, kind: Any, photo: Path, storage: FileStorage
) -> None:
    """With a storage too, it fails, and nothing is stored or removed."""
    key = Fingerprint().get_fingerprint(io.BytesIO(DATA))
    storage.set_item(key, "http://example.org/1")
    with pytest.raises(TusCommunicationError) as failed:
        kind.make(tus, str(photo), url=f"{tus.url}9", store_url=True, url_storage=storage)

    assert failed.value.status_code == 404
    assert storage.get_item(key) == "http://example.org/1"


async def test_a_url_that_is_taken_away(
    tus: ScriptedTus, kind: Any, photo: Path, storage: FileStorage
) -> None:
    """``set_url(None)`` forgets the upload, in the storage too; the next call makes another."""
    options = {"store_url": True, "url_storage": storage, "chunk_size": 400}
    uploader = kind.make(tus, str(photo), **options)
    await kind.do(uploader.upload_chunk())
    uploader.set_url(None)
    assert storage.get_item(Fingerprint().get_fingerprint(io.BytesIO(DATA))) is None

    await kind.do(uploader.upload())
    assert uploader.url == f"{tus.url}2"
    assert tus.stored(uploader.url) == DATA


async def test_nowhere_to_make_an_upload(tus: ScriptedTus) -> None:
    """An uploader without a client says so when it is asked for a new URL."""
    blocking = Uploader(file_stream=io.BytesIO(DATA), url=tus.add(1000))
    with pytest.raises(ValueError, match="client"):
        blocking.create_url()

    awaited = AsyncUploader(file_stream=io.BytesIO(DATA), url=tus.add(1000))
    with pytest.raises(ValueError, match="client"):
        await awaited.create_url()
