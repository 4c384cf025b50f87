"""Uploads one file with tuspy, the way a job says, and prints what happened as JSON.

A program of its own, since tuspy leaves files open and pytest takes such warnings for failures. The
job is JSON in the first argument: ``file``, ``endpoint``, ``store`` (where to keep the URL),
``stop_at`` (how far to go), and ``options``, which are tuspy's own.
"""

from __future__ import annotations

import json
import sys

import requests
from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage

made: list[str] = []
perform = requests.Session.request


def note(*arguments, **options):
    """Send a request, and note it."""
    answer = perform(*arguments, **options)
    made.append(f"{answer.request.method} {answer.status_code}")
    return answer


def upload(job):
    """Upload, and return the URL."""
    options = job.get("options", {})
    if job.get("store"):
        options |= {"store_url": True, "url_storage": FileStorage(job["store"])}
    uploader = TusClient(job["endpoint"]).uploader(job["file"], **options)
    uploader.upload(stop_at=job.get("stop_at"))
    return uploader.url


requests.Session.request = note
url = upload(json.loads(sys.argv[1]))
print(json.dumps({"url": url, "requests": made, "error": None}))
