"""Plays transcripts: on the engine, on the ASGI application, on a real server process.

All three prepare and look into the store through its own contract. What is true of every answer,
whatever the transcript says, is checked here.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pytest
from prepared import Names, fill, prepare
from script import APP, ENGINE, SERVER, Body, Step, Stored, Transcript

from vectus import wiring
from vectus.app import Uploads
from vectus.contracts import Locker, Store
from vectus.engine.announce import Announcer
from vectus.engine.engine import Engine
from vectus.errors import UploadNotFound
from vectus.locks.memory import MemoryLocker
from vectus.protocol.exchange import Ending
from vectus.protocol.messages import Head, Headers, locate
from vectus.protocol.policy import Feature, Policy
from vectus.testing.fakes import ScriptedBody

LIMIT = 30.0
"""Seconds after which what should have happened has not."""

ENDINGS = {"whole": Ending.COMPLETE, "cut": Ending.GONE, "broken": Ending.BROKEN}


@dataclass(frozen=True)
class Said:
    """An answer: its status, its fields in order, its body, and whether a 100 came first."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    continued: bool = False

    def get(self, name: str) -> str | None:
        """The value of a field."""
        found = [v for n, v in self.fields if n.lower() == name.lower()]
        assert len(found) <= 1, f"{name} came {len(found)} times"
        return found[0] if found else None


class Player(Protocol):
    """What plays transcripts."""

    level: str

    async def play(self, script: Transcript) -> None:
        """Play one from its beginning to its end."""


# --- Before and after -----------------------------------------------------------------------------


async def found(store: Store, id: str) -> Stored | None:
    """What a store holds of an upload."""
    try:
        upload = await store.load(id)
    except UploadNotFound:
        return None
    content = await store.read(upload, 0, upload.offset)
    try:
        data = b"".join([block async for block in content.blocks()])
    finally:
        await content.aclose()
    return Stored(data, upload.length, upload.finished)


async def settle(holds: Callable[[], Awaitable[bool]]) -> bool:
    """Wait until something holds; say whether it ever did."""
    deadline = time.monotonic() + LIMIT
    while not await holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.002)
    return True


# --- Playing --------------------------------------------------------------------------------------


async def play(
    script: Transcript,
    store: Store,
    locker: Locker,
    answer: Callable[..., Awaitable[Any]],
    own: Mapping[str, str] | None = None,
) -> None:
    """Play the steps against whatever answers; it returns None where no answer can be seen.

    Args:
        script: the transcript.
        store: where to prepare, and to look.
        locker: the locks of whoever answers.
        answer: asks.
        own: what is in fields because of the store, where a transcript expects none.
    """
    names = {given.name: secrets.token_hex(16) for given in script.before}
    for given in script.before:
        async with locker.hold(names[given.name]) as lease:
            await prepare(store, lease, given, names)
    for step in script.steps:
        fields = tuple((name, fill(value, names)) for name, value in step.fields)
        asked = replace(step, target=fill(step.target, names), fields=fields)
        said = await asyncio.wait_for(answer(asked), LIMIT)
        if said is not None:
            check(step, said, names, own or {})
        for name, expected in step.after.items():
            await check_store(store, names[name], expected)


async def check_store(store: Store, id: str, expected: Stored | None) -> None:
    """Compare what the store holds; a client that went away cannot know when it does."""

    async def holds() -> bool:
        try:
            return await found(store, id) == expected
        except UploadNotFound:
            return False  # its bytes have just moved

    if not await settle(holds):
        assert await found(store, id) == expected


def check(step: Step, said: Said, names: Names, own: Mapping[str, str]) -> None:
    """Compare an answer."""
    assert said.status == step.status, said
    if step.binds is not None:
        location = said.get("Location")
        assert location is not None, said
        names[step.binds] = location.rpartition("/")[2]
    for name, wished in step.says.items():
        expected = own.get(name) if wished is None else wished
        value = said.get(name.replace("_", "-"))
        if isinstance(expected, re.Pattern):
            assert value is not None, f"{name} is missing: {said}"
            assert expected.fullmatch(value), f"{name}: {value}"
        else:
            wanted = None if expected is None else fill(str(expected), names)
            assert value == wanted, f"{name}: {value} is not {wanted}"
    if step.text is not None:
        assert said.body == step.text
    if step.code is not None:
        assert said.body.startswith(f"{step.code}: ".encode()), said
    check_always(step, said)


