"""The engine: one request from its head to its reply, top to bottom.

Nothing here knows HTTP's words, files or sockets: the dialect decodes and encodes, the rules judge,
the locker and the store act. What outlives a request (finishing, joining, expiring) is in
``progress``.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import assert_never

from vectus.contracts import Body, Clock, Lease, Links, Locker, Names, Sink, Store, Trusts
from vectus.engine.announce import Announcer
from vectus.engine.newborn import UNLOCKED, Newborn, is_small
from vectus.engine.progress import Progress, check_held, under
from vectus.engine.pump import pump
from vectus.errors import (
    ConfigurationError,
    KeyRefused,
    KeyTaken,
    LockHeld,
    LockUnavailable,
    Overtaken,
    StoreFull,
    StoreUnavailable,
    UploadNotFound,
)
from vectus.events import (
    BeforeCreate,
    BeforeFinish,
    BeforeRequest,
    BeforeTerminate,
    Created as CreatedEvent,
    Finished,
    Received as ReceivedEvent,
    Terminated as TerminatedEvent,
)
from vectus.protocol import cors, rules
from vectus.protocol.dialects import tus1
from vectus.protocol.exchange import (
    Append,
    Appended,
    Create,
    Created,
    Discover,
    Discovered,
    Download,
    Downloaded,
    Ending,
    Inspect,
    Inspected,
    Outcome,
    Payload,
    Plan,
    Reason,
    Received,
    Redirected,
    Refused,
    Terminate,
    Terminated,
)
from vectus.protocol.messages import Content, Head, Reply
from vectus.protocol.policy import Feature, Policy
from vectus.protocol.rules import Action
from vectus.protocol.upload import Role, Upload

log = logging.getLogger("vectus")


Work = Discover | Create | Inspect | Append | Terminate
"""What is answered without content."""

BIRTH = (CreatedEvent, ReceivedEvent, BeforeFinish, Finished)
"""What can be told of an upload once its creation has begun."""


def new_id() -> str:
    """128 random bits: whoever has the URL may write (D13)."""
    return secrets.token_hex(16)


class Engine:
    """Answers requests; a ``contracts.Handler``.

    Args:
        store: keeps the uploads.
        locker: gives out one lease per upload.
        policy: limits and features in force.
        announcer: the listeners.
        clock: seconds since the epoch.
        lock_timeout: seconds a request waits for an upload's lock.
        join_timeout: seconds the creation of a final upload waits for its joining.
        ids: makes ids.
    """

    def __init__(
        self,
        store: Store,
        locker: Locker,
        policy: Policy,
        announcer: Announcer,
        *,
        clock: Clock,
        lock_timeout: float = 20.0,
        join_timeout: float = 10.0,
        ids: Callable[[], str] = new_id,
    ) -> None:
        self.store = store
        self.locker = locker
        self.policy = policy
        self.announcer = announcer
        self.clock = clock
        self.progress = Progress(store, locker, policy, announcer, clock)
        self._lock_timeout = lock_timeout
        self._join_timeout = join_timeout
        self._new_id = ids
        self._recall = store.recall if isinstance(store, Trusts) else None

    async def __call__(self, head: Head, body: Body) -> Reply:
        """Answer one request."""
        content = None
        outcome: Outcome
        try:
            outcome, content = await self._answer(head, body)
        except Exception as error:
            outcome = refusal_of(error)
        reply = tus1.encode(outcome, head, self.policy)
        return reply if content is None else replace(reply, content=content)

    async def _answer(self, head: Head, body: Body) -> tuple[Outcome, Content | None]:
        intent = tus1.decode(head, self.policy)
        if not (isinstance(intent, Discover) and cors.is_preflight(head)):
            await self.announcer.tell(BeforeRequest(head, intent))
        if isinstance(intent, Download):
            return await self._download(intent)
        return await self._perform(intent, head, body), None

    async def _perform(self, intent: Work, head: Head, body: Body) -> Outcome:
        match intent:
            case Discover():
                return Discovered(self.policy)
            case Inspect():
                return await self._inspect(intent, head)
            case Append():
                return await self._append(intent, head, body)
            case Create():
                return await self._create(intent, head, body)
            case Terminate():
                return await self._terminate(intent, head)
        assert_never(intent)

    # --- Asking and taking back -------------------------------------------------------------------

    async def _inspect(self, intent: Inspect, head: Head) -> Outcome:
        async with self._hold(intent.id) as lease:
            upload = await self._load(intent.id, lease, self.store.load)
            with _or_later():
                upload = await self.progress.finish(upload, lease, head)
        rules.admit(Action.INSPECT, upload, self.policy, self.clock())
        if upload.role is Role.FINAL and not upload.finished:
            upload = await self._inspect_final(upload)
        return Inspected(upload)

    async def _inspect_final(self, upload: Upload) -> Upload:
        """Asking for a final upload drives its joining on, for a moment at least (D8)."""
        with _or_later():
            await self.progress.drive(upload.id, patience=1.0)
        upload = await self.progress.review(await self.store.load(upload.id))
        rules.admit(Action.INSPECT, upload, self.policy, self.clock())
        return upload

    async def _terminate(self, intent: Terminate, head: Head) -> Outcome:
        async with self._hold(intent.id) as lease:
            upload = await self._load(intent.id, lease, self.store.load)
            await self.progress.check_unpinned(upload)
            rules.admit(Action.TERMINATE, upload, self.policy, self.clock())
            await self.announcer.tell(BeforeTerminate(head, upload))
            check_held(lease, upload.id)
            await self.store.remove(intent.id)
            lease.retire()
        await self.announcer.tell(TerminatedEvent(head, upload))
        return Terminated()

    async def _download(self, intent: Download) -> tuple[Outcome, Content | None]:
        """No lock: what is finished never changes, and what is removed stays readable."""
        upload = await self.progress.spare(await self.store.load(intent.id))
        outcome = rules.admit_download(intent, upload, self.policy, self.clock())
        if not isinstance(outcome, Downloaded):
            return outcome, None
        if rules.redirects(outcome, self.policy) and (url := await self._link(upload)):
            return Redirected(upload, url), None
        return outcome, await self.store.read(upload, outcome.start, outcome.stop)

    async def _link(self, upload: Upload) -> str | None:
        assert isinstance(self.store, Links)
        return await self.store.link(upload, *tus1.described(upload))

    # --- Appending --------------------------------------------------------------------------------

    async def _append(self, intent: Append, head: Head, body: Body) -> Outcome:
        async with self._hold(intent.id, body) as lease:
            upload = await self._load(intent.id, lease, self._recall or self.store.load)
            upload = await self.progress.finish(upload, lease, head)
            plan = rules.admit_append(intent, upload, self.policy, self.clock())
            upload = under(lease, upload)
            opened = self._sink(upload, plan, lease)
            return Appended(await self._receive(upload, plan, opened, lease, head, body))

    async def _receive(
        self,
        upload: Upload,
        plan: Plan,
        opened: AbstractAsyncContextManager[Sink],
        lease: Lease,
        head: Head,
        body: Body,
    ) -> Upload:
        """Take a body in, commit what counts of it, and finish the upload if that was all."""
        try:
            async with opened as sink:
                received = await pump(body, sink, plan, lease, tus1.claim_of)
                upload = self._settle(plan, upload, received, lease)
                await sink.commit(upload)
        except StoreFull as error:
            raise await self._without_room(upload.id) from error
        if received.count:
            await self.announcer.tell(ReceivedEvent(head, upload, received.count))
        upload = await self.progress.finish(upload, lease, head)
        if received.ending is Ending.CANCELLED:
            raise asyncio.CancelledError
        rules.acknowledge(upload, received)
        return upload

    async def _without_room(self, id: str) -> Refused:
        """The record found no room. The bytes may have, and count then, so it is looked anew."""
        return Refused(*rules.VERDICTS[Ending.FULL], await self.progress.find(id))

    def _sink(self, upload: Upload, plan: Plan, lease: Lease) -> AbstractAsyncContextManager[Sink]:
        """What is finished is opened for nothing any more."""
        return Nothing() if upload.finished else self.store.append(upload, plan, lease)

    def _settle(self, plan: Plan, upload: Upload, received: Received, lease: Lease) -> Upload:
        try:
            settled = rules.settle(plan, upload, received, self.policy, self.clock())
            check_held(lease, upload.id)
        except (Refused, Overtaken):
            if received.ending is Ending.CANCELLED:
                raise asyncio.CancelledError from None
            raise
        return self.progress.finish_early(under(lease, settled))

    # --- Creating ---------------------------------------------------------------------------------

    async def _create(self, intent: Create, head: Head, body: Body) -> Outcome:
        sources = [await self.progress.find(part) for part in intent.parts]
        if twin := await self._joined_before(intent, sources):
            return Created(twin, received=False)
        id, now = self._new_id(), self.clock()
        upload = rules.admit_create(intent, sources, self.policy, id, now)
        event = BeforeCreate(head, upload)
        await self.announcer.tell(event)
        upload = self._named(upload, event.choice.key)
        if upload.role is Role.FINAL:
            return await self._create_final(upload, head)
        return await self._create_plain(upload, intent, head, body)

    def _named(self, upload: Upload, key: str | None) -> Upload:
        """Give an upload the key that a listener chose, if one did."""
        if key is None:
            return upload
        if not isinstance(self.store, Names):
            raise ConfigurationError(
                "This store has no keys that could be chosen.",
                "Keep the uploads in S3, or have no listener call store_as.",
            )
        self.store.check_key(key)
        return replace(upload, key=key)

    async def _create_plain(
        self, upload: Upload, intent: Create, head: Head, body: Body
    ) -> Outcome:
        offered = Feature.CREATION_WITH_UPLOAD in self.policy.features
        payload = intent.payload if offered else None
        async with self._hold_new(upload.id, payload, body) as lease:
            upload = under(lease, upload)
            newborn = Newborn(self.store, upload, partial(self._tell_created, head))
            try:
                if payload is None:
                    return await self._create_bare(newborn, upload, lease, head)
                plan = rules.plan(payload, upload, upload.length, self.policy)
                if is_small(payload):
                    opened: AbstractAsyncContextManager[Sink] = newborn
                else:
                    await newborn.commit(upload)
                    opened = self._sink(upload, plan, lease)
                upload = await self._receive(upload, plan, opened, lease, head, body)
                return Created(upload, received=True)
            except Exception as error:
                raise self._with_location(error, newborn) from error

    async def _create_bare(
        self, newborn: Newborn, upload: Upload, lease: Lease, head: Head
    ) -> Outcome:
        upload = self.progress.finish_early(upload)
        await newborn.commit(upload)
        return Created(await self.progress.finish(upload, lease, head), received=False)

    def _hold_new(
        self, id: str, payload: Payload | None, body: Body
    ) -> AbstractAsyncContextManager[Lease]:
        """Nobody knows a new upload's id. Where it is all that it can become as soon as it can be
        found, and nobody is to be told of it, there is nothing that a lock would keep apart."""
        told = self.announcer.wanted(*BIRTH)
        return self._hold(id, body) if told or not is_small(payload) else UNLOCKED

    async def _tell_created(self, head: Head, upload: Upload) -> None:
        await self.announcer.tell(CreatedEvent(head, upload))

    def _with_location(self, error: Exception, newborn: Newborn) -> Refused:
        """Every answer after an upload exists says where it is: else nobody can resume it. How far
        it is, only a refusal that knows says."""
        refused = refusal_of(error)
        refused.created = newborn.id if newborn.exists else None
        return refused

    async def _joined_before(
        self, intent: Create, sources: Sequence[Upload | None]
    ) -> Upload | None:
        """Find the final upload that took these very partials over (D8): the client repeats a
        request whose answer it never saw."""
        takers = {source.taken_by for source in sources if source and source.taken_by}
        for taker in takers:
            final = await self.progress.find(taker)
            if final is not None and final.parts == intent.parts:
                return final
        return None

    async def _create_final(self, upload: Upload, head: Head) -> Outcome:
        newborn = Newborn(self.store, upload, partial(self._tell_created, head))
        await newborn.commit(upload)
        try:
            withdrawn = await self._join_or_withdraw(upload.id)
            final = None if withdrawn else await self.store.load(upload.id)
        except Exception as error:
            raise self._with_location(error, newborn) from error
        if final is None:
            raise StoreFull
        return Created(final, received=False)

    async def _join_or_withdraw(self, id: str) -> bool:
        """Join a new final upload if its partials are complete. Where there is no room for it, take
        it back, and say so; but not once its joining is recorded, which is tried again (D8)."""
        try:
            await self.progress.drive(id, patience=self._join_timeout)
        except StoreFull:
            return await self.progress.withdraw(id)
        return False

    # --- Locking and loading ----------------------------------------------------------------------

    def _hold(self, id: str, body: Body | None = None) -> AbstractAsyncContextManager[Lease]:
        """Take an upload's lock; a body that is being received under it ends when it is wanted."""
        wanted = partial(body.stop, Ending.WANTED) if body else None
        lost = partial(body.stop, Ending.LOST) if body else None
        return self.locker.hold(id, wanted, lost, patience=self._lock_timeout)

    async def _load(
        self, id: str, lease: Lease, load: Callable[[str], Awaitable[Upload]]
    ) -> Upload:
        try:
            upload = await load(id)
        except UploadNotFound:
            lease.retire()
            raise
        return await self.progress.spare(upload)


