"""tusd, the reference server, where it is on the path."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from programs import Program
from server import until
from server_fixtures import port

__all__ = ["port"]


def listening(number: int) -> bool:
    """Whether somebody listens at a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", number)) == 0


@pytest.fixture
def tusd(tmp_path: Path, port: Callable[[], int]) -> Iterator[int]:
    """Run tusd, and give its port."""
    number, folder = port(), tmp_path / "tusd"
    folder.mkdir()
    options = ("-host", "127.0.0.1", "-port", str(number), "-upload-dir", str(folder))
    with Program([str(shutil.which("tusd")), *options], "ready by its port", tmp_path):
        until(lambda: listening(number), "tusd")
        yield number
