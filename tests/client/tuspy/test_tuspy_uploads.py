"""What tuspy's own tests promise, through the shim: both kinds of uploader, one server of a few
lines."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from pathlib import Path
from typing import Any

import httpx2
import pytest
from scripted_tus import ScriptedTus

from vectus.client.tuspy import (
    AsyncUploader,
    TusClient,
    TusCommunicationError,
    Uploader,
)
from vectus.client.tuspy.request import AsyncTusRequest, TusRequest, catch_requests_error

DATA = bytes(range(250)) * 4


# --- The client -----------------------------------------------------------------------------------


def test_a_client_is_its_url_its_headers_and_its_certificate() -> None:
    """The three arguments are attributes; no headers are an empty dict."""
    client = TusClient("http://a/", {"foo": "bar"}, "cert.pem")

    assert (client.url, client.headers, client.client_cert) == (
        "http://a/",
        {"foo": "bar"},
        "cert.pem",
    )
    assert TusClient("http://a/").headers == {}
    assert TusClient("http://a/").client_cert is None


def test_set_headers_adds_and_replaces() -> None:
    """Headers are updated in place."""
    client = TusClient("http://a/", {"foo": "bar"})
    headers = client.headers
    client.set_headers({"foo": "tender", "food": "at the bar"})

    assert client.headers is headers
    assert headers == {"foo": "tender", "food": "at the bar"}


@pytest.mark.parametrize(
    ("factory", "made"), [("uploader", Uploader), ("async_uploader", AsyncUploader)]
)
def test_a_client_makes_uploaders(factory: str, made: type[Any], photo: Path) -> None:
    """Its uploaders are of both kinds, and point back to it."""
    client = TusClient("http://a/")
    uploader = getattr(client, factory)(str(photo), chunk_size=7)

    assert type(uploader) is made
    assert (uploader.client, uploader.chunk_size) == (client, 7)


# --- The arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"client": TusClient("http://a/")},
        {"file_stream": io.BytesIO()},
        {"file_stream": io.BytesIO(), "client": TusClient("http://a/"), "store_url": True},
        {"file_path": "/nowhere/at/all", "client": TusClient("http://a/")},
        {"file_stream": io.BytesIO(), "client": TusClient("http://a/"), "chunk_size": 0},
    ],
)
@pytest.mark.parametrize("made", [Uploader, AsyncUploader])
def test_arguments_that_make_no_sense(made: type[Any], options: dict[str, Any]) -> None:
    """No file, no destination, nowhere to store, no such file, chunks of nothing: ValueError."""
    with pytest.raises(ValueError, match=r"\w"):
        made(**options)


def test_a_new_uploader(photo: Path) -> None:
    """It stands at the start, has nothing sent, and asks nobody."""
    uploader = TusClient("http://a/").uploader(str(photo))

    assert uploader.chunk_size == uploader.DEFAULT_CHUNK_SIZE
    assert (uploader.offset, uploader.url, uploader.request) == (0, None, None)
    assert (uploader.file_size, uploader.stop_at, uploader._retried) == (1000, 1000, 0)


def test_headers_are_the_protocol_s_and_the_client_s(photo: Path) -> None:
    """The client's headers are looked at when they are needed, and win."""
    client = TusClient("http://a/")
    uploader = client.uploader(str(photo))
    assert uploader.get_headers() == {"Tus-Resumable": "1.0.0"}

    client.set_headers({"foo": "bar", "Tus-Resumable": "0.2"})
    assert uploader.get_headers() == {"Tus-Resumable": "0.2", "foo": "bar"}


def test_metadata_is_encoded() -> None:
    """Keys as they are, values in Base64 of their encoding."""
    options = {"metadata": {"foo": "bär", "red": "🔵"}}
    utf8 = TusClient("http://a/").uploader(file_stream=io.BytesIO(), **options)
    utf16 = TusClient("http://a/").uploader(
        file_stream=io.BytesIO(), metadata={"a": "b"}, metadata_encoding="utf-16-le"
    )

    assert utf8.encode_metadata() == ["foo YsOkcg==", "red 8J+UtQ=="]
    assert utf16.encode_metadata() == ["a YgA="]