@contextmanager
def _or_later() -> Iterator[None]:
    """Where an upload's last steps fail, a client that asks about it is to ask again (D3)."""
    try:
        yield
    except Exception as error:
        raise Refused(*rules.FINISHING) from error


class Nothing:
    """A sink for an upload that takes no more: of no byte, or of none that would count."""

    count = 0

    def write(self, data: memoryview) -> None:
        """Never called with bytes: there is no room for any."""

    async def commit(self, upload: Upload) -> None:
        """Nothing has changed."""

    async def __aenter__(self) -> Sink:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


UNAVAILABLE = (StoreUnavailable, LockUnavailable, OSError)


def refusal_of(error: Exception) -> Refused:
    """Translate whatever went wrong into a refusal. What is our fault goes to the log under an
    id, and the client is told the id alone."""
    match error:
        case Refused():
            return error
        case UploadNotFound():
            return Refused(Reason.NOT_FOUND, "There is no such upload.")
        case LockHeld():
            return Refused(Reason.LOCKED, "Another request is working on the upload.")
        case Overtaken():
            return Refused(Reason.DISPLACED, "The upload was taken over.")
        case KeyRefused():
            return Refused(Reason.KEY, f"The key that was chosen cannot be used: {error.why}.")
        case KeyTaken():
            return Refused(Reason.KEY_TAKEN, "There is something under the key that was chosen.")
        case StoreFull():
            return Refused(Reason.FULL, "The server has no room left.")
    mark = secrets.token_hex(4)
    if isinstance(error, UNAVAILABLE):
        log.warning("[%s] A back end is away: %r", mark, error)
        return Refused(Reason.UNAVAILABLE, f"The server cannot do it now (error {mark}).")
    log.error("[%s] A request failed.", mark, exc_info=error)
    return Refused(Reason.INTERNAL, f"Something went wrong (error {mark}).")
