"""Requests from their heads to their replies: who is asked first, and what is told at the end."""

from __future__ import annotations

import logging
import re

import pytest

from vectus.engine.announce import Announcer
from vectus.engine.engine import Engine
from vectus.errors import KeyRefused, KeyTaken, RecordBroken, StoreError, StoreFull
from vectus.events import BeforeCreate, BeforeRequest, Rejected
from vectus.locks.memory import MemoryLocker
from vectus.protocol.exchange import (
    Append,
    Create,
    Discover,
    Download,
    Ending,
    Inspect,
    Terminate,
)
from vectus.protocol.policy import Feature, Policy
from vectus.protocol.upload import Role, Upload
from vectus.stores.memory import MemoryStore
from vectus.testing.fakes import ManualClock, ScriptedBody, head
from world import OCTETS, id_of

PREFLIGHT = {"origin": "https://a.example", "access_control_request_method": "PATCH"}


@pytest.mark.parametrize(
    ("method", "intent"),
    [
        ("HEAD", Inspect),
        ("GET", Download),
        ("PATCH", Append),
        ("DELETE", Terminate),
        ("POST", Create),
        ("OPTIONS", Discover),
    ],
)
async def test_an_application_authorises_every_method(world, method, intent):
    """BeforeRequest comes for every method, before a byte of the body and before any change."""
    id = await world.done(b"hello")
    body = ScriptedBody(b"x")
    world.recorder.clear()
    world.recorder.failures[BeforeRequest] = Rejected(
        401, "Who are you?", {"WWW-Authenticate": "Basic"}
    )
    where = "" if method == "POST" else id
    fields = {"upload_offset": 5, "upload_length": 5, "content_length": 1}
    reply = await world.ask(method, where, body, **fields)

    assert reply.status == 401
    assert reply.header("WWW-Authenticate") == "Basic"
    assert reply.body == (b"" if method == "HEAD" else b"refused: Who are you?\n")
    assert not body.poured
    assert [type(event.intent) for event in world.recorder.events] == [intent]
    assert await world.data(id) == b"hello"


async def test_preflights_need_no_leave(world):
    """C45: a browser's preflight carries no credentials, so nobody is asked."""
    world.recorder.failures[BeforeRequest] = Rejected(401)
    reply = await world.ask("OPTIONS", **PREFLIGHT)

    assert reply.status == 204
    assert reply.header("Access-Control-Allow-Origin") == "*"
    assert world.recorder.names == []


async def test_a_preflight_is_nothing_else(world):
    """T11, C45: what looks like a preflight and is a DELETE by its override is authorised."""
    id = await world.create(5)
    world.recorder.failures[BeforeRequest] = Rejected(401)
    reply = await world.ask("OPTIONS", id, x_http_method_override="DELETE", **PREFLIGHT)

    assert reply.status == 401
    assert await world.exists(id)


async def test_c45_errors_can_be_read_by_pages(world):
    """C45: the fields for other origins are on refusals too."""
    reply = await world.ask("HEAD", "missing", origin="https://a.example")

    assert (reply.status, reply.header("Access-Control-Allow-Origin")) == (404, "*")


@pytest.mark.parametrize("id", ["../a", "a.info", "a/b", "é", "a" * 129, "%2e%2e"])
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "GET", "DELETE"])
async def test_d13_no_store_sees_what_is_no_id(world, id, method):
    """D13: a URL that can name no upload is 404 before any store or lock is asked."""
    reply = await world.ask(method, id, b"", upload_offset=0)

    assert reply.status == 404
    assert world.store.calls == []


@pytest.mark.parametrize("error", [RuntimeError("/secret/path"), RecordBroken("a", "/secret")])
async def test_what_is_our_fault_is_told_by_an_id(world, caplog, error):
    """A 500 says nothing of the inside, but an id that the log has, with all that happened."""
    id = await world.create(5)
    world.store.before("load", error)
    with caplog.at_level(logging.ERROR, "vectus"):
        reply = await world.ask("GET", id)
    mark = re.fullmatch(
        rb"internal-error: Something went wrong \(error ([0-9a-f]+)\)\.\n", reply.body
    )

    assert reply.status == 500
    assert mark
    assert mark[1].decode() in caplog.text
    assert "secret" in caplog.text


