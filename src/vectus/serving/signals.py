"""From the signal to the end, in time even when the event loop is stuck.

The C part of Python's signal handling writes each signal's number to a socket, whatever the main
thread is doing; a thread reads it there. A handler of the event loop, or of Python, would wait for
the main thread, which may be waiting for a disk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import NoReturn

logger = logging.getLogger("vectus.serving")


class Deadline(threading.Thread):
    """Tells of the first signal, and ends the process when its time is over.

    It is there until the process ends: what happens after the event loop's end counts as well.
    Start it while the event loop runs, since uvloop sets the same hook when it starts.

    Args:
        signals: those that mean the end.
        timeout: seconds from the first of them to the end of the process.
        on_stop: called, in this thread, at the first of them.
    """

    def __init__(
        self, signals: Iterable[signal.Signals], timeout: float, on_stop: Callable[[], object]
    ) -> None:
        super().__init__(name="vectus-deadline", daemon=True)
        self._signals = frozenset(signals)
        self._timeout = timeout
        self._on_stop = on_stop
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)

    def start(self) -> None:
        """Begin to listen."""
        signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        for each in self._signals:
            signal.signal(each, lambda *_: None)
        super().start()

    def run(self) -> None:
        """Wait for a signal, and then for the end."""
        self._await(self._signals, None)
        with contextlib.suppress(RuntimeError):  # the event loop has come to its end already
            self._on_stop()
        if self._await({signal.SIGINT}, self._timeout):
            _leave("Stopped at once; uploads go on from what is stored.")
        _leave("Not everything came to its end in time; leaving it.")

    def _await(self, wanted: Iterable[int], seconds: float | None) -> bool:
        """Return whether one of these signals came in that time."""
        wanted = self._signals.intersection(wanted)
        deadline = None if seconds is None else time.monotonic() + seconds
        while deadline is None or time.monotonic() < deadline:
            self._ear.settimeout(deadline and max(deadline - time.monotonic(), 0.001))
            try:
                if wanted.intersection(self._ear.recv(256)):
                    return True
            except TimeoutError:
                break
        return False


def _leave(words: str) -> NoReturn:
    logger.error(words)
    os._exit(1)
