"""Keeps a process present among those that use a directory, and has it look around: at its start
until it is sure that nobody's lock is overlooked, and now and then as long as it serves.

All of it happens in one thread of its own, which may wait for a file server as long as that likes.
What is looked at, and what it means, is told in ``mounts``.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Self

from vectus.errors import ConfigurationError
from vectus.findings import Finding, Grade
from vectus.locks.mounts import FULL, HINT, Lock, Presence, Sight, flock

log = logging.getLogger("vectus")

BEAT = 2.0
"""Seconds between two beats; the same for all that share a directory."""

LOOKS = 4
"""How many looks there are to a beat while it is not sure whether somebody is alive."""

ROUND = 15
"""How many beats there are between two looks around."""

LINGER = 3
"""How many beats somebody who only wants to know waits for others to appear."""

SUBJECT = "mounts"
"""What findings are about."""

_ALONE = "Nobody on another machine uses it now, so kernel locks could not be tried across mounts."
_COMPANY = "Run this while another node serves, or on two nodes at once."

GOODBYE = 2.0
"""Seconds that are waited for the thread; a file server that is away may keep it for longer."""


class Watch:
    """A context in which this process is present among those that use a directory.

    One whose lock is overlooked, or that overlooks one, does not get in. Who is in already says so
    in the log, and goes on: the network's locks still keep uploads apart, and one wrong mount
    should not end the service of all.

    Args:
        directory: what they share.
        beat: seconds between two beats.
        lock: the kind of lock that is tried.
    """

    def __init__(self, directory: str, *, beat: float = BEAT, lock: Lock = flock) -> None:
        self._directory = directory
        self._beat = beat
        self._lock = lock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> Self:
        """Appear, and look around.

        Raises:
            ConfigurationError: kernel locks do not work for all.
        """
        self._stop = threading.Event()
        arrived: Future[None] = Future()
        arrived.set_running_or_notify_cancel()  # whoever waits may go, the thread goes on
        self._thread = threading.Thread(
            target=self._run, args=(arrived, self._stop), name="vectus-nodes", daemon=True
        )
        self._thread.start()
        try:
            await asyncio.wrap_future(arrived)
        except BaseException:
            self._stop.set()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disappear."""
        thread, self._thread = self._thread, None
        self._stop.set()
        if thread is not None:
            await asyncio.to_thread(thread.join, GOODBYE)

    def _run(self, arrived: Future[None], stop: threading.Event) -> None:
        presence = Presence(self._directory, self._lock)
        try:
            self._arrive(presence, stop)
        except BaseException as error:
            presence.leave()
            arrived.set_exception(error)
            return
        arrived.set_result(None)
        try:
            self._stay(presence, stop)
        finally:
            presence.leave()

    def _arrive(self, presence: Presence, stop: threading.Event) -> None:
        with _explained(self._directory):
            _appear(presence, self._directory)
            sight = presence.look()
            if sight.unsure:
                log.info("Looking for some seconds who else uses %s.", self._directory)
            while sight.unsure and not sight.broken and not stop.wait(self._beat / LOOKS):
                _appear(presence, self._directory)
                sight = presence.look()
        if trouble := sight.trouble(self._directory):
            raise trouble

    def _stay(self, presence: Presence, stop: threading.Event) -> None:
        due, pause, away = 0.0, self._beat, False
        while not stop.wait(pause):
            try:
                anew = presence.beat()
                if anew or time.monotonic() >= due:
                    sight = presence.look()
                    _tell(sight, self._directory)
                    pause = self._beat / LOOKS if sight.unsure else self._beat
                    due = time.monotonic() + (0 if sight.unsure else ROUND * self._beat)
                away = False
            except OSError as error:
                if not away:
                    log.warning("Others cannot see this process in %s: %s.", self._directory, error)
                away = True


def probe(directory: str) -> Iterator[Finding]:
    """Tell, for ``vectus check``, whether kernel locks work across the mounts of a directory."""
    try:
        sight = look(directory)
    except ConfigurationError as error:
        yield Finding(SUBJECT, Grade.FAILURE, error.problem, error.hint)
        return
    if trouble := sight.trouble(directory):
        yield Finding(SUBJECT, Grade.FAILURE, trouble.problem, trouble.hint)
    elif sight.others:
        yield Finding(SUBJECT, Grade.OK, f"Kernel locks work across {sight.mounts} of them.")
    else:
        yield Finding(SUBJECT, Grade.WARNING, _ALONE, _COMPANY)


def look(
    directory: str, *, beat: float = BEAT, linger: float | None = None, lock: Lock = flock
) -> Sight:
    """Look around for some seconds, being present meanwhile, and say what there is to see. Blocks.

    Args:
        directory: what is shared.
        beat: seconds between two beats.
        linger: seconds to wait for somebody to appear.
        lock: the kind of lock that is tried.

    Raises:
        ConfigurationError: no kernel locks can be had at all.
    """
    presence = Presence(directory, lock)
    end = time.monotonic() + (LINGER * beat if linger is None else linger)
    try:
        with _explained(directory):
            found = sight = Sight()
            # To the end, whatever was seen: somebody else may have just begun to look.
            while sight.unsure or time.monotonic() < end:
                presence.beat()
                sight = presence.look()
                found = _worse(found, sight)
                time.sleep(beat / LOOKS)
            return found
    finally:
        presence.leave()


def _worse(one: Sight, other: Sight) -> Sight:
    """Return what counts of two looks: a lock that was overlooked, or else the more company."""
    return max(one, other, key=lambda sight: (len(sight.broken), sight.mounts))


def _appear(presence: Presence, directory: str) -> None:
    try:
        presence.beat()
    except OSError as error:
        if error.errno not in FULL:
            raise
        log.warning("Others cannot see this process in %s, which is full.", directory)


def _tell(sight: Sight, directory: str) -> None:
    if trouble := sight.trouble(directory):
        log.error("%s Uploads are kept apart by the network's locks alone.", trouble.problem)


@contextmanager
def _explained(directory: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"Kernel locks cannot be had in {directory}: {error.strerror or error}.", HINT
        ) from error