async def test_a_back_end_that_is_away_is_told_by_an_id(world, caplog):
    """A 503 has such an id too."""
    id = await world.create(5)
    world.store.before("load", OSError("/secret/path"))
    with caplog.at_level(logging.WARNING, "vectus"):
        reply = await world.patch(id, 0, b"x")
    mark = re.search(rb"error ([0-9a-f]+)", reply.body)

    assert reply.status == 503
    assert b"secret" not in reply.body
    assert mark[1].decode() in caplog.text


@pytest.mark.parametrize("call", ["append", "write", "commit", "save"])
@pytest.mark.parametrize("error", [StoreFull(), OSError("x"), RuntimeError("x"), StoreError("x")])
async def test_location_on_every_answer_after_it_exists(world, call, error):
    """Design 8: whatever fails after an upload is made, its client learns where it is, and no
    offset that nobody knows."""
    world.store.before(call, error)
    body = ScriptedBody(b"hello")
    reply = await world.ask("POST", "", body, upload_length=5, transfer_encoding="chunked")
    id = id_of(reply)

    assert reply.status in (500, 503, 507)
    assert await world.exists(id)
    told = reply.header("Upload-Offset")
    assert told is None or int(told) == (await world.record(id)).offset


async def test_no_location_before_it_exists(world):
    """An upload that could not be made has no URL."""
    world.store.before("create", StoreFull())
    reply = await world.ask("POST", "", b"hello", upload_length=5)

    assert (reply.status, reply.header("Location")) == (507, None)
    world.store.before("create", OSError())
    assert (await world.ask("POST", "", upload_length=5)).header("Location") is None


@pytest.mark.parametrize("error", [StoreFull(), OSError("x"), RuntimeError("x"), StoreError("x")])
@pytest.mark.parametrize("data", [None, b"hello"])
async def test_a_small_upload_exists_with_its_bytes_or_not_at_all(world, error, data):
    """Design 8: what could not be stored in one step is nowhere, and the client sends it anew."""
    world.store.before("create", error)
    reply = await world.ask("POST", "", data, upload_length=5)

    assert reply.status in (500, 503, 507)
    assert (reply.header("Location"), reply.header("Upload-Offset")) == (None, None)
    assert [u async for u in world.inner.scan()] == []
    assert "Created" not in world.recorder.names


async def test_a_finish_that_fails_on_creation_says_where_it_is(world):
    """Design 8: once a small upload is stored, its URL is told whatever comes."""
    world.store.before("save", OSError("x"))
    reply = await world.ask("POST", "", b"hello", upload_length=5)

    assert reply.status == 503
    assert await world.data(id_of(reply)) == b"hello"


@pytest.mark.parametrize("size", [5, 100_000])
@pytest.mark.parametrize("ending", [Ending.COMPLETE, Ending.GONE])
async def test_an_unverified_creation_says_where_it_is(world, size, ending):
    """T57: a checksum that is wrong, or was not reached, leaves an empty upload and its URL, and
    its listeners hear of no byte."""
    body = ScriptedBody(bytes(size), ending=ending)
    claim = {"upload_checksum": "sha1 AAAA", "content_length": size}
    reply = await world.ask("POST", "", body, upload_length=size, **claim)

    assert (reply.status, reply.header("Upload-Offset")) == (
        460 if ending is Ending.COMPLETE else 400,
        "0",
    )
    assert await world.data(id_of(reply)) == b""
    assert world.recorder.names == ["BeforeRequest", "BeforeCreate", "Created"]


async def test_an_overrun_on_creation_says_where_it_is(world):
    """C38: chunks past the length are known late: the upload is there, empty, and its URL told."""
    body = ScriptedBody(b"hello!")
    reply = await world.ask("POST", "", body, upload_length=5, transfer_encoding="chunked")

    assert (reply.status, reply.header("Upload-Offset")) == (413, "0")
    assert await world.data(id_of(reply)) == b""


