"""Kills a file store at every call that changes something on disk, and looks at what is left.

Run as a program with a scenario's name, a durability and an empty directory. For every n it forks
a child that makes a directory ready, does the scenario's act and dies at its n-th chance, and
another that checks with a new store what is left. It ends when a child lives to the end of the
act, and prints how often one died.

Forking is safe: this program has no threads of its own, only its children have.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from vectus.errors import UploadExists, UploadNotFound
from vectus.protocol.upload import Role, Upload
from vectus.stores import joining
from vectus.stores.file import FileStore
from vectus.testing.joins import JoinSuite, parts_of, scanned
from vectus.testing.stores import FULL, ID, bytes_of, fill, give, pattern, plan, put

DIED = 77
CHANGES = {"open", "write", "pwrite", "ftruncate", "rename", "unlink", "mkdir", "copy_file_range"}
"""The calls that change what another process sees; syncs change nothing of that."""

DATA = pattern(9001)
HALF = 4500
WHOLE = replace(FULL, length=len(DATA))
AS_FINISHED = replace(WHOLE, offset=len(DATA), finished=True, announced=True)
FOREIGN = (
    b'{"ID":"%s","Size":9001,"SizeIsDeferred":false,"Offset":0,"MetaData":{},"IsPartial":false,'
    b'"IsFinal":false,"PartialUploads":null,"Storage":null}' % ID.encode()
)

Step = Callable[[FileStore], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """What is there before, what is done, and what must be true wherever that was cut.

    ``earlier`` is the chance at which a process had died in doing it before, if one had.
    """

    prepare: Step
    act: Step
    check: Step
    earlier: int | None = None


# --- Dying ----------------------------------------------------------------------------------------


class Fate:
    """Makes this process die at its n-th chance from now on: before each call that changes
    something, and in the middle of each that writes.

    Args:
        fatal: how many chances it survives.
    """

    def __init__(self, fatal: int) -> None:
        self._left = fatal
        for name in CHANGES & vars(os).keys():
            setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def fatal(*args: Any, **options: Any) -> Any:
            if name == "open" and not args[1] & os.O_CREAT:
                return call(*args, **options)
            self._chance()
            if name in HALVES:
                self._chance(lambda: call(*HALVES[name](args)))
            return call(*args, **options)

        return fatal

    def _chance(self, last: Callable[[], object] = lambda: None) -> None:
        self._left -= 1
        if self._left < 0:
            last()
            os._exit(DIED)


def _half_a_buffer(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (args[0], args[1][: len(args[1]) // 2], *args[2:])


HALVES: dict[str, Callable[[tuple[Any, ...]], tuple[Any, ...]]] = {
    "write": _half_a_buffer,
    "pwrite": _half_a_buffer,
    "copy_file_range": lambda args: (args[0], args[1], args[2] // 2, *args[3:]),
}
"""How to do half of what a call would do."""


def child(step: Callable[[], Awaitable[None]]) -> int:
    """Do something in a forked process and return its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(cast("Any", step()))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@dataclass(frozen=True)
class Trial:
    """One scenario in one directory, cut at one call."""

    scenario: Scenario
    durability: Literal["none", "finish", "always"]
    folder: Path
    fatal: int

    async def die_earlier(self) -> None:
        """Do it, and die where somebody died before."""
        await self.scenario.prepare(self.store())
        Fate(self.scenario.earlier or 0)
        await self.scenario.act(self.store())

    async def act(self) -> None:
        """Do it, and die."""
        if self.scenario.earlier is None:
            await self.scenario.prepare(self.store())
        Fate(self.fatal)
        await self.scenario.act(self.store())

    async def check(self) -> None:
        """See what is left."""
        await self.scenario.check(self.store())

    def store(self) -> FileStore:
        """Open the store."""
        return FileStore(self.folder, self.durability)

    def run(self) -> bool:
        """Run it, and say whether somebody died."""
        if self.scenario.earlier is not None and child(self.die_earlier) != DIED:
            sys.exit(f"nobody died in {self}")
        died = child(self.act)
        if died not in {0, DIED} or child(self.check) != 0:
            sys.exit(f"wrong with {self}")
        return died == DIED


def main(name: str, durability: Literal["none", "finish", "always"], place: str) -> None:
    """Kill a scenario everywhere."""
    joining.PIECE, joining.CHECKPOINT = 1500, 2500
    deaths = 0
    while Trial(SCENARIOS[name], durability, Path(place, str(deaths)), deaths).run():
        deaths += 1
    print(deaths)


# --- What is done ---------------------------------------------------------------------------------


async def nothing(store: FileStore) -> None:
    """Begin with an empty directory."""


