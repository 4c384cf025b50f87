"""Going on with what an earlier call has begun: what is remembered, when, and for how long."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from fault_proxy import Cut, Edit, Hold, Proxy, Reset, Say, Swallow, Trap
from ground import CHUNK, DATA, PATCHED, Ground
from sides import Side

import vectus
from vectus.client import Entry, FileResume, MemoryResume, Noticed
from vectus.errors import ServerUnreachable, UploadError, UploadRefused

QUICK: dict[str, Any] = {"retry_delay": 0.01, "timeout": 10}

WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "chunked": {"chunk_size": 50_000},
    "checksummed": {"chunk_size": 50_000, "checksum": "sha256"},
    "parallel": {"parallel": 3},
}


class Watched(MemoryResume):
    """A resume store that notes what happened when, beside what a proxy saw."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self._proxy = proxy
        self.patches_before: list[int] = []
        self.known: dict[str, str] = {}

    def set(self, fingerprint: str, entry: Entry) -> None:
        self.patches_before.append(self._proxy.body())
        self.known[fingerprint] = entry.url
        super().set(fingerprint, entry)

    def remove(self, fingerprint: str) -> None:
        self.known.pop(fingerprint, None)
        super().remove(fingerprint)


def interrupted(side: Side, proxy: Proxy, source: Any, **options: Any) -> UploadError:
    """Begin an upload that breaks off after 100 000 bytes of a request."""
    proxy.script.update({("PATCH", None): Reset(), ("PATCH", 1): Cut(100_000)})
    with pytest.raises(ServerUnreachable) as caught:
        side.upload(source, proxy.url, retries=1, **QUICK, **options)
    proxy.settle()  # what other parts have sent by then meets the script it was sent under
    del proxy.script["PATCH", None]
    del proxy.script["PATCH", 1]
    return caught.value


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["path", "bytes", "file"])
def test_another_call_goes_on(side: Side, kind: str, way: str, ground: Ground) -> None:
    """What one call has begun another one ends, with no upload and no byte more than needed; then
    nothing is remembered."""
    proxy = ground.proxy(PATCHED)
    store = FileResume(ground.folder / "resume.json")
    source = ground.source(kind)
    interrupted(side, proxy, source, resume=store, **WAYS[way])
    sent = proxy.body()
    if kind == "file":
        source.seek(0)

    result = side.upload(source, proxy.url, resume=store, **WAYS[way], **QUICK)

    assert ground.content(result.url) == DATA
    assert result.resumed >= 50_000 or way == "parallel"
    assert proxy.body() - sent == len(DATA) - result.resumed
    parts = len(result.parts)
    assert ground.uploads <= 1 + parts
    assert proxy.count("POST") == ground.uploads
    assert "http" not in (ground.folder / "resume.json").read_text()


def test_remembered_before_any_byte(side: Side, ground: Ground) -> None:
    """The URL is in the store before any byte of a PATCH is sent, and out of it after success."""
    proxy = ground.proxy(PATCHED)
    store = Watched(proxy)

    result = side.upload(ground.source("path"), proxy.url, resume=store, **QUICK)

    assert ground.content(result.url) == DATA
    assert (store.patches_before, store.known) == ([0], {})


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_is_made_anew(side: Side, status: int, ground: Ground) -> None:
    """A remembered upload that is gone leads to another one, and the caller is told."""
    proxy = ground.proxy(PATCHED)
    store, source = Watched(proxy), ground.source("path")
    interrupted(side, proxy, source, resume=store)
    proxy.script["HEAD", proxy.count("HEAD") + 1] = Say(status)
    heard: list[Any] = []

    result = side.upload(source, proxy.url, resume=store, on_event=heard.append, **QUICK)

    assert ground.content(result.url) == DATA
    assert (result.resumed, proxy.count("POST"), store.known) == (0, 2, {})
    assert any(isinstance(what, Noticed) for what in heard)


def test_forbidden(side: Side, ground: Ground) -> None:
    """After 403 the old entry is replaced only when there is a new upload."""
    proxy = ground.proxy(PATCHED)
    store, source = Watched(proxy), ground.source("path")
    old = interrupted(side, proxy, source, resume=store).url
    proxy.script["HEAD", proxy.count("HEAD") + 1] = Say(403)
    proxy.script["POST", 2] = Say(403)

    with pytest.raises(UploadRefused):
        side.upload(source, proxy.url, resume=store, **QUICK)
    assert list(store.known.values()) == [old]

    proxy.script["HEAD", proxy.count("HEAD") + 1] = Say(403)
    result = side.upload(source, proxy.url, resume=store, **QUICK)
    assert result.url != old
    assert ground.content(result.url) == DATA
    assert store.known == {}


@pytest.mark.parametrize(
    "headers", [{"Upload-Length": str(len(DATA) + 1)}, {"Upload-Offset": "banana"}]
)
def test_of_no_use(side: Side, headers: dict[str, str], ground: Ground) -> None:
    """A remembered upload of another length, or without sense, is none to go on with."""
    proxy = ground.proxy(PATCHED)
    store, source = Watched(proxy), ground.source("path")
    old = interrupted(side, proxy, source, resume=store).url
    proxy.script["HEAD", proxy.count("HEAD") + 1] = Edit(headers)

    result = side.upload(source, proxy.url, resume=store, **QUICK)

    assert result.url != old
    assert ground.content(result.url) == DATA


