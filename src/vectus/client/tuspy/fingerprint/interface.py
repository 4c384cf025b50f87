"""What a fingerprinter has to offer; users implement it."""

from __future__ import annotations

import abc
from typing import IO, Any


class Fingerprint(abc.ABC):
    """Tells files apart by their content."""

    @abc.abstractmethod
    def get_fingerprint(self, fs: IO[Any]) -> str:
        """Return what a file is known by; ``fs`` stands at its start."""
