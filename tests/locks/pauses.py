"""Tests of what lasts for a short time, told again where this process stood still meanwhile.

A lock that lasts two seconds is lost by a machine that has no time for its holder for so long, as
it should be; then a test of something else has seen nothing. It counts if it was not disturbed.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Self

import pytest

TICK = 0.01
TRIES = 5


class Pauses:
    """Measures, from entering its context to leaving it, how long this process stood still.

    Attributes:
        longest: seconds.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._over = threading.Event()
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> bool | None:
        self._over.set()
        self._thread.join()
        return None

    def _run(self) -> None:
        over = False
        while not over:
            over = self._over.wait(TICK)
            now = time.monotonic()
            self.longest = max(self.longest, now - self._last)
            self._last = now


class Try(Pauses):
    """One of several; left in failure, it is nobody's fault if it was disturbed.

    Args:
        seconds: how long a pause disturbs.
        last: whether it counts, whatever happened.

    Attributes:
        done: whether no other one is needed.
    """

    def __init__(self, seconds: float, *, last: bool) -> None:
        super().__init__()
        self.done = False
        self._seconds = seconds
        self._last_one = last

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        super().__exit__()
        self.done = kind is None
        failed = kind is not None and issubclass(kind, (Exception, pytest.fail.Exception))
        return failed and not self._last_one and self.longest >= self._seconds


def tries(seconds: float) -> Iterator[Try]:
    """Yield tries until one is done."""
    for left in reversed(range(TRIES)):
        once = Try(seconds, last=not left)
        yield once
        if once.done:
            return


def again_if_paused(seconds: float) -> Callable[[Any], Any]:
    """Tell a test again that has failed and was disturbed: by a pause of so many seconds. The last
    try counts, whatever happened."""

    def made(test: Any) -> Any:
        @wraps(test)
        async def patiently(*args: Any, **named: Any) -> None:
            for once in tries(seconds):
                with once:
                    await test(*args, **named)

        @wraps(test)
        def repeatedly(*args: Any, **named: Any) -> None:
            for once in tries(seconds):
                with once:
                    test(*args, **named)

        return patiently if inspect.iscoroutinefunction(test) else repeatedly

    return made
