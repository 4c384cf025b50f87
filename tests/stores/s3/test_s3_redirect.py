"""Downloads that are sent to the S3 server itself, by a URL that is of no use soon."""

from __future__ import annotations

import base64
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from s3_faults import FaultyGateway
from s3_places import LEAST, make_place

from server import Port, vectus_serve
from vectus.app import Uploads
from vectus.errors import ConfigurationError
from vectus.events import BeforeRequest, Rejected
from vectus.protocol.messages import Reply
from vectus.protocol.policy import Policy
from vectus.stores.s3.place import Place, parse
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import pattern
from world import World

DATA = pattern(2 * LEAST + 1000)
LIMIT = 30.0


def described(**pairs: str) -> str:
    """Word metadata."""
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in pairs.items())


class Redirecting(World):
    """An engine that sends downloads to the S3 server."""

    def __init__(self, store: S3Store) -> None:
        super().__init__(store, policy=Policy(redirect=True), listening=False)
        self.engine.store = store  # not behind the one that fails, which has no URLs to give

    async def url(self, id: str) -> str:
        """Ask for an upload, and return where it is to be had."""
        return location(await self.ask("GET", id))


def location(reply: Reply) -> str:
    """Return where a reply sends one."""
    assert reply.status == 302, reply
    found = reply.header("Location")
    assert found is not None
    return found


def fetch(url: str, **fields: str) -> httpx2.Response:
    """Get what is at a URL, and go nowhere else."""
    return httpx2.get(url, headers=fields, timeout=LIMIT, trust_env=False)


@pytest.fixture
def at_place(request: pytest.FixtureRequest):
    """Give out stores at a server, perhaps with options of their own."""
    stores: list[S3Store] = []

    def make(**options: object) -> S3Store:
        where = replace(make_place(request.getfixturevalue("rgw")), smallest=LEAST, part_size=LEAST)
        stores.append(S3Store(replace(where, **options)))  # type: ignore[arg-type]
        return stores[-1]

    yield make
    for store in stores:
        store._threads.close()
        store._disk.close()
        store._gateway.close()


@pytest.mark.parametrize("server", ["rgw", "moto"])
async def test_the_bytes_are_the_uploads(server: str, request: pytest.FixtureRequest) -> None:
    """A finished upload is fetched from the S3 server, whole or a range of it, with its type; the
    answer that says where may not be kept by anybody."""
    store = S3Store(make_place(request.getfixturevalue(server)))
    world = Redirecting(store)
    id = await world.done(DATA, upload_metadata=described(filename="a b.mp4", filetype="video/mp4"))
    reply = await world.ask("GET", id, origin="https://app.example", range="bytes=5-9")
    assert reply.header("Cache-Control") == "no-store"
    assert reply.header("Access-Control-Allow-Origin") == "*"
    assert reply.header("Content-Length") == "0"
    assert reply.content is None
    assert location(reply).startswith(f"{store.place.endpoint}/{store.place.bucket}/")

    whole, some = fetch(location(reply)), fetch(location(reply), range="bytes=5-9")
    assert (whole.status_code, whole.content) == (200, DATA)
    assert (some.status_code, some.content) == (206, DATA[5:10])
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["content-disposition"].startswith('inline; filename="a b.mp4"')
    await world.aclose()


async def test_joined_uploads_are_redirected_to_as_well(at_place: Callable[..., S3Store]) -> None:
    """A final upload's object is as good as any, and so is a finished partial's."""
    world = Redirecting(at_place())
    part = await world.partial(DATA)
    final = await world.final(f"/files/{part}", f"/files/{part}")
    await world.until_finished(final)

    assert fetch(await world.url(part)).content == DATA
    assert fetch(await world.url(final)).content == DATA + DATA
    await world.progress.aclose()


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/pdf", "a/b; c=\r\nd"])
async def test_what_could_run_is_not_shown(at_place: Callable[..., S3Store], kind: str) -> None:
    """C44: what a browser might run is offered for saving, whatever the object says it is."""
    world = Redirecting(at_place())
    name = 'ü"\r\nX-Evil: 1.html'
    id = await world.done(b"<script>", upload_metadata=described(filename=name, filetype=kind))
    answer = fetch(await world.url(id))

    assert answer.content == b"<script>"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert "x-evil" not in answer.headers
    assert answer.headers["content-type"] in (kind, "application/octet-stream")
    await world.progress.aclose()


async def test_a_url_is_of_no_use_soon(at_place: Callable[..., S3Store]) -> None:
    """After its time the server, which verifies, gives nothing; nor for another upload."""
    store = at_place()
    world = Redirecting(store)
    id, other = await world.done(DATA), await world.done(b"another's")
    url = await world.url(id)
    assert fetch(url.replace(id, other)).status_code == 403
    assert fetch(url).status_code == 200
    store._vault.bucket._place = replace(store.place, link_lifetime=1)
    url = await world.url(id)
    until = time.monotonic() + LIMIT
    while fetch(url).status_code == 200:
        assert time.monotonic() < until
        time.sleep(0.1)  # noqa: ASYNC251 - there is nothing to wait for but the time

    assert fetch(url).status_code == 403
    await world.progress.aclose()


