"""Locks among any number of machines, kept in Redis: a key with a token for each, for a time.

Every step is one script, so that it is done whole or not at all, and all keys have one hash tag,
so that they are in one place of a cluster. Redis forgets: it may come back empty, or without its
last writes, or as another server. So nobody gets a lock from a server that is new until every
lease that an earlier one may have given is over, and fences follow the time as well as a counter.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from vectus.errors import ConfigurationError, LockUnavailable
from vectus.locks.remote import Grant, Line, RemoteLocker, now

if TYPE_CHECKING:
    import redis.asyncio as aio

log = logging.getLogger("vectus")

TTL = 6.0
"""Seconds that a lock outlives its holder, unless somebody finds out that he is dead."""

SHORTEST = 1.0
"""Seconds that a lock must last at least: a holder who has to renew it more often would lose it in
every short pause."""

LONGEST = 3600.0
"""Seconds that it may last at most."""

SILENCE = 0.3
"""Seconds between the two looks at a holder's channel that find nobody listening."""

CONNECTIONS = 8
"""How many connections a process uses at most, besides the one that it listens on."""

BATCH = 200
"""How many locks are renewed at a time, as Redis does nothing else meanwhile."""

_AGE = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local info = redis.call('INFO', 'server')
local run = string.match(info, 'run_id:(%x+)') or ''
local era = redis.call('GET', KEYS[4])
local last, open = string.match(era or '', '^(%x*) (%d+)$')
if last ~= run then
  open = now + ARGV[2] * 1000
  if not era then
    open = open - (tonumber(string.match(info, 'uptime_in_seconds:(%d+)') or 1) - 1) * 1000000
  end
  redis.call('SET', KEYS[4], string.format('%s %.0f', run, open))
end
"""
"""Which server this is, and since when no lease of an earlier one can last any more: one that took
over from another (its id is not the one in the data) begins to count when that is noticed, and one
without any data when it was started (it says so in whole seconds, perhaps one too many)."""

_TAKE = (
    _AGE
    + """
local ttl, me, suspect, asks, id = ARGV[2], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if now < tonumber(open) then return {'closed'} end
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then
  local function listeners(node)
    return redis.call('PUBSUB', 'NUMSUB', 'vectus:' .. node)[2]
  end
  local node = string.match(held, '^%x+')
  local silent = string.find(info, 'redis_mode:standalone', 1, true)
    and listeners(me) > 0 and listeners(node) == 0
  if not (silent and held == suspect) then
    if asks == '1' then redis.call('PUBLISH', 'vectus:' .. node, 'wanted ' .. held .. ' ' .. id) end
    redis.call('SADD', KEYS[2], me)
    redis.call('PEXPIRE', KEYS[2], ttl)
    return {'held', held, silent and 1 or 0}
  end
end
local fence = tonumber(redis.call('GET', KEYS[3]) or 0)
fence = string.format('%.0f', math.max(fence + 1, tonumber(ARGV[3]) + 1, now))
redis.call('SET', KEYS[3], fence)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ttl)
redis.call('SREM', KEYS[2], me)
return {'ours', fence}
"""
)
"""KEYS: lock, waiting nodes, fence, era. ARGV: token, TTL in ms, highest fence known, our node,
token of a holder that seems dead, whether to ask, id. What is ours already is given once more: the
answer was lost on its way. Nodes count as dead by their channel on a server that stands alone only:
any other one does not know of all who listen."""

_RENEW = """
redis.call('PUBLISH', 'vectus:' .. ARGV[2], 'beat')
local kept = {}
for i, key in ipairs(KEYS) do
  kept[i] = 0
  if redis.call('GET', key) == ARGV[i + 2] then kept[i] = redis.call('PEXPIRE', key, ARGV[1]) end
end
return kept
"""
"""KEYS: locks. ARGV: TTL in ms, our node, tokens."""

_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
for _, node in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  redis.call('PUBLISH', 'vectus:' .. node, 'freed ' .. ARGV[2])
end
return redis.call('DEL', KEYS[2])
"""
"""KEYS: lock, waiting nodes. ARGV: token, id."""


