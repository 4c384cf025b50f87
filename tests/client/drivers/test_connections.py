"""Real connections to a real server: few, and well kept; and a loop that nobody keeps waiting."""

from __future__ import annotations

import asyncio
import io
import threading
import time

import httpx2
import pytest
from mock_tus import DATA, Tus
from pure_server import ENDPOINT
from sides import http_of

import vectus
from vectus.client import MemoryResume


def watched(client, side):
    """The local ports of every request that a client makes."""
    ports = []

    def note(response):
        stream = response.extensions["network_stream"]
        ports.append(stream.get_extra_info("client_addr")[1])

    async def anote(response):
        note(response)

    http_of(client).event_hooks["response"].append(note if side.name == "blocking" else anote)
    return ports


@pytest.mark.usefixtures("long_lived")
def test_one_connection(side, serve):
    """Many chunks and several uploads go over the same one."""
    server = serve("--durability", "none")
    with side.client(server.url) as client:
        ports = watched(client, side)
        urls = [client.upload(DATA, chunk_size=50_000).url for _ in range(3)]
        client.upload(DATA, checksum="auto", verify="download")
        assert client.terminate(urls[0])
        assert client.offset(urls[1]) == len(DATA)
        with pytest.raises(vectus.UploadGone):
            client.inspect(urls[0])
    assert len(ports) > 40
    assert len(set(ports)) == 1


@pytest.mark.usefixtures("long_lived")
def test_as_many_connections_as_parts(side, serve):
    """Each part has one, and the bytes arrive whole."""
    server = serve("--durability", "none")
    with side.client(server.url) as client:
        ports = watched(client, side)
        result = client.upload(DATA, parallel=3, chunk_size=20_000, verify="download")
    assert len(set(ports)) <= 3
    assert len(result.parts) == 3


@pytest.mark.parametrize("value", ["a\r\nb: c", "€"])
def test_header_fields_that_cannot_be_sent(side, serve, value):
    """A line break or a letter beyond Latin in a field is refused at once, not tried again."""
    server = serve("--durability", "none")
    with (
        side.client(server.url, headers={"X": value}, retry_delay=1000) as client,
        pytest.raises(vectus.UploadRefused, match="cannot be sent"),
    ):
        client.upload(b"x")


def test_stopped_in_the_middle_of_a_body(side, serve):
    """The server keeps what came, and the next call sends the rest only."""
    server, cancel = serve("--durability", "none"), threading.Event()
    data = DATA * 100

    def on_progress(now):
        if now.sent > len(data) // 2:
            cancel.set()

    with side.client(server.url) as client:
        with pytest.raises(vectus.UploadCancelled) as stopped:
            client.upload(data, on_progress=on_progress, cancel=cancel)
        assert client.offset(stopped.value.url) > 0
        result = client.upload(data)
    assert result.url == stopped.value.url
    assert 0 < result.resumed < len(data)
    assert server.get(result.url.partition("/files/")[1] + result.url.rpartition("/")[2]) == data


class Slow(io.BytesIO):
    """A file on a slow disk, which knows who reads it."""

    def __init__(self, data):
        super().__init__(data)
        self.readers = []

    def read(self, count=-1):
        self.readers.append(threading.get_ident())
        time.sleep(0.02)
        return super().read(count)


class Far(MemoryResume):
    """A resume store that knows who calls it."""

    callers: list[int] = []  # noqa: RUF012  # of this test only

    def get(self, fingerprint):
        self.callers.append(threading.get_ident())
        return super().get(fingerprint)

    def set(self, fingerprint, entry):
        self.callers.append(threading.get_ident())
        super().set(fingerprint, entry)


class Store:
    """One that is none of ours."""

    def __init__(self, store):
        self.get, self.set, self.remove = store.get, store.set, store.remove


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"checksum": "sha256"}, {"parallel": 3}, {"verify": "download"}, {"chunk_size": 200_000}],
    ids=str,
)
async def test_the_loop_waits_for_nobody(options, eager):
    """Slow reads and foreign resume stores are used in threads; the caller's functions are called
    on the loop; no task is left. With eager tasks as well, where Python has them."""
    here, tus, source, heard = threading.get_ident(), Tus(), Slow(DATA * 3), set()
    loop = asyncio.get_running_loop()
    if eager and hasattr(asyncio, "eager_task_factory"):
        loop.set_task_factory(asyncio.eager_task_factory)
    Far.callers.clear()
    store = Store(Far())
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(tus))
    async with vectus.AsyncClient(ENDPOINT, http=http, resume=store) as client:
        result = await client.upload(
            source,
            on_event=lambda _: heard.add(threading.get_ident()),
            **options,
        )
    assert tus.content(result.url) == source.getvalue()
    assert here not in source.readers
    assert here not in Far.callers
    assert Far.callers
    assert heard == {here}
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_uploads_share_the_loop(serve):
    """Several at once on one client, each with its own bytes."""
    server = serve("--durability", "none")
    sources = [bytes([number]) * 300_000 for number in range(8)]
    async with vectus.AsyncClient(server.url) as client:
        results = await asyncio.gather(
            *(client.upload(source, chunk_size=64_000, verify="download") for source in sources)
        )
    assert len({result.url for result in results}) == 8


def test_threads_share_a_client(serve):
    """The same for threads and the blocking client."""
    server, done = serve("--durability", "none"), []
    with vectus.Client(server.url) as client:

        def upload(number):
            source = bytes([number]) * 300_000
            done.append(client.upload(source, chunk_size=64_000, verify="download").url)

        threads = [threading.Thread(target=upload, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(set(done)) == 6
