"""Reads what ``vectus upload`` printed, and what a server was told."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlsplit

from server import Server


def path_of(url: str) -> str:
    """The path of an upload's URL, as ``Server`` knows it."""
    return urlsplit(url.strip()).path


def metadata_of(server: Server, url: str) -> dict[str, bytes]:
    """What a server was told of an upload."""
    sent = server.ask("HEAD", path_of(url)).headers["upload-metadata"]
    pairs = (pair.partition(" ") for pair in sent.split(","))
    return {key: base64.b64decode(value) for key, _, value in pairs}


def events_of(out: str) -> list[dict[str, Any]]:
    """The events of ``--json``: one object in each line."""
    return [json.loads(line) for line in out.splitlines()]
