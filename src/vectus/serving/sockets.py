"""Sockets to listen on, and how many files may be open. No event loop, no protocol in here.

The listening sockets are made once, before any worker starts, and shared by all of them. The
alternative, ``SO_REUSEPORT``, deals connections out by a hash: four uploads may all land on one of
two workers, a second server on a taken port goes unnoticed, and what waits in a killed worker's
queue is lost.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from vectus.errors import ConfigurationError

BACKLOG = 2048

Address = tuple[Any, ...]
"""What ``getaddrinfo`` gives and ``bind`` takes."""

PATIENCE = 1.0
"""Seconds to wait for an address whose owner may just be dying (a restart after a kill)."""


def listen_tcp(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of a host, on one port for all; port 0 picks one.

    Raises:
        ConfigurationError: none of them can be had.
    """
    addresses = _resolve(host, port)
    sockets: list[socket.socket] = []
    with _closing_on_error(sockets):
        for family, address in addresses:
            if port == 0 and sockets:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            try:
                sockets.append(_patiently(partial(_bind, family, address)))
            except OSError as error:
                # a host name may stand for an address this machine has not (::1 without IPv6)
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise _cannot_listen(host, port, error) from error
                missing = error
        if not sockets:
            raise _cannot_listen(host, port, missing)
    return sockets


def listen_uds(path: str) -> list[socket.socket]:
    """Listen on a socket file, replacing one that nobody listens on any more.

    Raises:
        ConfigurationError: it cannot be had.
    """
    try:
        return [_patiently(partial(_bind_uds, path))]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"Another server listens on {path}.", "Stop it, or name another file with --uds."
            ) from error
        why = error.strerror or str(error)
        raise ConfigurationError(
            f"Nothing can listen on {path}: {why}.",
            "Name a short path in a directory that this user may write to.",
        ) from error


@contextlib.contextmanager
def removed_at_end(path: str | None) -> Iterator[None]:
    """Remove a socket file at the end, unless somebody else has put another in its place."""
    mine = os.stat(path).st_ino if path else None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if path and os.stat(path).st_ino == mine:
                os.unlink(path)


def raise_file_limit() -> int:
    """Allow as many open files as this process may allow itself; return how many those are."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says "infinity" and then takes no more than OPEN_MAX
    for wanted in (hard, 10240):
        if wanted != resource.RLIM_INFINITY or sys.platform != "darwin":
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                break
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _resolve(host: str, port: int) -> list[tuple[int, Address]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"The host {host!r} is not known here.",
            "Give --host an address of this machine, such as 127.0.0.1 or 0.0.0.0.",
        ) from error
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bind(family: int, address: Address) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    with _closing_on_error([listener]):
        # so that connections which a former server closed do not keep the port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setblocking(False)
        listener.bind(address)
        listener.listen(BACKLOG)
    return listener


def _bind_uds(path: str) -> socket.socket:
    _refuse_if_used(path)
    # bound beside its place and moved there, so that no client ever finds it missing
    aside = f"{path}.{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _closing_on_error([listener]):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        listener.setblocking(False)
        listener.bind(aside)
        try:
            listener.listen(BACKLOG)
            Path(aside).rename(path)
        except OSError:
            os.unlink(aside)
            raise
    return listener


def _refuse_if_used(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file of another kind")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            probe.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return
    raise OSError(errno.EADDRINUSE, "Address already in use")


def _patiently(bind: Callable[[], socket.socket]) -> socket.socket:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return bind()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextlib.contextmanager
def _closing_on_error(sockets: list[socket.socket]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for each in sockets:
            each.close()
        raise


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigurationError:
    problem, hint = _SENTENCES.get(
        error.errno or 0,
        ("{host} port {port} cannot be listened on: {why}.", "Try another --port."),
    )
    why = error.strerror or str(error)
    return ConfigurationError(problem.format(host=host, port=port, why=why), hint)


_SENTENCES = {
    errno.EADDRINUSE: (
        "Port {port} on {host} is taken.",
        "Stop what listens there, or choose another with --port (0 picks a free one).",
    ),
    errno.EACCES: (
        "This user may not listen on port {port}.",
        "Choose one above 1023 with --port, and let a proxy have the low one.",
    ),
    errno.EADDRNOTAVAIL: (
        "{host} is not an address of this machine.",
        "Give --host one that is, such as 127.0.0.1 or 0.0.0.0.",
    ),
}
