"""The suite's probe as an application, for servers that import theirs in a process of their own."""

from __future__ import annotations

from vectus.asgi import FrontEnd
from vectus.testing.probe import probe

front_end = FrontEnd(probe)
