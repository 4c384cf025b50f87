"""Transcripts as data: what the store holds, what is asked, what is answered, what it holds then.

A transcript is a test function that returns one; its docstring names the clauses it proves. It is
played on the engine with each store, on the ASGI application, and on the real server. Nothing in
here plays anything: see ``players.py``.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from vectus.protocol.upload import Role

OCTETS = "application/offset+octet-stream"

ENGINE, APP, SERVER = "engine", "app", "server"
LEVELS = (ENGINE, APP, SERVER)

DATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT"
)
"""An IMF-fixdate."""

SOME = re.compile(r".+")
"""Any value but none."""


@dataclass(frozen=True)
class Given:
    """An upload that is there before. ``expires`` is counted from now."""

    name: str
    data: bytes = b""
    length: int | None = None
    metadata: str | None = None
    role: Role = Role.PLAIN
    concat: str | None = None
    parts: tuple[str, ...] = ()
    expires: float | None = 1000.0
    finished: bool = False
    joining: bool = False


def upload(name: str, data: bytes = b"", length: int | None = None, **more: Any) -> Given:
    """An unfinished upload."""
    return Given(name, data, length, **more)


def done(name: str, data: bytes = b"hello", **more: Any) -> Given:
    """A finished upload."""
    return Given(name, data, len(data), **({"expires": None} | more), finished=True)


def partial(name: str, data: bytes = b"", length: int | None = None, **more: Any) -> Given:
    """A partial upload, finished if its bytes are all there."""
    finished = len(data) == length if length is not None else False
    how = {"role": Role.PARTIAL, "concat": "partial"} | more
    return Given(name, data, length, **how, finished=finished)


def final(name: str, *parts: str, length: int | None = None, **more: Any) -> Given:
    """A final upload that is not joined."""
    concat = "final;" + " ".join(f"/files/{{{part}}}" for part in parts)
    how = {"role": Role.FINAL, "concat": concat} | more
    return Given(name, b"", length, parts=parts, **how)


def joined(name: str, data: bytes, **more: Any) -> Given:
    """A final upload that is joined, and whose partials are of no importance."""
    return done(name, data, role=Role.FINAL, **({"concat": "final;/files/x"} | more))


@dataclass(frozen=True)
class Body:
    """A request's body as it goes over the wire.

    Args:
        pieces: its bytes; each a chunk, if it is chunked.
        ending: ``whole``, ``cut`` (the client goes away) or ``broken`` (its framing is).
        trailers: fields after a chunked body.
    """

    pieces: tuple[bytes, ...] = ()
    ending: str = "whole"
    trailers: tuple[tuple[str, str], ...] = ()

    @property
    def data(self) -> bytes:
        """All bytes."""
        return b"".join(self.pieces)


@dataclass(frozen=True)
class Stored:
    """What the store holds of an upload: the bytes that count, exactly, and what is recorded."""

    data: bytes
    length: int | None
    finished: bool


@dataclass(frozen=True)
class Step:
    """One request, its answer, and the store afterwards.

    Names in braces stand for ids, in fields, and in what is expected of the answer's.
    """

    method: str
    target: str
    fields: tuple[tuple[str, str], ...] = ()
    body: Body | None = None
    status: int = 0
    says: dict[str, Any] = field(default_factory=dict)
    text: bytes | None = None
    code: str | None = None
    binds: str | None = None
    continued: bool | None = None
    after: dict[str, Stored | None] = field(default_factory=dict)

    def gets(
        self,
        status: int,
        text: bytes | None = None,
        *,
        code: str | None = None,
        binds: str | None = None,
        continued: bool | None = None,
        **says: Any,
    ) -> Step:
        """What is answered.

        Args:
            status: its status.
            text: its body.
            code: the word before the colon, in the body of a refusal.
            binds: the name of the upload at its ``Location`` from here on.
            continued: whether a 100 comes first; only a real server can tell.
            says: its fields; None is absence, a pattern matches whole.
        """
        return replace(
            self, status=status, text=text, code=code, binds=binds, continued=continued, says=says
        )

    def leaves(self, **after: Stored | None) -> Step:
        """What the store holds afterwards, by names; None is nothing."""
        return replace(self, after=after)


def stored(data: bytes, length: int | None = None, *, finished: bool | None = None) -> Stored:
    """What the store holds of an upload; it is finished if it has all its bytes."""
    complete = length is not None and len(data) == length
    return Stored(data, length, complete if finished is None else finished)


# --- Requests -------------------------------------------------------------------------------------


def ask(method: str, target: str, body: Any = None, **fields: Any) -> Step:
    """Any request. ``upload_offset=3`` is ``Upload-Offset: 3``, a list several lines of a field,
    None leaves one out; ``Tus-Resumable`` is there unless it is among them."""
    body = Body((body,)) if isinstance(body, bytes) else body
    lines = tuple(
        (name.replace("_", "-").title(), str(value))
        for name, values in ({"tus_resumable": "1.0.0"} | fields).items()
        if values is not None
        for value in (values if isinstance(values, list) else [values])
    )
    return Step(method, target, lines, body)


def sized(body: Any) -> dict[str, int]:
    """The length of a body that is given as bytes."""
    return {"content_length": len(body)} if isinstance(body, bytes) else {}


def patch(name: str, offset: int, body: Any = b"", **fields: Any) -> Step:
    """An append."""
    how = {"content_type": OCTETS, "upload_offset": offset, **sized(body)}
    return ask("PATCH", f"{{{name}}}", body, **(how | fields))


def post(body: Any = None, **fields: Any) -> Step:
    """A creation, with the first bytes if there are any."""
    how = {} if body is None else {"content_type": OCTETS, **sized(body)}
    return ask("POST", "", body, **(how | fields))


def head(name: str, **fields: Any) -> Step:
    """A question how far an upload is."""
    return ask("HEAD", f"{{{name}}}", **fields)


def get(name: str, **fields: Any) -> Step:
    """A download."""
    return ask("GET", f"{{{name}}}", **fields)


def delete(name: str, **fields: Any) -> Step:
    """A termination."""
    return ask("DELETE", f"{{{name}}}", **fields)


def options(target: str = "", **fields: Any) -> Step:
    """A question what the server can do."""
    return ask("OPTIONS", target, **fields)


CHUNKED = {"transfer_encoding": "chunked", "content_length": None}
"""What says that a body comes in chunks."""


def chunks(*pieces: bytes) -> Body:
    """A body in chunks."""
    return Body(pieces)


# --- Transcripts ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transcript:
    """What is there before, and the steps.

    Args:
        before: uploads.
        steps: requests with their answers.
        options: what the server is configured with, as ``Uploads`` takes it.
        levels: where it can be played; not all can express all.
    """

    before: Sequence[Given] = ()
    steps: Sequence[Step] = ()
    options: dict[str, Any] = field(default_factory=dict)
    levels: Sequence[str] = LEVELS


def transcript(describe: Callable[..., Transcript]) -> Callable[..., Any]:
    """Make a test of a function that returns a transcript, one on each level."""

    @functools.wraps(describe)
    async def test(player: Any, **arguments: Any) -> None:
        script = describe(**arguments)
        if player.level in script.levels:
            await player.play(script)

    test.describe = describe  # type: ignore[attr-defined]
    own = inspect.signature(describe).parameters.values()
    player = inspect.Parameter("player", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    test.__signature__ = inspect.Signature([player, *own])  # type: ignore[attr-defined]
    return pytest.mark.parametrize("player", PLAYERS, indirect=True)(test)


PLAYERS = (
    "engine-memory",
    "engine-file",
    "engine-s3",
    "engine-s3conditional",
    "app-memory",
    "app-file",
    "app-s3",
    "server",
)
"""The levels, each with the kinds of store that it is played on; on a real S3 server some are, see
``test_transcripts_on_s3.py``."""
