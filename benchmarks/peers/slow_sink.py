"""Runs vectus with a store whose sinks take 200 ms for each write, without using the disk more.

Uvicorn serves it with our protocol class, as an application with a store of its own would.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn

from vectus import Uploads
from vectus.contracts import Lease, Sink
from vectus.locks.memory import MemoryLocker
from vectus.protocol.exchange import Plan
from vectus.protocol.upload import Upload
from vectus.stores.file import FileStore

DELAY = 0.2


class SlowSink:
    """Another sink, late."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    @property
    def count(self) -> int:
        """How many bytes it has taken."""
        return self.sink.count

    async def write(self, data: memoryview) -> None:
        """Write, after a while; the caller may do other things meanwhile."""
        await asyncio.sleep(DELAY)
        written = self.sink.write(data)
        if written is not None:
            await written

    async def commit(self, upload: Upload) -> None:
        """Make it count."""
        await self.sink.commit(upload)


class SlowStore(FileStore):
    """A directory on a slow disk."""

    @asynccontextmanager
    async def append(  # type: ignore[override]
        self, upload: Upload, plan: Plan, lease: Lease | None = None
    ) -> AsyncIterator[Any]:
        """Open an upload."""
        async with super().append(upload, plan, lease) as sink:
            yield SlowSink(sink)


def main() -> None:
    """Serve a directory under ``/files/``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    options = parser.parse_args()
    uvicorn.run(
        Uploads(
            SlowStore(options.dir, durability="none"), locker=MemoryLocker(), base_path="/files/"
        ),
        port=options.port,
        http="vectus.direct:DirectProtocol",
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
