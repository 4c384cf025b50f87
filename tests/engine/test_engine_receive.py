"""What becomes of a body: every way it can end, for every way bytes can come."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import zlib

import pytest

from vectus.contracts import Take
from vectus.events import BeforeFinish
from vectus.protocol.exchange import Ending
from vectus.protocol.messages import Headers
from vectus.protocol.policy import ALGORITHMS, Feature, Policy
from vectus.testing.fakes import Pause, ScriptedBody, head
from world import id_of, soon

EARLY = {
    Ending.GONE: 400,
    Ending.STALLED: 500,
    Ending.BROKEN: 400,
    Ending.WANTED: 423,
    Ending.SHUTDOWN: 503,
    Ending.FULL: 507,
}
"""The early ends that keep what came, and their status."""

CLOSING = {Ending.GONE, Ending.STALLED, Ending.BROKEN, Ending.SHUTDOWN}


def checksum(data: bytes, algorithm: str = "sha1") -> str:
    """Word the checksum of some bytes."""
    if algorithm == "crc32":
        digest = zlib.crc32(data).to_bytes(4, "big")
    else:
        digest = hashlib.new(algorithm, data).digest()
    return f"{algorithm} {base64.b64encode(digest).decode()}"


CHUNKED = {"transfer_encoding": "chunked"}
TRAILER = CHUNKED | {"trailer": "Upload-Checksum"}


# --- Bodies that come whole -----------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{"content_length": 5}, CHUNKED])
async def test_t22_a_body_that_comes_whole(world, fields):
    """T22, C29: 204 and the new offset, with a length and with chunks."""
    id = await world.create(10)
    reply = await world.patch(id, 0, ScriptedBody(b"he", b"llo"), **fields)

    assert (reply.status, reply.header("Upload-Offset")) == (204, "5")
    assert await world.data(id) == b"hello"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("how", ["head", "trailer"])
async def test_t53_every_algorithm(world, algorithm, how):
    """T53, T58, T60: each algorithm verifies, before the bytes and after them."""
    id = await world.create(5)
    claim = checksum(b"hello", algorithm)
    if how == "head":
        reply = await world.patch(id, 0, b"hello", upload_checksum=claim)
    else:
        body = ScriptedBody(b"hel", b"lo", trailers=[("upload-checksum", claim)])
        reply = await world.patch(id, 0, body, **TRAILER)

    assert (reply.status, reply.header("Upload-Offset")) == (204, "5")
    assert await world.data(id) == b"hello"


@pytest.mark.parametrize(
    ("trailers", "status"),
    [
        ([("upload-checksum", checksum(b"other"))], 460),
        ([("upload-checksum", "sha1 x")], 400),
        ([("upload-checksum", "rot13 YQ==")], 400),
        ([], 400),
    ],
)
async def test_t60_c18_trailers_that_do_not_verify(world, trailers, status):
    """T60, T57, C18: wrong, unreadable, unknown or missing: refused, and nothing is kept."""
    id = await world.create(5)
    reply = await world.patch(id, 0, ScriptedBody(b"hello", trailers=trailers), **TRAILER)

    assert (reply.status, reply.header("Upload-Offset")) == (status, "0")
    assert await world.data(id) == b""
    assert (await world.patch(id, 0, b"hello")).status == 204


# --- Bodies that end early ------------------------------------------------------------------------


@pytest.mark.parametrize("ending", EARLY)
@pytest.mark.parametrize("fields", [{"content_length": 9}, CHUNKED])
@pytest.mark.parametrize("length", [10, None])
async def test_t25_an_early_end_keeps_what_came(world, ending, fields, length):
    """T25, C34, C35: whichever way it ended and came, the bytes stay and their offset is told."""
    id = await world.create(length)
    reply = await world.patch(id, 0, ScriptedBody(b"hel", b"lo", ending=ending), **fields)

    assert (reply.status, reply.header("Upload-Offset")) == (EARLY[ending], "5")
    assert reply.close is (ending in CLOSING)
    assert await world.data(id) == b"hello"
    assert await world.offset(id) == 5


@pytest.mark.parametrize("ending", EARLY)
@pytest.mark.parametrize("how", ["head", "trailer"])
async def test_c20_an_early_end_cannot_be_verified(world, ending, how):
    """C20: a checksummed body that was cut keeps nothing, even if it would match."""
    id = await world.create(10)
    assert (await world.patch(id, 0, b"abc")).status == 204
    fields = {"content_length": 7, "upload_checksum": checksum(b"hello")}
    body = ScriptedBody(b"hello", ending=ending, trailers=[("upload-checksum", checksum(b"hello"))])
    reply = await world.patch(id, 3, body, **(TRAILER if how == "trailer" else fields))

    assert (reply.status, reply.header("Upload-Offset")) == (EARLY[ending], "3")
    assert await world.data(id) == b"abc"


@pytest.mark.parametrize("ending", EARLY)
async def test_d4_a_declaration_is_kept_with_what_came(world, ending):
    """D4: a body that ends early keeps its bytes, and so the length it declared."""
    id = await world.create()
    body = ScriptedBody(b"hel", ending=ending)
    await world.patch(id, 0, body, content_length=5, upload_length=5)

    assert (await world.record(id)).length == 5


@pytest.mark.parametrize("ending", EARLY)
async def test_t45_an_early_end_on_creation(world, ending):
    """T45: what came with a POST is kept, and where to go on is told."""
    body = ScriptedBody(b"hel", ending=ending)
    reply = await world.ask("POST", "", body, upload_length=5, content_length=5)

    assert (reply.status, reply.header("Upload-Offset")) == (EARLY[ending], "3")
    assert await world.data(id_of(reply)) == b"hel"


async def test_a_lost_lock_keeps_nothing_that_may_be_anothers(world):
    """Invariant 3: who lost the lock commits nothing."""
    id = await world.create(10)
    body = ScriptedBody(b"hel", ending=Ending.LOST)
    reply = await world.patch(id, 0, body, **CHUNKED)

    assert reply.status == 423
    assert await world.data(id) == b""


# --- Too many bytes -------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [(b"hello world",), (b"hello", b" world"), (b"hello", b"!")])
async def test_c10_an_overrun_keeps_nothing(world, pieces):
    """C10, C13: chunks past the length: 413, no byte, no declaration, and no finish."""
    id = await world.create()
    reply = await world.patch(id, 0, ScriptedBody(*pieces), upload_length=5, **CHUNKED)
    record = await world.record(id)

    assert (reply.status, reply.header("Upload-Offset")) == (413, "0")
    assert (record.offset, record.length, record.finished) == (0, None, False)
    assert "Finished" not in world.recorder.names


async def test_c30_the_cap_holds_for_chunks(build):
    """C30: an upload of deferred length stops at the cap, however its bytes come."""
    world = build(policy=Policy(max_size=4))
    id = await world.create()

    assert (await world.patch(id, 0, ScriptedBody(b"hello"), **CHUNKED)).status == 413
    assert (await world.patch(id, 0, b"hello")).status == 413
    assert (await world.patch(id, 0, ScriptedBody(b"hell"), **CHUNKED)).status == 204
    assert await world.offset(id) == 4


class Careless(ScriptedBody):
    """A body that forgets a reason it is given while it hands out its last piece."""

    async def pour(self, take: Take) -> Ending:
        await super().pour(take)
        return Ending.COMPLETE


async def test_an_overrun_is_one_whatever_the_body_says(world):
    """C10: bytes that were not taken are never acknowledged, even if a front end is careless."""
    id = await world.create(5)
    reply = await world.patch(id, 0, Careless(b"hello world"), **CHUNKED)

    assert reply.status == 413
    assert await world.data(id) == b""


async def test_a_complete_upload_takes_no_chunk(world):
    """C08: chunks into a complete upload are 413, none at all is 204."""
    id = await world.done(b"hello")

    assert (await world.patch(id, 5, ScriptedBody(b"!"), **CHUNKED)).status == 413
    assert (await world.patch(id, 5, ScriptedBody(), **CHUNKED)).status == 204
    cut = ScriptedBody(ending=Ending.GONE)
    assert (await world.patch(id, 5, cut, **CHUNKED)).status == 400
    assert await world.data(id) == b"hello"
    assert world.recorder.names.count("Finished") == 1


# --- Refused before reading -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"upload_offset": 3}, 409),
        ({"upload_offset": "x"}, 400),
        ({"content_type": "text/plain"}, 415),
        ({"content_length": 99}, 413),
        ({"upload_length": 11}, 400),
        ({"upload_checksum": "rot13 YQ=="}, 400),
        ({"tus_resumable": "0.2.2"}, 412),
        ({"expect": "a miracle"}, 417),
        (CHUNKED, 400),
    ],
)
async def test_no_byte_is_read_of_what_the_head_refuses(world, fields, status):
    """Invariant 4: what the head tells is refused before the first byte is asked for."""
    id = await world.create(10)
    body = ScriptedBody(b"hello")
    how = {"upload_offset": 0, "content_length": 5} | fields
    reply = await world.ask("PATCH", id, body, **how)

    assert reply.status == status
    assert not body.poured
    assert (await world.record(id)).offset == 0


async def test_bytes_are_not_read_where_creation_takes_none(build):
    """T43: where bytes on POST are not offered they are left alone, and a plain upload is made."""
    world = build(policy=Policy(features=frozenset(Feature) - {Feature.CREATION_WITH_UPLOAD}))
    body = ScriptedBody(b"hello")
    reply = await world.ask("POST", "", body, upload_length=5, content_length=5)

    assert (reply.status, reply.header("Upload-Offset"), body.poured) == (201, None, False)


# --- Cancelled ------------------------------------------------------------------------------------


async def cancel(task: asyncio.Task) -> None:
    """Cancel a request, and see that it ends so."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)