async def test_t63_t64_delete(world):
    """T63, T64, C37: finished or not, it is gone; asking again is 404."""
    for id in (await world.create(5), await world.done()):
        assert (await world.ask("DELETE", id)).status == 204
        assert not await world.exists(id)
        for method in ("HEAD", "PATCH", "GET", "DELETE"):
            assert (await world.ask(method, id, b"", upload_offset=0)).status == 404
    assert world.recorder.names.count("Terminated") == 2


async def test_c44_a_download_streams(world):
    """C44: content comes from the store, with its length, and an unfinished upload has none."""
    id = await world.done(b"hello world")
    reply = await world.ask("GET", id, range="bytes=6-")
    content = reply.content

    assert (reply.status, content.length) == (206, 5)
    assert b"".join([block async for block in content.blocks()]) == b"world"
    await content.aclose()
    assert (await world.ask("GET", await world.create(5))).status == 409
    unchanged = await world.ask("GET", id, if_none_match="*")
    assert (unchanged.status, unchanged.content) == (304, None)


async def test_a_reader_takes_no_lock(world):
    """Invariant 3: a download neither waits for a lock nor asks for it."""
    id = await world.done(b"hello")
    wanted = []
    async with world.locker.hold(id, lambda: wanted.append(1)):
        reply = await world.ask("GET", id)
        await reply.content.aclose()

    assert (reply.status, wanted) == (200, [])


async def test_what_is_removed_stays_readable(world):
    """A download that has begun outlives the upload."""
    id = await world.done(b"hello")
    content = (await world.ask("GET", id)).content
    await world.ask("DELETE", id)

    assert b"".join([block async for block in content.blocks()]) == b"hello"
    await content.aclose()


async def test_t26_options(build):
    """T26, T10: what is on offer, with the cap."""
    world = build(policy=Policy(max_size=7))
    reply = await world.ask("OPTIONS", "whatever", tus_resumable="9.9.9")

    assert (reply.status, reply.header("Tus-Max-Size")) == (204, "7")


# --- Stores that can do less ----------------------------------------------------------------------


class Plain:
    """A store that can neither scan nor join."""

    def __init__(self) -> None:
        inner = MemoryStore()
        for name in ("create", "load", "append", "save", "read", "remove", "aclose"):
            setattr(self, name, getattr(inner, name))


async def test_a_store_that_cannot_join(world):
    """Joining and scanning are abilities a store need not have: partials work without, and the
    bytes of a final upload are nobody's."""
    less = frozenset(Feature) - {Feature.CONCATENATION, Feature.CONCATENATION_UNFINISHED}
    engine = Engine(
        Plain(), MemoryLocker(), Policy(less), Announcer(), clock=ManualClock(), ids=lambda: "abc"
    )
    assert (await engine(head("POST", upload_length=5), ScriptedBody())).status == 201
    fields = {"content_type": OCTETS, "upload_offset": 0, "content_length": 5}
    assert (await engine(head("PATCH", "abc", **fields), ScriptedBody(b"hello"))).status == 204
    assert (await engine(head("DELETE", "abc"), ScriptedBody())).status == 204


class Linking(MemoryStore):
    """A store with a server of its own, which has some uploads."""

    url: str | None = "https://s3.example/"

    async def link(self, upload: Upload, kind: str, disposition: str) -> str | None:
        """Say what was asked."""
        return self.url and f"{self.url}{upload.id}?{kind}&{disposition}"


async def test_c44_a_download_from_the_stores_own_server():
    """C44: a client is sent there, with the type and the disposition that it would get here; what
    is not to be had there is streamed."""
    store = Linking()
    metadata = "filetype dmlkZW8vbXA0,filename YQ=="
    done = Upload("abc", length=5, offset=5, metadata=metadata, finished=True, announced=True)
    await store.create(done, b"hello")
    engine = Engine(store, MemoryLocker(), Policy(redirect=True), Announcer(), clock=ManualClock())
    reply = await engine(head("GET", "abc"), ScriptedBody())
    assert (reply.status, reply.content) == (302, None)
    assert reply.header("Location").startswith("https://s3.example/abc?video/mp4&inline; filename=")
    store.url = None
    reply = await engine(head("GET", "abc"), ScriptedBody())
    assert (reply.status, [block async for block in reply.content.blocks()]) == (200, [b"hello"])


