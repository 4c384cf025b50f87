"""What a user writes, for the type checker only: never run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import assert_type

import httpx2

import vectus
from vectus.client import Happening, MemoryResume, Progress, Source


def show(now: Progress) -> None:
    """A progress callback."""
    print(now.confirmed, now.length)


def hear(what: Happening) -> None:
    """An event callback."""
    print(what)


def token() -> str:
    """Credentials."""
    return "Bearer x"


async def atoken() -> dict[str, str]:
    """The same, awaited."""
    return {"X-Token": "x"}


def blocks() -> Iterator[bytes]:
    """A source."""
    yield b"x"


async def ablocks() -> AsyncIterator[bytes]:
    """Another."""
    yield b"x"


def own(source: Source, endpoint: str) -> str | None:
    """A fingerprint."""
    return f"{source.length} {endpoint}"


def before(method: str, url: str, headers: dict[str, str]) -> None:
    """A hook."""
    headers["X-Request"] = f"{method} {url}"


def blocking() -> None:
    """The blocking client, with every argument."""
    result = vectus.upload(
        "film.mp4", "https://h/", on_progress=show, headers={"a": "b"}, auth=token
    )
    assert_type(result, vectus.Result)
    with vectus.Client(
        "https://h/",
        auth=("me", "secret"),
        resume=MemoryResume(),
        http=httpx2.Client(),
        before_request=before,
        preset=vectus.Chunks(5 << 20),
    ) as client:
        for source in (Path("film.mp4"), b"x", bytearray(b"x"), memoryview(b"x"), [b"x"], blocks()):
            client.upload(source)
        with open("film.mp4", "rb") as file:
            client.upload(
                file,
                metadata={"filename": "film.mp4", "size": 3, "empty": None, "ok": True},
                chunk_size=1,
                checksum="auto",
                verify="download",
                parallel=4,
                fingerprint=own,
                upload_url="https://h/1",
                on_event=hear,
                cancel=threading.Event(),
            )
        assert_type(client.offset("https://h/1"), int)
        assert_type(client.terminate("https://h/1"), bool)
        assert_type(client.inspect("https://h/1").offset, int | None)
        assert_type(client.capabilities().max_size, int | None)
        client.upload(ablocks())  # type: ignore[arg-type]  # the blocking client cannot
        client.upload(b"x", verify="hash")  # type: ignore[arg-type]  # there is no such thing
    vectus.Client("https://h/", auth=atoken)  # type: ignore[arg-type]  # nor can it await
    vectus.upload(b"x", "https://h/", colour=1)  # type: ignore[call-arg]  # nobody knows that


async def awaited() -> None:
    """The asyncio client."""
    result = await vectus.aupload(ablocks(), "https://h/", auth=atoken, cancel=asyncio.Event())
    assert_type(result, vectus.Result)
    async with vectus.AsyncClient("https://h/", auth=token, http=httpx2.AsyncClient()) as client:
        await client.upload(ablocks(), on_progress=show, length=3)
        await client.upload(Path("film.mp4"), parallel=2)
        assert_type(await client.offset("https://h/1"), int)
