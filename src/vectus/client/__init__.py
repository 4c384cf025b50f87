"""The client: a pure machine (``machine.py``) under two thin drivers over httpx2.

``commands.py`` is what the machine asks of a driver; ``driver.py`` and ``aio_driver.py`` are the
drivers, ``blocking.py`` and ``aio.py`` what their callers see of them; ``sources/`` and ``resume/``
are what they work with. Names are loaded where they are used: none of them is needed to say
``--help``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vectus.client.aio import AsyncClient as AsyncClient, aupload as aupload
    from vectus.client.blocking import Client as Client, upload as upload
    from vectus.client.contracts import Entry as Entry, ResumeStore as ResumeStore, Source as Source
    from vectus.client.happenings import (
        Confirmed as Confirmed,
        Finished as Finished,
        Happening as Happening,
        Noticed as Noticed,
        Progress as Progress,
        Retrying as Retrying,
        Started as Started,
    )
    from vectus.client.job import Chunks as Chunks, Result as Result
    from vectus.client.resume import (
        FileResume as FileResume,
        MemoryResume as MemoryResume,
        RedisResume as RedisResume,
        SQLiteResume as SQLiteResume,
    )

NAMES = {
    "AsyncClient": "aio",
    "aupload": "aio",
    "Client": "blocking",
    "upload": "blocking",
    "Entry": "contracts",
    "ResumeStore": "contracts",
    "Source": "contracts",
    "Confirmed": "happenings",
    "Finished": "happenings",
    "Happening": "happenings",
    "Noticed": "happenings",
    "Progress": "happenings",
    "Retrying": "happenings",
    "Started": "happenings",
    "Chunks": "job",
    "Result": "job",
    "FileResume": "resume",
    "MemoryResume": "resume",
    "RedisResume": "resume",
    "SQLiteResume": "resume",
}
"""Every public name, and the module that has it."""

__all__ = [*NAMES, "NAMES"]  # noqa: PLE0604  # all of them are text


def __getattr__(name: str) -> Any:
    if name in NAMES:
        return getattr(import_module(f"vectus.client.{NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