class Naming(MemoryStore):
    """A store whose uploads may have keys of the application's choice, but not all."""

    def check_key(self, key: str) -> None:
        """Refuse some."""
        if key == "bad":
            raise KeyRefused(key, "it is bad")

    async def create(self, upload: Upload, data: bytes = b"") -> None:
        """Refuse others."""
        if upload.key == "taken":
            raise KeyTaken(upload.key)
        await super().create(upload, data)


@pytest.mark.parametrize(
    ("key", "status", "words"),
    [
        ("films/a.mp4", 201, b""),
        ("bad", 400, b"bad-key: The key that was chosen cannot be used: it is bad.\n"),
        ("taken", 403, b"key-taken: There is something under the key that was chosen.\n"),
    ],
)
async def test_a_key_that_a_listener_chose(key, status, words):
    """The upload has it from its creation on; one that cannot be is refused with a status that
    clients take for final."""
    store, announcer = Naming(), Announcer()
    announcer.add(BeforeCreate, lambda event: event.store_as(key))
    engine = Engine(
        store, MemoryLocker(), Policy(), announcer, clock=ManualClock(), ids=lambda: "abc"
    )
    reply = await engine(head("POST", upload_length=5), ScriptedBody())

    assert (reply.status, reply.body) == (status, words)
    if status == 201:
        assert (await store.load("abc")).key == key


async def test_a_key_in_a_store_that_has_none(caplog):
    """A choice that cannot be heeded, and two that differ, are the application's mistake: nothing
    is created, and the log says why."""
    announcer = Announcer()
    announcer.add(BeforeCreate, lambda event: event.store_as("a.mp4"))
    engine = Engine(MemoryStore(), MemoryLocker(), Policy(), announcer, clock=ManualClock())
    assert (await engine(head("POST", upload_length=5), ScriptedBody())).status == 500
    announcer.add(BeforeCreate, lambda event: event.store_as("b.mp4"))
    assert (await engine(head("POST", upload_length=5), ScriptedBody())).status == 500

    assert "no keys that could be chosen" in caplog.text
    assert "Two listeners chose keys" in caplog.text


async def test_a_partial_in_a_store_that_cannot_join():
    """A partial that another server left there is finished like any other."""
    store = Plain()
    await store.create(Upload("abc", role=Role.PARTIAL, length=5, expires=1.0))
    engine = Engine(store, MemoryLocker(), Policy(expire_after=None), Announcer(), clock=float)
    fields = {"content_type": OCTETS, "upload_offset": 0, "content_length": 5}

    assert (await engine(head("PATCH", "abc", **fields), ScriptedBody(b"hello"))).status == 204
    assert (await engine(head("DELETE", "abc"), ScriptedBody())).status == 204


async def test_d12_a_store_that_is_really_full():
    """D12: what fits is kept and told, and the rest can come when there is room."""
    store = MemoryStore(capacity=3)
    await store.create(Upload("abc", length=5))
    engine = Engine(store, MemoryLocker(), Policy(), Announcer(), clock=ManualClock())
    fields = {"content_type": OCTETS, "upload_offset": 0, "content_length": 5}
    reply = await engine(head("PATCH", "abc", **fields), ScriptedBody(b"he", b"llo"))

    assert (reply.status, reply.header("Upload-Offset")) == (507, "3")
    assert (await store.load("abc")).offset == 3


async def test_ids_are_long_and_match_their_grammar(world):
    """D13: 128 random bits at least, and never the same."""
    ids = {await world.create(5) for _ in range(50)}

    assert len(ids) == 50
    assert all(re.fullmatch(r"[0-9a-f]{32}", id) for id in ids)