async def test_a_request_cancelled_while_it_waits_for_bytes(world):
    """Invariant 2: a cancellation is an early end: what came is committed, and it goes on."""
    id = await world.create(10)
    pause = Pause()
    task = world.begin(world.patch(id, 0, ScriptedBody(b"hello", pause), **CHUNKED))
    await soon(pause.reached.wait())
    await cancel(task)

    assert await world.data(id) == b"hello"
    assert await world.offset(id) == 5
    assert "Received" in world.recorder.names


async def test_a_checksummed_request_cancelled(world):
    """C20: nothing of it is kept, and the cancellation is not swallowed."""
    id = await world.create(10)
    pause = Pause()
    body = ScriptedBody(b"hello", pause)
    task = world.begin(
        world.patch(id, 0, body, content_length=10, upload_checksum=checksum(b"hello"))
    )
    await soon(pause.reached.wait())
    await cancel(task)

    assert await world.data(id) == b""
    assert await world.offset(id) == 0


async def test_a_request_cancelled_while_a_write_is_under_way(world):
    """D5: nobody gets the lock before the write has returned, and then its bytes count."""
    id = await world.create(10)
    pause = Pause()
    world.store.before("write", pause)
    task = world.begin(world.patch(id, 0, b"hello", content_length=5))
    await soon(pause.reached.wait())
    task.cancel()
    newcomer = world.begin(world.ask("HEAD", id))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not newcomer.done()
    pause.resume()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)

    assert (await soon(newcomer)).header("Upload-Offset") == "5"
    assert await world.data(id) == b"hello"


