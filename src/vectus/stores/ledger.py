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
from vectus.stores.notes import Notes


class Ledger(Notes):
    """The notes of one store's directory. Every call blocks.

    Args:
        directory: the store's.
        durability: notes are synced unless it is ``NONE``, for a lost one could lose data.
    """

    def __init__(self, directory: str, durability: Durability) -> None:
        super().__init__()
        self.directory = os.path.join(directory, ".joins")
        self._above = directory
        self._sync = durability.ordered

    def enlist(self, final: str, parts: tuple[str, ...]) -> None:
        """Note a final upload that is not closed."""
        self.advance(final, parts, 0)

    def advance(self, final: str, parts: tuple[str, ...], joined: int) -> None:
        """Note how many bytes of a final upload are joined and durable."""
        self._write(final, {"parts": parts, "joined": joined})

    def joined(self, final: str) -> int:
        """Return how many bytes of a final upload are joined."""
        joined = self.read(final).get("joined")
        return joined if isinstance(joined, int) else 0

    def strike(self, final: str) -> None:
        """Forget a final upload: it is closed."""
        drop(os.path.join(self.directory, final))

    def finals(self) -> list[str]:
        """Return the final uploads there are notes of."""
        return [name for name in self.names() if "." not in name]

    def names(self) -> list[str]:
        """Return the names of all notes."""
        try:
            return os.listdir(self.directory)
        except FileNotFoundError:
            return []

    def raw(self, final: str) -> bytes | None:
        """Return a note as it is on disk, or None where there is none."""
        try:
            return read_whole(os.path.join(self.directory, final))
        except FileNotFoundError:
            return None

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