async def create(store: FileStore) -> None:
    """Make an upload."""
    await store.create(WHOLE)


async def create_with_bytes(store: FileStore) -> None:
    """Make an upload that has half of its bytes already."""
    await store.create(replace(WHOLE, offset=HALF), DATA[:HALF])


async def create_finished(store: FileStore) -> None:
    """Make an upload that is finished at once."""
    await store.create(AS_FINISHED, DATA)


async def create_final(store: FileStore) -> None:
    """Make a final upload."""
    await store.create(Upload("final", Role.FINAL, parts=("part-0", "part-1")))


async def begin(store: FileStore) -> None:
    """Have an upload with half of its bytes."""
    await store.create(WHOLE)
    await put(store, ID, DATA[:HALF])


async def begin_unjudged(store: FileStore) -> None:
    """Have an upload with bytes that a crash left unjudged."""
    await begin(store)
    upload = await store.load(ID)
    sink = await store.append(upload, plan(HALF, revocable=True)).__aenter__()
    await give(sink, b"never judged" * 300)


async def begin_in_tusd(store: FileStore) -> None:
    """Have an upload of tusd's with half of its bytes."""
    Path(store.directory, ID).write_bytes(DATA[:HALF])
    Path(store.directory, ID + ".info").write_bytes(FOREIGN)


async def have(store: FileStore) -> None:
    """Have a finished upload."""
    await fill(store, FULL, DATA)


async def go_on(store: FileStore) -> None:
    """Append the other half in pieces, commit and finish."""
    await append(store, revocable=False)


async def go_on_revocably(store: FileStore) -> None:
    """Do the same with bytes that count with the commit only."""
    await append(store, revocable=True)


async def append(store: FileStore, *, revocable: bool) -> None:
    """Append the other half."""
    upload = await store.load(ID)
    async with store.append(upload, plan(HALF, revocable=revocable)) as sink:
        for at in range(HALF, len(DATA), 1500):
            await give(sink, DATA[at : at + 1500])
        await sink.commit(replace(upload, offset=len(DATA), finished=True))


async def go_on_wrongly(store: FileStore) -> None:
    """Append what is then abandoned."""
    upload = await store.load(ID)
    async with store.append(upload, plan(HALF, revocable=True)) as sink:
        await give(sink, b"wrong" * 500)


async def save(store: FileStore) -> None:
    """Change the record."""
    await store.save(replace(await store.load(ID), expires=5.0, metadata="a " + "MTEx" * 500))


async def remove(store: FileStore) -> None:
    """Remove the upload."""
    await store.remove(ID)


async def prepare_copying(store: FileStore) -> None:
    """Have partials and a final upload."""
    await JoinSuite().prepare(cast("Any", store), (4000, 0, 2501, 1))


async def prepare_moving(store: FileStore) -> None:
    """Have partials whose bytes belong to a final upload."""
    await JoinSuite().prepare(cast("Any", store), (4000, 0, 2501, 1), take_over=True)


async def join_by_copying(store: FileStore) -> None:
    """Join, and record it."""
    await join(store, take_over=False)


async def join_by_moving(store: FileStore) -> None:
    """Join, record it, and bury the partials."""
    await join(store, take_over=True)


async def join(store: FileStore, *, take_over: bool) -> None:
    """Do what the engine does."""
    final = await store.load("final")
    if final.joining:
        parts = await parts_of(store, final)
        await store.reserve(final, parts)
        await store.join(final, parts, take_over=take_over)
        await store.save(replace(final, offset=final.length or 0, joining=False))
    if take_over:
        for part in final.parts:
            await store.bury(part)


# --- What must be true ----------------------------------------------------------------------------


async def is_whole_or_nothing(store: FileStore) -> None:
    """An upload is there as asked for or not at all, and what is left can be tidied up."""
    try:
        assert await store.load(ID) == WHOLE
    except UploadNotFound:
        assert await scanned(store) == []
        await nothing_is_left(store)
        await store.create(WHOLE)
    await finish_it(store)


async def has_its_bytes_or_is_nothing(store: FileStore) -> None:
    """An upload that is there has the bytes it was made with."""
    await is_made_or_nothing(store, replace(WHOLE, offset=HALF), DATA[:HALF])


async def is_finished_or_nothing(store: FileStore) -> None:
    """An upload that is there is finished and whole."""
    await is_made_or_nothing(store, AS_FINISHED, DATA)


async def is_made_or_nothing(store: FileStore, upload: Upload, data: bytes) -> None:
    """An upload is there with all its bytes or not at all; then all can be tidied up, what was
    written of it included, and it can be made again."""
    try:
        assert await store.load(ID) == upload
    except UploadNotFound:
        assert await scanned(store) == []
        await nothing_is_left(store)
        await store.create(upload, data)
    assert await scanned(store) == [upload]
    assert await bytes_of(store, ID) == data
    await finish_it(store)


