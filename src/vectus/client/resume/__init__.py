"""Where a client remembers which source goes to which upload: memory, a file, SQLite, Redis.

Names only, and none is loaded before it is asked for: nobody pays for a store not used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vectus.client.resume.file import FileResume
    from vectus.client.resume.memory import MemoryResume
    from vectus.client.resume.redis import RedisResume
    from vectus.client.resume.sqlite import SQLiteResume

__all__ = ["FileResume", "MemoryResume", "RedisResume", "SQLiteResume"]

_HOMES = {
    "FileResume": "file",
    "MemoryResume": "memory",
    "RedisResume": "redis",
    "SQLiteResume": "sqlite",
}


def __getattr__(name: str) -> Any:
    """Load a store when it is first asked for."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
