"""An upload that is stopped: by its caller's event, by a cancelled task, by Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import select
import signal
import threading
from contextlib import suppress

import httpx2
import pytest
from mock_tus import DATA, PLAIN, Tus
from pure_server import ENDPOINT

import vectus
from vectus.client import Retrying, Started, driver
from vectus.client.custody import Custody
from vectus.client.sources import open_source

CHUNK = 100_000


class After:
    """Set from the n-th look on."""

    def __init__(self, looks):
        self.left = looks

    def is_set(self):
        self.left -= 1
        return self.left < 0


def test_before_anything(side):
    """An event that is set already: nothing is sent."""
    tus, cancel = Tus(), threading.Event()
    cancel.set()
    with tus.client(side) as client, pytest.raises(vectus.UploadCancelled):
        client.upload(DATA, cancel=cancel)
    assert tus.seen == []


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("parallel", [1, 3])
def test_at_any_moment(side, parallel):
    """Wherever it stops, the URL is known as soon as there is one, and the next call goes on with
    what was made: every upload that the server made is used."""
    looks = 0
    while True:
        tus, heard = Tus(), []
        with tus.client(side) as client:
            options = {"parallel": parallel, "chunk_size": CHUNK}
            try:
                client.upload(DATA, cancel=After(looks), on_event=heard.append, **options)
            except vectus.UploadCancelled as stopped:
                started = any(isinstance(each, Started) for each in heard)
                assert stopped.url is not None or not started  # noqa: PT017  # or it is done
                result = client.upload(DATA, **options)
                assert tus.content(result.url) == DATA
                made = 1 if parallel == 1 else parallel + 1
                assert tus.server.made == made
            else:
                break
        looks += 1
    assert looks > 10


def test_during_a_pause(side):
    """A long wait for another try ends at once."""
    tus, cancel = Tus(twist=lambda _: httpx2.ConnectError("away")), threading.Event()

    def on_event(what):
        if isinstance(what, Retrying):
            cancel.set()

    with tus.client(side, retry_delay=1000) as client, pytest.raises(vectus.UploadCancelled):
        client.upload(DATA, on_event=on_event, cancel=cancel)


def test_while_a_stream_is_read(side):
    """A slow stream is left between two reads: no more is taken from it than was asked for."""
    tus, cancel, given = Tus(PLAIN), threading.Event(), []

    def blocks():
        for number in range(100):
            if number == 5:
                cancel.set()
            given.append(number)
            yield bytes(1 << 18)

    with tus.client(side) as client, pytest.raises(vectus.UploadCancelled):
        client.upload(blocks(), length=100 << 18, cancel=cancel)
    assert len(given) < 12


def test_while_a_chunk_is_hashed(side):
    """A checksum over much is left in the middle."""
    looks, tus = After(40), Tus()
    with tus.client(side) as client, pytest.raises(vectus.UploadCancelled):
        client.upload(bytes(64 << 20), checksum="crc32", cancel=looks)
    assert not tus.of("PATCH")


class Cancelling:
    """Cancels the task at the n-th request, before or after the server has seen it."""

    def __init__(self, tus, number, when):
        self.tus, self.number, self.when = tus, number, when
        self.task = None

    async def __call__(self, request):
        self.number -= 1
        if self.number == 0 and self.when == "before":
            self.task.cancel()
            await asyncio.sleep(0)
        response = self.tus(request)
        if self.number == 0:
            self.task.cancel()
            await asyncio.sleep(0)
        return response


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(2, 9))
async def test_a_cancelled_task(parallel, when, number):
    """The cancellation comes through as what it is, no task is left, nothing is told any more, and
    the upload can be gone on with."""
    tus, heard = Tus(), []
    way = Cancelling(tus, number, when)
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(way))
    async with vectus.AsyncClient(ENDPOINT, http=http, retry_delay=0) as client:
        options = {"parallel": parallel, "chunk_size": CHUNK}
        before = asyncio.all_tasks()
        way.task = asyncio.create_task(client.upload(DATA, on_event=heard.append, **options))
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(way.task, 20)
        if way.number <= 0:
            assert way.task.cancelled()
        assert asyncio.all_tasks() == before
        told = len(heard)
        result = await client.upload(DATA, **options)
        assert len(heard) == told
    assert tus.content(result.url) == DATA


class Stuck:
    """A file whose second read waits until it is let go."""

    def __init__(self, path):
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed with this
        self.reading, self.go, self.reads = threading.Event(), threading.Event(), 0

    def read(self, count=-1):
        self.reads += 1
        if self.reads == 2:
            self.reading.set()
            assert self.go.wait(20)
        return self.file.read(count)

    def close(self):
        self.file.close()


async def test_a_read_that_hangs_keeps_nobody():
    """A cancelled upload does not wait for a stream that gives nothing; what it reads late is read
    once and no more."""
    tus = Tus(PLAIN)
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as pipe:
        pipe.write(b"first")
        stuck = Stuck(reading)
        async with vectus.AsyncClient(ENDPOINT, http=mock(tus)) as client:
            task = asyncio.create_task(client.upload(stuck))
            await asyncio.to_thread(stuck.reading.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 10)
        pipe.write(b"second")
        stuck.go.set()
        await asyncio.sleep(0.05)
        assert stuck.reads == 2
    stuck.close()


class Lent(io.BytesIO):
    """A caller's file; from when it is told to on, a read waits until it is let go."""

    def __init__(self):
        super().__init__(DATA)
        self.holds, self.go = False, threading.Event()
        self.reading = threading.Event()

    def read(self, count=-1):
        if self.holds:
            self.reading.set()
            assert self.go.wait(20)
        return super().read(count)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_callers_file_is_given_back(when):
    """A cancelled upload ends with its last read of the caller's file, and the file is where it
    was: the next call, or the caller, does not share it with a thread that is still reading."""
    tus, file = Tus(PLAIN), Lent()
    file.holds = when == "before"  # it is known by its content

    def on_event(what):
        file.holds = file.holds or isinstance(what, Started)

    async with vectus.AsyncClient(ENDPOINT, http=mock(tus)) as client:
        task = asyncio.create_task(client.upload(file, on_event=on_event))
        await asyncio.to_thread(file.reading.wait, 20)
        task.cancel()
        await asyncio.wait({task}, timeout=0.2)
        early = task.done()
        file.go.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)
        assert (early, file.tell()) == (False, 0)
        assert tus.content((await client.upload(file)).url) == DATA


