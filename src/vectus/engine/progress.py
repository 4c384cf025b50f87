"""What an upload still needs after its last byte: finishing, joining, and at the end expiring.

Every step is recorded before the next begins, so that it can be driven on after a crash, by a
request or by the sweeper, as often as it takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from vectus.contracts import Clock, Joins, Lease, Locker, Store
from vectus.engine.announce import Announcer
from vectus.errors import LockHeld, Overtaken, UploadNotFound
from vectus.events import BeforeFinish, Expired, Finished
from vectus.protocol import rules
from vectus.protocol.exchange import Reason, Refused
from vectus.protocol.messages import Head
from vectus.protocol.policy import Policy
from vectus.protocol.upload import Role, Stage, Upload

log = logging.getLogger("vectus")

PATIENCE = 5.0
"""Seconds that background work waits for a lock it needs; it never asks a holder to let go."""


def under(lease: Lease, upload: Upload) -> Upload:
    """Return an upload as it is to be written under a lease."""
    return upload if upload.fence == lease.fence else replace(upload, fence=lease.fence)


def check_held(lease: Lease, id: str) -> None:
    """Refuse to change an upload that may be somebody else's by now."""
    if lease.lost:
        raise Overtaken(id)


class Progress:
    """Drives uploads on. See ``Engine`` for its arguments."""

    def __init__(
        self, store: Store, locker: Locker, policy: Policy, announcer: Announcer, clock: Clock
    ) -> None:
        self._store = store
        self._locker = locker
        self._policy = policy
        self._announcer = announcer
        self._clock = clock
        self._drives: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._told: set[str] = set()  # of whose end was told here, but that could not be recorded
        self.owed: set[str] = set()
        """Uploads whose next step failed here, to be tried again by the sweeper."""

    async def find(self, id: str) -> Upload | None:
        """Load an upload, or return None where there is none."""
        try:
            return await self._store.load(id)
        except UploadNotFound:
            return None

    # --- Finishing: under the upload's lock -------------------------------------------------------

    def finish_early(self, upload: Upload) -> Upload:
        """Mark a complete upload finished before it is committed, where no listener wants a say:
        one record is written instead of two."""
        if upload.stage is not Stage.FINISHING or self._has_say(upload):
            return upload
        return self._as_finished(upload)

    async def finish(self, upload: Upload, lease: Lease, request: Head | None) -> Upload:
        """Take an upload that is complete, and not recorded as finished, or not announced, to its
        end; return any other as it is.

        Raises:
            Vetoed: a listener refused; the upload stays unfinished.
        """
        try:
            return await self._finish(upload, lease, request)
        except Exception as error:
            self.owe(upload.id, error)
            raise

    async def _finish(self, upload: Upload, lease: Lease, request: Head | None) -> Upload:
        if upload.stage is Stage.FINISHING and not self._expired(upload):
            if self._has_say(upload):
                await self._announcer.tell(BeforeFinish(request, upload))
            upload = self._as_finished(under(lease, upload))
            check_held(lease, upload.id)
            await self._store.save(upload)
        if upload.finished:
            lease.retire()
            upload = await self._announce(upload, lease, request)
        return upload

    def _has_say(self, upload: Upload) -> bool:
        return upload.role is not Role.PARTIAL and self._announcer.wanted(BeforeFinish)

    def _as_finished(self, upload: Upload) -> Upload:
        silent = upload.role is Role.PARTIAL or not self._announcer.wanted(Finished)
        return rules.finish(upload, self._policy, self._clock(), announced=silent)

    async def _announce(self, upload: Upload, lease: Lease, request: Head | None) -> Upload:
        if not upload.announced:
            if upload.id not in self._told:
                await self._announcer.tell(Finished(request, upload))
                self._told.add(upload.id)
            upload = replace(under(lease, upload), announced=True)
            check_held(lease, upload.id)
            await self._store.save(upload)
            self._told.discard(upload.id)
        if upload.role is Role.PARTIAL:
            await self._wake_finals(upload.id)
        return upload

    async def _wake_finals(self, partial: str) -> None:
        if isinstance(self._store, Joins):
            for final in await self._store.finals(partial):
                if final in self._drives:
                    self._again.add(final)  # that drive may have looked too early
                self._start(final)

    # --- Driving on: in the background ------------------------------------------------------------

    def owe(self, id: str, error: Exception) -> None:
        """Note that an upload's next step failed, so that the sweeper tries it again soon."""
        if id not in self.owed:
            log.warning("Upload %s waits to be finished: %r", id, error)
        self.owed.add(id)

    async def drive(self, id: str, patience: float) -> None:
        """Drive an upload on, and wait for it up to ``patience`` seconds; it goes on after them.

        Raises:
            VectusError, OSError: it failed within that time.
        """
        drive = self._start(id)
        await asyncio.wait([drive], timeout=patience)
        if drive.done() and not drive.cancelled():
            drive.result()

    def _start(self, id: str) -> asyncio.Task[None]:
        if id not in self._drives:
            drive = asyncio.get_running_loop().create_task(self._drive(id))
            self._drives[id] = drive
            drive.add_done_callback(lambda done: self._ended(id, done))
        return self._drives[id]

    def _ended(self, id: str, drive: asyncio.Task[None]) -> None:
        self._drives.pop(id, None)
        if not drive.cancelled() and (error := drive.exception()):
            assert isinstance(error, Exception)
            self.owe(id, error)
        if id in self._again:
            self._again.remove(id)
            self._start(id)

    async def _drive(self, id: str) -> None:
        """One drive of one upload. Somebody else at work on it, or its end, is no failure."""
        try:
            upload = await self._store.load(id)
            waits = upload.stage in (Stage.AWAITING, Stage.JOINING)
            if waits and not self._expired(upload):
                await self._join(id)
            async with self._locker.hold(id, ask=False, patience=PATIENCE) as lease:
                await self.finish(await self._store.load(id), lease, None)
        except UploadNotFound as error:
            if error.id != id:
                raise
        except (LockHeld, Overtaken):
            self.owed.add(id)  # whoever is at work on it may have looked too early

    async def withdraw(self, id: str) -> bool:
        """Remove a final upload that nobody has begun to join; say whether it was removed."""
        async with self._locker.hold(id, ask=False, patience=PATIENCE) as lease:
            if (await self._store.load(id)).stage is not Stage.AWAITING:
                return False
            check_held(lease, id)
            await self._store.remove(id)
            lease.retire()
            return True

    async def aclose(self) -> None:
        """Stop what goes on in the background; it goes on at the next start."""
        self._again.clear()
        drives = list(self._drives.values())
        for drive in drives:
            drive.cancel()
        await asyncio.gather(*drives, return_exceptions=True)

    # --- Joining ----------------------------------------------------------------------------------

    async def review(self, upload: Upload) -> Upload:
        """Return an upload as a client is to see it: a final that waits has the length, or the
        failure, that its partials give it."""
        if upload.stage is not Stage.AWAITING:
            return upload
        return rules.review_final(upload, await self._partials(upload), self._policy)

    async def _partials(self, final: Upload) -> list[Upload | None]:
        return [await self.find(part) for part in final.parts]

    async def _join(self, id: str) -> None:
        """Join a final upload, if all its partials are complete.

        The joining has a lock of its own, so that the upload can be asked about meanwhile.
        """
        async with self._locker.hold(f"joining-{id}"[:128], ask=False, patience=0) as lease:
            lease.retire()  # nobody else waits for it
            final = await self._pin(id)
            if not rules.pinning(final):
                return
            partials = await self._ready(final)
            present = [partial for partial in partials if partial and partial.failed is None]
            if len(present) < len(partials):
                await self._give_up(final, partials)
            elif not rules.joinable(present):
                await self._unpin(final)
            else:
                await self._join_all(final, present, lease)

    async def _join_all(self, final: Upload, partials: Sequence[Upload], lease: Lease) -> None:
        assert isinstance(self._store, Joins)
        drop = self._policy.drop_partials
        try:
            await self._store.join(final, partials, take_over=drop, lease=lease)
        except UploadNotFound as error:
            if error.id not in final.parts:
                raise
            check_held(lease, final.id)  # whoever has joined it by now may have freed them
            await self._give_up(final, partials)
        else:
            await self._joined(final, partials)

    async def _pin(self, id: str) -> Upload:
        """Record that a final upload is being joined, with its partials' locks held meanwhile, so
        that none can be removed before or after unnoticed."""
        final = await self._store.load(id)
        if final.stage is Stage.AWAITING and await self._is_ripe(final):
            async with AsyncExitStack() as locks:
                leases = []
                for part in sorted(set(final.parts)):  # one order everywhere: no ring of waiters
                    lock = self._locker.hold(part, ask=False, patience=PATIENCE)
                    leases.append(await locks.enter_async_context(lock))
                    leases[-1].retire()
                final = await self._record_joining(final, leases)
        return final

    async def _is_ripe(self, final: Upload) -> bool:
        """Whether the partials settle a final upload's fate. A look without locks, which those that
        are being received hold for long."""
        partials = await self._partials(final)
        reviewed = rules.review_final(final, partials, self._policy)
        return reviewed.failed is not None or rules.joinable(partials)

    async def _record_joining(self, final: Upload, leases: Sequence[Lease]) -> Upload:
        assert isinstance(self._store, Joins)
        partials = await self._partials(final)
        reviewed = rules.review_final(final, partials, self._policy)
        if reviewed.failed is None:
            present = [partial for partial in partials if partial is not None]
            if not rules.joinable(partials) or await self._has_rival(final, present):
                return final
            await self._store.reserve(reviewed, present)
            reviewed = rules.join(reviewed)
        return await self._record(reviewed, Stage.AWAITING, leases)

    async def _has_rival(self, final: Upload, partials: Sequence[Upload]) -> bool:
        """Whether one of the partials is about to be used up by another final upload."""
        if not self._policy.drop_partials:
            return False
        finals = [found for partial in partials for found in await self._finals(partial)]
        return any(found.id != final.id and rules.pinning(found) for found in finals)

    async def _record(self, final: Upload, stage: Stage, leases: Sequence[Lease] = ()) -> Upload:
        """Save a final upload, and return it as it is then. If it is not at the given stage any
        more, it stays as it is: it has been terminated meanwhile, or joined elsewhere.

        Args:
            final: as it shall be.
            stage: at which that was decided.
            leases: of what else it was decided under.
        """
        async with self._locker.hold(final.id, ask=False, patience=PATIENCE) as lease:
            found = await self._store.load(final.id)
            if found.stage is not stage:
                return found
            final = replace(final, fence=lease.fence)
            for held in (lease, *leases):
                check_held(held, final.id)
            await self._store.save(final)
            if final.closed:
                lease.retire()
        return final

    async def _ready(self, final: Upload) -> list[Upload | None]:
        """Return the partials of a final upload that is being joined, each made ready for it."""
        found = {part: await self.find(part) for part in dict.fromkeys(final.parts)}
        for part, upload in found.items():
            if upload is not None and self._wants_work(upload):
                found[part] = await self._make_ready(final, part)
        return [found[part] for part in final.parts]

    def _wants_work(self, partial: Upload) -> bool:
        """Whether to come back to a partial with its lock: also if it seems to have failed, for
        somebody may just be finishing it."""
        taken = self._policy.drop_partials and partial.stage is Stage.FINISHED
        return taken or partial.stage is Stage.FINISHING or partial.failed is not None

    async def _make_ready(self, final: Upload, part: str) -> Upload | None:
        """Finish a partial that is complete, for which a store may have work to do; only then leave
        a tombstone, if it is to be used up: its bytes belong to the final upload from then on.
        Whatever is not complete any more stays as it is."""
        async with self._locker.hold(part, ask=False, patience=PATIENCE) as lease:
            upload = await self.find(part)
            if upload is not None and upload.stage is Stage.FINISHING:
                upload = await self._save(self._as_finished(upload), lease)
                await self._wake_finals(part)
            if upload is not None and upload.stage is Stage.FINISHED:
                lease.retire()
                if self._policy.drop_partials:
                    upload = await self._save(replace(upload, taken_by=final.id), lease)
            return upload

    async def _save(self, upload: Upload, lease: Lease) -> Upload:
        upload = under(lease, upload)
        check_held(lease, upload.id)
        await self._store.save(upload)
        return upload

    async def _joined(self, final: Upload, partials: Sequence[Upload]) -> None:
        """Record that the bytes are there, and only then let go of the partials'."""
        assert final.length is not None
        joined = replace(final, offset=final.length, joining=False)
        joined = await self._record(joined, Stage.JOINING)
        if joined.complete:
            await self._bury(joined, partials)

    async def _give_up(self, final: Upload, partials: Sequence[Upload | None]) -> None:
        """Record that a final upload has lost a partial for good, unless it has been joined
        elsewhere. Its own time counts again, and what it had taken over is of use to nobody."""
        failed = rules.renewed(rules.bereft(final), self._policy, self._clock())
        failed = await self._record(failed, Stage.JOINING)
        if failed.failed is not None:
            await self._bury(failed, partials)

    async def _unpin(self, final: Upload) -> None:
        """Have a final upload wait again, as the store has lost bytes of a partial: a client may
        send them again, or remove both."""
        waiting = rules.renewed(replace(final, joining=False), self._policy, self._clock())
        await self._record(waiting, Stage.JOINING)

    async def _bury(self, final: Upload, partials: Sequence[Upload | None]) -> None:
        """Free the bytes of the partials that a final upload has taken over."""
        assert isinstance(self._store, Joins)
        taken = {partial.id for partial in partials if partial and partial.taken_by == final.id}
        if self._policy.drop_partials:
            for part in dict.fromkeys(final.parts):
                if part in taken:
                    await self._store.bury(part)

    async def check_unpinned(self, upload: Upload) -> None:
        """Refuse to touch a partial whose bytes are being joined (D8)."""
        for final in await self._finals(upload):
            if rules.pinning(final):
                raise Refused(Reason.PINNED, "The upload is being joined into a final one.")

    async def _finals(self, upload: Upload) -> Sequence[Upload]:
        if upload.role is not Role.PARTIAL or not isinstance(self._store, Joins):
            return ()
        found = [await self.find(id) for id in await self._store.finals(upload.id)]
        return [final for final in found if final is not None]

    # --- Sweeping ---------------------------------------------------------------------------------

    async def sweep(self, upload: Upload) -> None:
        """Do for one upload, as a scan found it, what its time and stage call for."""
        untold = upload.finished and not upload.announced
        if self._expired(upload) and not untold:
            await self._expire(upload.id)
        elif rules.unsettled(upload):
            self._start(upload.id)

    async def sweep_owed(self) -> None:
        """Try again what failed here."""
        owed, self.owed = self.owed, set()
        for id in owed:
            self._start(id)

    async def _expire(self, id: str) -> None:
        """Remove an upload whose time is over, if nobody works on it (D7)."""
        try:
            async with self._locker.hold(id, ask=False, patience=0) as lease:
                upload = await self.spare(await self._store.load(id))
                if not self._expired(upload):
                    return
                check_held(lease, id)
                await self._store.remove(id)
                lease.retire()
        except (LockHeld, Overtaken, UploadNotFound):
            return
        if upload.stage is not Stage.GONE:
            await self._announcer.tell(Expired(None, upload))

    async def spare(self, upload: Upload) -> Upload:
        """Return an upload with the time it has: a partial that a final upload waits for has more
        than its record says (D7), and what the store will drop has less."""
        upload = rules.bounded(upload, self._policy)
        if self._expired(upload) and await self._finals(upload):
            return rules.renewed(upload, self._policy, self._clock())
        return upload

    def _expired(self, upload: Upload) -> bool:
        return rules.expired(upload, self._policy, self._clock())
