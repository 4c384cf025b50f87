"""Resumable uploads for Python: a tus 1.0.0 server, a client, and a command line."""

from typing import TYPE_CHECKING, Any

from vectus import client
from vectus.errors import (
    ConfigurationError,
    NotOffered,
    NotTus,
    ServerUnreachable,
    SourceChanged,
    SourceError,
    UploadCancelled,
    UploadError,
    UploadGone,
    UploadMismatch,
    UploadRefused,
    UploadTooLarge,
    VectusError,
    VerificationFailed,
)
from vectus.events import Rejected

if TYPE_CHECKING:
    from vectus.app import Uploads
    from vectus.client import (
        AsyncClient,
        Chunks,
        Client,
        Entry,
        FileResume,
        MemoryResume,
        Progress,
        RedisResume,
        Result,
        ResumeStore,
        SQLiteResume,
        aupload,
        upload,
    )

__version__ = "0.1.0.dev0"

__all__ = [
    "AsyncClient",
    "Chunks",
    "Client",
    "ConfigurationError",
    "Entry",
    "FileResume",
    "MemoryResume",
    "NotOffered",
    "NotTus",
    "Progress",
    "RedisResume",
    "Rejected",
    "Result",
    "ResumeStore",
    "SQLiteResume",
    "ServerUnreachable",
    "SourceChanged",
    "SourceError",
    "UploadCancelled",
    "UploadError",
    "UploadGone",
    "UploadMismatch",
    "UploadRefused",
    "UploadTooLarge",
    "Uploads",
    "VectusError",
    "VerificationFailed",
    "__version__",
    "aupload",
    "client",
    "events",
    "upload",
]


def __getattr__(name: str) -> Any:
    """Load the server where it is used, and the client where that is: neither needs the other."""
    if name == "Uploads":
        from vectus.app import Uploads

        return Uploads
    if name in client.NAMES:
        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