def mock(tus):
    return httpx2.AsyncClient(transport=httpx2.MockTransport(tus))


async def test_a_path_that_opens_late(tmp_path):
    """A FIFO that nobody writes to keeps no cancelled upload; when it opens at last, it is
    closed."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with vectus.AsyncClient(ENDPOINT, http=mock(Tus())) as client:
        task = asyncio.create_task(client.upload(fifo))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
        with open(fifo, "wb", buffering=0) as writing:
            async with asyncio.timeout(20):
                while is_read(writing):  # noqa: ASYNC110 - the kernel tells nobody
                    await asyncio.sleep(0.001)
        gc.collect()  # an unclosed file would be complained about


def is_read(pipe):
    """Whether somebody has a pipe open for reading: else its writing end is in error."""
    poll = select.poll()
    poll.register(pipe, 0)
    return not poll.poll(0)


@pytest.fixture
def ctrl_c():
    """Press Ctrl-C until somebody has noticed, which is one KeyboardInterrupt in the main thread:
    a signal that comes when a thread is just about to wait does not wake it."""
    noticed = threading.Event()

    def notice(*_):
        if not noticed.is_set():
            noticed.set()
            raise KeyboardInterrupt

    def press():
        while not noticed.wait(0.05):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = signal.signal(signal.SIGINT, notice)
    yield press
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_a_parallel_upload(tmp_path, monkeypatch, ctrl_c):
    """It comes through, the other connections stop, and the file is closed only when nobody reads
    it: its number is not given to another file under a reader."""
    path = tmp_path / "film"
    path.write_bytes(DATA)
    tus, held = Tus(), threading.Event()
    patched = threading.Semaphore(0)

    def twist(request):
        if request.method == "PATCH":
            patched.release()
            assert held.wait(20)

    tus.twist = twist
    heard = []

    def on_event(what):
        heard.append(what)

    def interrupt():
        for _ in range(3):
            patched.acquire(timeout=20)
        ctrl_c()

    monkeypatch.setattr(driver, "STRAGGLERS", 0.2)
    helper = threading.Thread(target=interrupt)
    helper.start()
    http = httpx2.Client(transport=httpx2.MockTransport(tus))
    with vectus.Client(ENDPOINT, http=http) as client:
        with pytest.raises(KeyboardInterrupt):
            client.upload(path, parallel=3, on_event=on_event)
        helper.join(20)
        told = len(heard)
        held.set()
        for thread in [each for each in threading.enumerate() if each.name == "vectus-part"]:
            thread.join(20)
        assert len(heard) == told, "the caller heard of an upload whose call was over"
        assert tus.content(client.upload(path, parallel=3).url) == DATA


def test_a_source_in_custody(tmp_path):
    """Closed under a reader, a file stays open until that read is over; then nobody reads it."""
    closed, begun, go = [], threading.Event(), threading.Event()

    class Slow:
        name, length, replayable = "slow", 10, True

        def blocks(self, start, stop):
            begun.set()
            assert go.wait(20)
            assert not closed
            yield b"0123456789"

        def close(self):
            closed.append(True)

    custody, got = Custody(Slow()), []
    reader = threading.Thread(target=lambda: got.append(next(custody.blocks(0, 10))))
    reader.start()
    assert begun.wait(20)
    custody.close()
    custody.close()
    assert not closed
    go.set()
    reader.join(20)
    assert (got, closed) == ([b"0123456789"], [True])
    for read in (lambda: next(custody.blocks(0, 10)), custody.check):
        with pytest.raises(vectus.UploadCancelled):
            read()


def test_a_callers_file_in_custody():
    """Who closes it waits for the last read, in whatever thread that is."""
    file, ended = Lent(), []
    custody = Custody(open_source(file))
    file.holds = True
    reader = threading.Thread(target=lambda: next(custody.blocks(0, 10)))
    reader.start()
    assert file.reading.wait(20)
    closer = threading.Thread(target=lambda: ended.append(custody.close()))
    closer.start()
    closer.join(0.1)
    assert not ended
    file.go.set()
    for thread in (reader, closer):
        thread.join(20)
    assert (ended, file.tell()) == ([None], 0)


def test_custody_changes_nothing_else(tmp_path):
    """What is not closed is what it was."""
    path = tmp_path / "film"
    path.write_bytes(DATA)
    plain, held = open_source(path), Custody(open_source(path))
    assert held.fingerprint("x") == plain.fingerprint("x")
    assert held.mtime_ns == path.stat().st_mtime_ns
    assert b"".join(held.blocks(5, 50_000)) == DATA[5:50_000]
    assert held.hold(0, 10) == plain.hold(0, 10)
    held.close()
    plain.close()
