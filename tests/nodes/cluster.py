"""Several ``vectus serve`` as they would be on several machines, and HAProxy before them.

What they share is what a test gives them: a store and locks. Folders for temporary files, and for
what the processes of one machine share, each has of its own. Nothing in here judges.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from backends import Redis
from server import Answer, Server, Start, until

TTL = 3.0
"""Seconds that locks in Redis last where tests have to wait for their end."""

HAPROXY = """\
global
    nbthread 1
    maxconn 1000
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    # No node sees two requests in a row: each is dealt out anew, on a connection of its own.
    option http-server-close
    http-reuse never
    # Who does not listen any more was asked nothing yet, so another one may be.
    retries 3
    option redispatch 1
frontend front
    bind 127.0.0.1:{port}
    default_backend nodes
backend nodes
    balance roundrobin
{servers}
"""
SERVER = "    server node{number} 127.0.0.1:{port} check inter 100ms fall 1 rise 1"


class Node(Server):
    """A server on a machine of its own, as far as that can be had."""

    def freeze(self) -> None:
        """Have its process stand still, in all its threads."""
        os.kill(self.pid, signal.SIGSTOP)
        until(lambda: set(self._states()) == {"T"}, "the stop")

    def thaw(self) -> None:
        """Have it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _states(self) -> list[str]:
        found = []
        for task in Path(f"/proc/{self.pid}/task").glob("*/status"):
            with suppress(OSError):  # it has just ended
                found += re.findall(r"State:\s+(\w)", task.read_text())
        return found

    @property
    def connections(self) -> int:
        """How many connections there are to it now (Linux only)."""
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        ends = [line.split()[1:4] for line in lines]
        return sum(
            state == "01" and int(mine.partition(":")[2], 16) == self.port
            for mine, _, state in ends
        )

    def ask_again(self, method: str, path: str) -> Answer:
        """Ask until there is an answer that is no request for patience (D3)."""
        answer = self.ask(method, path)
        while answer.status in {423, 503}:
            answer = self.ask(method, path)
        return answer

    def bring(self, path: str, data: bytes) -> int:
        """Bring an upload to where it has these bytes, as a client does: send what is missing, and
        begin again where that is told to wait. Return how far the upload was at first."""
        first = now = self._asked(path)
        while now < len(data):
            self.patch(path, now, data[now:])
            last, now = now, self._asked(path)
            assert now >= last, f"the offset of {path} fell from {last} to {now}"
        return first

    def _asked(self, path: str) -> int:
        answer = self.ask_again("HEAD", path)
        assert answer.status == 200, answer
        return answer.offset


def start_node(start: Start, port: int, folder: Path, store: object, *flags: object) -> Node:
    """Run ``vectus serve`` in a folder that stands for a machine."""
    folder.mkdir()
    environ = {"TMPDIR": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    command = [sys.executable, "-m", "vectus", "serve", store, "--port", port, *flags]

    def launch() -> object:
        ready = r"Listening on http://"
        how = {"environ": environ, "folder": folder, "patience": 100.0}
        return start(*map(str, command), ready=ready, **how)

    return Node(launch, port, folder)


def start_haproxy(start: Start, port: int, folder: Path, nodes: Sequence[Server]) -> Server:
    """Run HAProxy before some nodes; return it once it serves."""
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not here: make test installs it where it may")
    servers = [SERVER.format(number=n, port=node.port) for n, node in enumerate(nodes)]
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, servers="\n".join(servers)))
    command = ("haproxy", "-db", "-V", "-f", config)
    front = Server(lambda: start(*command, ready="polling mechanism"), port, folder)
    until(lambda: listens(port), "HAProxy")
    return front


def listens(port: int) -> bool:
    """Say whether anybody listens on a port."""
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 5).close()
        return True
    return False


def with_ttl(redis: Redis) -> str:
    """Return the URL of locks in Redis that do not last long."""
    return f"{redis.url}?ttl={TTL}"


StartNodes = Callable[..., list[Node]]
"""The ``start_nodes`` fixture: starts so many nodes on a store, with flags."""
