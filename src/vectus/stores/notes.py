"""What a store's notes of open final uploads have in common, wherever they are kept.

Which uploads exist, and whose bytes are whose, is for the records to say. Every call blocks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence


class Notes:
    """One small note for each final upload that is not closed."""

    def __init__(self) -> None:
        self._parts: dict[str, frozenset[str]] = {}  # they never change, so each is read once

    def finals(self) -> Sequence[str]:
        """Return the final uploads there are notes of."""
        raise NotImplementedError

    def raw(self, final: str) -> bytes | None:
        """Return a note as it is kept, or None where there is none."""
        raise NotImplementedError

    def naming(self, part: str) -> list[str]:
        """Return the final uploads that name a partial; some may be closed by now."""
        self._parts = {final: self._parts_of(final) for final in self.finals()}
        return [final for final, parts in self._parts.items() if part in parts]

    def read(self, final: str) -> dict[str, object]:
        """Return a note, empty where there is none that can be read."""
        raw = self.raw(final)
        try:
            note = json.loads(raw) if raw is not None else {}
        except ValueError:
            return {}  # not written whole before the power went
        return note if isinstance(note, dict) else {}

    def _parts_of(self, final: str) -> frozenset[str]:
        known = self._parts.get(final)
        if known is not None:
            return known
        parts = self.read(final).get("parts")
        return frozenset(map(str, parts)) if isinstance(parts, list) else frozenset()
