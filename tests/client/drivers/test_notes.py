"""Resume stores that fail, and two who upload the same."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import contextmanager

import httpx2
import pytest
from mock_tus import DATA, Tus
from pure_server import ENDPOINT

import vectus
from vectus.client import Entry, FileResume, MemoryResume, Noticed, Retrying, SQLiteResume
from vectus.client.notes import LOST, SHARED, Notes


class Failing(MemoryResume):
    """Fails at one of its calls; and each is made where the loop is not."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def _turn(self, what):
        if what == self.at:
            raise OSError("the disk is gone")

    def get(self, fingerprint):
        self._turn("get")
        return super().get(fingerprint)

    def set(self, fingerprint, entry):
        self._turn("set")
        super().set(fingerprint, entry)

    def remove(self, fingerprint):
        self._turn("remove")
        super().remove(fingerprint)

    @contextmanager
    def claim(self, fingerprint):
        self._turn("claim")
        with super().claim(fingerprint) as claim:
            yield claim
        self._turn("leave")


@pytest.mark.parametrize("at", ["claim", "get", "set", "remove", "leave"])
@pytest.mark.parametrize("parallel", [1, 3])
def test_a_store_that_fails(side, at, parallel):
    """The upload goes on, and the caller hears of it, once, where they can do something about
    it; on their own thread."""
    tus, heard, where = Tus(), [], threading.get_ident()

    def on_event(what):
        if parallel == 1:
            assert threading.get_ident() == where
        heard.append(what)

    with tus.client(side, resume=Failing(at)) as client:
        result = client.upload(DATA, parallel=parallel, on_event=on_event)
    assert tus.content(result.url) == DATA
    notices = [each.text for each in heard if isinstance(each, Noticed)]
    wanted = [] if at == "leave" else [LOST.format("the disk is gone")]
    assert sorted(set(notices)) == wanted


def test_two_threads_that_fetch_the_same_complaint():
    """That another thread has it is no error of an upload in parts."""

    class Raced(deque):
        """Is emptied by another thread whenever somebody has looked whether there is anything."""

        def __len__(self):
            found = super().__len__()
            if found:
                self.popleft()
            return found

    notes = Notes(Failing("claim"), "film", len(DATA))
    notes.open()
    notes._complaints = Raced(notes._complaints)
    assert notes.complaint() in (None, LOST.format("the disk is gone"))


def test_a_failing_store_does_not_hide_errors(side):
    """What ended the upload is told, not what ended the claim."""
    tus = Tus()
    with tus.client(side, resume=Failing("leave")) as client, pytest.raises(ZeroDivisionError):
        client.upload(DATA, on_event=lambda _: 1 / 0)


class Lapsing(MemoryResume):
    """Has claims that must be renewed; calls a function whenever one is."""

    def __init__(self, renewed):
        super().__init__()
        self.renew = renewed

    @contextmanager
    def claim(self, fingerprint):
        with super().claim(fingerprint) as claim:
            yield claim and self


def test_a_claim_is_renewed_while_it_is_waited(side):
    """Nobody else takes the entry because a server was away for longer than a claim lasts."""
    tus, heard, waiting, cancel = Tus(), [], [], threading.Event()
    answers = iter([httpx2.Response(503), httpx2.Response(400)])
    tus.twist = lambda request: next(answers) if request.method == "POST" else None

    def renew():
        waiting.extend(heard[-1:])
        if len(waiting) > 3:
            cancel.set()

    def on_event(what):
        if isinstance(what, Retrying):
            heard.append(what)

    with (
        tus.client(side, resume=Lapsing(renew), retry_delay=30) as client,
        pytest.raises(vectus.UploadCancelled),
    ):
        client.upload(DATA, on_event=on_event, cancel=cancel)


