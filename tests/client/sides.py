"""The blocking driver and the asyncio one behind one face, so that the same case runs on both.

Only what differs between the two stands here: what a case proves stays in the case.
"""

from __future__ import annotations

import asyncio
import copy
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

import vectus
from vectus.client import aio, blocking, driver

PATIENCE = 30.0
"""Seconds after which anything that should have happened has not."""

Making = Callable[[bytes, Path, ExitStack], Any]
"""Makes a source of bytes, in a folder, to be cleaned up with the stack."""


class Side(Protocol):
    """One driver."""

    name: str

    def upload(self, source: Any, endpoint: str | None, **options: Any) -> vectus.Result:
        """Upload one source."""

    def client(self, endpoint: str | None, **options: Any) -> AbstractContextManager[Any]:
        """A client whose methods can be called like those of ``vectus.Client``."""


class Blocking:
    """``vectus.upload`` and ``vectus.Client``."""

    name = "blocking"

    def upload(self, source: Any, endpoint: str | None, **options: Any) -> vectus.Result:
        return vectus.upload(source, endpoint, **options)

    def client(self, endpoint: str | None, **options: Any) -> AbstractContextManager[Any]:
        return vectus.Client(endpoint, **options)


class Asyncio:
    """``vectus.aupload`` and ``vectus.AsyncClient``, each in a loop of its own."""

    name = "asyncio"

    def upload(self, source: Any, endpoint: str | None, **options: Any) -> vectus.Result:
        return asyncio.run(vectus.aupload(source, endpoint, **options))

    @contextmanager
    def client(self, endpoint: str | None, **options: Any) -> Iterator[Any]:
        with asyncio.Runner() as runner:
            client = vectus.AsyncClient(endpoint, **options)
            try:
                yield Driven(client, runner)
            finally:
                runner.run(client.aclose())


class Driven:
    """An asyncio client whose coroutines run to their end when they are called."""

    def __init__(self, client: vectus.AsyncClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._run, getattr(self._client, name))

    def _run(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return self._runner.run(method(*arguments, **options))


SIDES: dict[str, Side] = {side.name: side for side in (Blocking(), Asyncio())}


# --- Clients on a busy machine --------------------------------------------------------------------


def http_of(client: Any) -> Any:
    """What a client of either side speaks HTTP with."""
    return (client._client if isinstance(client, Driven) else client)._link.http


def impatient(client: Any, when: Callable[[str, int], bool]) -> Any:
    """Have a client's short time-out count only for requests that may run into it, told by their
    method and which one of that method they are; what is answered gets the time that it needs.
    Returns the client."""
    asked: Counter[str] = Counter()

    def hook(request: Any) -> None:
        asked[request.method] += 1
        if not when(request.method, asked[request.method]):
            request.extensions["timeout"] = dict.fromkeys(request.extensions["timeout"], PATIENCE)

    async def ahook(request: Any) -> None:
        hook(request)

    chosen = ahook if isinstance(client, Driven) else hook
    http_of(client).event_hooks["request"].append(chosen)
    return client


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of an upload that were told to stop are waited for to their ends, however long it
    takes them to be scheduled: what they do is done when the call is over."""
    monkeypatch.setattr(driver, "STRAGGLERS", PATIENCE)


@pytest.fixture
def long_lived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections of new clients may rest for long, as a process that is stopped between two
    requests makes them."""
    for module in (blocking, aio):
        limits = copy.copy(module.LIMITS)
        limits.keepalive_expiry = PATIENCE
        monkeypatch.setattr(module, "LIMITS", limits)


# --- The same bytes, as each kind of source -------------------------------------------------------


def as_path(data: bytes, folder: Path, stack: ExitStack) -> Path:
    path = folder / "film.mp4"
    path.write_bytes(data)
    return path


def as_bytes(data: bytes, folder: Path, stack: ExitStack) -> bytes:
    return data


def as_file(data: bytes, folder: Path, stack: ExitStack) -> Any:
    return stack.enter_context(open(as_path(data, folder, stack), "rb"))


def as_stream(data: bytes, folder: Path, stack: ExitStack) -> Any:
    """The reading end of a pipe."""
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as pipe:
            try:
                pipe.write(data)
            except BrokenPipeError:
                pass

    writer = threading.Thread(target=write, daemon=True)
    stack.callback(writer.join, 20)
    writer.start()
    return stack.enter_context(open(reading, "rb"))


def as_iterator(data: bytes, folder: Path, stack: ExitStack) -> Iterator[bytes]:
    return (data[at : at + 50_000] for at in range(0, len(data), 50_000))


async def as_async_iterator(data: bytes, folder: Path, stack: ExitStack) -> AsyncIterator[bytes]:
    for block in as_iterator(data, folder, stack):
        await asyncio.sleep(0)
        yield block


AGAIN: dict[str, Making] = {"path": as_path, "bytes": as_bytes, "file": as_file}
"""Sources that can be read again."""
ONCE: dict[str, Making] = {"stream": as_stream, "iterator": as_iterator}
"""Those that can't."""
ASYNC_ONLY: dict[str, Making] = {"async-iterator": as_async_iterator}
"""Those that only the asyncio driver takes."""

SOURCES = AGAIN | ONCE | ASYNC_ONLY

EVERYWHERE = [
    pytest.param(side, kind, id=f"{side}-{kind}")
    for side in SIDES
    for kind in SOURCES
    if kind not in ASYNC_ONLY or side == "asyncio"
]
"""Each kind of source on each side that takes it."""
