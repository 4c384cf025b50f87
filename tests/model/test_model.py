"""Random requests, cuts, crashes, restarts and time: the engine and a simple model must agree."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from model import CAP, LIFE, Bytes, Item, Model
from vectus.events import Finished
from vectus.protocol.exchange import Ending
from vectus.protocol.fields import format_date
from vectus.protocol.messages import Reply
from vectus.protocol.policy import Policy
from vectus.stores.memory import MemoryStore
from vectus.testing.fakes import ManualClock, Pause, ScriptedBody
from world import World, id_of

T = TypeVar("T")

THOROUGH = "VECTUS_THOROUGH" in os.environ
"""Whether there is time: more examples, and longer ones."""

BUDGET = settings(
    max_examples=3000 if THOROUGH else 100,
    stateful_step_count=50 if THOROUGH else 25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

ENDINGS = {
    "whole": Ending.COMPLETE,
    "gone": Ending.GONE,
    "broken": Ending.BROKEN,
    "stalled": Ending.STALLED,
    "shutdown": Ending.SHUTDOWN,
    "full": Ending.FULL,
}


LIMIT = 30.0
"""Seconds after which what should have happened has not."""


def checksum(data: bytes) -> str:
    """Word a checksum."""
    return f"sha1 {base64.b64encode(hashlib.sha1(data).digest()).decode()}"


def fields_of(body: Bytes) -> dict[str, object]:
    """What a head says of a body."""
    fields: dict[str, object] = {"content_length": body.size}
    if body.size is None:
        fields = {"transfer_encoding": "chunked"}
    if body.checksum in ("right", "wrong"):
        fields["upload_checksum"] = checksum(claimed(body))
    elif body.checksum != "none":
        fields["trailer"] = "Upload-Checksum"
    return fields


def claimed(body: Bytes) -> bytes:
    """What a checksum is made of."""
    return body.data + b"?" if "wrong" in body.checksum else body.data


def script_of(body: Bytes, *after: Pause) -> ScriptedBody:
    """The body itself, in two pieces."""
    late = body.checksum.startswith("late")
    trailers = [("upload-checksum", checksum(claimed(body)))] if late else []
    half = len(body.data) // 2
    pieces = [body.data[:half], body.data[half:]]
    ending = ENDINGS.get(body.ending, Ending.COMPLETE)
    return ScriptedBody(*pieces, *after, ending=ending, trailers=trailers)


@st.composite
def bodies(draw: st.DrawFn) -> Bytes:
    """A body that a client could send."""
    data = draw(st.binary(max_size=7))
    ending = draw(
        st.sampled_from(["whole"] * 6 + ["gone", "broken", "stalled", "shutdown", "full"])
    )
    chunked = draw(st.booleans())
    checks = ["none"] * 4 + ["right", "wrong"]
    if chunked:
        checks += ["late", "late wrong", "missing"]
    missing = 0 if ending == "whole" else draw(st.integers(1, 3))
    size = None if chunked else len(data) + missing
    return Bytes(data, size, ending, draw(st.sampled_from(checks)))


class Machine(RuleBasedStateMachine):
    """Does everything twice: to a real engine, and to the model."""

    uploads = Bundle("uploads")
    on_disk = False
    factory = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.loop.set_task_factory(self.factory)
        self.folder = Path(tempfile.mkdtemp(prefix="model-")) if self.on_disk else None
        self.generation = 0
        self.clock = ManualClock()
        self.told: Counter[str] = Counter()
        self.finished: set[str] = set()

    @initialize(drop=st.booleans())
    def begin(self, *, drop: bool) -> None:
        """Start a server without uploads."""
        self.policy = Policy(max_size=CAP, expire_after=LIFE, drop_partials=drop)
        self.model = Model(drop, self.clock.now)
        place = self.folder / "0" if self.folder else MemoryStore()
        self.world = self.started(World(place, clock=self.clock, policy=self.policy))

    def started(self, world: World) -> World:
        """Listen for finishes."""
        world.announcer.add(Finished, lambda event: self.told.update([event.upload.id]))
        return world

    def teardown(self) -> None:
        """Leave nothing behind."""
        if hasattr(self, "world"):
            self.run(self.world.aclose())
        self.loop.close()
        if self.folder:
            shutil.rmtree(self.folder)

    # --- How requests are made --------------------------------------------------------------------

    def run(self, awaitable: Awaitable[T]) -> T:
        """Run something to its end."""
        return self.loop.run_until_complete(awaitable)

    def ask(self, *args: object, **fields: object) -> Reply:
        """Make a request, and wait until nothing happens in the background."""

        async def settled() -> Reply:
            reply = await self.world.ask(*args, **fields)
            await self.quiet()
            return reply

        return self.run(settled())

    async def quiet(self) -> None:
        """Wait until nothing happens in the background."""
        progress = self.world.progress
        while progress._drives or progress.owed:
            await asyncio.gather(*progress._drives.values())
            await asyncio.sleep(0)
            await progress.sweep_owed()

    def agree(self, reply: Reply, status: int) -> None:
        """Compare statuses."""
        assert reply.status == status, (reply, status)

    def record_failures(self) -> None:
        """A final upload whose partials are gone is recorded as failed when somebody asks."""
        for item in self.model.items.values():
            if item.failed and not self.model.expired(item):
                self.ask("HEAD", item.id)

    # --- Creating ---------------------------------------------------------------------------------

    @rule(
        target=uploads,
        kind=st.sampled_from(["plain", "partial"]),
        length=st.none() | st.integers(0, 9) | st.sampled_from([CAP, CAP + 1]),
        body=st.none() | bodies(),
    )
    def create(self, kind: str, length: int | None, body: Bytes | None):
        """POST, with bytes or without."""
        fields = {"upload_defer_length": 1} if length is None else {"upload_length": length}
        if kind == "partial":
            fields["upload_concat"] = "partial"
        if body is None:
            reply = self.ask("POST", **fields)
        else:
            reply = self.ask("POST", "", script_of(body), **fields, **fields_of(body))
        id = id_of(reply) if reply.header("Location") else "nothing"
        self.agree(reply, self.model.create(id, kind, length, body))
        assert (id in self.model.items) == (id != "nothing")
        if body is not None and id != "nothing":
            assert reply.header("Upload-Offset") == str(len(self.model.items[id].data))
        return multiple() if id == "nothing" else id

    @precondition(lambda self: self.model.items)
    @rule(target=uploads, parts=st.lists(uploads, min_size=1, max_size=3))
    def final(self, parts: list[str]):
        """POST of a final upload, of whatever there is."""
        if self.model.drop and any(self.model.awaited(part) for part in parts):
            return multiple()  # which of two final uploads gets a partial is a matter of chance
        reply = self.ask("POST", upload_concat="final;" + " ".join(parts))
        id = id_of(reply) if reply.header("Location") else "nothing"
        status, given = self.model.final(id, tuple(parts))
        self.agree(reply, status)
        assert given == (id if id != "nothing" else "")
        return id if status == 201 else multiple()

    # --- Working ----------------------------------------------------------------------------------

    @rule(
        id=uploads,
        shift=st.sampled_from([0] * 9 + [-1, 1]),
        declared=st.sampled_from([None] * 4 + ["same", "end"]) | st.integers(0, CAP + 1),
        body=bodies(),
    )
    def patch(self, id: str, shift: int, declared: str | int | None, body: Bytes) -> None:
        """PATCH, at the right place or another, with a declaration or without."""
        item = self.model.items.get(id) or Item(id, None)
        offset = max(0, len(item.data) + shift)
        length = {"same": item.length, "end": offset + len(body.data)}.get(declared, declared)
        fields = {} if length is None else {"upload_length": length}
        how = {"upload_offset": offset, **fields, **fields_of(body)}
        reply = self.ask("PATCH", id, script_of(body), **how)
        status = self.model.patch(id, offset, length, body)
        self.agree(reply, status)
        told = reply.header("Upload-Offset")
        if status in (204, 409, 413, 423, 460, 500, 507):
            assert told == str(len(self.model.items[id].data))

    @rule(id=uploads)
    def download(self, id: str) -> None:
        """GET."""
        reply = self.ask("GET", id)
        self.agree(reply, self.model.get(id))
        if reply.content is not None:
            self.run(reply.content.aclose())

    @rule(id=consumes(uploads))
    def terminate(self, id: str) -> None:
        """DELETE."""
        self.agree(self.ask("DELETE", id), self.model.delete(id))
        self.record_failures()

    @rule(id=uploads, body=bodies())
    def displace(self, id: str, body: Bytes) -> None:
        """A PATCH that hangs, and somebody who asks how far it is."""
        item = self.model.items.get(id)
        data = body.data
        body = Bytes(data, None if body.size is None else len(data) + 1, "wanted", body.checksum)
        if item is None or not self.takes(item, body):
            return
        pause = Pause()

        async def two() -> Reply:
            offset = len(item.data)
            patch = self.world.patch(id, offset, script_of(body, pause), **fields_of(body))
            holder = asyncio.ensure_future(patch)
            await asyncio.wait_for(pause.reached.wait(), LIMIT)
            await self.world.ask("HEAD", id)
            reply = await holder
            await self.quiet()
            return reply

        reply = self.run(two())
        self.agree(reply, self.model.patch(id, len(item.data), None, body))

    def takes(self, item: Item, body: Bytes) -> bool:
        """Whether an upload takes all bytes of a body, by its head and as they come."""
        room = CAP if item.length is None else item.length
        size = len(body.data) if body.size is None else body.size
        there = self.model.missing(item.id) is None and item.kind != "final"
        return there and not item.finished and len(item.data) + size <= room

    # --- Accidents --------------------------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        """A new process on the same uploads, which looks around first."""
        self.replace(self.world.place)

    @rule(id=uploads, body=bodies())
    def crash(self, id: str, body: Bytes) -> None:
        """The process dies at the last byte of a body; whatever it had written is there."""
        item = self.model.items.get(id)
        if self.folder is None or item is None or not self.takes(item, body):
            return
        pause = Pause()
        self.generation += 1
        copy = self.folder / str(self.generation)

        async def die() -> None:
            patch = self.world.patch(id, len(item.data), script_of(body, pause), **fields_of(body))
            holder = asyncio.ensure_future(patch)
            await asyncio.wait_for(pause.reached.wait(), LIMIT)
            shutil.copytree(self.world.place, copy)
            told = self.told.copy()
            holder.cancel()
            await asyncio.gather(holder, return_exceptions=True)
            self.told = told

        self.run(die())
        self.model.crash(id, body)
        self.replace(copy)

    def replace(self, place: object) -> None:
        """Start another server in the place of this one."""
        old = self.world
        self.world = self.started(World(place, clock=self.clock, policy=self.policy))
        self.run(old.aclose())
        self.sweep()

    @rule(seconds=st.sampled_from([1.0, LIFE / 2, LIFE / 2 + 1]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)
        self.model.now = self.clock.now

    @rule()
    def sweep(self) -> None:
        """The sweeper comes by. What it removes may have kept a partial, which its next round
        removes."""

        async def rounds() -> None:
            for _ in range(3):
                await self.world.sweeper.scan()
                await self.quiet()

        self.run(rounds())
        self.model.sweep()
        self.record_failures()

    # --- What must be so --------------------------------------------------------------------------

    @invariant()
    def every_upload_is_as_the_model_says(self) -> None:
        """HEAD and the store tell the same as the model, for every upload there ever was."""
        if not hasattr(self, "world"):
            return
        for id, item in list(self.model.items.items()):
            reply = self.ask("HEAD", id)
            self.agree(reply, self.model.head(id))
            if reply.status == 200:
                self.compare(item, reply)

    def compare(self, item: Item, reply: Reply) -> None:
        """Compare one upload."""
        offset = None if item.waits else str(len(item.data))
        length = None if item.length is None else str(item.length)
        life = None if item.finished and item.kind != "partial" else self.model.life(item)
        assert reply.header("Upload-Offset") == offset
        assert reply.header("Upload-Length") == length
        assert reply.header("Upload-Expires") == (None if life is None else format_date(life))
        assert self.run(self.world.record(item.id)).finished is item.finished
        assert self.run(self.world.data(item.id)) == item.data

    @invariant()
    def nothing_else_is_stored(self) -> None:
        """What is gone takes no room, and nothing is there that nobody made."""
        if hasattr(self, "world"):
            assert set(self.run(self.stored())) == set(self.model.items)

    async def stored(self) -> list[str]:
        """The ids in the store."""
        return [upload.id async for upload in self.world.inner.scan()]

    @invariant()
    def finishes_are_told_once(self) -> None:
        """Every finish of what is no partial is told, once, over all restarts."""
        if hasattr(self, "world"):
            self.finished |= {
                item.id
                for item in self.model.items.values()
                if item.finished and item.kind != "partial"
            }
            assert self.told == dict.fromkeys(self.finished, 1)


class OnDisk(Machine):
    """The same, on files."""

    on_disk = True


MACHINES = {"memory": Machine, "file": OnDisk}

if sys.version_info >= (3, 12):

    class Eager(OnDisk):
        """The same, with tasks that begin before they are awaited."""

        factory = staticmethod(asyncio.eager_task_factory)

    MACHINES["eager"] = Eager


@pytest.mark.timeout(3600 if THOROUGH else 120)
@pytest.mark.parametrize("machine", MACHINES)
def test_the_engine_does_what_the_model_says(machine):
    """T01-T79 together: whatever is asked in whatever order, status, offset, bytes, expiry and
    events are those of a model that fits on a page."""
    run_state_machine_as_test(MACHINES[machine], settings=BUDGET)
