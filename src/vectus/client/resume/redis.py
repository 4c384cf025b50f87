"""Remembers in Redis, for a fleet of machines that upload the same sources.

Needs redis-py, which is loaded when a store is made. Every step is one command or one script on
one key, so that it works on a cluster, and while other machines do the same.
"""

from __future__ import annotations

import inspect
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vectus.client.contracts import Claim, Entry
from vectus.client.resume.rows import to_entry, to_row
from vectus.errors import ConfigurationError

if TYPE_CHECKING:
    import redis

DAY = 86400.0
TIMEOUT = 5.0
"""Seconds that a step may take, unless the URL says otherwise or the client is yours."""

ASKING = "vectus-claim"
"""What threads that renew a claim are called."""

_KEEP = """
if redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('pexpire', KEYS[1], ARGV[2])
"""
"""Take it if it is free, keep it if it is ours. So a claim that has lapsed is taken again, and one
whose answer was lost on its way is no stranger's."""
_DROP = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('del', KEYS[1])
"""


class RedisResume:
    """A resume store in Redis.

    A claim ends on its own ``claim_ttl`` seconds after its process was killed; it is held for
    longer by ``renew``.

    Args:
        server: its URL (``redis://``, ``rediss://``, ``unix://``), or a blocking client of
            redis-py, which is used and never closed.
        prefix: what the names of all keys begin with.
        ttl: seconds after which an entry is forgotten, as nobody else tidies up there; None to
            keep it.
        claim_ttl: seconds that a claim lasts without being renewed.

    Raises:
        ConfigurationError: redis-py is not here, or ``server`` is not what it should be.
    """

    def __init__(
        self,
        server: str | redis.Redis,
        prefix: str = "vectus:",
        *,
        ttl: float | None = 30 * DAY,
        claim_ttl: float = 30.0,
    ) -> None:
        self._library = _library()
        self._client: Any = _client(self._library, server)
        self._owned = isinstance(server, str)
        self._prefix = prefix
        self._ttl = None if ttl is None else _milliseconds(ttl)
        self._claim_ttl = claim_ttl

    def get(self, fingerprint: str) -> Entry | None:
        """Return what is known of a source, or None.

        Raises:
            redis.RedisError: Redis cannot be asked.
        """
        raw = self._client.get(self._key("entry", fingerprint))
        if raw is None:
            return None
        try:
            return to_entry(json.loads(raw))
        except ValueError:  # somebody else's, in our place
            return None

    def set(self, fingerprint: str, entry: Entry) -> None:
        """Remember, for ``ttl``; as durably as Redis is set up to.

        Raises:
            redis.RedisError: Redis cannot be asked.
        """
        self._client.set(self._key("entry", fingerprint), json.dumps(to_row(entry)), px=self._ttl)

    def remove(self, fingerprint: str) -> None:
        """Forget; what is not there is forgotten already.

        Raises:
            redis.RedisError: Redis cannot be asked.
        """
        self._client.delete(self._key("entry", fingerprint))

    @contextmanager
    def claim(self, fingerprint: str) -> Iterator[Claim | None]:
        """Claim an entry for the length of the ``with``; None if somebody else has it.

        Raises:
            redis.RedisError: on entering: Redis cannot be asked.
        """
        lease = _Lease(self._client, self._key("claim", fingerprint), self._claim_ttl)
        if not lease.keep():
            yield None
            return
        claim = _Renewed(lease, self._claim_ttl, self._library.RedisError)
        try:
            yield claim
        finally:
            claim.release()

    def close(self) -> None:
        """Close the connections, unless the client is yours."""
        if self._owned:
            self._client.close()

    def _key(self, kind: str, fingerprint: str) -> bytes:
        return f"{self._prefix}{kind}:{fingerprint}".encode("utf-8", "surrogatepass")


class _Lease:
    """A key that holds our token while the claim is ours."""

    def __init__(self, client: Any, key: bytes, ttl: float) -> None:
        self._client = client
        self._key = key
        self._ttl = _milliseconds(ttl)
        self._token = secrets.token_hex(16)

    def keep(self) -> bool:
        """Take the claim, or hold it for another while; say whether it is ours."""
        return bool(self._client.eval(_KEEP, 1, self._key, self._token, self._ttl))

    def drop(self) -> None:
        """Give the claim back, if it is ours."""
        self._client.eval(_DROP, 1, self._key, self._token)


class _Renewed:
    """A claim that lasts for a while only; Redis is asked when a third of it is over.

    A thread asks, so that neither an event loop nor an upload waits for a Redis that is away.
    """

    def __init__(self, lease: _Lease, ttl: float, away: type[Exception]) -> None:
        self._lease = lease
        self._ttl = ttl
        self._away = away
        self._turn = threading.Lock()  # one question at a time, and none after the release
        self._asked = self._kept = time.monotonic()
        self._ours = True
        self._over = False

    def renew(self) -> bool:
        """Hold it for another while; say whether it is ours, as far as is known by now.

        While Redis is away, it is ours until it has lapsed there.
        """
        now = time.monotonic()
        if now - self._asked >= self._ttl / 3:
            self._asked = now
            with suppress(RuntimeError):  # no thread can be started just now
                threading.Thread(target=self._keep, args=[now], name=ASKING, daemon=True).start()
        return self._ours and now - self._kept < self._ttl

    def release(self) -> None:
        """Give it back, after a question on its way; where that cannot be, it lapses."""
        self._over = True
        if self._turn.acquire(timeout=TIMEOUT):
            try:
                with suppress(self._away):
                    self._lease.drop()
            finally:
                self._turn.release()

    def _keep(self, now: float) -> None:
        if not self._turn.acquire(blocking=False):
            return  # the last question has no answer yet
        try:
            if not self._over:
                self._ours = self._lease.keep()
                self._kept = now
        except self._away:
            pass
        finally:
            self._turn.release()


def _library() -> ModuleType:
    try:
        import redis
    except ImportError:
        raise ConfigurationError(
            "Resuming with the help of Redis needs redis-py, which is not here.",
            "Install it: pip install 'vectus[redis]'.",
        ) from None
    return redis


def _client(library: ModuleType, server: object) -> object:
    if isinstance(server, str):
        return _connect(library, server)
    if inspect.iscoroutinefunction(getattr(server, "execute_command", None)):
        raise ConfigurationError(
            "The client of Redis is one for asyncio.",
            "Give a blocking one (redis.Redis), or a URL; asyncio uploads call it in a thread.",
        )
    return server


def _connect(library: ModuleType, url: str) -> object:
    try:
        return library.Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    except ValueError:  # it may quote the password
        raise ConfigurationError(
            "That is no URL of a Redis server.", "Give one like redis://localhost:6379/0."
        ) from None


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