class RedisLocker(RemoteLocker):
    """A locker among all processes that use one Redis database.

    A lock ends ``ttl`` seconds after its holder was cut off from Redis; the holder has stopped by
    then. Of a process that is dead it ends at once when somebody wants it, unless Redis is a
    cluster. Want of Redis shows as ``LockUnavailable``, and ends all leases. One locker serves one
    event loop at a time, and may go from one to the next.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, as redis-py knows them; but ``ttl=`` in
            its query is ours.
        ttl: seconds, whatever the URL says; the same for all that share the database.

    Raises:
        ConfigurationError: redis-py is not here, or the URL is not one of Redis.
    """

    def __init__(self, url: str, *, ttl: float | None = None) -> None:
        check(url)
        place, said = _split(url)
        lasting = said if ttl is None else ttl

        async def connect(line: Line) -> _Session:
            return await _Session.open(line, place, lasting)

        super().__init__(connect, "Redis")


def check(url: str) -> None:
    """Make sure that a URL can be one of Redis, without a look at whether Redis is there.

    Raises:
        ConfigurationError: redis-py is not here, or the URL is not one of Redis.
    """
    try:
        import redis.asyncio as aio
    except ImportError:
        raise ConfigurationError(
            "Locks in Redis need redis-py, which is not here.",
            "Install it: pip install 'vectus[redis]'.",
        ) from None
    place, _ = _split(url)
    try:
        aio.ConnectionPool.from_url(place).make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):  # it may quote the password
        raise ConfigurationError(
            "That is no URL of a Redis server.", "Give one like redis://localhost:6379/0."
        ) from None


def _split(url: str) -> tuple[str, float]:
    """Take how long a lock lasts out of a URL; all else is redis-py's."""
    place, _, query = url.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    said = [value for name, value in options if name == "ttl"]
    if not said:
        return url, TTL
    try:
        ttl = float(said[-1])
    except ValueError:
        ttl = 0.0
    if not SHORTEST <= ttl <= LONGEST:
        raise ConfigurationError(
            f"Locks in Redis cannot last {said[-1]!r} seconds.",
            f"Give ttl in seconds, from {SHORTEST:g} to {LONGEST:g}, or leave it out for {TTL:g}.",
        )
    rest = urlencode([option for option in options if option[0] != "ttl"])
    return f"{place}?{rest}" if rest else place, ttl


@dataclass(slots=True)
class _Bid:
    """What one lock is to this process: the token that it is, or would be, held with."""

    token: str
    grant: Grant | None = None
    silent: str = ""
    """The token of a holder whose process does not listen."""
    since: float = 0.0

    def suspect(self) -> str:
        """Return the token of a holder that is dead if its process still does not listen."""
        return self.silent if self.silent and now() - self.since >= SILENCE else ""

    def note(self, token: str) -> None:
        """Remember since when a holder's process has not been listening; no token, no such."""
        if token != self.silent:
            self.silent, self.since = token, now()