@pytest.mark.parametrize("key", ["", "a b", "a,b", "a\tb", "\n"])
def test_keys_that_cannot_be(key: str) -> None:
    """A metadata key that is empty or has white space or a comma is a ValueError."""
    uploader = TusClient("http://a/").uploader(file_stream=io.BytesIO(), metadata={key: "x"})

    with pytest.raises(ValueError, match="key"):
        uploader.encode_metadata()


def test_the_length_of_a_request(photo: Path) -> None:
    """It is the chunk size, or what is left, and never below nothing."""
    uploader = TusClient("http://a/").uploader(str(photo), chunk_size=200)
    assert uploader.get_request_length() == 200

    uploader.chunk_size = uploader.get_file_size() + 3000
    assert uploader.get_request_length() == 1000
    uploader.offset = 900
    assert uploader.get_request_length() == 100
    uploader.stop_at = 800
    assert uploader.get_request_length() == 0


def test_the_file_s_stream_and_size(photo: Path) -> None:
    """A path is opened anew, a stream is rewound and given back as it is."""
    uploader = TusClient("http://a/").uploader(str(photo))
    with uploader.get_file_stream() as opened:
        assert opened.read() == DATA
    assert uploader.get_file_size() == 1000

    stream = io.BytesIO(DATA)
    stream.seek(5)
    uploader.file_stream, uploader.file_path = stream, None
    assert uploader.get_file_stream() is stream
    assert stream.tell() == 0
    assert uploader.get_file_size() == 1000


# --- Uploads --------------------------------------------------------------------------------------


async def test_a_whole_upload(tus: ScriptedTus, kind: Any, photo: Path) -> None:
    """By default everything travels in one PATCH."""
    uploader = kind.make(tus, str(photo))
    assert await kind.do(uploader.upload()) is None

    assert tus.methods == ["POST", "PATCH"]
    assert tus.of("POST")[0].headers["upload-length"] == "1000"
    assert uploader.url == f"{tus.url}1"
    assert tus.stored(uploader.url) == DATA
    assert (uploader.offset, uploader.stop_at) == (1000, 1000)
    assert (uploader.request.status_code, uploader.request.response_content) == (204, b"")
    assert uploader.request.response_headers["upload-offset"] == "1000"


async def test_an_upload_in_chunks(tus: ScriptedTus, kind: Any) -> None:
    """Chunks are of the size that was asked for, and the last is what is left."""
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), chunk_size=300)
    await kind.do(uploader.upload())

    lengths = [note.headers["content-length"] for note in tus.of("PATCH")]
    assert lengths == ["300", "300", "300", "100"]
    assert tus.stored(uploader.url) == DATA


async def test_one_chunk_makes_the_upload_first(tus: ScriptedTus, kind: Any) -> None:
    """``upload_chunk`` creates where there is no URL yet, and only then."""
    uploader = kind.make(tus, file_stream=io.BytesIO(b"hello"), chunk_size=3)
    await kind.do(uploader.upload_chunk())
    assert (uploader.url, uploader.offset) == (f"{tus.url}1", 3)

    await kind.do(uploader.upload_chunk())
    assert (tus.methods, uploader.offset) == (["POST", "PATCH", "PATCH"], 5)


async def test_an_empty_file(tus: ScriptedTus, kind: Any) -> None:
    """A file without bytes is whole with its POST."""
    uploader = kind.make(tus, file_stream=io.BytesIO(b""))
    await kind.do(uploader.upload())

    assert tus.methods == ["POST"]
    assert uploader.url == f"{tus.url}1"


@pytest.mark.parametrize(("stop_at", "sent"), [(-1, 0), (400, 400), (5000, 1000)])
async def test_stopping_early(
    tus: ScriptedTus, kind: Any, photo: Path, stop_at: int, sent: int
) -> None:
    """``stop_at`` ends an upload there, or at the end of the file; the next call goes on."""
    uploader = kind.make(tus, str(photo), chunk_size=300)
    await kind.do(uploader.upload(stop_at=stop_at))
    assert (uploader.offset, tus.uploads["/files/1"].count) == (sent, sent)

    await kind.do(uploader.upload())
    assert tus.stored(uploader.url) == DATA


