"""The README's snippets, run as they stand but for the address of the server."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

import vectus

ROOT = Path(__file__).parents[2]
JS = ROOT / "tests" / "js" / "node_modules"
BIN = Path(sys.executable).parent
CONTENT = random.Random(7).randbytes(1_234_567)
WRITTEN = "http://127.0.0.1:8080"


def snippets(heading: str) -> list[str]:
    """Return the code blocks under a heading of the README."""
    found: dict[str, list[str]] = {}
    blocks: list[str] = []
    text = (ROOT / "README.md").read_text()
    for title, code in re.findall(r"(?ms)^#+ (.*?)$|^```\w*\n(.*?)^```", text):
        if title:
            blocks = found.setdefault(title, [])
        else:
            blocks.append(code)
    return found[heading]


@pytest.fixture
def site(start: Callable[..., Any], tmp_path: Path) -> str:
    """A server like that of `make serve`, with `photo.jpg` beside it: where it is."""
    (tmp_path / "photo.jpg").write_bytes(CONTENT)
    command = [BIN / "vectus", "serve", "./data", "--port", "0"]
    return str(start(*command, ready=r"Listening on (http://\S+)/files/").ready[1])


def run(*command: str | Path, folder: Path) -> str:
    """Run a command there, and return what it prints."""
    (folder / ".venv").exists() or (folder / ".venv").symlink_to(BIN.parent)
    environ = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=45, env=environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def uploaded(folder: Path) -> list[bytes]:
    """Return the contents of all that was uploaded."""
    infos = list((folder / "data").glob("*.info"))
    return [path.with_suffix("").read_bytes() for path in infos]


def need(program: str) -> None:
    """Skip the test where a program is missing."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not here")


def test_curl(site: str, tmp_path: Path) -> None:
    """The README's curl commands upload a file and read it back."""
    need("curl")
    (script,) = snippets("curl")
    run("sh", "-e", "-c", script.replace(WRITTEN, site), folder=tmp_path)

    assert (tmp_path / "copy.jpg").read_bytes() == CONTENT


def test_vectus_upload(site: str, tmp_path: Path) -> None:
    """The README's `vectus upload` uploads a file."""
    (script,) = snippets("vectus itself")
    run("sh", "-e", "-c", script.replace(WRITTEN, site), folder=tmp_path)

    assert uploaded(tmp_path) == [CONTENT]


def test_python(site: str, tmp_path: Path) -> None:
    """The README's `vectus.upload` uploads a file, and nothing is left to remember."""
    (script,) = snippets("Python")
    (tmp_path / "upload.py").write_text(script.replace(WRITTEN, site))
    told = run(sys.executable, "upload.py", folder=tmp_path)

    assert told.startswith(f"uploaded to {site}/files/")
    assert uploaded(tmp_path) == [CONTENT]
    assert vectus.FileResume(tmp_path / "uploads.json").get("anything") is None


def test_tus_js_client(site: str, tmp_path: Path) -> None:
    """The README's JavaScript uploads a file."""
    need("node")
    if not JS.exists():
        pytest.skip("tus-js-client is not here")
    (tmp_path / "node_modules").symlink_to(JS)
    (script,) = snippets("tus-js-client")
    (tmp_path / "upload.mjs").write_text(script.replace(WRITTEN, site))
    told = run("node", "upload.mjs", folder=tmp_path)

    assert told.startswith(f"uploaded to {site}/files/")
    assert uploaded(tmp_path) == [CONTENT]


def test_tuspy(site: str, tmp_path: Path) -> None:
    """The README's lines for tuspy upload a file."""
    pytest.importorskip("tusclient", reason="tuspy is not here")
    (script,) = snippets("tuspy")
    (tmp_path / "upload.py").write_text(script.replace(WRITTEN, site))
    told = run(sys.executable, "upload.py", folder=tmp_path)

    assert told.startswith(f"uploaded to {site}/files/")
    assert uploaded(tmp_path) == [CONTENT]


def test_fastapi(start: Callable[..., Any], tmp_path: Path) -> None:
    """The README's application takes an upload from whoever may, and says when it is finished."""
    pytest.importorskip("fastapi", reason="fastapi is not here")
    application, command = snippets("FastAPI")
    (tmp_path / "app.py").write_text(application)
    program = start(
        *(BIN / command.split()[0], *command.split()[1:], "--port", "0"),
        ready=r"Uvicorn running on (http://\S+)",
    )
    headers = {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": str(len(CONTENT)),
        "Content-Type": "application/offset+octet-stream",
    }
    request = urllib.request.Request(f"{program.ready[1]}/files/", CONTENT, headers)
    with pytest.raises(HTTPError, match="401") as refused:
        urllib.request.urlopen(request, timeout=20)
    refused.value.close()
    request.add_header("Authorization", "Bearer let-me-in")
    with urllib.request.urlopen(request, timeout=20) as answer:
        location = answer.headers["Location"]
    program.stop()

    assert location.startswith("/files/")
    assert uploaded(tmp_path) == [CONTENT]
    assert f"finished {location[7:]} of {len(CONTENT)} bytes" in program.output


def test_links_lead_somewhere() -> None:
    """Every link to a file, in the README and in the other documents, has that file."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("newsfragments/*.md")]
    links = {
        (page.name, target)
        for page in pages
        for target in re.findall(r"\]\((?!\w+:|#)([^)#]+)", page.read_text())
        if not (page.parent / target).exists()
    }

    assert links == set()
