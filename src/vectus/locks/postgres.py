"""Locks among any number of machines, kept by PostgreSQL: advisory locks of one session.

The server lets go of them when the session ends, however that comes; nothing is ever written. A
session can take its own lock twice, so the line in front of it is what keeps tasks apart. It needs
a connection to one server process all the time, which a pooler in transaction mode does not give.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, LiteralString

from vectus.errors import ConfigurationError, LockUnavailable
from vectus.locks.remote import Grant, Line, RemoteLocker, now

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger("vectus")

BEAT = 2.0
"""Seconds between two questions whether the session lives, while locks are held."""

LASTING = 6.0
"""Seconds that a lease lasts after the server was last heard of."""

PATIENCE = 4.0
"""Seconds that any statement may take; what takes longer ends the session."""

OURS: dict[str, str | int] = {
    "application_name": "vectus locks",
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}
"""What a connection has unless its URL says otherwise: how soon we find out that it is dead."""

_THEIRS = (
    "SELECT set_config('tcp_keepalives_idle', '5', false),"
    " set_config('tcp_keepalives_interval', '1', false),"
    " set_config('tcp_keepalives_count', '5', false),"
    " set_config('tcp_user_timeout', '10000', false),"
    " pg_backend_pid()"
)
"""How soon the server ends a session whose machine is gone: later than that machine finds out."""

_LISTEN = "LISTEN vectus_locks"
_ALIVE = "SELECT pg_backend_pid()"
_TELL = "SELECT pg_notify('vectus_locks', %s), pg_backend_pid()"
_TAKE = """
SELECT CASE WHEN pg_try_advisory_lock(%s)
       THEN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint END, pg_backend_pid()
