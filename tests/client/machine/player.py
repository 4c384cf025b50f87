"""Plays a machine's commands without a network: a source, a resume store and a server in memory.

While it plays it watches: what the machine may never do, whatever the server answers, is asserted
here and not in the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urljoin

from pure_server import digest

from vectus.client.commands import (
    Answer,
    Broken,
    Check,
    Command,
    Compare,
    Digest,
    Exchange,
    Forget,
    Held,
    Hold,
    Keep,
    Known,
    Learn,
    Pause,
    Recall,
    Refresh,
    Steps,
    Tell,
)
from vectus.client.happenings import Happening, Noticed
from vectus.client.job import Result
from vectus.errors import SourceChanged, SourceError, UploadError
from vectus.protocol.dialects.tus1_client import Offer, read_number

Server = Callable[[Exchange | Compare, bytes], Answer | Broken | int | None]


@dataclass
class Tape:
    """A source.

    Args:
        data: what there is.
        replayable: whether it can be read again.
        changes_at: the number of the look at which it is found changed.
        piece: the most that it has at hand at once, if that is less than was asked for.
    """

    data: bytes
    replayable: bool = True
    changes_at: int | None = None
    piece: int | None = None
    start: int = 0
    stop: int = 0
    looks: int = 0

    def hold(self, start: int, count: int) -> Held:
        """Have bytes at hand; nobody asks a source that is read once for what it forgot."""
        assert count > 0
        assert self.replayable or start >= self.start, "asked for bytes that were let go"
        if start > len(self.data):
            raise SourceError("The source ends before that.")
        self.start = start
        self.stop = min(start + min(count, self.piece or count), len(self.data))
        return Held(self.stop, last=self.stop == len(self.data))

    def read(self, start: int, stop: int) -> bytes:
        """Bytes that are at hand."""
        assert self.start <= start <= stop <= self.stop, "read what is not at hand"
        return self.data[start:stop]

    def check(self) -> None:
        """Look whether it is what it was."""
        self.looks += 1
        if self.looks == self.changes_at:
            raise SourceChanged("The source")


class TooMuchError(AssertionError):
    """The machine does not come to an end."""


@dataclass
class Player:
    """Does what a machine asks, and watches it.

    Args:
        server: answers requests.
        tape: the source.
        entry: what the resume store knows.
        fresh: how many times there are other credentials to be had.
        patience: how many commands are enough for anything.
    """

    server: Server
    tape: Tape = field(default_factory=lambda: Tape(b""))
    entry: str | None = None
    fresh: int = 0
    patience: int = 5000
    log: list[Command] = field(default_factory=list)
    told: list[Happening] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    offers: dict[str, Offer] = field(default_factory=dict)
    said: dict[str, int | None] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def play(self, steps: Steps[Result]) -> Result:
        """Have a conversation to its end."""
        try:
            command = next(steps)
            while True:
                self.log.append(command)
                if len(self.log) > self.patience:
                    raise TooMuchError(self.log[-20:])
                try:
                    reply = self.perform(command)
                except (UploadError, Interruption) as error:
                    command = steps.throw(error)
                else:
                    command = steps.send(reply)
        except StopIteration as done:
            return done.value

    def perform(self, command: Command) -> object:
        """Do one command."""
        for kinds, do in (
            (Exchange | Compare, self._ask),
            (Hold | Digest | Check, self._read),
            (Recall | Keep | Forget | Known | Learn, self._remember),
        ):
            if isinstance(command, kinds):
                return do(command)
        return self._live(command)

    def _ask(self, command: Exchange | Compare) -> object:
        if isinstance(command, Exchange):
            return self._exchange(command)
        return self.server(command, self.tape.data)

    def _read(self, command: Hold | Digest | Check) -> object:
        match command:
            case Hold(start, count):
                return self.tape.hold(start, count)
            case Digest(algorithm, start, stop):
                return digest(algorithm, self.tape.read(start, stop))
        return self.tape.check()

    def _remember(self, command: Recall | Keep | Forget | Known | Learn) -> object:
        match command:
            case Recall():
                return self.entry
            case Keep(url):
                self.entry = url
            case Forget():
                self.entry = None
            case Known(endpoint):
                return self.offers.get(endpoint)
            case Learn(endpoint, offer):
                self.offers[endpoint] = offer
        return None

    def _live(self, command: Command) -> object:
        match command:
            case Refresh():
                self.fresh -= 1
                return self.fresh >= 0
            case Pause():
                assert command.least >= 0
                assert command.longest >= 0
                self.pauses.append(command)
            case Tell(what):
                self.told.append(what)
            case _:
                raise AssertionError(command)
        return None

    def _exchange(self, request: Exchange) -> Answer | Broken:
        body = self.tape.read(request.start, request.stop) if request.body else b""
        if method_of(request) == "PATCH":
            offset = int(dict(request.ask.headers)["Upload-Offset"])
            assert offset == request.start
            assert offset == self.said[request.url], "bytes where the server did not say it is"
        answer = self.server(request, body)
        assert isinstance(answer, Answer | Broken)
        if isinstance(answer, Answer):
            self._listen(request, answer)
        return answer

    def _listen(self, request: Exchange, answer: Answer) -> None:
        """Note where the server says that an upload is."""
        if answer.status in (404, 410):
            self.gone.add(request.url)
        if not answer.good or method_of(request) not in ("POST", "HEAD", "PATCH"):
            return
        if method_of(request) == "POST" and (location := answer.headers.get("location")):
            offset = read_number(answer.headers, "upload-offset") if request.body else 0
            with suppress(ValueError):
                self.said[urljoin(request.url, location)] = offset or 0
        else:
            self.said[request.url] = read_number(answer.headers, "upload-offset")

    # --- What was done ---

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Methods and URLs of all requests, in order."""
        return [(c.ask.method, c.url) for c in self.log if isinstance(c, Exchange)]

    @property
    def methods(self) -> str:
        """The methods of all requests."""
        return " ".join(method for method, _ in self.requests)

    @property
    def notices(self) -> list[str]:
        """What the caller was told in sentences."""
        return [what.text for what in self.told if isinstance(what, Noticed)]


def method_of(request: Exchange) -> str:
    """The method that counts."""
    return dict(request.ask.headers).get("X-HTTP-Method-Override", request.ask.method)


class Interruption(BaseException):
    """Somebody stops the upload: a signal, a cancelled task."""
