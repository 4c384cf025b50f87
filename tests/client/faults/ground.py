"""What every fault case stands on: a server, proxies before it, sources, and a look at what the
server holds in the end."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fault_proxy import Edit, Proxy, Script
from sides import SOURCES

from server import Server

DATA = random.Random(3).randbytes(700_001)
"""What is uploaded; it fits into the one chunk that could travel with its creation."""

CHUNK = 200_000
"""Bytes of a chunk, where a case wants several: four of ``DATA``."""

EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "termination",
    "concatenation",
    "checksum",
)


def without(*names: str) -> Script:
    """A script that hides extensions of the server's."""
    kept = ",".join(name for name in EXTENSIONS if name not in names)
    return {("OPTIONS", None): Edit({"Tus-Extension": kept})}


PATCHED = without("creation-with-upload")
"""Hides creation-with-upload, so that small sources take the way of large ones."""


class Ground:
    """A case's surroundings.

    Args:
        server: where uploads end up; it may hold those of earlier cases.
        folder: for files.
        stack: what is to be closed in the end.
    """

    def __init__(self, server: Server, folder: Path, stack: ExitStack) -> None:
        self.server = server
        self.folder = folder
        self._stack = stack
        self._before = self._ids()

    def proxy(self, *scripts: Script) -> Proxy:
        """Put a proxy before the server; later scripts win."""
        merged = {key: fault for script in scripts for key, fault in script.items()}
        return self._stack.enter_context(Proxy(self.server.port, merged))

    def source(self, kind: str, data: bytes = DATA) -> Any:
        """Bytes as a kind of source."""
        return SOURCES[kind](data, self.folder, self._stack)

    def content(self, url: str) -> bytes:
        """What the server gives back."""
        return self.server.get(urlsplit(url).path)

    def offset(self, url: str) -> int:
        """How far the server says that an upload is."""
        return self.server.offset(urlsplit(url).path)

    @property
    def uploads(self) -> int:
        """How many uploads this case has left at the server."""
        return len(self._ids() - self._before)

    def _ids(self) -> set[str]:
        return {path.stem for path in self.server.store.glob("*.info")}