async def is_final_or_nothing(store: FileStore) -> None:
    """A final upload that is there is known to name its partials."""
    try:
        await store.load("final")
    except UploadNotFound:
        assert list(await store.finals("part-1")) == []
        await nothing_is_left(store)
    else:
        assert list(await store.finals("part-1")) == ["final"]


async def nothing_is_left(store: FileStore) -> None:
    """Once they are old, a scan removes leftovers."""
    for path in Path(store.directory).rglob("*"):
        os.utime(path, (1e9, 1e9))
    await scanned(store)
    left = [path for path in Path(store.directory).rglob("*") if path.name != ".joins"]
    assert left == [], left


async def is_a_prefix(store: FileStore) -> None:
    """Some of the bytes are there, all of them right, and it can be gone on."""
    upload = await store.load(ID)
    assert HALF <= upload.offset <= len(DATA)
    assert upload.complete or not upload.finished
    assert not upload.announced
    await finish_it(store)


async def is_before_or_after(store: FileStore) -> None:
    """None or all of the bytes are there, and it can be gone on."""
    upload = await store.load(ID)
    assert (upload.offset, upload.finished) in {(HALF, False), (len(DATA), True)}
    await finish_it(store)


async def is_before(store: FileStore) -> None:
    """None of the bytes is there."""
    assert replace(await store.load(ID), pending=None) == replace(WHOLE, offset=HALF)
    await finish_it(store)


async def has_either_record(store: FileStore) -> None:
    """The old or the new record is there, whole."""
    assert (await store.load(ID)).expires in {5.0, FULL.expires}
    await finish_it(store)


async def is_there_or_gone(store: FileStore) -> None:
    """The upload is whole or forgotten; then a scan removes the rest."""
    try:
        assert await store.load(ID) == AS_FINISHED
        assert await bytes_of(store, ID) == DATA
        await store.remove(ID)
    except UploadNotFound:
        assert await scanned(store) == []
    await nothing_is_left(store)


async def can_be_joined(store: FileStore) -> None:
    """Partials are as they were until the final upload is joined, which can be done again."""
    final = await store.load("final")
    assert final.offset in {0, final.length}
    assert all(part.complete for part in await parts_of(store, final))
    await join(store, take_over=(await store.load("part-0")).taken_by is not None)
    whole = b"".join(pattern(size, seed) for seed, size in enumerate((4000, 0, 2501, 1)))
    assert await bytes_of(store, "final") == whole
    assert (await store.load("final")).complete


async def finish_it(store: FileStore) -> None:
    """Go on from where it is, to the right bytes."""
    upload = await store.load(ID)
    if not upload.finished:
        await put(store, ID, DATA[upload.offset :])
    assert await bytes_of(store, ID) == DATA
    try:
        await store.create(WHOLE)
    except UploadExists:
        return
    raise AssertionError("an id was given out twice")


SCENARIOS = {
    "create": Scenario(nothing, create, is_whole_or_nothing),
    "create with bytes": Scenario(nothing, create_with_bytes, has_its_bytes_or_is_nothing),
    "create finished": Scenario(nothing, create_finished, is_finished_or_nothing),
    "create final": Scenario(nothing, create_final, is_final_or_nothing),
    "plain": Scenario(begin, go_on, is_a_prefix),
    "plain after a crash": Scenario(begin_unjudged, go_on, is_a_prefix),
    "plain after tusd": Scenario(begin_in_tusd, go_on, is_a_prefix),
    "revocable": Scenario(begin, go_on_revocably, is_before_or_after),
    "revocable after a crash": Scenario(begin_unjudged, go_on_revocably, is_before_or_after),
    "revocable after tusd": Scenario(begin_in_tusd, go_on_revocably, is_before_or_after),
    "abandoned": Scenario(begin, go_on_wrongly, is_before),
    "save": Scenario(begin, save, has_either_record),
    "remove": Scenario(have, remove, is_there_or_gone),
    "join": Scenario(prepare_copying, join_by_copying, can_be_joined),
    "join again": Scenario(prepare_copying, join_by_copying, can_be_joined, 14),
    "join by moving": Scenario(prepare_moving, join_by_moving, can_be_joined),
    "join again by moving": Scenario(prepare_moving, join_by_moving, can_be_joined, 1),
    "join on by moving": Scenario(prepare_moving, join_by_moving, can_be_joined, 12),
}

if __name__ == "__main__":
    main(sys.argv[1], cast("Any", sys.argv[2]), sys.argv[3])