@pytest.mark.parametrize("place", ["/files/foo", "http://example.org/files/foo", "foo?a=b"])
async def test_the_url_of_a_new_upload(tus: ScriptedTus, kind: Any, place: str) -> None:
    """It is absolute, whatever ``Location`` was."""
    tus.will("POST", (201, {"Location": place}))
    uploader = kind.make(tus, file_stream=io.BytesIO(b"x"))
    root = tus.url.removesuffix("/files/")
    wanted = {"/files/foo": f"{root}/files/foo", "foo?a=b": f"{root}/files/foo?a=b"}

    assert await kind.do(uploader.create_url()) == wanted.get(place, place)
    assert uploader.url is None


@pytest.mark.parametrize("answer", [(403, {}, b"no"), (201, {}, b"no"), (403, {"Location": "/x"})])
async def test_no_url(tus: ScriptedTus, kind: Any, answer: Any) -> None:
    """A POST that is refused, or names no URL, is a TusCommunicationError with its answer."""
    tus.will("POST", answer)
    uploader = kind.make(tus, file_stream=io.BytesIO(b"x"), retries=3, retry_delay=0)
    with pytest.raises(TusCommunicationError, match=str(answer[0])) as failed:
        await kind.do(uploader.upload())

    assert tus.methods == ["POST"]
    assert failed.value.status_code == answer[0]
    assert failed.value.response_content == (answer[2] if len(answer) > 2 else b"")


def test_the_offset_is_asked_for(tus: ScriptedTus, kind: Any) -> None:
    """A known URL is asked in the constructor, and with ``get_offset``, which never waits for an
    event loop."""
    url = tus.add(1000, DATA[:300])
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), url=url)
    assert (uploader.offset, uploader.get_offset()) == (300, 300)
    assert tus.methods == ["HEAD", "HEAD"]


@pytest.mark.parametrize(
    "answer",
    [404, 403, 500, (200, {}), (200, {"Upload-Offset": "x"}), (423, {"Upload-Offset": "5"})],
)
def test_an_explicit_url_that_does_not_answer(tus: ScriptedTus, kind: Any, answer: Any) -> None:
    """Then the constructor fails, with the status."""
    tus.will("HEAD", answer)
    with pytest.raises(TusCommunicationError) as failed:
        kind.make(tus, file_stream=io.BytesIO(DATA), url=tus.add(1000))

    assert failed.value.status_code == (answer if isinstance(answer, int) else answer[0])


async def test_resuming_an_explicit_url_needs_no_client(tus: ScriptedTus) -> None:
    """An uploader with a URL and no client goes on where the server is."""
    url = tus.add(1000, DATA[:300])
    blocking = Uploader(file_stream=io.BytesIO(DATA), url=url)
    blocking.upload()
    assert tus.stored(url) == DATA

    url = tus.add(1000, DATA[:300])
    await AsyncUploader(file_stream=io.BytesIO(DATA), url=url).upload()
    assert tus.stored(url) == DATA
    assert tus.methods == ["HEAD", "PATCH"] * 2


async def test_headers_go_with_every_request(tus: ScriptedTus, kind: Any) -> None:
    """The client's headers are in POST, PATCH and HEAD, and replace ours in any case of letters."""
    client = TusClient(tus.url, {"Authorization": "Bearer a", "content-type": "x/y"})
    uploader = kind.make(client, file_stream=io.BytesIO(DATA), chunk_size=600)
    await kind.do(uploader.upload())
    uploader.get_offset()

    assert tus.methods == ["POST", "PATCH", "PATCH", "HEAD"]
    assert {note.headers["authorization"] for note in tus.notes} == {"Bearer a"}
    assert {note.headers["tus-resumable"] for note in tus.notes} == {"1.0.0"}
    assert {note.headers["content-type"] for note in tus.of("PATCH")} == {"x/y"}


async def test_metadata_is_sent(tus: ScriptedTus, kind: Any) -> None:
    """Metadata goes with the POST."""
    uploader = kind.make(tus, file_stream=io.BytesIO(b""), metadata={"a": "b", "c": "d"})
    await kind.do(uploader.upload())

    assert tus.notes[0].headers["upload-metadata"] == "a Yg==,c ZA=="


async def test_checksums(tus: ScriptedTus, kind: Any) -> None:
    """Each chunk carries the SHA-1 of its bytes."""
    options = {"upload_checksum": True, "chunk_size": 600}
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), **options)
    await kind.do(uploader.upload())

    digests = [base64.b64encode(hashlib.sha1(part).digest()) for part in (DATA[:600], DATA[600:])]
    sent = [note.headers["upload-checksum"] for note in tus.of("PATCH")]
    assert sent == [f"sha1 {digest.decode()}" for digest in digests]
    assert uploader.checksum_algorithm is hashlib.sha1
    assert uploader.checksum_algorithm_name == "sha1"


