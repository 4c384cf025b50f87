"""Credentials that a function of the caller's gives, and gives anew when they have run out."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import httpx2

Given = str | Mapping[str, str]
"""The value of ``Authorization``, or header fields."""
Giver = Callable[[], Given]
AsyncGiver = Callable[[], Given | Awaitable[Given]]

Ready = httpx2.Auth | tuple[str, str]
"""What httpx2 knows how to use."""
Auth = Ready | Giver
AsyncAuth = Ready | AsyncGiver

G = TypeVar("G", Giver, AsyncGiver)

NONE: Mapping[str, str] = {}


class Credentials:
    """What a function gave last.

    Args:
        give: the function, or None where there are no credentials of this kind.
    """

    def __init__(self, give: Giver | None) -> None:
        self._give = give
        self._lock = threading.Lock()
        self._headers: Mapping[str, str] | None = NONE if give is None else None

    def headers(self) -> Mapping[str, str]:
        """The header fields to send."""
        return self._headers if self._headers is not None else self._renewed(None)

    def refresh(self, shown: Mapping[str, str]) -> bool:
        """See to it that there are others than those that were shown in vain; say whether there
        can be. Of several requests that ran into the same, only one asks the function."""
        if self._give is None:
            return False
        self._renewed(shown)
        return True

    def _renewed(self, stale: Mapping[str, str] | None) -> Mapping[str, str]:
        assert self._give is not None
        with self._lock:
            if self._headers is None or self._headers is stale:
                self._headers = as_headers(self._give())
            return self._headers


class AsyncCredentials:
    """The same for a function that may be a coroutine function."""

    def __init__(self, give: AsyncGiver | None) -> None:
        self._give = give
        self._lock = asyncio.Lock()
        self._headers: Mapping[str, str] | None = NONE if give is None else None

    async def headers(self) -> Mapping[str, str]:
        """The header fields to send."""
        return self._headers if self._headers is not None else await self._renewed(None)

    async def refresh(self, shown: Mapping[str, str]) -> bool:
        """See to it that there are others than those that were shown in vain."""
        if self._give is None:
            return False
        await self._renewed(shown)
        return True

    async def _renewed(self, stale: Mapping[str, str] | None) -> Mapping[str, str]:
        assert self._give is not None
        async with self._lock:
            if self._headers is None or self._headers is stale:
                given = self._give()
                self._headers = as_headers(await given if inspect.isawaitable(given) else given)
            return self._headers


def sorted_out(auth: Ready | G | None) -> tuple[Ready | None, G | None]:
    """Tell what httpx2 can use from a function of the caller's.

    Raises:
        TypeError: it is neither.
    """
    if auth is None or isinstance(auth, httpx2.Auth | tuple):
        return auth, None
    if not callable(auth):
        raise TypeError(
            f"auth must be an httpx2.Auth, a name and a password, or a function, "
            f"not {type(auth).__name__}."
        )
    return None, auth


def as_headers(given: object) -> dict[str, str]:
    """Credentials as header fields.

    Raises:
        TypeError: they are none.
    """
    if isinstance(given, str):
        return {"Authorization": given}
    if isinstance(given, Mapping):
        return dict(given)
    if inspect.iscoroutine(given):
        given.close()  # nobody awaits it, and Python would complain
        raise TypeError("auth must be awaited: AsyncClient does that.")
    raise TypeError(f"auth must give text or header fields, not {type(given).__name__}.")