def test_another_content_is_another_upload(side: Side, ground: Ground) -> None:
    """A file that has changed between two calls is not mixed with what it was."""
    proxy = ground.proxy(PATCHED)
    store = Watched(proxy)
    source = ground.source("path")
    interrupted(side, proxy, source, resume=store)
    other = DATA[:5] + b"?" + DATA[6:]
    source.write_bytes(other)

    result = side.upload(source, proxy.url, resume=store, **QUICK)

    assert ground.content(result.url) == other
    assert (result.resumed, proxy.count("POST")) == (0, 2)


def test_an_upload_that_exists(side: Side, ground: Ground) -> None:
    """``upload_url`` goes on with an upload whoever has made it, and makes none."""
    proxy = ground.proxy(PATCHED)
    path = ground.server.create(len(DATA))
    ground.server.patch(path, 0, DATA[:1000])
    url = f"http://127.0.0.1:{proxy.port}{path}"

    for source in (ground.source("path"), ground.source("bytes")):
        result = side.upload(source, None, upload_url=url, **QUICK)
        assert (result.url, ground.content(url)) == (url, DATA)
    assert (proxy.count("POST"), proxy.body()) == (0, len(DATA) - 1000)


def test_a_store_that_fails(side: Side, ground: Ground) -> None:
    """A resume store that cannot be written costs the upload nothing but a word."""
    proxy = ground.proxy(PATCHED)
    (ground.folder / "no-folder").write_text("a file")
    heard: list[Any] = []
    store = FileResume(ground.folder / "no-folder" / "resume.json")

    result = side.upload(
        ground.source("path"), proxy.url, resume=store, on_event=heard.append, **QUICK
    )

    assert ground.content(result.url) == DATA
    assert any(isinstance(what, Noticed) for what in heard)


def test_an_interrupt_passes(side: Side, ground: Ground) -> None:
    """Ctrl-C in the middle passes through, and the same client goes on."""
    proxy = ground.proxy(PATCHED)
    source = ground.source("path")

    def interrupt(progress: vectus.Progress) -> None:
        if progress.confirmed:
            raise KeyboardInterrupt

    store = MemoryResume()
    with pytest.raises(KeyboardInterrupt):
        side.upload(
            source, proxy.url, resume=store, chunk_size=CHUNK, on_progress=interrupt, **QUICK
        )
    result = side.upload(source, proxy.url, resume=store, chunk_size=CHUNK, **QUICK)

    assert (result.resumed, proxy.count("POST"), proxy.body()) == (CHUNK, 1, len(DATA))
    assert ground.content(result.url) == DATA


@pytest.mark.parametrize("way", WAYS)
def test_a_cancelled_task(way: str, ground: Ground) -> None:
    """A task that is cancelled in the middle of a body ends at once; another one goes on.

    A part whose creation was under way then has an upload that nobody knows of: it expires.
    """
    trap = Trap(40_000)
    proxy = ground.proxy(PATCHED, {("PATCH", 3): trap})
    source = ground.source("path")
    options = {"chunk_size": 100_000, **WAYS[way]}

    async def run() -> vectus.Result:
        async with vectus.AsyncClient(proxy.url, **QUICK) as client:
            task = asyncio.create_task(client.upload(source, **options))
            assert await asyncio.to_thread(trap.reached.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 20)
            trap.go.set()
            return await client.upload(source, **options)

    result = asyncio.run(run())

    assert ground.content(result.url) == DATA
    assert result.resumed > 0
    unknown = max(len(result.parts) - 1, 0)
    assert 1 + len(result.parts) <= ground.uploads <= 1 + len(result.parts) + unknown


def test_several_at_once(ground: Ground) -> None:
    """Tasks and threads may share a client: each upload is its own, troubles and all."""
    contents = [DATA[: 300_000 + 1000 * number] for number in range(8)]
    faults = {("PATCH", 2): Cut(9000), ("PATCH", 5): Swallow(), ("POST", 3): Reset()}

    async def tasks(proxy: Proxy) -> list[vectus.Result]:
        async with vectus.AsyncClient(proxy.url, **QUICK) as client:
            return await asyncio.gather(*(client.upload(content) for content in contents))

    def threads(proxy: Proxy) -> list[vectus.Result]:
        results: dict[int, vectus.Result] = {}
        with vectus.Client(proxy.url, **QUICK) as client:

            def work(number: int) -> None:
                results[number] = client.upload(contents[number])

            running = [threading.Thread(target=work, args=(n,)) for n in range(len(contents))]
            for thread in running:
                thread.start()
            for thread in running:
                thread.join(30)
        return [results[number] for number in range(len(contents))]

    for run in (lambda proxy: asyncio.run(tasks(proxy)), threads):
        results = run(ground.proxy(PATCHED, faults))
        assert [ground.content(result.url) for result in results] == contents


def test_the_same_at_once(ground: Ground) -> None:
    """Two tasks that upload the same source make an upload each, and one says so."""
    hold = Hold(100_000)
    proxy = ground.proxy(PATCHED, {("PATCH", 1): hold})
    heard: list[Any] = []
    store = FileResume(ground.folder / "resume.json")

    async def run() -> list[vectus.Result]:
        async with vectus.AsyncClient(proxy.url, resume=store, **QUICK) as client:
            first = asyncio.create_task(client.upload(DATA))
            assert await asyncio.to_thread(hold.reached.wait, 20)
            second = await client.upload(DATA, on_event=heard.append)
            hold.go.set()
            return [await first, second]

    one, other = asyncio.run(run())

    assert one.url != other.url
    assert ground.content(one.url) == ground.content(other.url) == DATA
    assert any(isinstance(what, Noticed) for what in heard)
