"""What tuspy's own tests promise of trying again and of stored URLs, through the shim."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from scripted_tus import CUT, ScriptedTus

from vectus.client.tuspy import (
    FileStorage,
    Fingerprint,
    TusCommunicationError,
    TusUploadFailed,
)

DATA = bytes(range(250)) * 4


# --- Trying again ---------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [500, 503, 423, 409, 408, 425, 429, 460, CUT])
async def test_a_chunk_is_tried_again(tus: ScriptedTus, kind: Any, trouble: Any) -> None:
    """What may pass is tried ``retries`` times, from where the server says that it is."""
    tus.will("PATCH", None, trouble, trouble)
    options = {"chunk_size": 600, "retries": 2, "retry_delay": 0}
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), **options)
    await kind.do(uploader.upload())

    assert tus.methods == ["POST", "PATCH", "PATCH", "HEAD", "PATCH", "HEAD", "PATCH"]
    assert tus.stored(uploader.url) == DATA
    assert uploader._retried == 2


@pytest.mark.parametrize("trouble", [500, CUT])
async def test_retries_run_out(tus: ScriptedTus, kind: Any, trouble: Any) -> None:
    """Then TusUploadFailed says what the last answer was; by default at once."""
    tus.will("PATCH", *[trouble] * 4)
    options = {"retries": 2, "retry_delay": 0}
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), **options)
    with pytest.raises(TusUploadFailed) as failed:
        await kind.do(uploader.upload())
    assert failed.value.status_code == (None if trouble is CUT else 500)
    assert (len(tus.of("PATCH")), uploader._retried) == (3, 2)

    uploader.retries = 0
    with pytest.raises(TusUploadFailed):
        await kind.do(uploader.upload_chunk())
    await kind.do(uploader.upload())
    assert tus.stored(uploader.url) == DATA


async def test_a_head_that_fails_is_a_try_as_well(tus: ScriptedTus, kind: Any) -> None:
    """When the question for the offset fails, it is asked again after another delay."""
    tus.will("PATCH", 500)
    tus.will("HEAD", 503, None)
    options = {"retries": 2, "retry_delay": 0}
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), **options)
    await kind.do(uploader.upload())

    assert tus.methods == ["POST", "PATCH", "HEAD", "HEAD", "PATCH"]
    assert tus.stored(uploader.url) == DATA


async def test_an_answer_that_was_lost(tus: ScriptedTus, kind: Any) -> None:
    """Bytes that arrived although their answer did not are not sent again."""

    def take_and_cut(note: Any) -> object:
        tus.answer(note)
        return CUT

    tus.will("PATCH", take_and_cut)
    options = {"retries": 1, "retry_delay": 0}
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), **options)
    await kind.do(uploader.upload())

    assert tus.methods == ["POST", "PATCH", "HEAD"]
    assert tus.stored(uploader.url) == DATA


async def test_the_delay(tus: ScriptedTus, kind: Any) -> None:
    """``retry_delay`` is waited for before each further try, in seconds."""
    tus.will("PATCH", 500, 500)
    options = {"retries": 2, "retry_delay": 0.1}
    uploader = kind.make(tus, file_stream=io.BytesIO(DATA), **options)
    began = time.monotonic()
    await kind.do(uploader.upload())

    assert time.monotonic() - began >= 0.2


# --- Stored URLs ----------------------------------------------------------------------------------


def stored(tmp_path: Path, url: str) -> tuple[FileStorage, str]:
    """A storage that knows the photo's upload, and the photo's key there."""
    storage = FileStorage(str(tmp_path / "urls.json"))
    key = Fingerprint().get_fingerprint(io.BytesIO(DATA))
    storage.set_item(key, url)
    return storage, key


async def test_a_stored_url_is_gone_on_with(
    tus: ScriptedTus, kind: Any, photo: Path, tmp_path: Path
) -> None:
    """The constructor finds the URL by the file's content, and asks how far it is."""
    storage, _ = stored(tmp_path, tus.add(1000, DATA[:300]))
    uploader = kind.make(tus, str(photo), store_url=True, url_storage=storage)
    assert (uploader.url, uploader.offset) == (f"{tus.url}1", 300)

    await kind.do(uploader.upload())
    assert tus.methods == ["HEAD", "PATCH"]
    assert tus.stored(uploader.url) == DATA


@pytest.mark.parametrize("status", [400, 403, 404, 410])
async def test_a_stored_url_that_is_void(
    tus: ScriptedTus, kind: Any, photo: Path, tmp_path: Path, status: int
) -> None:
    """It is dropped, and removed from the storage; a new upload is made."""
    storage, key = stored(tmp_path, tus.add(1000))
    tus.will("HEAD", status)
    uploader = kind.make(tus, str(photo), store_url=True, url_storage=storage)
    assert (uploader.url, uploader.offset, storage.get_item(key)) == (None, 0, None)

    await kind.do(uploader.upload(stop_at=300))
    assert storage.get_item(key) == uploader.url == f"{tus.url}2"


@pytest.mark.parametrize("status", [423, 401, 408, 409, 425, 429, 500, 503])
def test_a_stored_url_that_may_answer_later(
    tus: ScriptedTus, kind: Any, photo: Path, tmp_path: Path, status: int
) -> None:
    """What passes by itself, and missing credentials, fail; the URL stays stored."""
    storage, key = stored(tmp_path, tus.add(1000))
    tus.will("HEAD", status)
    with pytest.raises(TusCommunicationError) as failed:
        kind.make(tus, str(photo), store_url=True, url_storage=storage)

    assert failed.value.status_code == status
    assert storage.get_item(key) == f"{tus.url}1"
