"""The parent of several workers: starts them, replaces those that die, ends them together.

It forks, while it has one thread and no event loop, and must never get either: so workers start in
milliseconds, share the memory of what is imported, and have the listening sockets already. Not a
word goes between it and them but "ready", or why not; the channel's closing is what tells a worker
that its parent is gone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from vectus.errors import ConfigurationError, VectusError
from vectus.serving.shares import Shares
from vectus.serving.site import Site
from vectus.serving.worker import Post, work

READY = b"{}"

STEADY = 10.0
"""Seconds a worker lives to count as sound: after its death another is started at once."""

SLOWEST = 10.0
"""Seconds between two starts at most, when workers keep dying."""

GRACE = 0.5
"""Seconds beyond the shutdown time-out, after which workers that still live are killed."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

logger = logging.getLogger("vectus.serving")


@dataclass(eq=False, slots=True)
class Worker:
    """One child process, as its parent knows it."""

    pid: int
    place: int
    channel: socket.socket
    born: float = field(default_factory=time.monotonic)
    said: bytes = b""

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return self.said == READY

    def listen(self) -> bool:
        """Take in what it says; False when there is nothing more."""
        try:
            said = self.channel.recv(65536)
        except BlockingIOError:
            said = b""
        self.said += said
        return bool(said)


class Supervisor:
    """Keeps a site's workers running until told to stop.

    Args:
        site: what they serve.
        listeners: the sockets they all accept on.
        file_limit: how many files each may open.
        on_ready: called once, when all of them serve for the first time.
    """

    def __init__(
        self,
        site: Site,
        listeners: list[socket.socket],
        file_limit: int,
        on_ready: Callable[[], None],
    ) -> None:
        self._site = site
        self._listeners = listeners
        self._file_limit = file_limit
        self._on_ready = on_ready
        self._workers: list[Worker] = []
        self._due: dict[int, float] = dict.fromkeys(range(site.workers), 0.0)
        self._shares = Shares(site.workers)
        self._failures = 0
        self._announced = False
        self._stopping = False
        self._kill_at = float("inf")
        self._code = 0
        self._error: VectusError | None = None
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._waker = socket.socketpair()

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit code.

        Raises:
            ConfigurationError: a worker could not start, and said why.
            VectusError: a worker could not start.
        """
        with self._signals():
            while self._workers or self._due:
                self._start_due()
                self._wait()
                self._reap()
                if time.monotonic() >= self._kill_at:
                    self._end_now()
        if self._error is not None:
            raise self._error
        return self._code

    # what happens

    def _wait(self) -> None:
        due = min([*self._due.values(), self._kill_at])
        # at most a minute, as there are longer times than epoll takes
        for key, _ in self._selector.select(min(max(0.0, due - time.monotonic()), 60.0)):
            if key.fileobj is self._wakeup:
                for number in self._wakeup.recv(4096):
                    self._on_signal(number)
            elif not key.data.listen():
                self._selector.unregister(key.fileobj)
        ready = sum(worker.ready for worker in self._workers)
        if not self._announced and ready == self._site.workers:
            self._announced = True
            self._on_ready()

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGINT and self._stopping:
            self._end_now()
        elif number in {signal.SIGTERM, signal.SIGINT}:
            self._stop()

    def _reap(self) -> None:
        for worker in list(self._workers):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._bury(worker, os.waitstatus_to_exitcode(status))

    def _bury(self, worker: Worker, code: int) -> None:
        self._workers.remove(worker)
        with contextlib.suppress(KeyError):
            self._selector.unregister(worker.channel)
        while worker.listen():
            pass
        worker.channel.close()
        self._shares.vacate(worker.place)
        if self._stopping:
            self._code |= code not in {0, -signal.SIGTERM}
        elif self._announced or worker.ready:
            self._replace(worker, code)
        else:
            self._error = _failure(worker, code)
            self._stop()

    def _replace(self, worker: Worker, code: int) -> None:
        now = time.monotonic()
        self._failures = 0 if now - worker.born >= STEADY else self._failures + 1
        delay = min(0.1 * (2**self._failures - 1), SLOWEST)
        self._due[worker.place] = now + delay
        logger.error("Worker %d %s; starting another.", worker.pid, _describe(code))

    # what is done

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._due.clear()
        self._kill_at = time.monotonic() + self._site.shutdown_timeout + GRACE
        for listener in self._listeners:
            listener.close()
        self._send(signal.SIGTERM)

    def _end_now(self) -> None:
        self._code = 1
        self._kill_at = float("inf")
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        for worker in self._workers:
            os.kill(worker.pid, number)

    def _start_due(self) -> None:
        now = time.monotonic()
        for place in [place for place, due in self._due.items() if due <= now]:
            del self._due[place]
            try:
                self._start(place)
            except OSError as error:
                self._start_later(place, error)

    def _start(self, place: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            worker = Worker(self._fork(place, ours, theirs), place, ours)
        self._workers.append(worker)
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _start_later(self, place: int, error: OSError) -> None:
        """No process or descriptor is left: wait for better times, unless it is the beginning."""
        why = f"A worker could not be started: {error.strerror}."
        if self._announced:
            self._due[place] = time.monotonic() + SLOWEST
            logger.error(why)
        else:
            self._error = VectusError(why)
            self._stop()

    def _fork(self, place: int, ours: socket.socket, theirs: socket.socket) -> int:
        parent = os.getpid()
        # a signal in between would be handled in the child as if it were the parent
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._become_worker(place, theirs, parent, before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        self._wakeup.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        former = {each: signal.signal(each, lambda *_: None) for each in SIGNALS}
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for each, handler in former.items():
                signal.signal(each, handler)
            self._close()

    def _close(self) -> None:
        self._selector.close()
        self._wakeup.close()
        self._waker.close()

    # in the child

    def _become_worker(
        self, place: int, channel: socket.socket, parent: int, mask: Iterable[int]
    ) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            # Ctrl-C reaches the whole group; what it means is the parent's decision
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._close()
            for sibling in self._workers:
                sibling.channel.close()
            _die_with_parent(channel, parent)
            code = self._serve(place, channel)
        except BaseException:
            logger.exception("This worker failed.")
        finally:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                sys.stdout.flush()
            os._exit(code)

    def _serve(self, place: int, channel: socket.socket) -> int:
        post = Post(
            listeners=self._listeners,
            file_limit=self._file_limit,
            signals=(signal.SIGTERM,),
            on_ready=lambda: channel.sendall(READY),
            shares=self._shares,
            place=place,
        )
        try:
            work(self._site, post)
        except ConfigurationError as error:
            channel.sendall(json.dumps({"problem": error.problem, "hint": error.hint}).encode())
            return 2
        return 0


def _die_with_parent(channel: socket.socket, parent: int) -> None:
    """End this process when its parent does, by the kernel's hand or, elsewhere, by our own."""
    with contextlib.suppress(OSError, AttributeError):
        _ask_the_kernel()
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_await_end, args=(channel,), daemon=True).start()


def _ask_the_kernel() -> None:
    import ctypes

    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)


def _await_end(channel: socket.socket) -> None:
    with contextlib.suppress(OSError):
        channel.recv(1)
    os._exit(1)


def _failure(worker: Worker, code: int) -> VectusError:
    if not worker.said:
        return VectusError(f"A worker {_describe(code)} before it could serve.")
    return ConfigurationError(**json.loads(worker.said))


def _describe(code: int) -> str:
    return f"ended with code {code}" if code >= 0 else f"was killed by signal {-code}"