def check_always(step: Step, said: Said) -> None:
    """What every answer owes: the version on all of them, and one plain line for an error."""
    dictionary = {name.lower(): value for name, value in step.fields}
    method = dictionary.get("x-http-method-override", step.method).upper()
    assert said.get("Tus-Resumable") == "1.0.0"
    if method == "HEAD" or said.status in (204, 304):
        assert said.body == b""
    elif said.status >= 400:
        assert re.fullmatch(rb"[a-z-]+: [^\n]+\.\n", said.body), said
        assert b"/" not in said.body.replace(b"application/offset+octet-stream", b"")
        assert said.get("Content-Type") == "text/plain; charset=utf-8"
        assert said.get("Content-Length") == str(len(said.body))
    if said.status in (423, 503, 507):
        assert int(said.get("Retry-After") or "") > 0
    if said.status >= 400 or method == "HEAD":
        assert said.get("Cache-Control") == "no-store"


# --- The engine -----------------------------------------------------------------------------------


def policy_of(options: dict[str, Any]) -> Policy:
    """The policy that options of ``Uploads`` lead to."""
    features = set(Feature)
    limits = dict(options)
    if not limits.pop("download", True):
        features.remove(Feature.DOWNLOAD)
    if not limits.pop("termination", True):
        features.remove(Feature.TERMINATION)
    if "expire_after" in limits and limits["expire_after"] is None:
        features.remove(Feature.EXPIRATION)
    return Policy(frozenset(features), **limits)


class EnginePlayer:
    """Plays on an engine of its own."""

    level = ENGINE

    def __init__(self, store: Store, seen: Store) -> None:
        self.store = store
        self.seen = seen

    async def play(self, script: Transcript) -> None:
        """Play one."""
        policy = policy_of(script.options)
        locker = MemoryLocker()
        engine = Engine(self.store, locker, policy, Announcer(), clock=time.time)
        try:
            await play(script, self.seen, locker, lambda step: self._answer(engine, step))
        finally:
            await engine.progress.aclose()

    async def _answer(self, engine: Engine, step: Step) -> Said:
        headers = Headers((name.lower(), value) for name, value in step.fields)
        target = locate(step.target)
        asked = Head(step.method, target, headers, base="/files/", trailers=True)
        content = step.body or Body()
        trailers = [(name.lower(), value) for name, value in content.trailers]
        body = ScriptedBody(*content.pieces, ending=ENDINGS[content.ending], trailers=trailers)
        reply = await engine(asked, body)
        return Said(reply.status, reply.headers, await whole(reply))


async def whole(reply: Any) -> bytes:
    """The body of a reply, wherever it is."""
    if reply.content is None:
        return bytes(reply.body)
    try:
        return b"".join([block async for block in reply.content.blocks()])
    finally:
        await reply.content.aclose()


# --- The application ------------------------------------------------------------------------------


class AppPlayer:
    """Plays on the ASGI application, over plain messages."""

    level = APP

    def __init__(self, store: Store, seen: Store) -> None:
        self.store = store
        self.seen = seen

    async def play(self, script: Transcript) -> None:
        """Play one."""
        locker = MemoryLocker()
        app = Uploads(self.store, locker=locker, base_path="/files/", **script.options)
        try:  # not started: a sweeper would remove what has expired before it is asked for
            await play(script, self.seen, locker, lambda step: self._answer(app, step))
        finally:
            await app.__aexit__()

    async def _answer(self, app: Uploads, step: Step) -> Said:
        path = f"/files/{step.target}"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": step.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (name.lower().encode(), value.encode("latin-1")) for name, value in step.fields
            ],
            "client": ("192.0.2.1", 1234),
            "server": ("example.org", 80),
        }
        messages = incoming(step.body or Body())
        sent: list[Any] = []

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            return await asyncio.Future()  # nothing more comes, and nobody goes

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        return outgoing(sent)


def incoming(body: Body) -> list[Any]:
    """The messages of a body."""
    messages: list[Any] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in body.pieces
    ]
    if body.ending == "cut":
        return [*messages, {"type": "http.disconnect"}]
    if not messages:
        return [{"type": "http.request", "body": b"", "more_body": False}]
    messages[-1]["more_body"] = False
    return messages


def outgoing(sent: list[Any]) -> Said:
    """The answer that messages make; Content-Length is held against what came."""
    fields = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in sent[0]["headers"])
    assert [message["type"] for message in sent[1:]] == ["http.response.body"] * (len(sent) - 1)
    assert not sent[-1].get("more_body", False)
    said = Said(sent[0]["status"], fields, b"".join(m.get("body", b"") for m in sent[1:]))
    length = said.get("Content-Length")
    assert length is None or said.body == b"" or int(length) == len(said.body)
    return said


