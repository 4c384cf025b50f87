"""What a body may ask of its connection. A contract, nothing else."""

from __future__ import annotations

import asyncio
from typing import Protocol

from vectus.direct.buffers import Buffers
from vectus.direct.deadline import Deadline


class Line(Protocol):
    """What a body needs of its connection."""

    loop: asyncio.AbstractEventLoop
    buffers: Buffers
    deadline: Deadline
    body_timeout: float

    def invite(self) -> None:
        """Send ``100 Continue``."""

    def settle(self) -> None:
        """Read, or stop reading, as ``Incoming.hungry`` says now."""

    def spent(self) -> None:
        """More of an unwanted body came than is worth reading."""