async def test_another_checksum_in_a_subclass(tus: ScriptedTus) -> None:
    """A subclass names its own algorithm, also over more blocks than one."""

    class Strong(Uploader):
        CHECKSUM_ALGORITHM_PAIR = ("sha256", hashlib.sha256)

    data = DATA * 3000
    Strong(file_stream=io.BytesIO(data), client=TusClient(tus.url), upload_checksum=True).upload()

    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert tus.of("PATCH")[0].headers["upload-checksum"] == f"sha256 {digest}"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7])
async def test_deferred_length(tus: ScriptedTus, kind: Any, size: int) -> None:
    """The length is declared with the last chunk, whatever the size of the chunks."""
    options = {"upload_length_deferred": True, "chunk_size": size}
    uploader = kind.make(tus, file_stream=io.BytesIO(b"abcdef"), **options)
    assert (uploader.file_size, uploader.stop_at) == (None, None)
    await kind.do(uploader.upload())

    declared = [note.headers.get("upload-length") for note in tus.of("PATCH")]
    assert tus.notes[0].headers["upload-defer-length"] == "1"
    assert declared == [None] * (len(declared) - 1) + ["6"]
    assert len(declared) == -(-6 // size)
    assert tus.stored(uploader.url) == b"abcdef"
    assert (uploader.file_size, uploader.offset, uploader.request.stream_eof) == (6, 6, True)


# --- Single requests ------------------------------------------------------------------------------


def test_a_request_by_itself(tus: ScriptedTus, photo: Path) -> None:
    """``TusRequest`` sends the next chunk, and knows the answer."""
    url = tus.add(1000, DATA[:300])
    uploader = Uploader(str(photo), url=url, chunk_size=10)
    request = TusRequest(uploader)
    assert (request.status_code, request.response_headers, request.response_content) == (
        None,
        {},
        None,
    )
    request.perform()

    assert (request.status_code, request.response_content) == (204, b"")
    assert request.response_headers["upload-offset"] == "310"
    assert tus.stored(url) == DATA[:310]
    assert uploader.offset == 300


async def test_an_async_request_by_itself(tus: ScriptedTus, photo: Path) -> None:
    """So does ``AsyncTusRequest``, whatever loop it is told."""
    url = tus.add(1000, DATA[:300])
    uploader = AsyncUploader(str(photo), url=url, chunk_size=10)
    request = AsyncTusRequest(uploader, io_loop=asyncio.get_running_loop())
    await request.perform()
    await uploader._aconnection.close()

    assert (request.status_code, tus.stored(url)) == (204, DATA[:310])


def test_add_checksum(photo: Path) -> None:
    """A request takes a checksum of its bytes only if the uploader wants that."""
    uploader = TusClient("http://a/").uploader(str(photo))
    request = TusRequest(uploader)
    request.add_checksum(b"abc")
    assert "upload-checksum" not in request._request_headers

    uploader.upload_checksum = True
    request.add_checksum(b"abc")
    assert request._request_headers["upload-checksum"] == "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0="


def test_errors_of_httpx2_become_tuspy_s() -> None:
    """``catch_requests_error`` translates for functions of the user's own."""

    @catch_requests_error
    def ask() -> None:
        """Ask."""
        raise httpx2.ConnectError("away")

    with pytest.raises(TusCommunicationError, match="away") as failed:
        ask()
    assert (ask.__doc__, failed.value.status_code) == ("Ask.", None)


@pytest.mark.parametrize("headers", [{"X-Name": "€"}, {"X-Name": "a\nb"}])
async def test_headers_that_cannot_be_sent(
    tus: ScriptedTus, kind: Any, headers: dict[str, str]
) -> None:
    """They are told as an error at once, and never tried again."""
    client = TusClient(tus.url, headers)
    uploader = kind.make(client, file_stream=io.BytesIO(DATA), retries=3, retry_delay=60)
    with pytest.raises(TusCommunicationError, match="cannot be sent"):
        await kind.do(uploader.upload())

    client.headers = {"X-Name": "Grüße"}
    await kind.do(uploader.upload())
    assert tus.stored(uploader.url) == DATA
