"""What is being joined, on disk: small notes in ``<dir>/.joins``, whose name no id can have.

``.joins/<final>`` says that a final upload is not closed yet, which partials it names and how many
of its bytes are joined. It only helps: whether an upload exists, and whose bytes are whose, is for
the records to say.
"""

from __future__ import annotations

import contextlib
import json
import os

from vectus.stores.durable import (
    FOLDER_MODE,
    Durability,
    drop,
    read_whole,
    replace_file,
    sync_folder,
)


class Ledger:
    """The notes of one store's directory. Every call blocks.

    Args:
        directory: the store's.
        durability: notes are synced unless it is ``NONE``, for a lost one could lose data.
    """

    def __init__(self, directory: str, durability: Durability) -> None:
        self.directory = os.path.join(directory, ".joins")
        self._above = directory
        self._sync = durability.ordered
        self._parts: dict[str, frozenset[str]] = {}  # they never change, so each is read once

    def enlist(self, final: str, parts: tuple[str, ...]) -> None:
        """Note a final upload that is not closed."""
        self.advance(final, parts, 0)

    def advance(self, final: str, parts: tuple[str, ...], joined: int) -> None:
        """Note how many bytes of a final upload are joined and durable."""
        self._write(final, {"parts": parts, "joined": joined})

    def joined(self, final: str) -> int:
        """Return how many bytes of a final upload are joined."""
        joined = self._read(final).get("joined")
        return joined if isinstance(joined, int) else 0

    def strike(self, final: str) -> None:
        """Forget a final upload: it is closed."""
        drop(os.path.join(self.directory, final))

    def naming(self, part: str) -> list[str]:
        """Return the final uploads that name a partial; some may be closed by now."""
        finals = [name for name in self.names() if "." not in name]
        self._parts = {final: self._parts_of(final) for final in finals}
        return [final for final, parts in self._parts.items() if part in parts]

    def names(self) -> list[str]:
        """Return the names of all notes."""
        try:
            return os.listdir(self.directory)
        except FileNotFoundError:
            return []

    def _parts_of(self, final: str) -> frozenset[str]:
        known = self._parts.get(final)
        if known is not None:
            return known
        parts = self._read(final).get("parts")
        return frozenset(map(str, parts)) if isinstance(parts, list) else frozenset()

    def _read(self, name: str) -> dict[str, object]:
        try:
            note = json.loads(read_whole(os.path.join(self.directory, name)))
        except (FileNotFoundError, ValueError):
            return {}  # never there, or not written whole before the power went
        return note if isinstance(note, dict) else {}

    def _write(self, name: str, note: dict[str, object]) -> None:
        raw = json.dumps(note, separators=(",", ":")).encode()
        path = os.path.join(self.directory, name)
        try:
            replace_file(path, raw, sync=self._sync)
        except FileNotFoundError:
            self._make()
            replace_file(path, raw, sync=self._sync)

    def _make(self) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.directory, FOLDER_MODE)
        if self._sync:
            sync_folder(self._above)