async def test_others_know_the_server_by_another_name(
    rgw: str, at_place: Callable[..., S3Store]
) -> None:
    """``public_endpoint`` is what the URL begins with, and what is signed."""
    public = rgw.replace("127.0.0.1", "localhost")
    world = Redirecting(at_place(public_endpoint=public))
    url = await world.url(await world.done(DATA))

    assert url.startswith(public)
    assert fetch(url).content == DATA
    assert fetch(url.replace("localhost", "127.0.0.1")).status_code == 403
    await world.progress.aclose()


async def test_who_may_not_is_told_no_url(at_place: Callable[..., S3Store]) -> None:
    """BeforeRequest comes first; and without leave nobody asks the store."""
    world = Redirecting(at_place())
    id = await world.done(DATA)

    def refuse(_: BeforeRequest) -> None:
        raise Rejected(401)

    world.announcer.add(BeforeRequest, refuse)  # type: ignore[arg-type]
    reply = await world.ask("GET", id)

    assert reply.status == 401
    assert reply.header("Location") is None
    await world.progress.aclose()


async def test_what_is_answered_here(at_place: Callable[..., S3Store]) -> None:
    """Unfinished and empty uploads, ranges outside, what the client has, and HEAD are as ever."""
    world = Redirecting(at_place())
    begun, empty, done = await world.create(5), await world.create(0), await world.done(DATA)
    tag = f'"{done}-{len(DATA)}"'

    assert (await world.ask("GET", begun)).status == 409
    assert (await world.ask("GET", "nothing")).status == 404
    assert (await world.ask("GET", empty)).status == 200
    assert (await world.ask("GET", done, range="bytes=999999999-")).status == 416
    assert (await world.ask("GET", done, if_none_match=tag)).status == 304
    assert await world.offset(done) == len(DATA)
    await world.progress.aclose()


async def test_a_name_may_be_too_long_for_a_url(at_place: Callable[..., S3Store]) -> None:
    """What every server takes as a URL has an end; beyond it the bytes pass through here."""
    world = Redirecting(at_place())
    id = await world.done(DATA, upload_metadata=described(filename="ü" * 700))
    reply = await world.ask("GET", id)

    assert reply.status == 200
    assert reply.content is not None
    await reply.content.aclose()
    await world.progress.aclose()


async def test_a_url_costs_no_call(place: Place, gateway: FaultyGateway) -> None:
    """To say where an upload is S3 is asked for the record alone."""
    store = S3Store(place, gateway)
    world = Redirecting(store)
    id = await world.done(DATA)
    gateway.log.clear()
    await world.url(id)

    assert [operation for operation, *_ in gateway.log] == ["get_object"]
    await world.progress.aclose()


def test_a_url_of_a_store_says_how() -> None:
    """Where others reach the server and how long a URL lasts are options; nonsense is refused."""
    where = "s3://bucket?public_endpoint=https://s3.example.org&link_lifetime=60"
    assert parse(where) == Place(
        "bucket", public_endpoint="https://s3.example.org", link_lifetime=60
    )
    for wrong in (
        "public_endpoint=s3.example.org",
        "public_endpoint=https://a/b",
        "link_lifetime=0",
    ):
        with pytest.raises(ConfigurationError, match=r"no URL of an S3 server|cannot be of use"):
            parse(f"s3://bucket?{wrong}")


def test_a_store_without_a_server(tmp_path: Path) -> None:
    """Files and memory have nobody to send clients to: that is said at the start."""
    for where in (tmp_path, "memory://"):
        with pytest.raises(ConfigurationError, match="no server of its own"):
            Uploads(where, download="redirect")
    with pytest.raises(ConfigurationError, match="no way to download"):
        Uploads("memory://", download="sideways")


@pytest.mark.timeout(90)
def test_clients_follow(rgw: str, start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both httpx and curl get the bytes by themselves, ranges too, also by a POST that is a GET."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not here")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # its locks
    where, port = make_place(rgw), Port()
    store = f"s3://{where.bucket}/{where.prefix}?endpoint={rgw}&region=us-east-1"
    store = store.replace(" ", "%20")
    server = vectus_serve(start, port.number, store, "--download", "redirect")
    path = server.create(len(DATA))
    assert server.patch(path, 0, DATA).status == 204
    url = f"http://127.0.0.1:{port.number}{path}"

    with httpx2.Client(follow_redirects=True, timeout=LIMIT, trust_env=False) as client:
        tus = {"Tus-Resumable": "1.0.0"}
        assert client.get(url, headers={"Authorization": "Bearer us"}).content == DATA
        assert client.get(url, headers={"Range": "bytes=-7"}).content == DATA[-7:]
        posted = client.post(url, headers={**tus, "X-HTTP-Method-Override": "GET"})
        assert posted.content == DATA
        assert client.head(url, headers=tus).headers["upload-offset"] == str(len(DATA))
    assert curl("-L", url) == DATA
    assert curl("-L", "-r", "100-199", url) == DATA[100:200]
    port.close()


def curl(*arguments: str) -> bytes:
    """Run curl."""
    command = ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", *arguments]
    return subprocess.run(command, capture_output=True, check=True, timeout=45).stdout
