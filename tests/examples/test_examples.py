"""The examples, run by uvicorn as a user would, with real uploads through them."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNNING = r"Uvicorn running on (http://\S+)"
CONTENT = bytes(range(256)) * 1000
SERVERS = {"plain uvicorn": (), "the fast path": ("--http", "vectus.direct:DirectProtocol")}


@pytest.fixture(params=SERVERS.values(), ids=SERVERS)
def uvicorn(request: pytest.FixtureRequest, start: Callable[..., Any]) -> Callable[..., str]:
    """Run an example's application, and return its URL."""

    def run(folder: Path, application: str) -> str:
        command = [sys.executable, "-m", "uvicorn", application, "--port", "0", *request.param]
        program = start(*command, "--app-dir", folder, ready=RUNNING)
        assert "Application startup complete" in program.output
        return program.ready[1]

    return run


def ask(method: str, url: str, data: bytes | None = None, **headers: str) -> Any:
    """Send a request; an answer that refuses is returned like any other."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, fields, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except HTTPError as refusal:
        with refusal:
            return refusal.status, refusal.headers, refusal.read()


def upload(endpoint: str, token: str) -> str:
    """Upload in two requests, read it back, and return the path that ``Location`` told."""
    tus = {"Tus_Resumable": "1.0.0", "Authorization": token}
    status, headers, _ = ask("POST", endpoint, Upload_Length=str(len(CONTENT)), **tus)
    location = headers["Location"]
    assert status == 201
    url = urljoin(endpoint, location)
    octets = {"Content_Type": "application/offset+octet-stream", "Upload_Offset": "0"}
    status, headers, _ = ask("PATCH", url, CONTENT, **octets, **tus)
    assert (status, headers["Upload-Offset"]) == (204, str(len(CONTENT)))
    assert ask("GET", url, **tus)[2] == CONTENT
    return str(location)


def test_fastapi(uvicorn: Callable[..., str]) -> None:
    """A mounted application uploads, says the right Location, and tells listeners."""
    site = uvicorn(EXAMPLES, "fastapi_app:app")
    location = upload(f"{site}/files/", "Bearer let-me-in")
    stranger, headers, _ = ask("POST", f"{site}/files/", Upload_Length="1", Tus_Resumable="1.0.0")

    assert location.startswith("/files/")
    assert json.loads(ask("GET", f"{site}/finished")[2]) == [location.removeprefix("/files/")]
    assert (stranger, headers["WWW-Authenticate"]) == (401, "Bearer")


def test_django(uvicorn: Callable[..., str]) -> None:
    """Django and vectus share a server; a ticket of Django's lets an upload in."""
    site = uvicorn(EXAMPLES / "django_project", "project.asgi:application")
    ticket = json.loads(ask("GET", f"{site}/ticket")[2])
    location = upload(urljoin(site, ticket["endpoint"]), ticket["ticket"])
    stranger, _, words = ask("POST", f"{site}/files/", Upload_Length="1", Tus_Resumable="1.0.0")

    assert location.startswith("/files/")
    assert (stranger, b"Get a ticket first." in words) == (401, True)