class _Session:
    """One subscription, some connections for scripts, and the task that keeps locks from ending.

    It dies with its subscription, all its grants lost: whoever finds that nobody listens to us
    takes us for dead.
    """

    def __init__(self, line: Line, client: aio.Redis, ears: aio.Redis, ttl: float) -> None:
        self.alive = True
        self._line = line
        self._client = client
        self._ears = ears
        self._subscription = ears.pubsub()
        self._ttl = ttl
        self._patience = ttl / 4
        self._take_script = client.register_script(_TAKE)
        self._renew_script = client.register_script(_RENEW)
        self._release_script = client.register_script(_RELEASE)
        self._node = secrets.token_hex(8)
        self._bids: dict[str, _Bid] = {}
        self._unheard = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, line: Line, url: str, ttl: float) -> _Session:
        """Subscribe.

        Raises:
            LockUnavailable: that could not be done.
        """
        session = cls(line, *_clients(url, ttl / 4), ttl)
        try:
            async with asyncio.timeout(session._patience):
                await session._subscribe()
        except _trouble() as error:
            await session.aclose()
            raise LockUnavailable(_why(error)) from error
        except BaseException:
            await session.aclose()
            raise
        session._spawn(session._listen())
        session._spawn(session._renew())
        return session

    async def _subscribe(self) -> None:
        await self._subscription.subscribe(f"vectus:{self._node}")
        while await self._subscription.get_message(timeout=self._patience) is None:
            pass  # it is the confirmation; before that nobody could reach us

    # --- What a line wants ------------------------------------------------------------------------

    async def take(self, id: str, *, ask: bool) -> Grant | None:
        """Try once, see ``remote.Session``."""
        bid = self._bids.get(id) or self._bids.setdefault(id, _Bid(self._token()))
        asked = now()
        verdict, *rest = await self._run(
            self._take_script,
            [_lock(id), _waiting(id), "{vectus}:fence", "{vectus}:era"],
            [bid.token, _ms(self._ttl), self._line.fence, self._node, bid.suspect(), int(ask), id],
        )
        if _text(verdict) == "ours":
            bid.grant = Grant(int(rest[0]), self._until(asked) if self.alive else 0.0)
            return bid.grant
        if _text(verdict) == "held":
            bid.note(_text(rest[0]) if rest[1] else "")
        return None

    async def release(self, id: str, grant: Grant) -> None:
        """Let go, see ``remote.Session``."""
        bid = self._bids.pop(id)
        await self._drop(id, bid.token)

    def forget(self, id: str) -> None:
        """Nobody wants the lock any more. If it became ours all the same, its answer being on the
        way for too long, who asks for it will find that out."""
        self._bids.pop(id, None)

    async def aclose(self) -> None:
        """Close all connections."""
        self._die()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._close()

    async def _close(self) -> None:
        for closable in (self._subscription, self._ears, self._client):
            with suppress(*_trouble()):
                async with asyncio.timeout(self._patience):
                    await closable.aclose()

    def abandon(self) -> None:
        """Close a forked child's copies of the descriptors. The numbers stay taken, as destructors
        may know them."""
        self.alive = False
        with open(os.devnull) as nothing:
            for descriptor in _descriptors(self._client, self._ears, self._subscription):
                os.dup2(nothing.fileno(), descriptor, inheritable=False)

    # --- Listening --------------------------------------------------------------------------------

    async def _listen(self) -> None:
        try:
            while True:
                message = await self._subscription.get_message(timeout=None)
                if message is not None and message["type"] == "message":
                    self._hear(_text(message["data"]))
        except _trouble() as error:
            log.warning("The connection to Redis was lost: %s", _why(error))
        finally:
            self._die()
            # Here too, as an event loop that ends with nobody having closed us cancels its tasks,
            # and may wait for ever for what they leave open (uvloop).
            await self._close()

    def _hear(self, message: str) -> None:
        match message.split():
            case ["beat"]:
                self._unheard = 0
            case ["freed", id]:
                self._line.freed(id)
            case ["wanted", token, id]:
                self._wanted(id, token)

    def _wanted(self, id: str, token: str) -> None:
        bid = self._bids.get(id)
        if bid is None or bid.token != token:
            # Given to us after we had ceased to wait for the answer.
            self._spawn(self._quietly(self._drop(id, token)))
        elif bid.grant is not None:
            self._line.call(id)

    def _die(self) -> None:
        self.alive = False
        for bid in list(self._bids.values()):
            if bid.grant is not None:
                bid.grant.lose()
        for task in self._tasks - {_current_task()}:
            task.cancel()

    # --- Renewing ---------------------------------------------------------------------------------

    async def _renew(self) -> None:
        try:
            pause = self._ttl / 3
            while self._unheard < 4:
                await asyncio.sleep(pause)
                try:
                    await self._renew_all()
                    pause = self._ttl / 3
                except LockUnavailable:
                    pause = self._ttl / 12
            log.warning("Redis does not send what it is told to send; the connection is closed.")
        finally:
            self._die()

    async def _renew_all(self) -> None:
        held = [(id, bid) for id, bid in self._bids.items() if bid.grant and not bid.grant.lost]
        for start in range(0, len(held), BATCH):
            await self._renew_some(held[start : start + BATCH])

    async def _renew_some(self, held: Sequence[tuple[str, _Bid]]) -> None:
        asked = now()
        self._unheard += 1
        kept = await self._run(
            self._renew_script,
            [_lock(id) for id, _ in held],
            [_ms(self._ttl), self._node, *(bid.token for _, bid in held)],
        )
        for (id, bid), ours in zip(held, kept, strict=True):
            if self._bids.get(id) is bid and bid.grant is not None:
                if ours:
                    bid.grant.extend(self._until(asked))
                else:
                    bid.grant.lose()

    # --- Scripts ----------------------------------------------------------------------------------

    async def _drop(self, id: str, token: str) -> None:
        await self._run(self._release_script, [_lock(id), _waiting(id)], [token, id])

    async def _run(self, script: Any, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        try:
            async with asyncio.timeout(self._patience):
                return await script(keys=keys, args=args)
        except _trouble() as error:
            if _is_replica(error):
                self._die()  # a new connection may lead to the server that took over
            raise LockUnavailable(_why(error)) from error

    def _until(self, asked: float) -> float:
        """Return when a lock that was set, or renewed, after ``asked`` must be given up: a while
        before it ends, as a holder needs some time to stop."""
        return asked + self._ttl * 5 / 6

    def _token(self) -> str:
        return f"{self._node}:{secrets.token_hex(8)}"

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _quietly(self, work: Any) -> None:
        with suppress(LockUnavailable):
            await work


def _clients(url: str, patience: float) -> tuple[aio.Redis, aio.Redis]:
    """Return a client for scripts, which tries once more on a new connection where an old one was
    dead, and one to listen, which says at once when its connection is."""
    import redis.asyncio as aio
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as Cut

    again, never = Retry(NoBackoff(), 1, (Cut,)), Retry(NoBackoff(), 0, ())
    common: dict[str, Any] = {"socket_connect_timeout": patience, "protocol": 2}
    pool = aio.BlockingConnectionPool.from_url(
        url, max_connections=CONNECTIONS, timeout=patience, retry=again, **common
    )
    ears = aio.ConnectionPool.from_url(url, socket_timeout=None, retry=never, **common)
    return aio.Redis.from_pool(pool), aio.Redis.from_pool(ears)


def _trouble() -> tuple[type[Exception], ...]:
    from redis.exceptions import RedisError

    return (RedisError, OSError)


def _is_replica(error: Exception) -> bool:
    """Whether a server says that it is not the one to write to any more. It may well keep the
    connections that it has. Before Redis 7 its word is somewhere in the sentence."""
    from redis.exceptions import ReadOnlyError

    return isinstance(error, ReadOnlyError) or "READONLY" in str(error)


def _why(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _descriptors(client: aio.Redis, ears: aio.Redis, subscription: Any) -> list[int]:
    """Return the descriptors of all connections. redis-py does not tell them, so what it is looked
    up in may be missing one day; a child then keeps its copies open, until it ends."""
    pool: Any = client.connection_pool
    connections = [*getattr(pool, "_available_connections", ()), subscription.connection]
    connections += getattr(pool, "_in_use_connections", ())
    writers = [getattr(connection, "_writer", None) for connection in connections]
    sockets = [writer.get_extra_info("socket") for writer in writers if writer is not None]
    return [each.fileno() for each in sockets if each is not None and each.fileno() >= 0]


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _lock(id: str) -> str:
    return f"{{vectus}}:lock:{id}"


def _waiting(id: str) -> str:
    return f"{{vectus}}:waiting:{id}"


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
