"""Resumable uploads for Python: a tus 1.0.0 server, and a command line."""

from typing import TYPE_CHECKING, Any

from vectus.errors import VectusError
from vectus.events import Rejected

if TYPE_CHECKING:
    from vectus.app import Uploads

__version__ = "0.1.0.dev0"

__all__ = ["Rejected", "Uploads", "VectusError", "__version__", "events"]


def __getattr__(name: str) -> Any:
    """Load the server only where it is used: a client needs none of it."""
    if name == "Uploads":
        from vectus.app import Uploads

        return Uploads
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
