"""``Uploads``: the one object an application uses, from a store, options and listeners."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Self, TypeVar, cast

from vectus import wiring
from vectus.asgi import FrontEnd
from vectus.contracts import (
    Clock,
    Joins,
    Limited,
    Limits,
    Links,
    Listener,
    Locker,
    Scans,
    Store,
)
from vectus.engine.announce import Announcer
from vectus.engine.engine import Engine
from vectus.engine.sweep import SCAN_EVERY, Sweeper
from vectus.errors import ConfigurationError
from vectus.events import Event
from vectus.protocol.policy import Cors, Feature, Policy
from vectus.settings import Settings

E = TypeVar("E", bound=Event)
L = TypeVar("L", bound=Callable[[Any], Any])


class Uploads:
    """A tus server as an ASGI application, mountable under any prefix.

    Start it with ``async with uploads:`` in the host's lifespan, or serve it as the root
    application, which does so by itself. Unstarted it serves all the same, but nothing expires and
    what a crash left in the middle waits for a client's next request.

    Args:
        store: a directory, a ``file://`` or ``memory://`` URL, or a ``contracts.Store``.
        base_path: what is in front of the ids in the path this application sees.
        public_url: the URL the outside sees the uploads under; makes ``Location`` absolute.
        max_size: bytes one upload may have, such as ``"5GiB"``; None for no limit.
        expire_after: how long an unfinished upload lives after its last byte, in seconds or such
            as ``"7d"``; ``"never"`` or None for ever.
        expire_finished: the same for finished uploads.
        durability: what is on stable storage before an answer: ``"none"``, ``"finish"`` (the
            finished upload before its last answer) or ``"always"`` (every answer's bytes).
        drop_partials: whether partials are used up by the final upload that joins them.
        cors: whether pages of any origin may use it, or which (a ``Cors``); False leaves CORS to
            the host.
        download: whether finished uploads can be read back with GET; ``"redirect"`` sends whoever
            does to the store's own server, by a URL that is of no use soon.
        termination: whether clients may remove uploads with DELETE.
        lock_timeout: how long a request waits for an upload that another one works on.
        join_timeout: how long the creation of a final upload waits for its joining.
        locks: where locks are that several machines share, a ``redis://``, ``rediss://`` or
            ``postgresql://`` URL; None for those of one machine.
        locker: gives out the locks, instead; needed with a store object of your own and no
            ``locks``, and only then.
        direct: whether the fast path is taken where the server offers it (``vectus.direct``).
        clock: seconds since the epoch.

    Raises:
        ConfigurationError: an option makes no sense, or the store cannot be used.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | Store = "./data",
        *,
        base_path: str = "/",
        public_url: str | None = None,
        max_size: str | int | None = None,
        expire_after: str | float | timedelta | None = "7d",
        expire_finished: str | float | timedelta | None = None,
        durability: str = "finish",
        drop_partials: bool = False,
        cors: bool | Cors | None = True,
        download: bool | str = True,
        termination: bool = True,
        lock_timeout: str | float | timedelta = 20.0,
        join_timeout: str | float | timedelta = 10.0,
        locks: str | None = None,
        locker: Locker | None = None,
        direct: bool = True,
        clock: Clock = time.time,
    ) -> None:
        self.settings = Settings.parse(
            base_path=base_path,
            public_url=public_url,
            max_size=max_size,
            expire_after=expire_after,
            expire_finished=expire_finished,
            durability=durability,
            drop_partials=drop_partials,
            download=download,
            lock_timeout=lock_timeout,
            join_timeout=join_timeout,
        )
        self.store, self.locker = _open(store, locks, locker, self.settings)
        self._presence = _present(store, locks)
        _check_links(self.settings, self.store)
        offered = self.settings.download != "off"
        switches = {Feature.DOWNLOAD: offered, Feature.TERMINATION: termination}
        granted = Cors() if cors is True else cors or None
        limits = self.store.limits() if isinstance(self.store, Limited) else Limits()
        self.policy = _policy(self.settings, self.store, limits, switches, granted)
        self._announcer = Announcer()
        self._engine = Engine(
            self.store,
            self.locker,
            self.policy,
            self._announcer,
            clock=clock,
            lock_timeout=self.settings.lock_timeout,
            join_timeout=self.settings.join_timeout,
        )
        self._sweeper = Sweeper(
            self.store,
            self._engine.progress,
            locker=self.locker,
            scanned_as=limits.scanned_as,
            scan_every=limits.scan_every or SCAN_EVERY,
        )
        self._sweeping: asyncio.Task[None] | None = None
        self._front_end = FrontEnd(
            self._engine,
            base_path=self.settings.base_path,
            public_url=self.settings.public_url,
            direct=direct,
        )

    def on(self, *kinds: type[Event]) -> Callable[[L], L]:
        """Decorate a function, async or plain, to be told of events of these kinds.

        It runs before the answer is sent. On a ``Before…`` event it may raise ``Rejected``.
        """

        def register(listener: L) -> L:
            for kind in kinds or (Event,):
                self.listen(kind, listener)
            return listener

        return register

    def listen(self, kind: type[E], listener: Callable[[E], Awaitable[None] | None]) -> None:
        """Have a listener told of events of a kind, its subclasses included."""
        self._announcer.add(kind, cast("Listener", listener))  # it is told of nothing else

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._front_end(scope, receive, send)

    async def __aenter__(self) -> Self:
        """Start the sweeper.

        Raises:
            ConfigurationError: other machines use the directory, and kernel locks do not work
                across their mounts.
        """
        if self._sweeping is None:
            await self._presence.__aenter__()
            self._sweeping = asyncio.get_running_loop().create_task(self._sweeper.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop what runs in the background, and free what store and locker hold."""
        sweeping, self._sweeping = self._sweeping, None
        if sweeping is not None:
            sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sweeping
        try:
            await self._engine.progress.aclose()
            await self.locker.aclose()
            await self.store.aclose()
        finally:
            if sweeping is not None:
                await self._presence.__aexit__(None, None, None)

    async def _live(self, receive: Any, send: Any) -> None:
        """The lifespan protocol, for when this is the root application."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.__aenter__()
                except ConfigurationError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.__aexit__()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _open(
    store: str | os.PathLike[str] | Store,
    locks: str | None,
    locker: Locker | None,
    settings: Settings,
) -> tuple[Store, Locker]:
    if locks is not None and locker is not None:
        raise ConfigurationError(
            "There are two kinds of locks.", "Pass either locks= or locker=, not both."
        )
    if isinstance(store, str | os.PathLike):
        locker = locker or wiring.open_locker(store, locks)
        return wiring.open_store(store, settings.durability, locks), locker
    if locks is not None:
        locker = wiring.open_shared_locker(locks)
    if locker is None:
        raise ConfigurationError(
            "A store object comes without locks.",
            "Pass locker= or locks=, or give a directory or a URL.",
        )
    return store, locker


def _present(
    store: str | os.PathLike[str] | Store, locks: str | None
) -> contextlib.AbstractAsyncContextManager[object]:
    """Nobody but its author knows where a store object keeps things, and what it needs there."""
    if isinstance(store, str | os.PathLike):
        return wiring.presence(store, locks)
    return contextlib.nullcontext()


def _check_links(settings: Settings, store: Store) -> None:
    if settings.download == "redirect" and not isinstance(store, Links):
        raise ConfigurationError(
            "This store has no server of its own that downloads could be sent to.",
            "Keep the uploads in S3, or let downloads be streamed.",
        )


def _policy(
    settings: Settings,
    store: Store,
    limits: Limits,
    switches: dict[Feature, bool],
    cors: Cors | None,
) -> Policy:
    """What is offered is what the options allow and the store can do."""
    joins = isinstance(store, Joins)
    expires = settings.expire_after is not None or limits.life is not None
    offered = switches | {
        Feature.CONCATENATION: joins,
        Feature.CONCATENATION_UNFINISHED: joins,
        Feature.EXPIRATION: expires and isinstance(store, Scans),
    }
    return Policy(
        features=frozenset(f for f in Feature if offered.get(f, True)),
        max_size=settings.max_size,
        capacity=limits.size,
        capacity_deferred=limits.deferred,
        kept_for=limits.life,
        expire_after=settings.expire_after,
        expire_finished=settings.expire_finished,
        drop_partials=settings.drop_partials,
        redirect=settings.download == "redirect",
        cors=cors,
    )
