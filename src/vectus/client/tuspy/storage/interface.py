"""What a storage of upload URLs has to offer; users implement it."""

from __future__ import annotations

import abc


class Storage(abc.ABC):
    """Remembers which file goes to which upload."""

    @abc.abstractmethod
    def get_item(self, key: str) -> str | None:
        """Return the URL stored under a fingerprint, or None."""

    @abc.abstractmethod
    def set_item(self, key: str, value: str) -> None:
        """Store a URL under a fingerprint."""

    @abc.abstractmethod
    def remove_item(self, key: str) -> None:
        """Remove what is stored under a fingerprint."""
