"""A store that fails at every step: the right answer, the right state, and nothing lost."""

from __future__ import annotations

import pytest

from vectus.errors import Overtaken, StoreError, StoreFull, StoreUnavailable, UploadNotFound
from vectus.protocol.exchange import Ending
from vectus.testing.fakes import ScriptedBody

CHUNKED = {"transfer_encoding": "chunked"}

ERRORS = {
    "away": (OSError("/secret"), 503),
    "unreachable": (StoreUnavailable("/secret"), 503),
    "full": (StoreFull(), 507),
    "overtaken": (Overtaken("x"), 423),
    "broken": (StoreError("/secret"), 500),
    "missing": (UploadNotFound("x"), 404),
}
every_error = pytest.mark.parametrize("name", ERRORS)


@every_error
@pytest.mark.parametrize("call", ["load", "append", "write", "commit", "save"])
@pytest.mark.parametrize("fields", [{"content_length": 3}, CHUNKED])
async def test_a_patch_meets_a_failure(world, name, call, fields):
    """D3: whatever fails, the answer fits, says nothing of the inside, and no byte is made up: the
    client asks where it is, goes on, and the upload is exact."""
    error, status = ERRORS[name]
    id = await world.create(5)
    assert (await world.patch(id, 0, b"he")).status == 204
    world.store.before(call, error)
    reply = await world.patch(id, 2, ScriptedBody(b"llo"), **fields)
    if call == "write" and name == "full":
        assert reply.header("Upload-Offset") == "2"
    told = reply.header("Upload-Offset")

    assert reply.status == status
    assert b"secret" not in reply.body
    assert told is None or int(told) == (await world.record(id)).offset
    assert world.store.quiet
    offset = await world.offset(id)
    assert (await world.patch(id, offset, b"hello"[offset:])).status == 204
    assert await world.data(id) == b"hello"
    assert world.recorder.names.count("Finished") == 1


@every_error
async def test_a_head_meets_a_failure(world, name):
    """D3: what passes by itself is 423 on HEAD."""
    error, status = ERRORS[name]
    id = await world.create(5)
    world.store.before("load", error)
    reply = await world.ask("HEAD", id)

    assert reply.status == {503: 423}.get(status, status)
    assert reply.header("Upload-Offset") is None
    assert await world.offset(id) == 0


@every_error
@pytest.mark.parametrize("call", ["load", "remove"])
async def test_a_delete_meets_a_failure(world, name, call):
    """D3: a removal that failed can be asked for again."""
    error, status = ERRORS[name]
    id = await world.create(5)
    world.store.before(call, error)
    assert (await world.ask("DELETE", id)).status == status
    assert await world.exists(id)

    assert (await world.ask("DELETE", id)).status == 204


@every_error
@pytest.mark.parametrize("call", ["load", "read"])
async def test_a_download_meets_a_failure(world, name, call):
    """A download that could not begin is an error, not an empty file."""
    error, status = ERRORS[name]
    id = await world.done()
    world.store.before(call, error)
    reply = await world.ask("GET", id)

    assert (reply.status, reply.content) == (status, None)


@pytest.mark.parametrize("fields", [{"content_length": 5}, CHUNKED])
async def test_d12_a_disk_that_fills_up(world, fields):
    """D12: 507 with Retry-After, and what fitted is kept and told."""
    id = await world.create(10)
    world.store.before("write", StoreFull())
    body = ScriptedBody(b"hello")
    reply = await world.patch(id, 0, body, **fields)
    assert body.ended is Ending.FULL
    assert (reply.status, reply.header("Retry-After")) == (507, "60")
    world.store.after("write", StoreFull())
    reply = await world.patch(id, 0, ScriptedBody(b"hel", b"lo"), **fields)

    assert (reply.status, reply.header("Upload-Offset")) == (507, "3")
    assert await world.data(id) == b"hel"


async def test_d12_a_full_disk_keeps_no_unverified_byte(world):
    """D12, T57: of a checksummed body that did not fit whole nothing is kept."""
    id = await world.create(10)
    world.store.after("write", StoreFull())
    reply = await world.patch(
        id, 0, ScriptedBody(b"hel", b"lo"), upload_checksum="sha1 YQ==", content_length=5
    )

    assert (reply.status, reply.header("Upload-Offset")) == (507, "0")
    assert await world.data(id) == b""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["save", "commit"])
async def test_d2_a_finish_that_could_not_be_recorded(world, call, when):
    """D2: the client hears of it, the sweeper tries again, and the finish is told once."""
    id = await world.create(5)
    getattr(world.store, when)(call, OSError("x"))
    assert (await world.patch(id, 0, b"hello")).status == 503
    assert await world.offset(id) == 5

    assert (await world.record(id)).finished
    assert world.recorder.names.count("Finished") == 1


async def test_d3_a_finish_that_still_fails(world):
    """D3: HEAD is 423 with Retry-After as long as the finish cannot be recorded, PATCH is 503; the
    sweeper does it when it can."""
    id = await world.create(5)
    world.store.before("save", *[OSError("x")] * 3)
    assert (await world.patch(id, 0, b"hello")).status == 503
    reply = await world.ask("HEAD", id)
    assert (reply.status, reply.header("Retry-After")) == (423, "1")
    assert (await world.patch(id, 5)).status == 503
    await world.progress.sweep_owed()

    await world.until_finished(id)


async def test_a_partial_whose_finals_cannot_be_found(world):
    """D8: the bytes are safe; the partial is asked about again, and then its final is joined."""
    part = await world.partial(length=1)
    id = await world.final(part)
    world.store.before("finals", OSError("x"))
    assert (await world.patch(part, 0, b"a")).status == 503
    assert await world.offset(part) == 1

    await world.until_finished(id)


async def test_a_terminated_upload_cannot_be_saved_back(world):
    """Nothing comes back: a removal that came between is the last word."""
    id = await world.create(5)
    world.store.before("commit", UploadNotFound(id))
    await world.patch(id, 0, b"he")
    assert (await world.ask("DELETE", id)).status == 204

    assert (await world.ask("HEAD", id)).status == 404
