"""Small programs in tuspy's words, run with tuspy or with the shim, which print what they saw.

    python tuspy_script.py PACKAGE SCRIPT ENDPOINT FILE STORAGE

``PACKAGE`` is ``tusclient`` or ``vectus.client.tuspy``: nothing else differs. A program of its
own, since tuspy leaves files open and pytest takes such warnings for failures.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module

PACKAGE, SCRIPT, ENDPOINT, FILE, STORAGE = sys.argv[1:]

TusClient = import_module(f"{PACKAGE}.client").TusClient
Uploader = import_module(f"{PACKAGE}.uploader").Uploader
AsyncUploader = import_module(f"{PACKAGE}.uploader").AsyncUploader
FileStorage = import_module(f"{PACKAGE}.storage.filestorage").FileStorage
TusCommunicationError = import_module(f"{PACKAGE}.exceptions").TusCommunicationError
TusUploadFailed = import_module(f"{PACKAGE}.exceptions").TusUploadFailed

client = TusClient(ENDPOINT)


def state(uploader):
    """What can be seen of an uploader; of its URL only what is the same in every run."""
    request = uploader.request
    seen = {
        "offset": uploader.offset,
        "stop_at": uploader.stop_at,
        "where": uploader.url and uploader.url.rpartition("/")[0],
        "next": uploader.get_request_length(),
    }
    if request is not None:
        seen["status"] = request.status_code
        seen["content"] = request.response_content.decode()
        seen["reply"] = {
            name: value
            for name, value in request.response_headers.items()
            if name in {"upload-offset", "tus-resumable"}
        }
    return seen


def resuming():
    """Options of an uploader that remembers."""
    return {"chunk_size": 300, "store_url": True, "url_storage": FileStorage(STORAGE)}


def whole():
    """One call."""
    uploader = client.uploader(FILE)
    uploader.upload()
    return uploader, []


def awaited():
    """One awaited call."""
    uploader = client.async_uploader(FILE, chunk_size=300)
    asyncio.run(uploader.upload())
    return uploader, []


def chunks():
    """Progress by hand, with a stream, checksums and metadata."""
    with open(FILE, "rb") as stream:
        uploader = client.uploader(
            file_stream=stream,
            chunk_size=300,
            metadata={"filename": "phöto.jpg", "filetype": "image/jpeg"},
            upload_checksum=True,
        )
        seen = [uploader.encode_metadata(), uploader.get_headers(), uploader.get_file_size()]
        while uploader.offset < uploader.stop_at:
            uploader.upload_chunk()
            seen.append(uploader.offset)
        seen.append(uploader.get_offset())
        return uploader, seen


def by_hand():
    """A URL that is made first, and handed on."""
    url = client.uploader(FILE).create_url()
    uploader = Uploader(FILE, url=url, chunk_size=400)
    seen = [uploader.offset]
    uploader.upload(stop_at=400)
    seen.append(uploader.offset)
    again = Uploader(FILE, url=url)
    seen.append(again.offset)
    again.upload()
    uploader.set_url(url)
    return again, [*seen, uploader.get_offset()]


def begin():
    """The first part, remembered."""
    uploader = client.uploader(FILE, **resuming())
    uploader.upload(stop_at=600)
    return uploader, [uploader.url]


def go_on():
    """The rest of it."""
    uploader = client.uploader(FILE, **resuming())
    seen = [uploader.url, uploader.offset]
    uploader.upload()
    return uploader, seen


def refused():
    """What is raised."""
    seen = []
    for kind, where in ((Uploader, "nowhere"), (AsyncUploader, "nowhere")):
        try:
            kind(FILE, url=f"{ENDPOINT}{where}")
        except TusCommunicationError as error:
            seen.append([type(error).__name__, error.status_code])
    uploader = client.uploader(FILE, chunk_size=300)
    uploader.upload_chunk()
    uploader.offset = 100
    try:
        uploader.upload_chunk()
    except TusUploadFailed as error:
        seen.append([type(error).__name__, error.status_code, error.response_content.decode()])
    for options in ({"metadata": {"a b": "c"}}, {"metadata": {"": "c"}}):
        try:
            client.uploader(FILE, **options).upload()
        except ValueError:
            seen.append("ValueError")
    return uploader, seen


uploader, seen = globals()[SCRIPT]()
print(json.dumps({"state": state(uploader), "seen": seen, "url": uploader.url}))
