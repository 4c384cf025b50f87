"""Uploads that are stopped at any point: nothing is lost, and the next run goes on."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from player import Interruption, Player, Tape
from pure_server import ENDPOINT, PureServer
from weather import Weather

from vectus.client.commands import Command, Compare, Forget
from vectus.client.job import Chunks, Job
from vectus.client.machine import Machine
from vectus.errors import SourceChanged, SourceError, UploadCancelled, UploadError
from vectus.protocol.policy import Feature, Policy

DATA = bytes(range(20))


@dataclass
class Stopping(Player):
    """Stops at a command, before or after it was done."""

    at: int = 0
    late: bool = False
    error: BaseException | None = None

    def perform(self, command: Command) -> object:
        """Do one command, or stop."""
        now = len(self.log) == self.at and self.error is not None
        if now and not self.late:
            raise self.error
        reply = super().perform(command)
        if now:
            raise self.error
        return reply


def job(size: int | None, *, replayable: bool) -> Job:
    """A job in chunks."""
    length = len(DATA) if replayable else None
    return Job(endpoint=ENDPOINT, length=length, replayable=replayable, chunks=Chunks(size, 1))


def server(*, rides: bool) -> PureServer:
    """A server, with or without creation-with-upload."""
    without = set() if rides else {Feature.CREATION_WITH_UPLOAD}
    return PureServer(Policy(features=frozenset(Feature) - without))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    at=st.integers(1, 60),
    late=st.booleans(),
    error=st.sampled_from([Interruption, UploadCancelled]),
    size=st.sampled_from([None, 3, 7, 20]),
    replayable=st.booleans(),
    rides=st.booleans(),
)
def test_an_upload_that_is_stopped_goes_on_in_the_next_run(
    at: int,
    error: type[BaseException],
    size: int | None,
    *,
    late: bool,
    replayable: bool,
    rides: bool,
) -> None:
    """Stopped at any command, with a word or without, the upload stays as it is and is known; the
    next run sends what is missing, and nothing twice."""
    there = server(rides=rides)
    tape = Tape(DATA, replayable)
    first = Stopping(Weather(there), tape, at=at, late=late, error=error())
    machine = Machine(job(size, replayable=replayable))
    stopped: BaseException | None = None
    try:
        first.play(machine.run())
    except (Interruption, UploadCancelled) as caught:
        stopped = caught
    kept = first.entry
    held = len(there.content(kept) or b"") if kept else 0
    whole = any(isinstance(command, Forget) for command in first.log)
    second = Player(Weather(there), Tape(DATA, replayable), kept)
    result = second.play(Machine(job(size, replayable=replayable)).run())

    assert there.content(result.url) == DATA
    assert result.resumed == held
    assert whole or kept is None or result.url == kept
    if isinstance(stopped, UploadError):
        assert stopped.url == machine.url
        assert whole or kept in (None, stopped.url)


@pytest.mark.parametrize("error", [SourceChanged("It"), SourceError("It cannot be read.")])
@pytest.mark.parametrize("size", [None, 7])
def test_a_source_that_fails_while_it_is_read(error: SourceError, size: int | None) -> None:
    """A source found changed in the middle of a request leaves nothing behind; one that only
    cannot be read can be gone on with."""
    there = server(rides=False)

    class Failing(Tape):
        def read(self, start: int, stop: int) -> bytes:
            if stop == len(DATA):
                raise error
            return super().read(start, stop)

    player = Player(Weather(there), Failing(DATA))
    with pytest.raises(SourceError) as raised:
        player.play(Machine(job(size, replayable=True)).run())

    changed = isinstance(error, SourceChanged)
    assert raised.value is error
    assert (player.entry is None, there.uploads == {}) == (changed, changed)
    assert raised.value.url == player.entry


def test_a_source_that_changed_after_the_upload_does_not_delete_it() -> None:
    """What is whole at the server is no mix of two versions, whatever becomes of the file."""
    there = server(rides=False)
    job = Job(endpoint=ENDPOINT, length=len(DATA), verify="download")

    class Changing(Player):
        def perform(self, command: Command) -> object:
            if isinstance(command, Compare):
                raise SourceChanged("It")
            return super().perform(command)

    player = Changing(Weather(there), Tape(DATA))
    with pytest.raises(SourceChanged) as raised:
        player.play(Machine(job).run())

    assert there.content(str(raised.value.url)) == DATA
