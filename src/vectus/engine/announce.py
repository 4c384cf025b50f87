"""Telling listeners what happens, and hearing their verdicts."""

from __future__ import annotations

import inspect
import logging

from vectus.contracts import Listener
from vectus.events import (
    BeforeCreate,
    BeforeFinish,
    BeforeRequest,
    BeforeTerminate,
    Event,
    Rejected,
)
from vectus.protocol.exchange import Vetoed

log = logging.getLogger("vectus")

VERDICTS = (BeforeRequest, BeforeCreate, BeforeFinish, BeforeTerminate)
"""The events whose listeners may refuse."""


class Announcer:
    """The one list of listeners. They are told one after another, in the order they came."""

    def __init__(self) -> None:
        self._listeners: list[tuple[type[Event], Listener]] = []

    def add(self, kind: type[Event], listener: Listener) -> None:
        """Have a listener told of events of a kind, its subclasses included."""
        self._listeners.append((kind, listener))

    def wanted(self, *kinds: type[Event]) -> bool:
        """Whether anybody listens to events of exactly one of these kinds."""
        return any(issubclass(kind, wanted) for wanted, _ in self._listeners for kind in kinds)

    async def tell(self, event: Event) -> None:
        """Tell an event.

        Raises:
            Vetoed: a listener refused what is about to happen.
            Exception: a listener that was asked for its verdict failed, so nothing may happen.
        """
        for kind, listener in self._listeners:
            if isinstance(event, kind):
                await self._tell_one(listener, event)

    async def _tell_one(self, listener: Listener, event: Event) -> None:
        try:
            answer = listener(event)
            if inspect.isawaitable(answer):
                await answer
        except Rejected as verdict:
            if isinstance(event, VERDICTS):
                raise _veto(verdict) from verdict
            log.exception("A listener refused %s, which has happened already.", _name(event))
        except Exception:
            if isinstance(event, VERDICTS):
                raise
            log.exception("A listener failed on %s.", _name(event))


def _veto(verdict: Rejected) -> Vetoed:
    return Vetoed(verdict.status, verdict.text, tuple(verdict.headers.items()))


def _name(event: Event) -> str:
    return type(event).__name__