"""
_RELEASE = "SELECT pg_advisory_unlock(%s), pg_backend_pid()"
"""Every answer ends with the server process that it came from: it must always be the same."""


class PostgresLocker(RemoteLocker):
    """A locker among all processes that use one PostgreSQL database.

    A lock ends with its process, and some ten seconds after the process's machine was cut off; the
    holder has stopped by then. Fences are the server's time. Want of PostgreSQL shows as
    ``LockUnavailable``, and ends all leases. One locker serves one event loop at a time, and may go
    from one to the next.

    Args:
        url: ``postgresql://``, as libpq knows it.

    Raises:
        ConfigurationError: psycopg is not here, or the URL is not one of PostgreSQL.
    """

    def __init__(self, url: str) -> None:
        check(url)

        async def connect(line: Line) -> _Session:
            return await _Session.open(line, url)

        super().__init__(connect, "PostgreSQL")


def check(url: str) -> None:
    """Make sure that a URL can be one of PostgreSQL, without a look at whether it is there.

    Raises:
        ConfigurationError: psycopg is not here, or the URL is not one of PostgreSQL.
    """
    try:
        import psycopg
    except ImportError:
        raise ConfigurationError(
            "Locks in PostgreSQL need psycopg, which is not here.",
            "Install it: pip install 'vectus[postgres]'.",
        ) from None
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # it may quote the password
        raise ConfigurationError(
            "That is no URL of a PostgreSQL server.",
            "Give one like postgresql://user@localhost/uploads.",
        ) from None


class _Session:
    """One connection, and the task that listens on it.

    psycopg looks at the connection only while a statement runs. So a copy of its descriptor is
    watched, and what comes in between, the connection's end as well, is read when it comes.
    """

    def __init__(self, line: Line, connection: psycopg.AsyncConnection[Any]) -> None:
        self.alive = True
        self._line = line
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._tap = socket.socket(fileno=os.dup(connection.fileno()))
        self._backend = 0
        self._grants: dict[str, Grant] = {}
        self._asked: set[str] = set()
        self._why = "the connection was lost"
        self._readable = asyncio.Event()
        self._living: asyncio.Task[None] | None = None
        connection.add_notify_handler(lambda note: self._hear(note.pid, note.payload))

    @classmethod
    async def open(cls, line: Line, url: str) -> _Session:
        """Connect, and listen.

        Raises:
            LockUnavailable: that could not be done.
        """
        import psycopg

        parameters: dict[str, Any] = OURS | psycopg.conninfo.conninfo_to_dict(url)
        try:
            connection = await psycopg.AsyncConnection.connect(**parameters, autocommit=True)
        except (psycopg.Error, OSError) as error:
            raise LockUnavailable(_why(error)) from error
        session = cls(line, connection)
        try:
            await session._begin()
        except BaseException:
            await session.aclose()
            raise
        return session

    async def _begin(self) -> None:
        await self._run(_LISTEN)
        settings = await self._ask(_THEIRS)
        self._backend = int(settings[-1])
        self._living = self._loop.create_task(self._live())

    # --- What a line wants ------------------------------------------------------------------------

    async def take(self, id: str, *, ask: bool) -> Grant | None:
        """Try once, see ``remote.Session``."""
        asked = now()
        fence, _ = await self._ask(_TAKE, _key(id))
        if fence is None:
            if ask:
                await self._tell(f"wanted {id}")
            return None
        # The process's own memory helps where the server's clock was put back.
        grant = Grant(max(int(fence), self._line.fence + 1), asked + LASTING)
        if not self.alive:
            grant.lose()
        self._grants[id] = grant
        return grant

    async def release(self, id: str, grant: Grant) -> None:
        """Let go, see ``remote.Session``; and tell who wanted it in another process."""
        self._grants.pop(id, None)
        await self._ask(_RELEASE, _key(id))
        if id in self._asked:
            self._asked.discard(id)
            await self._tell(f"freed {id}")

    def forget(self, id: str) -> None:
        """Nobody in this process wants the lock any more."""
        self._asked.discard(id)

    async def aclose(self) -> None:
        """Close the connection."""
        self._die("the locker was closed")
        if self._living is not None and self._living is not asyncio.current_task():
            await asyncio.gather(self._living, return_exceptions=True)
        await self._close()

    async def _close(self) -> None:
        async with self._turn:
            self._tap.close()
            await self._connection.close()

    def abandon(self) -> None:
        """Close a forked child's copies of the descriptors: they would keep the session alive after
        the parent's death. The numbers stay taken, as destructors may know them."""
        self.alive = False
        descriptors = [self._tap.fileno()]
        with suppress(Exception):
            descriptors.append(self._connection.fileno())
        with open(os.devnull) as nothing:
            for descriptor in descriptors:
                if descriptor >= 0:
                    os.dup2(nothing.fileno(), descriptor, inheritable=False)

    # --- Living -----------------------------------------------------------------------------------

    async def _live(self) -> None:
        import psycopg

        due = now() + BEAT
        try:
            while self.alive:
                await self._listen(due - now())
                if now() >= due:
                    await self._beat()
                    due = now() + BEAT
        except (psycopg.Error, OSError, LockUnavailable) as error:
            self._die(_why(error))
        finally:
            self._die(self._why)
            await self._close()  # here too: an event loop that ends cancels its tasks

    async def _listen(self, seconds: float) -> None:
        """Wait for something to read, and read it, for so long."""
        self._readable.clear()
        self._loop.add_reader(self._tap, self._readable.set)
        try:
            async with asyncio.timeout(max(0, seconds)):
                await self._readable.wait()
        except TimeoutError:
            return
        finally:
            self._loop.remove_reader(self._tap)
        async with self._turn:
            self._read()

    def _read(self) -> None:
        self._connection.pgconn.consume_input()
        self._hear_all()

    def _hear_all(self) -> None:
        while (note := self._connection.pgconn.notifies()) is not None:
            self._hear(note.be_pid, note.extra.decode())

    def _hear(self, process: int, message: str) -> None:
        match message.split():
            case ["wanted", id] if process != self._backend:
                if self._line.call(id):
                    self._asked.add(id)
            case ["freed", id]:
                self._line.freed(id)

    async def _beat(self) -> None:
        if self._grants:
            asked = now()
            held = list(self._grants.values())
            await self._ask(_ALIVE)
            for grant in held:
                grant.extend(asked + LASTING)

    def _die(self, why: str) -> None:
        """All grants are lost; what is being asked comes to an end."""
        if not self.alive:
            return
        self.alive, self._why = False, why
        log.info("The connection to PostgreSQL has ended: %s", why)
        with suppress(OSError):
            self._tap.shutdown(socket.SHUT_RDWR)
        for grant in list(self._grants.values()):
            grant.lose()
        if self._living is not None and self._living is not _current_task():
            self._living.cancel()

    # --- Statements -------------------------------------------------------------------------------

    async def _tell(self, message: str) -> None:
        await self._ask(_TELL, message)

    async def _ask(self, statement: LiteralString, *arguments: str | int) -> tuple[Any, ...]:
        answer = await self._run(statement, *arguments)
        assert answer is not None
        if self._backend and answer[-1] != self._backend:
            self._die("a pooler in transaction mode stands between, behind which no lock holds")
            raise LockUnavailable(self._why)
        return answer

    async def _run(self, statement: LiteralString, *arguments: str | int) -> tuple[Any, ...] | None:
        import psycopg

        async with self._turn:
            if not self.alive:
                raise LockUnavailable(self._why)
            limit = self._loop.call_later(PATIENCE, self._die, "it does not answer")
            try:
                cursor = await self._connection.execute(statement, arguments or None)
                self._hear_all()  # what came right behind the answer was read, but not told
                return await cursor.fetchone() if cursor.description else None
            except (psycopg.Error, OSError) as error:
                self._die(_why(error))
                raise LockUnavailable(self._why) from error
            finally:
                limit.cancel()


def _key(id: str) -> int:
    """Return the number that PostgreSQL knows a lock by, and nobody else's lock."""
    digest = hashlib.blake2b(id.encode(), digest_size=8, person=b"vectus-lock").digest()
    return int.from_bytes(digest, signed=True)


def _why(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
