"""Servers that are killed and started again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import ceph
import pytest
from homes import Bucket, Files, Home
from s3_places import make_url

from server_fixtures import Run, control, port, serve, serve_app

__all__ = ["control", "port", "serve", "serve_app"]

credentials, brief_rgw = ceph.credentials, ceph.brief_rgw

NOTING = Path(__file__).with_name("noting.py")


@pytest.fixture
def home(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Home]:
    """Where uploads are kept: in files, unless a parameter says in S3."""
    if getattr(request, "param", "files") == "files":
        yield Files(tmp_path / "store")
        return
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # its locks
    with closing(Bucket(make_url(request.getfixturevalue("brief_rgw")))) as bucket:
        yield bucket


@pytest.fixture
def store(home: Home) -> str:
    """The same, as servers are told it."""
    return home.where


@pytest.fixture
def noting(serve_app: Run) -> Run:
    """Start the application in ``noting.py`` with further options of ``Uploads``."""
    return lambda **options: serve_app(NOTING, OPTIONS=options)
