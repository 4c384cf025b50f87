"""Credentials that a function of the caller's gives, and gives anew when they have run out."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping

import httpx2

Given = str | Mapping[str, str]
"""The value of ``Authorization``, or header fields."""
Giver = Callable[[], Given]
AsyncGiver = Callable[[], Given | Awaitable[Given]]

Auth = httpx2.Auth | tuple[str, str] | Giver
AsyncAuth = httpx2.Auth | tuple[str, str] | AsyncGiver


class Credentials:
    """What a function gave last.

    Args:
        give: the function, or None where there are no credentials of this kind.
    """

    def __init__(self, give: Giver | None) -> None:
        self._give = give
        self._lock = threading.Lock()
        self._headers: dict[str, str] | None = None

    def headers(self) -> dict[str, str]:
        """The header fields to send."""
        with self._lock:
            if self._headers is None:
                self._headers = {} if self._give is None else as_headers(self._give())
            return self._headers

    def refresh(self) -> bool:
        """Ask the function again; say whether there is one."""
        with self._lock:
            if self._give is not None:
                self._headers = as_headers(self._give())
            return self._give is not None


class AsyncCredentials:
    """The same for a function that may be a coroutine function."""

    def __init__(self, give: AsyncGiver | None) -> None:
        self._give = give
        self._headers: dict[str, str] | None = None

    async def headers(self) -> dict[str, str]:
        """The header fields to send."""
        if self._headers is None:
            await self.refresh()
        return self._headers or {}

    async def refresh(self) -> bool:
        """Ask the function again; say whether there is one."""
        if self._give is None:
            return False
        given = self._give()
        self._headers = as_headers(await given if inspect.isawaitable(given) else given)
        return True


def as_headers(given: Given) -> dict[str, str]:
    """Credentials as header fields."""
    return {"Authorization": given} if isinstance(given, str) else dict(given)