def stores(folder):
    return {
        "memory": MemoryResume(),
        "file": FileResume(folder / "resume.json"),
        "sqlite": SQLiteResume(folder / "resume.db"),
    }


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("kind", ["memory", "file", "sqlite"])
@pytest.mark.parametrize("parallel", [1, 3])
def test_stores_in_use(side, tmp_path, kind, parallel):
    """What was begun is gone on with, also over several connections, and forgotten in the end."""
    tus, resume = Tus(), stores(tmp_path)[kind]
    cancel = threading.Event()

    def on_progress(now):
        if now.confirmed:
            cancel.set()

    options = {"parallel": parallel, "chunk_size": 50_000}
    with tus.client(side, resume=resume) as client:
        with pytest.raises(vectus.UploadCancelled):
            client.upload(DATA, cancel=cancel, on_progress=on_progress, **options)
        result = client.upload(DATA, **options)
        assert result.resumed > 0
        assert tus.content(result.url) == DATA
        assert client.upload(DATA, **options).resumed == 0


@pytest.mark.parametrize("kind", ["memory", "file", "sqlite"])
async def test_two_at_once(tmp_path, kind):
    """Of two uploads of the same source at the same time the second makes its own, and says so;
    the loop is not kept waiting by the claim of the first."""
    tus, resume, heard, told = Tus(), stores(tmp_path)[kind], [], asyncio.Event()

    async def answer(request):
        if request.method == "PATCH":  # the first one is not done before the second has come
            await asyncio.wait_for(told.wait(), 20)
        return tus(request)

    def on_event(what):
        heard.append(what)
        if what == Noticed(SHARED):
            told.set()

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with vectus.AsyncClient(ENDPOINT, http=http, resume=resume) as client:
        first, second = await asyncio.gather(
            *(client.upload(DATA, chunk_size=10_000, on_event=on_event) for _ in range(2))
        )
    assert first.url != second.url
    assert tus.content(first.url) == tus.content(second.url) == DATA
    assert heard.count(Noticed(SHARED)) == 1


@pytest.mark.parametrize("kind", ["memory", "file", "sqlite"])
def test_two_threads_at_once(tmp_path, kind):
    """The same for threads, and the claim is free afterwards."""
    tus, resume, heard = Tus(), stores(tmp_path)[kind], []
    inner = []
    http = httpx2.Client(transport=httpx2.MockTransport(tus))
    with vectus.Client(ENDPOINT, http=http, resume=resume) as client:

        def on_progress(now):
            if not inner:
                inner.append(None)
                inner[0] = client.upload(DATA, on_event=heard.append)

        outer = client.upload(DATA, on_progress=on_progress)
        assert outer.url != inner[0].url
        assert heard.count(Noticed(SHARED)) == 1
        heard.clear()
        client.upload(DATA, on_event=heard.append)
    assert Noticed(SHARED) not in heard


async def test_a_cancelled_claim_is_let_go(tmp_path):
    """A task that is cancelled while its claim is being made does not keep it."""
    entered, go = threading.Event(), threading.Event()

    class Slow(Failing):
        @contextmanager
        def claim(self, fingerprint):
            entered.set()
            assert go.wait(20)
            with super().claim(fingerprint) as claim:
                yield claim

    class NotMemory:
        """Hides that it is quick, so that it is used in threads."""

        def __init__(self, store):
            self.get, self.set, self.remove = store.get, store.set, store.remove
            self.claim = store.claim

    slow, tus = Slow("never"), Tus()
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(tus))
    async with vectus.AsyncClient(ENDPOINT, http=http, resume=NotMemory(slow)) as client:
        task = asyncio.create_task(client.upload(DATA))
        await asyncio.to_thread(entered.wait, 20)
        task.cancel()
        await asyncio.sleep(0.02)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
    assert slow._claimed == {}
    assert tus.seen == []


def test_an_entry_of_another_length_is_not_used(side):
    """It belongs to another version of the source."""
    tus, resume = Tus(), MemoryResume()
    resume.set("mine", Entry(f"{ENDPOINT}other", 7))
    with tus.client(side, resume=resume) as client:
        result = client.upload(DATA, fingerprint="mine")
    assert tus.content(result.url) == DATA
    assert not [request for request in tus.seen if request.url.path.endswith("other")]
