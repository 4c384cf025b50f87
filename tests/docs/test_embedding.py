"""The applications in docs/embedding.md, run by uvicorn, with a real upload through each."""

from __future__ import annotations

import os
import re
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin

import pytest

ROOT = Path(__file__).parents[2]
CONTENT = bytes(range(256)) * 2000
TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = {"Content-Type": "application/offset+octet-stream"}
SNIPPETS = dict(
    re.findall(
        r"(?ms)^## ([^\n]*)\n(?:(?!^## ).)*?^```python\n(.*?)^```",
        (ROOT / "docs" / "embedding.md").read_text(),
    )
)


@pytest.fixture
def host(start: Callable[..., Any], tmp_path: Path) -> Callable[[str], str]:
    """Run the application under a heading of the page, and return its URL."""

    def run(heading: str) -> str:
        (tmp_path / "app.py").write_text(SNIPPETS[heading])
        django = str(ROOT / "examples" / "django_project")
        search = os.pathsep.join([str(tmp_path), django, os.environ.get("PYTHONPATH", "")])
        program = start(
            *(sys.executable, "-m", "uvicorn", "app:app", "--port", "0"),
            *("--http", "vectus.direct:DirectProtocol"),
            ready=r"Uvicorn running on (http://\S+)",
            environ={"PYTHONPATH": search},
        )
        return str(program.ready[1])

    return run


def send(method: str, url: str, data: bytes | None = None, **headers: str) -> Any:
    """Send a request, and return the answer's headers and body."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, TUS | fields, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.headers, answer.read()


@pytest.mark.parametrize("heading", ["FastAPI", "Starlette", "Litestar", "Django", "By itself"])
def test_hosts(heading: str, host: Callable[[str], str]) -> None:
    """An upload through each host arrives whole, and `Location` leads to it."""
    endpoint = f"{host(heading)}/files/"
    created, _ = send("POST", endpoint, Upload_Length=str(len(CONTENT)))
    url = urljoin(endpoint, created["Location"])
    appended, _ = send("PATCH", url, CONTENT, Upload_Offset="0", **OCTETS)

    assert created["Location"].startswith("/files/")
    assert appended["Upload-Offset"] == str(len(CONTENT))
    assert send("GET", url)[1] == CONTENT


def test_listeners(host: Callable[[str], str]) -> None:
    """The listeners of the page refuse strangers and nameless uploads, and let others in."""
    endpoint = f"{host('Listeners')}/files/"
    friend = {"Authorization": "Bearer let-me-in", "Upload-Length": "0"}

    with pytest.raises(HTTPError, match="401") as stranger:
        send("POST", endpoint, Upload_Length="0")
    with pytest.raises(HTTPError, match="400") as nameless:
        send("POST", endpoint, **friend)
    created, _ = send("POST", endpoint, Upload_Metadata="name", **friend)

    assert stranger.value.headers["WWW-Authenticate"] == "Bearer"
    assert b"Give it a name." in nameless.value.read()
    assert created["Location"].startswith("/files/")
    stranger.value.close()
    nameless.value.close()
