"""What can be uploaded: paths, bytes, files, streams and iterators, all as one ``Source``."""

from vectus.client.sources.contents import acompare, compare, difference, digest
from vectus.client.sources.opening import open_async_source, open_source
from vectus.client.sources.replayable import Window
from vectus.client.sources.streams import AsyncStream, Stream

__all__ = [
    "AsyncStream",
    "Stream",
    "Window",
    "acompare",
    "compare",
    "difference",
    "digest",
    "open_async_source",
    "open_source",
]
