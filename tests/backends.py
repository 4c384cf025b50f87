"""Servers of other people's that vectus keeps things in: started for a test, killed, started again.

A folder's conftest imports the fixtures that its tests use. Nothing in here knows vectus.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from programs import Program

PATIENCE = 30.0
NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
"""How PostgreSQL is run by root, which it does not let itself be."""


class Backend:
    """A server on a socket in a folder of its own, until its context is left."""

    ready: str

    def __init__(self) -> None:
        self._stack = ExitStack()
        # pytest's folders have names too long for a socket
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._program: Program | None = None

    def argv(self) -> Sequence[str]:
        """What to run."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Do what comes before the first start."""

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._program is not None
        return self._program.process.pid

    def start(self) -> None:
        """Start it, for the first time or again."""
        self._program = Program(self.argv(), self.ready, self.folder)
        self._program.wait_until_ready(PATIENCE)

    def kill(self) -> None:
        """SIGKILL it, and wait for its end."""
        assert self._program is not None
        self._program.process.kill()
        self._program.process.wait(PATIENCE)
        self._program.stop()

    def stop(self) -> None:
        """End it, whoever is connected."""
        if self._program is not None:
            if self._program.process.poll() is None:
                os.kill(self.pid, signal.SIGCONT)
                os.kill(self.pid, signal.SIGINT)
            self._program.stop()
            self._program = None

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            self.stop()


class Redis(Backend):
    """A Redis server without a disk: killed, it has forgotten everything.

    Args:
        flags: what it is told besides.
    """

    ready = r"[Rr]eady to accept connections"

    def __init__(self, *flags: str) -> None:
        super().__init__()
        self._flags = flags or ("--port", "0")

    def argv(self) -> Sequence[str]:
        server = find("redis-server") or find("valkey-server")
        if server is None:
            pytest.skip("redis-server is not here: make test installs it where it may")
        quiet = ("--save", "", "--appendonly", "no", "--dir", str(self.folder))
        return [server, *self._flags, "--unixsocket", f"{self.folder}/socket", *quiet]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"unix://{self.folder}/socket"


class Postgres(Backend):
    """A PostgreSQL server that never waits for a disk.

    Args:
        settings: what it is set to besides.
    """

    ready = "database system is ready to accept connections"

    def __init__(self, *settings: str) -> None:
        super().__init__()
        self._settings = settings or ("listen_addresses=",)

    def prepare(self) -> None:
        if find("initdb") is None or find("postgres") is None:
            pytest.skip("postgresql is not here: make test installs it where it may")
        if not self._user():
            os.chmod(self.folder, 0o755)
        else:
            shutil.chown(self.folder, "nobody", "nogroup")
        options = ("--no-sync", "--auth=trust", "--username=vectus", "--encoding=UTF8")
        argv = [*self._user(), str(find("initdb")), *options, "--locale=C", "-D", self._data]
        subprocess.run(argv, cwd=self.folder, check=True, stdout=subprocess.DEVNULL, timeout=60)

    def argv(self) -> Sequence[str]:
        settings = (
            *self._settings,
            f"unix_socket_directories={self.folder}",
            "fsync=off",
            "shared_buffers=8MB",
            "max_connections=40",
        )
        flags = [word for setting in settings for word in ("-c", setting)]
        return [*self._user(), str(find("postgres")), "-D", self._data, *flags]

    def _user(self) -> Sequence[str]:
        return NOBODY if os.geteuid() == 0 else ()

    @property
    def _data(self) -> str:
        return f"{self.folder}/data"

    @property
    def url(self) -> str:
        """Where it is."""
        return f"postgresql://vectus@/postgres?host={self.folder}"


def find(program: str) -> str | None:
    """Return where a program is. Debian puts PostgreSQL's into a folder of their own."""
    folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join(folders))


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[Redis]:
    """A Redis server as long as the tests run, for those who do it no harm."""
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(shared_redis: Redis) -> str:
    """Where it is."""
    return shared_redis.url


@pytest.fixture
def redis_server() -> Iterator[Redis]:
    """A Redis server of the test's own."""
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server as long as the tests run, for those who do it no harm."""
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server of the test's own."""
    with Postgres() as server:
        yield server
