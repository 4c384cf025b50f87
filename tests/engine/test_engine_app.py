"""``Uploads``: one object from a store and options, with listeners, as an ASGI application."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx2
import pytest

from vectus import Rejected, Uploads
from vectus.errors import ConfigurationError
from vectus.events import BeforeCreate, Created, Event, Finished
from vectus.locks.memory import MemoryLocker
from vectus.protocol.policy import Cors, Feature
from vectus.stores.memory import MemoryStore
from vectus.testing.fakes import ManualClock, Recorder
from world import LIMIT, OCTETS

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": OCTETS, "Upload-Offset": "0"}


def client(app: Uploads) -> httpx2.AsyncClient:
    """A client of an application that no server serves."""
    transport = httpx2.ASGITransport(app=app)
    return httpx2.AsyncClient(transport=transport, base_url="http://example.org")


async def upload(app: Uploads, data: bytes = b"hello") -> httpx2.Response:
    """Upload something; return the last answer."""
    async with client(app) as http:
        created = await http.post("/", headers=TUS | {"Upload-Length": str(len(data))})
        if created.status_code != 201:
            return created
        return await http.patch(created.headers["Location"], headers=BYTES, content=data)


@pytest.mark.parametrize("store", ["memory://", "directory"])
async def test_an_application_from_a_url_or_a_directory(store, tmp_path):
    """A store is named by a URL or a directory, and its locks come with it."""
    app = Uploads(tmp_path / "store" if store == "directory" else store)
    async with app, client(app) as http:
        created = await http.post("/", headers=TUS | {"Upload-Length": "5"})
        url = created.headers["Location"]
        await http.patch(url, headers=BYTES, content=b"hello")
        found = await http.get(url)

    assert (found.status_code, found.content) == (200, b"hello")


async def test_listeners_are_registered_by_a_decorator():
    """``on`` takes several kinds, or none for all, and gives the function back."""
    app, heard, everything = Uploads("memory://"), [], Recorder()

    @app.on(Created, Finished)
    async def listen(event: Event) -> None:
        heard.append(type(event))

    assert app.on()(everything) is everything
    async with app:
        assert (await upload(app)).status_code == 204

    assert listen.__name__ == "listen"
    assert heard == [Created, Finished]
    assert everything.names[-1] == "Finished"


async def test_a_listener_refuses():
    """``Rejected`` is the application's answer."""
    app = Uploads("memory://")

    @app.on(BeforeCreate)
    def refuse(event: BeforeCreate) -> None:
        raise Rejected(422, f"{event.upload.length} bytes are too few.")

    reply = await upload(app)
    assert (reply.status_code, reply.text) == (422, "refused: 5 bytes are too few.\n")
    with pytest.raises(ValueError, match="between 400 and 599"):
        Rejected(200)


async def test_options_become_a_policy():
    """What is offered is what the options allow and the store can do."""
    app = Uploads(
        "memory://",
        max_size="1KiB",
        expire_after="never",
        expire_finished="1h",
        drop_partials=True,
        download=False,
        termination=False,
        cors=False,
    )
    off = {Feature.DOWNLOAD, Feature.TERMINATION, Feature.EXPIRATION}

    assert app.policy.features == frozenset(Feature) - off
    assert (app.policy.max_size, app.policy.expire_after) == (1024, None)
    assert (app.policy.expire_finished, app.policy.drop_partials) == (3600.0, True)
    assert app.policy.cors is None
    assert Uploads("memory://").policy.cors == Cors()
    chosen = Cors(("https://a.example",))
    assert Uploads("memory://", cors=chosen).policy.cors == chosen


@dataclass
class Plain:
    """A store that can neither scan nor join."""


async def test_a_store_of_ones_own_brings_its_locks():
    """A store object needs locks beside it, and offers what it can."""
    with pytest.raises(ConfigurationError, match="without locks"):
        Uploads(MemoryStore())
    app = Uploads(Plain(), locker=MemoryLocker())

    absent = frozenset(Feature) - app.policy.features
    assert absent == {
        Feature.CONCATENATION,
        Feature.CONCATENATION_UNFINISHED,
        Feature.EXPIRATION,
    }


async def test_started_it_sweeps():
    """``async with`` starts the sweeper, once, and ends it."""
    clock = ManualClock()
    app = Uploads("memory://", expire_after=60, clock=clock)
    async with client(app) as http:
        await http.post("/", headers=TUS | {"Upload-Length": "5"})
    clock.advance(61)
    gone = asyncio.Event()
    app.listen(Event, lambda _: gone.set())
    async with app, app:
        await asyncio.wait_for(gone.wait(), LIMIT)

    assert [u async for u in app.store.scan()] == []


async def test_it_lives_as_its_host_does():
    """As a root application it follows the lifespan protocol."""
    app = Uploads("memory://")
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive() -> dict:
        return incoming.pop(0)

    async def send(message: dict) -> None:
        sent.append(message["type"])

    await asyncio.wait_for(app({"type": "lifespan"}, receive, send), LIMIT)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_locations_follow_the_mount():
    """D13: path-absolute below the base path, or absolute under the public URL."""
    for options, start in (
        ({"base_path": "/files/"}, "/files/"),
        ({"public_url": "https://up.example.org/x"}, "https://up.example.org/x/"),
    ):
        app = Uploads("memory://", **options)
        async with client(app) as http:
            path = options.get("base_path", "/")
            reply = await http.post(path, headers=TUS | {"Upload-Length": "5"})
            assert reply.headers["Location"].startswith(start)


@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_a_body_of_http_2_needs_no_length(method):
    """C29: there it has an end nobody told of before; so more of it than there is room for leaves
    nothing, and it is not kept in memory until then."""
    app, received = Uploads("memory://"), [b"hello", b" and too much"]
    async with app, client(app) as http:
        made = await http.post("/", headers=TUS | {"Upload-Length": "5"})
        path = made.headers["Location"] if method == "PATCH" else "/"
        fields = BYTES | ({} if method == "PATCH" else {"Upload-Length": "5"})
        scope = {
            "type": "http",
            "http_version": "2",
            "method": method,
            "path": path,
            "headers": [(n.lower().encode(), v.encode()) for n, v in fields.items()],
        }
        kept: list[int] = []
        sent: list[dict[str, object]] = []

        async def receive() -> dict[str, object]:
            kept.append(len([upload async for upload in app.store.scan()]))
            return {"type": "http.request", "body": received.pop(0), "more_body": bool(received)}

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        await app(scope, receive, send)
        answer = dict(sent[0]["headers"])
        url = path if method == "PATCH" else answer[b"location"].decode()
        found = await http.head(url, headers=TUS)

    assert sent[0]["status"] == 413
    assert found.headers["Upload-Offset"] == "0"
    assert kept == ([1, 1] if method == "PATCH" else [2, 2])
