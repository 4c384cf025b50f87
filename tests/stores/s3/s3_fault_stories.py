"""Uploads as clients live them, told step by step: each can be told over a network that fails.

A client here does what the protocol tells it to: it asks again after a 423 or a 503, asks how far
its upload is, and goes on from there. It never takes another answer for a reason to go on, and it
minds that no offset is less than one it was told before.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count

from s3_places import LEAST

from vectus.errors import StoreUnavailable
from vectus.events import Finished
from vectus.protocol.messages import Reply
from vectus.protocol.policy import Policy
from vectus.stores.s3.store import S3Store
from vectus.testing.fakes import ScriptedBody
from vectus.testing.stores import pattern
from world import World, id_of

PIECE = 50_000
PATIENCE = 40
"""How often something is tried before it counts as impossible."""

AGAIN = {
    "HEAD": {423},
    "PATCH": {409, 423, 503},
    "POST": {503},
    "DELETE": {423, 503},
    "GET": {503},
}
"""After which answers a client may try again (D3). An offset that was right may be wrong for a
PATCH: what it brought before got lost for us, and arrives after all."""


class Client:
    """A client, and the server that it talks to.

    Args:
        store: what the server has.
        listening: whether a listener has a say before an upload is finished.
    """

    def __init__(self, store: S3Store, *, listening: bool = False) -> None:
        ids = (f"upload-{n}" for n in count(1))
        policy = Policy(expire_after=60.0)
        self.world = World(store, policy=policy, listening=listening, ids=ids.__next__)
        if not listening:
            self.world.announcer.add(Finished, self.world.recorder)
        self.whole: dict[str, bytes] = {}
        self.told: Counter[str] = Counter()
        self.answers: list[tuple[str, int]] = []

    async def ask(self, method: str, id: str = "", body: bytes | None = None, **fields) -> Reply:
        """Make a request; it may fail in the ways that it may."""
        script = None
        if body is not None:
            script = ScriptedBody(*(body[at : at + PIECE] for at in range(0, len(body), PIECE)))
            fields["content_length"] = len(body)
        reply = await self.world.ask(method, id, script, **fields)
        self.answers.append((method, reply.status))
        assert reply.status < 300 or reply.status in AGAIN[method], reply
        if (offset := reply.header("Upload-Offset")) is not None and id:
            assert int(offset) >= self.told[id], "it has forgotten what it had"
            self.told[id] = int(offset)
        return reply

    async def insist(self, method: str, id: str = "", **fields) -> Reply:
        """Make a request until it is done."""
        for _ in range(PATIENCE):
            reply = await self.ask(method, id, **fields)
            if reply.status < 300:
                return reply
            await asyncio.sleep(0.01)
        raise AssertionError(f"{method} never works: {self.answers}")

    async def create(self, length: int | None, body: bytes | None = None, **fields) -> str:
        """Create an upload. Where that fails and says nothing of an upload, there may be one that
        nobody will ever ask for."""
        how = {"upload_defer_length": 1} if length is None else {"upload_length": length}
        if str(fields.get("upload_concat", "")).startswith("final"):
            how = {}
        for _ in range(PATIENCE):
            reply = await self.ask("POST", body=body, **how, **fields)
            if reply.header("Location"):
                return id_of(reply)
        raise AssertionError(f"nothing can be created: {self.answers}")

    async def send(
        self,
        id: str,
        data: bytes,
        cuts: Sequence[int] = (),
        *,
        stop: int | None = None,
        **how: bool,
    ) -> None:
        """Send what the server has not got, until it has all, or so much; requests end at the
        cuts."""
        if stop is None:
            self.whole[id] = data
        for _ in range(PATIENCE):
            reply = await self.insist("HEAD", id)
            offset = int(reply.header("Upload-Offset") or 0)
            if offset == stop or (offset == len(data) and reply.header("Upload-Length")):
                return
            end = next((cut for cut in cuts if cut > offset), len(data) if stop is None else stop)
            body = data[offset:end]
            await self.ask(
                "PATCH", id, body, upload_offset=offset, **extras(data, body, end, **how)
            )
        raise AssertionError(f"it never ends: {self.answers}")

    async def remove(self, id: str) -> None:
        """Terminate an upload: until that is done, or has been done already."""
        self.whole.pop(id, None)
        for _ in range(PATIENCE):
            reply = await self.world.ask("DELETE", id)
            self.answers.append(("DELETE", reply.status))
            assert reply.status in {204, 404, 410, *AGAIN["DELETE"]}, reply
            if reply.status not in AGAIN["DELETE"]:
                return
        raise AssertionError(f"it cannot be removed: {self.answers}")

    async def settled(self, id: str, data: bytes) -> None:
        """Ask for a final upload until it is joined."""
        self.whole[id] = data
        for _ in range(PATIENCE * 5):
            reply = await self.insist("HEAD", id)
            if reply.header("Upload-Offset") == str(len(data)):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"it is never joined: {self.answers}")

    async def get(self, id: str, start: int = 0) -> bytes:
        """Download from somewhere on."""
        for _ in range(PATIENCE):
            span = {"range": f"bytes={start}-"} if start else {}
            reply = await self.insist("GET", id, **span)
            if reply.content is None:
                return reply.body
            try:
                return b"".join([block async for block in reply.content.blocks()])
            except StoreUnavailable:
                continue  # the connection broke off, and that could be seen
            finally:
                await reply.content.aclose()
        raise AssertionError(f"it cannot be read: {self.answers}")

    async def sweep(self, rounds: int = 1) -> None:
        """Let so much time pass that whatever is not finished has expired, and sweep."""
        self.world.clock.advance(1000)
        for _ in range(rounds):
            await self.world.sweeper.scan()
            await self.world.progress.sweep_owed()

    async def finishes(self, id: str) -> int:
        """How often it was told that an upload is finished: soon after it is, at least once."""
        events = self.world.recorder.events
        async with asyncio.timeout(30):
            while True:
                ends = [each for each in events if isinstance(each, Finished)]
                if told := [each for each in ends if each.upload.id == id]:
                    return len(told)
                await asyncio.sleep(0.01)  # it is told in the background

    async def aclose(self) -> None:
        """End the server."""
        await self.world.progress.aclose()
        await self.world.locker.aclose()


Tell = Callable[[Client], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Story:
    """What a client does.

    Args:
        tell: does it.
        listening: whether a listener has a say before the upload is finished.
        brief: whether another story has nearly the same calls, so that some faults will do.
        since: the call from which on they are others than those of other stories.
    """

    tell: Tell
    listening: bool = False
    brief: bool = False
    since: str = ""


def extras(data: bytes, body: bytes, end: int, **how: bool) -> dict[str, object]:
    """Return the fields of a PATCH besides its offset."""
    fields: dict[str, object] = {}
    if how.get("deferred") and end == len(data):
        fields["upload_length"] = len(data)
    if how.get("checksummed"):
        digest = base64.b64encode(hashlib.sha1(body).digest()).decode()
        fields["upload_checksum"] = f"sha1 {digest}"
    return fields


def plain(size: int, *cuts: int, **how: bool) -> Tell:
    """Created, and sent in some requests."""

    async def tell(client: Client) -> None:
        id = await client.create(None if how.get("deferred") else size)
        await client.send(id, pattern(size), cuts, **how)

    return tell


def begun(size: int, first: int) -> Tell:
    """Created with its first bytes, or with all of them."""

    async def tell(client: Client) -> None:
        data = pattern(size)
        id = await client.create(size, data[:first])
        await client.send(id, data)

    return tell


def joined(*sizes: int) -> Tell:
    """Partials that are joined."""

    async def tell(client: Client) -> None:
        pieces = [pattern(size, seed) for seed, size in enumerate(sizes, 1)]
        parts = []
        for piece in pieces:
            parts.append(await client.create(len(piece), upload_concat="partial"))
            await client.send(parts[-1], piece)
            del client.whole[parts[-1]]
        names = " ".join(f"/files/{part}" for part in parts)
        final = await client.create(None, upload_concat=f"final;{names}")
        await client.settled(final, b"".join(pieces))

    return tell


def downloaded(size: int) -> Tell:
    """Finished, and read, all of it and a range."""

    async def tell(client: Client) -> None:
        data = pattern(size)
        id = await client.create(size)
        await client.send(id, data)
        assert await client.get(id) == data
        assert await client.get(id, 1000) == data[1000:]

    return tell


def terminated(size: int, sent: int) -> Tell:
    """Begun, and terminated."""

    async def tell(client: Client) -> None:
        id = await client.create(size)
        await client.send(id, pattern(size), stop=sent)
        await client.remove(id)

    return tell


def expired(size: int, sent: int) -> Tell:
    """Begun, and given up."""

    async def tell(client: Client) -> None:
        id = await client.create(size)
        await client.send(id, pattern(size), stop=sent)
        await client.sweep(2)

    return tell


STORIES = {
    "empty": Story(plain(0)),
    "tiny": Story(plain(1000)),
    "tiny, with a say": Story(plain(1000), listening=True, brief=True),
    "created whole": Story(begun(1000, 1000), brief=True),
    "created with a little": Story(begun(2 * LEAST + 5, 500), brief=True),
    "created with much": Story(begun(3 * LEAST + 5, 2 * LEAST + 9), brief=True),
    "tails": Story(plain(80_000, 10_000, 40_000, 70_000)),
    "parts": Story(plain(4 * LEAST + 5, 2 * LEAST + 7), brief=True),
    "exact parts": Story(plain(2 * LEAST, LEAST), brief=True),
    "checksummed": Story(plain(2 * LEAST + 9, LEAST + 9, checksummed=True), brief=True),
    "with a say": Story(plain(2 * LEAST + 9, LEAST + 9), listening=True, brief=True),
    "deferred": Story(plain(2 * LEAST + 9, LEAST + 9, deferred=True), brief=True),
    "joined by copies": Story(joined(2 * LEAST, LEAST + 1), since="PutObject .joins/upload-3"),
    "joined by hand": Story(
        joined(100, LEAST, 0), since="CreateMultipartUpload upload-4", brief=True
    ),
    "downloaded": Story(downloaded(2 * LEAST + 5), since="GetObject upload-1"),
    "terminated": Story(terminated(3 * LEAST, LEAST + 5), since="ListMultipartUploads upload-1"),
    "terminated at its beginning": Story(
        terminated(3 * LEAST, 100), since="ListMultipartUploads upload-1", brief=True
    ),
    "terminated at its end": Story(
        terminated(2 * LEAST, 2 * LEAST), since="ListMultipartUploads upload-1", brief=True
    ),
    "expired": Story(expired(3 * LEAST, LEAST + 5), since="ListObjectsV2 .joins/"),
}