async def test_a_request_cancelled_while_it_commits(world):
    """Invariant 2: a commit that has begun is not torn: the offset is told afterwards as it is."""
    id = await world.create(5)
    pause = Pause()
    world.store.after("commit", pause)
    task = world.begin(world.patch(id, 0, b"hello"))
    await soon(pause.reached.wait())
    await cancel(task)

    assert await world.data(id) == b"hello"
    assert await world.offset(id) == 5
    assert (await world.record(id)).finished


async def test_a_request_cancelled_on_creation(world):
    """T45: a POST that was cancelled leaves an upload with what came."""
    pause = Pause()
    body = ScriptedBody(b"hel", pause)
    task = world.begin(world.ask("POST", "", body, upload_length=5, content_length=5))
    await soon(pause.reached.wait())
    await cancel(task)
    (created,) = world.recorder.uploads(type(world.recorder.events[2]))

    assert await world.data(created.id) == b"hel"


async def test_the_last_byte_of_a_cancelled_request_finishes(world):
    """Invariant 2: if all bytes are there the upload is finished, whoever listens."""
    id = await world.create(5)
    pause = Pause()
    task = world.begin(world.patch(id, 0, ScriptedBody(b"hello", pause), **CHUNKED))
    await soon(pause.reached.wait())
    await cancel(task)

    assert (await world.record(id)).finished
    assert world.recorder.names.count("Finished") == 1


# --- Finishing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("listening", [True, False])
async def test_t38_no_bytes_at_all(build, listening):
    """T38, C11: an upload of no bytes is finished by its creation, and its finish is told once."""
    world = build(listening=listening)
    id = await world.create(0)

    assert (await world.record(id)).finished
    assert await world.offset(id) == 0
    assert (await world.patch(id, 0)).status == 204
    assert world.recorder.names.count("Finished") == (1 if listening else 0)


async def test_a_declaration_alone_can_finish(world):
    """T36, C12: the length that is reached already, with no bytes."""
    id = await world.create()
    await world.patch(id, 0, b"hello")
    reply = await world.patch(id, 5, b"", upload_length=5)

    assert (reply.status, reply.header("Upload-Offset")) == (204, "5")
    assert (await world.record(id)).finished


async def test_finish_is_recorded_with_the_last_byte_where_nobody_has_a_say(build):
    """D2: without listeners one record says both; a crash between them cannot be."""
    world = build(listening=False)
    id = await world.create(5)
    await world.patch(id, 0, b"hello")

    assert (await world.record(id)).finished
    assert "save" not in world.store.calls


async def test_what_is_finished_is_announced_before_the_answer(world):
    """Events come in their order: the bytes, the question, the finish."""
    id = await world.create(5)
    world.recorder.clear()
    await world.patch(id, 0, b"hello")

    assert world.recorder.names == ["BeforeRequest", "Received", "BeforeFinish", "Finished"]
    (asked,) = world.recorder.uploads(BeforeFinish)
    assert (asked.offset, asked.finished) == (5, False)


async def test_trailers_of_a_body_that_did_not_end_are_none():
    """A scripted body has trailers once it is complete, as the contract says."""
    body = ScriptedBody(b"x", trailers=[("a", "b")])
    assert list(body.trailers) == []
    await body.pour(lambda _: None)
    assert list(body.trailers) == [("a", "b")]
    assert list(Headers()) == []


def test_an_engine_is_a_handler(world):
    """The engine is what a front end calls."""
    assert callable(world.engine)
    assert head("HEAD", "a").uri == "/files/a"
