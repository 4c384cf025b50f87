"""The file store on a file system that several machines share: what others did is seen, and whoever
was overtaken can tell."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from vectus.errors import LockHeld, Overtaken, UploadNotFound
from vectus.protocol.upload import Upload
from vectus.stores import reach
from vectus.stores.disk import Disk
from vectus.stores.durable import Durability
from vectus.stores.file import FileStore
from vectus.stores.reach import ManyMachines, OneMachine
from vectus.testing.stores import plan

ID = "0123456789abcdef"
NEW = Upload(ID, length=100, created=1.0, fence=1)


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, its disk counts as fast: what is written is written at once."""
    monkeypatch.setattr(Disk, "fast", True)


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[list[FileStore]]:
    """Two machines' stores on one directory."""
    stores = [FileStore(tmp_path, "none", reach=ManyMachines()) for _ in range(2)]
    yield stores
    for store in stores:
        await store.aclose()


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that keeps for ever what it was told of names: as one over a network does, for
    a minute, unless a file is opened."""
    known: dict[str, os.stat_result | FileNotFoundError] = {}
    real = os.stat

    def stat(path: object, **how: object) -> os.stat_result:
        if not isinstance(path, str) or not path.rpartition("/")[2].startswith(ID):
            return real(path, **how)  # type: ignore[arg-type]
        if path not in known:
            try:
                known[path] = real(path)
            except FileNotFoundError as error:
                known[path] = error
        found = known[path]
        if isinstance(found, FileNotFoundError):
            raise found
        return found

    monkeypatch.setattr(os, "stat", stat)


async def append(store: FileStore, upload: Upload, data: bytes) -> Upload:
    """Add bytes to an upload, as just loaded."""
    async with store.append(upload, plan(upload.offset)) as sink:
        written = sink.write(memoryview(data))
        if written is not None:
            await written
        upload = replace(upload, offset=upload.offset + len(data))
        await sink.commit(upload)
    return upload


async def hop(nodes: list[FileStore]) -> None:
    """Take turns at an upload: each has to see all that the other did."""
    await nodes[0].create(NEW)
    for turn in range(10):
        store = nodes[turn % 2]
        upload = await store.load(ID)
        assert (upload.offset, upload.expires) == (10 * turn, float(turn) if turn else None)
        upload = replace(upload, fence=upload.fence + 1, expires=float(turn + 1))
        await append(store, upload, b"%010d" % turn)
    upload = await nodes[1].load(ID)
    content = await nodes[0].read(upload, 0, 100)
    assert b"".join([block async for block in content.blocks()]).endswith(b"0000000009")
    await content.aclose()
    await nodes[0].remove(ID)
    with pytest.raises(UploadNotFound):
        await nodes[1].load(ID)


@pytest.mark.usefixtures("forgetful")
async def test_what_others_did_is_seen_by_opening(nodes: list[FileStore]) -> None:
    """Names and sizes that a network file system remembers are not believed."""
    await hop(nodes)


@pytest.mark.usefixtures("forgetful")
async def test_on_one_machine_it_is_not(tmp_path: Path) -> None:
    """So the test above is one: a store that trusts its machine's names is wrong there."""
    with pytest.raises((AssertionError, UploadNotFound)):
        await hop([FileStore(tmp_path, "none"), FileStore(tmp_path, "none")])


async def test_a_lease_leaves_its_fence_before_its_first_byte(nodes: list[FileStore]) -> None:
    """From the moment a later holder may write, an earlier one can tell that he was overtaken."""
    await nodes[0].create(NEW)
    async with nodes[0].append(replace(NEW, fence=5), plan(0)):
        assert (await nodes[1].load(ID)).fence == 5
    assert (await nodes[1].load(ID)).fence == 5


async def test_on_one_machine_a_fence_alone_is_not_written(tmp_path: Path) -> None:
    """There nobody is overtaken, and a small PATCH costs no write but its own."""
    store = FileStore(tmp_path, "none")
    await store.create(NEW)
    record = tmp_path / f"{ID}.info"
    before = record.stat()
    await append(store, replace(NEW, fence=5), b"0123456789")
    assert record.stat() == before
    assert (await store.load(ID)).offset == 10


