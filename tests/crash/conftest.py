"""Servers that are killed and started again."""

from __future__ import annotations

from pathlib import Path

import pytest

from server_fixtures import Run, control, port, serve, serve_app, store

__all__ = ["control", "port", "serve", "serve_app", "store"]

NOTING = Path(__file__).with_name("noting.py")


@pytest.fixture
def noting(serve_app: Run) -> Run:
    """Start the application in ``noting.py`` with further options of ``Uploads``."""
    return lambda **options: serve_app(NOTING, OPTIONS=options)