# --- The server -----------------------------------------------------------------------------------

FLAGS = {
    "max_size": "--max-size",
    "expire_after": "--expire-after",
    "drop_partials": "--drop-partials",
}
"""The options that ``vectus serve`` has flags for."""


def flags_of(options: dict[str, Any]) -> list[str]:
    """Word options as flags."""
    found = []
    for name, value in options.items():
        found.append(FLAGS[name])
        if value is not True:
            found.append("never" if value is None else str(value))
    return found


class ServerProcess:
    """A real ``vectus serve``.

    Args:
        where: the directory or URL of its store; ours to open, too.
        options: what it is configured with.
        environ: what its environment has beyond ours.
    """

    def __init__(self, where: str, options: dict[str, Any], environ: Mapping[str, str]) -> None:
        self.where = where
        self.environ = environ
        command = [sys.executable, "-m", "vectus", "serve", where, "--port", "0"]
        self._process = subprocess.Popen(
            [*command, *flags_of(options)],
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        match = re.search(r"Listening on http://127\.0\.0\.1:(\d+)/files/", line)
        assert match, f"the server did not start: {line!r}"
        self.port = int(match[1])

    def stop(self) -> None:
        """End it, by force if it does not listen."""
        self._process.terminate()
        try:
            self._process.wait(LIMIT)
        finally:
            self._process.kill()
            self._process.wait(LIMIT)
            assert self._process.stdout is not None
            self._process.stdout.close()


class ServerPlayer:
    """Plays on a real server, over a socket; its store is looked at where it is.

    Args:
        serve: starts it.
        own: what is in fields because of the store, where a transcript expects none.
        asks_again: whether a HEAD that is not expected to find an upload locked is sent again while
            it is: the sweeper of a store that takes its time may have begun with it.
    """

    level = SERVER

    def __init__(
        self,
        serve: Callable[[dict[str, Any]], ServerProcess],
        own: Mapping[str, str] | None = None,
        *,
        asks_again: bool = False,
    ) -> None:
        self._serve = serve
        self._own = own
        self._asks_again = asks_again

    async def play(self, script: Transcript) -> None:
        """Play one."""
        server = self._serve(script.options)
        store = wiring.open_store(server.where)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.environ.items():
                patch.setenv(name, value)
            locker = wiring.open_locker(server.where)
        try:
            await play(script, store, locker, lambda step: self._ask(server, step), self._own)
        finally:
            await locker.aclose()
            await store.aclose()

    async def _ask(self, server: ServerProcess, step: Step) -> Said | None:
        said = await exchange(server.port, step)
        again = self._asks_again and step.method == "HEAD" and step.status != 423
        while again and said is not None and said.status == 423:
            await asyncio.sleep(0.2)
            said = await exchange(server.port, step)
        return said


async def exchange(port: int, step: Step) -> Said | None:
    """Send a request over a connection of its own and read its answer, if it stays for one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await converse(reader, writer, step)
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass


async def converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, step: Step
) -> Said | None:
    """One request and its answer; with ``Expect`` the body waits for its 100."""
    lines = [f"{step.method} /files/{step.target} HTTP/1.1", "Host: example.org"]
    lines += [f"{name}: {value}" for name, value in step.fields]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    body = step.body or Body()
    chunked = any(name.lower() == "transfer-encoding" for name, _ in step.fields)
    continued = False
    if any(name.lower() == "expect" for name, _ in step.fields):
        said = await hear(reader, step)
        if said.status != 100:
            assert step.continued is not True, "a 100 was expected"
            return said
        assert step.continued is not False, "no 100 was expected"
        continued = True
    writer.write(framed(body) if chunked else body.data)
    if body.ending == "cut":
        return None
    return replace(await hear(reader, step), continued=continued)


def framed(body: Body) -> bytes:
    """A body in chunks."""
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in body.pieces)
    if body.ending == "cut":
        return pieces
    if body.ending == "broken":
        return pieces + b"what is this?\r\n"
    trailers = "".join(f"{name}: {value}\r\n" for name, value in body.trailers)
    return pieces + b"0\r\n" + trailers.encode("latin-1") + b"\r\n"


async def hear(reader: asyncio.StreamReader, step: Step) -> Said:
    """Read an answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    status = int(first.split(" ")[1])
    pairs = (line.split(": ", 1) for line in lines)
    said = Said(status, tuple((name, value) for name, value in pairs), b"")
    if step.method == "HEAD" or status in (100, 204, 304):
        return said
    return replace(said, body=await reader.readexactly(int(said.get("Content-Length") or 0)))
