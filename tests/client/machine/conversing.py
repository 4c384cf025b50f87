"""Conversations written down as tables: what must be asked, line by line, and what is answered.

::

    OPTIONS                         -> 204 Tus-Version=1.0.0 Tus-Extension=creation
    POST Upload-Length=5            -> 201 Location=u1
    PATCH u1 0-5 Upload-Length=-    -> 204 Upload-Offset=5

On the left: the method, the upload's name, the bytes of the body, and fields that must be there, or
(``-``) must not. On the right: the status and fields, or ``broken``, or ``untrusted`` for what no
other try mends; for a comparison ``same`` or ``byte:`` and the number of one. A ``_`` is a space.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import dedent

from player import Player, Tape
from pure_server import ENDPOINT

from vectus.client.commands import Answer, Broken, Compare, Exchange, Forget, Keep, Steps
from vectus.client.job import Chunks, Job, Patience, Result
from vectus.client.machine import Machine
from vectus.errors import UploadError
from vectus.protocol.messages import Headers

EXTENSIONS = "creation,creation-defer-length,checksum,termination"
OFFER = f"OPTIONS -> 204 Tus-Version=1.0.0 Tus-Extension={EXTENSIONS} Tus-Checksum-Algorithm=sha1"
"""A server that offers most of what a client can use, but no creation with upload."""
RIDES = OFFER.replace("creation,", "creation,creation-with-upload,")
"""One that takes bytes with the creation as well."""
BARE = "OPTIONS -> 204 Tus-Version=1.0.0 Tus-Extension=creation"
"""One that can do nothing more than it must."""

MADE = f"""
    {OFFER}
    POST -> 201 Location=u1
"""
"""The beginning of most: the upload is made."""
DONE = "PATCH u1 0-5 -> 204 Upload-Offset=5"
U1 = f"{ENDPOINT}u1"
OLD = f"{ENDPOINT}old"


@dataclass
class Script:
    """A server that answers what is written, to whom asks what is written."""

    lines: list[str]
    asked: int = 0

    def __call__(self, request: Exchange | Compare, body: bytes) -> Answer | Broken | int | None:
        """Answer the next line."""
        assert self.asked < len(self.lines), f"nobody expected {request}"
        left, _, right = self.lines[self.asked].partition("->")
        self.asked += 1
        compare_lines(left.split(), request)
        return reply_of(right.split())


def compare_lines(words: list[str], request: Exchange | Compare) -> None:
    """Look whether a request is the one that is written."""
    fields = dict(word.replace("_", " ").split("=", 1) for word in words[1:] if "=" in word)
    places = [word for word in words[1:] if "=" not in word]
    spans = [word for word in places if "-" in word]
    names = [word for word in places if "-" not in word]
    headers = dict(request.ask.headers)
    asked = f"{request.ask.method} {request.url.removeprefix(ENDPOINT)}".split()

    assert asked == [words[0], *names], request
    if isinstance(request, Exchange):
        span = f"{request.start}-{request.stop}"
        assert ([span] if request.body else []) == spans, request
    given = {name: headers.get(name, "-") for name in fields}
    assert given == fields, request


def reply_of(words: list[str]) -> Answer | Broken | int | None:
    """The reply that is written."""
    first, fields = words[0], [word.split("=", 1) for word in words[1:]]
    if first == "broken":
        return Broken("the connection failed")
    if first == "untrusted":
        return Broken("The certificate of h is not trusted.", final=True, hint="Name the CA.")
    if first == "same":
        return None
    if first.startswith("byte:"):
        return int(first.removeprefix("byte:"))
    pairs = [(name.lower(), value.replace("_", " ")) for name, value in fields]
    text = next((value for name, value in pairs if name == "text"), "")
    return Answer(int(first), Headers(pair for pair in pairs if pair[0] != "text"), text)


@dataclass
class Talk:
    """A conversation that was had."""

    player: Player
    result: Result | None = None
    error: UploadError | None = None

    @property
    def memory(self) -> str:
        """What was kept and forgotten, in order."""
        words = []
        for command in self.player.log:
            if isinstance(command, Keep):
                words.append(f"keep {command.url.removeprefix(ENDPOINT)}")
            if isinstance(command, Forget):
                words.append("forget")
        return ", ".join(words)

    @property
    def waits(self) -> list[tuple[float, float]]:
        """How long was waited at most, and at least."""
        return [(pause.longest, pause.least) for pause in self.player.pauses]


@dataclass
class Case:
    """What is uploaded, and how; a test says what differs from a file of five bytes."""

    data: bytes = b"Hello"
    length: int | None = 5
    replayable: bool = True
    size: int | None = None
    smallest: int = 1
    entry: str | None = None
    fresh: int = 0
    changes_at: int | None = None
    options: dict[str, object] = field(default_factory=dict)

    def job(self) -> Job:
        """The machine's job."""
        given = {
            "endpoint": ENDPOINT,
            "length": self.length,
            "replayable": self.replayable,
            "chunks": Chunks(self.size, self.smallest),
            "patience": Patience(retries=3),
        }
        return Job(**(given | self.options))  # type: ignore[arg-type]

    def talk(self, table: str) -> Talk:
        """Have the conversation that is written, to its last line."""
        return converse(Machine(self.job()).run(), table, self)


def upload(table: str, **how: object) -> Talk:
    """Upload five bytes, or as is said, to a server that answers what is written."""
    names = Case.__dataclass_fields__
    case = Case(**{name: value for name, value in how.items() if name in names})  # type: ignore[arg-type]
    case.options = {name: value for name, value in how.items() if name not in names}
    return case.talk(table)


def converse(steps: Steps[Result], table: str, case: Case | None = None) -> Talk:
    """Have a conversation of any kind."""
    case = case or Case()
    script = Script([line for line in dedent(table).splitlines() if line.strip()])
    tape = Tape(case.data, case.replayable, case.changes_at)
    entry = case.entry and ENDPOINT + case.entry
    talk = Talk(Player(script, tape, entry, case.fresh))
    try:
        talk.result = talk.player.play(steps)
    except UploadError as error:
        talk.error = error
    assert script.asked == len(script.lines), f"never asked: {script.lines[script.asked :]}"
    return talk


def failed(talk: Talk, kind: type[UploadError], *words: str) -> UploadError:
    """The error a conversation came to, which is of a kind and says something."""
    assert type(talk.error) is kind, repr(talk.error)
    for word in words:
        assert word in str(talk.error)
    return talk.error
