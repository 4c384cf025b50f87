"""tuspy's faults with metadata, certificates and odd answers, and none of them here."""

from __future__ import annotations

import io
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from scripted_tus import ScriptedTus

from vectus.client.tuspy import (
    TusClient,
    TusCommunicationError,
    TusUploadFailed,
)

DATA = bytes(range(250)) * 4


async def test_metadata_of_any_type(tus: ScriptedTus, kind: Any) -> None:
    """Bytes and numbers are taken; tuspy wanted text."""
    metadata = {"raw": b"\xff\x00", "count": 7, "bare": None}
    uploader = kind.make(tus, file_stream=io.BytesIO(), metadata=metadata)
    await kind.do(uploader.upload())

    assert tus.notes[0].headers["upload-metadata"] == "raw /wA=,count Nw==,bare"


async def test_no_metadata_is_no_header(tus: ScriptedTus, kind: Any) -> None:
    """Without metadata there is no field for it; tuspy sent an empty one."""
    await kind.do(kind.make(tus, file_stream=io.BytesIO()).upload())

    assert "upload-metadata" not in tus.notes[0].headers


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Callable[[], tuple[ScriptedTus, Path, Path, Path]]]:
    """A server that wants a certificate, and files: the CA, our certificate with key, the key."""
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(context)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ours = ca.issue_cert("us@example.org")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    ours.private_key_pem.write_to_path(tmp_path / "key.pem")
    server = ScriptedTus(context)
    yield lambda: (server, *(tmp_path / f"{name}.pem" for name in ("ca", "both", "key")))
    server.close()


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("verify", [True, False])
async def test_certificates_count_in_every_request(
    secure: Callable[[], Any], kind: Any, photo: Path, *, pair: bool, verify: bool
) -> None:
    """``verify_tls_cert`` as a path, and ``client_cert`` as one file or two, in POST, PATCH and
    HEAD of both kinds; tuspy lost the path for PATCH, and its async kind split a string."""
    tus, ca, both, key = secure()
    cert = (str(both), str(key)) if pair else str(both)
    client = TusClient(tus.url, client_cert=cert)
    tus.will("PATCH", 500)
    options = {"retries": 1, "retry_delay": 0, "verify_tls_cert": str(ca) if verify else False}
    uploader = kind.make(client, str(photo), **options)
    await kind.do(uploader.upload())
    uploader.get_offset()

    assert tus.methods == ["POST", "PATCH", "HEAD", "PATCH", "HEAD"]
    assert tus.stored(uploader.url) == DATA


async def test_a_certificate_that_is_not_trusted(
    secure: Callable[[], Any], kind: Any, photo: Path
) -> None:
    """It fails at once, however many retries there are."""
    tus, _, both, _ = secure()
    client = TusClient(tus.url, client_cert=str(both))
    uploader = kind.make(client, str(photo), retries=3, retry_delay=60)
    with pytest.raises(TusCommunicationError, match="not trusted"):
        await kind.do(uploader.upload())


async def test_the_ca_variable_of_requests(
    secure: Callable[[], Any], kind: Any, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``REQUESTS_CA_BUNDLE`` counts as it did for tuspy."""
    tus, ca, both, _ = secure()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca))
    uploader = kind.make(TusClient(tus.url, client_cert=str(both)), str(photo))
    await kind.do(uploader.upload())

    assert tus.stored(uploader.url) == DATA


async def test_redirects_are_followed(tus: ScriptedTus, kind: Any, photo: Path) -> None:
    """As tuspy's libraries did: 307 and 308 repeat the request, its body too, elsewhere."""
    tus.will("POST", (308, {"Location": "/elsewhere/files/"}))
    tus.will("PATCH", (307, {"Location": "/files/1"}))
    uploader = kind.make(tus, str(photo))
    await kind.do(uploader.upload())

    assert [note.path for note in tus.of("POST")] == ["/files/", "/elsewhere/files/"]
    assert tus.stored(uploader.url) == DATA


@pytest.mark.parametrize("place", ["ftp://example.org/1", "http://[1/", "http://a:b/"])
async def test_a_location_that_is_no_url(tus: ScriptedTus, kind: Any, place: str) -> None:
    """It is tuspy's kind of error, with the answer's status."""
    tus.will("POST", (201, {"Location": place}))
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), retries=1, retry_delay=60)
    with pytest.raises(TusCommunicationError, match="cannot be used") as failed:
        await kind.do(uploader.upload())

    assert (failed.value.status_code, tus.methods) == (201, ["POST"])


async def test_an_error_whose_body_breaks_off(tus: ScriptedTus, kind: Any) -> None:
    """The status counts, whatever becomes of the body."""
    tus.will("PATCH", (403, {"Content-Length": "100", "Connection": "close"}, b"short"))
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA))
    with pytest.raises(TusUploadFailed) as failed:
        await kind.do(uploader.upload())

    assert (failed.value.status_code, failed.value.response_content) == (403, b"short")


async def test_a_folder_of_authorities(
    secure: Callable[[], Any], kind: Any, photo: Path, tmp_path: Path
) -> None:
    """``verify_tls_cert`` may be a folder, as OpenSSL hashes it; an empty one trusts nobody."""
    tus, _, both, _ = secure()
    (tmp_path / "roots").mkdir()
    client = TusClient(tus.url, client_cert=str(both))
    uploader = kind.make(client, str(photo), verify_tls_cert=str(tmp_path / "roots"))
    with pytest.raises(TusCommunicationError, match="not trusted"):
        await kind.do(uploader.upload())


def test_a_certificate_that_is_not_there(kind: Any, photo: Path) -> None:
    """It is an OSError, as with tuspy."""
    with pytest.raises(OSError, match=r"\w"):
        kind.make(TusClient("https://a/"), str(photo), url="https://a/1", verify_tls_cert="/no/ca")