async def test_who_is_overtaken_commits_nothing(
    nodes: list[FileStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder whose locks, the kernel's too, were given to somebody else is refused at his commit;
    what the later one wrote stays."""
    # What a file server does to a machine that was silent for too long.
    monkeypatch.setattr(ManyMachines, "claim", OneMachine.claim)
    await nodes[0].create(NEW)
    earlier, later = replace(NEW, fence=5), replace(NEW, fence=6)
    async with nodes[0].append(earlier, plan(0)) as overtaken:
        overtaken.write(memoryview(b"old"))
        async with nodes[1].append(later, plan(0)) as sink:
            sink.write(memoryview(b"newer"))
            with pytest.raises(Overtaken):
                async with nodes[0].append(earlier, plan(0)):
                    pytest.fail("It was opened.")
            await sink.commit(replace(later, offset=5))
        with pytest.raises(Overtaken):
            await overtaken.commit(replace(earlier, offset=3, length=3))
    found = await nodes[0].load(ID)
    assert (found.fence, found.offset, found.length) == (6, 5, 100)
    assert (Path(nodes[0].directory) / ID).read_bytes() == b"newer"


class Losable:
    """A lease that can be lost."""

    fence = 5
    lost = False

    def retire(self) -> None:
        """Do nothing."""


async def test_a_lost_lease_changes_nothing(tmp_path: Path) -> None:
    """Once the network's lock is lost not a byte is written, none taken back, and no record: also
    where the kernel's lock is still held, for a file server may have taken it away."""
    store, lease = FileStore(tmp_path, "none", reach=ManyMachines()), Losable()
    await store.create(NEW)
    upload = replace(NEW, fence=5)
    async with store.append(upload, plan(0, revocable=True), lease) as sink:
        sink.write(memoryview(b"pending"))
        kept = [(path.name, path.read_bytes()) for path in sorted(tmp_path.glob(f"{ID}*"))]
        lease.lost = True
        with pytest.raises(Overtaken):
            sink.write(memoryview(b"late"))
        with pytest.raises(Overtaken):
            await sink.commit(replace(upload, offset=7))
    assert kept == [(path.name, path.read_bytes()) for path in sorted(tmp_path.glob(f"{ID}*"))]
    assert (await store.load(ID)).offset == 0
    with pytest.raises(Overtaken):
        async with store.append(upload, plan(0), lease):
            pytest.fail("It was opened.")
    await store.aclose()


async def test_data_are_locked_while_they_are_written(nodes: list[FileStore]) -> None:
    """Whoever has the upload's locks waits all the same until an earlier holder has closed its
    file: so a file server knows whose late bytes to refuse."""
    await nodes[0].create(NEW)
    async with nodes[0].append(replace(NEW, fence=5), plan(0)) as sink:
        sink.write(memoryview(b"all"))
        with pytest.raises(LockHeld):
            async with nodes[1].append(replace(NEW, fence=6), plan(0)):
                pytest.fail("Two were writing.")
        await sink.commit(replace(NEW, fence=5, offset=3))
    await append(nodes[1], replace(NEW, fence=6, offset=3), b"more")
    assert (await nodes[0].load(ID)).offset == 7


@pytest.mark.parametrize(
    ("asked", "got", "waits"),
    [("none", Durability.NONE, False), ("finish", Durability.ALWAYS, True)],
)
async def test_what_is_acknowledged_is_on_the_file_server(
    tmp_path: Path, asked: str, got: Durability, *, waits: bool
) -> None:
    """D12: the crash of one machine is not that of all, so what it acknowledged, and its order, is
    safe elsewhere, unless the operator wants nothing to be."""
    store = FileStore(tmp_path, asked, reach=ManyMachines())  # type: ignore[arg-type]
    assert store._folder.durability is got
    await store.create(NEW)
    async with store.append(NEW, plan(0)) as sink:
        flags = os.O_DSYNC if waits else 0
        assert fcntl_flags(sink._fd) & os.O_DSYNC == flags
        written = sink.write(memoryview(b"0123456789"))
        assert (written is not None) is waits
        if written is not None:
            await written
        await sink.commit(replace(NEW, offset=10))
    assert (await store.load(ID)).offset == 10
    await store.aclose()


def fcntl_flags(fd: int) -> int:
    """Return what a file was opened with."""
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_GETFL)


def test_a_file_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server that knows no more of a file that was replaced is asked again, not for ever."""
    (tmp_path / "file").write_bytes(b"content")
    stale = [0]

    def read(path: str) -> bytes:
        stale[0] -= 1
        if stale[0] >= 0:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return Path(path).read_bytes()

    monkeypatch.setattr(reach, "read_whole", read)
    files = ManyMachines().files(lambda _, raw: raw)
    for stale[0] in range(reach.TRIES):
        assert files.look(str(tmp_path / "file")) == b"content"
    stale[0] = reach.TRIES
    with pytest.raises(OSError, match="Stale"):
        files.look(str(tmp_path / "file"))
    with pytest.raises(FileNotFoundError):
        files.look(str(tmp_path / "nothing"))
