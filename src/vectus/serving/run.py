"""From a site to an exit code: open the sockets, then serve in this process or in several."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator

from vectus.serving import logs, sockets
from vectus.serving.shares import Shares
from vectus.serving.site import Site
from vectus.serving.supervisor import Supervisor
from vectus.serving.worker import Post, work


def serve(site: Site) -> int:
    """Serve until SIGTERM or SIGINT, and return the process's exit code.

    Raises:
        ConfigurationError: it cannot be served as it is.
        VectusError: a worker process could not start.
    """
    logs.configure(site)
    if site.tls:
        site.tls.check()
    file_limit = sockets.raise_file_limit()
    with _listening(site) as listeners:
        announce = _announcement(site, listeners)
        if site.workers > 1:
            return Supervisor(site, listeners, file_limit, announce).run()
        both = (signal.SIGTERM, signal.SIGINT)
        work(site, Post(listeners, file_limit, both, announce, Shares(1)))
        return 0


@contextlib.contextmanager
def _listening(site: Site) -> Iterator[list[socket.socket]]:
    listeners = (
        sockets.listen_uds(site.uds) if site.uds else sockets.listen_tcp(site.host, site.port)
    )
    with contextlib.ExitStack() as stack:
        for listener in listeners:
            stack.callback(listener.close)
        stack.enter_context(sockets.removed_at_end(site.uds))
        yield listeners


def _announcement(site: Site, listeners: list[socket.socket]) -> Callable[[], None]:
    port = 0 if site.uds else listeners[0].getsockname()[1]

    def announce() -> None:
        try:
            sys.stdout.write(f"Listening on {site.url(port)}\n")
            sys.stdout.flush()
        except BrokenPipeError:
            # nobody reads it; that is no reason not to serve, nor to fail when Python flushes again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return announce
