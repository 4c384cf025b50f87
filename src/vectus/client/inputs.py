"""What a caller can hand in to be uploaded, for type checkers; ``sources/`` looks at it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable
from typing import Protocol


class Readable(Protocol):
    """A binary file or stream."""

    def read(self, count: int, /) -> bytes | None:
        """Return up to that many bytes, none at the end."""


class AsyncReadable(Protocol):
    """A binary stream that is read with ``await``."""

    async def read(self, count: int, /) -> bytes:
        """Return up to that many bytes, none at the end."""


Input = str | os.PathLike[str] | bytes | bytearray | memoryview | Readable | Iterable[bytes]
"""What the blocking client uploads; text is a path."""

AsyncInput = Input | AsyncReadable | AsyncIterable[bytes]
"""What the asyncio client uploads."""
