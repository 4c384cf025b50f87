"""The machine against a server that fails in every way we could think of: thousands of uploads."""

from __future__ import annotations

import os
from dataclasses import replace

from hypothesis import HealthCheck, event, given, settings, strategies as st
from player import Player, Tape, method_of
from pure_server import ENDPOINT, PureServer
from weather import Back, Cut, Garbled, Late, Lost, Stale, Status, Twice, Weather

from vectus.client.commands import Exchange, Forget, Keep
from vectus.client.happenings import Confirmed, Retrying, Started
from vectus.client.job import Chunks, Job, Patience
from vectus.client.machine import Machine
from vectus.errors import SourceChanged, UploadError, UploadMismatch
from vectus.protocol.policy import Feature, Policy

THOROUGH = "VECTUS_THOROUGH" in os.environ
"""Whether there is time for thousands of examples."""

BUDGET = settings(
    max_examples=4000 if THOROUGH else 150,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

ALL = frozenset(Feature)
OLD = f"{ENDPOINT}old"

passing = st.one_of(
    st.integers(0, 101).map(Cut),
    st.sampled_from([408, 409, 423, 425, 429, 460, 500, 502, 503, 504, 507]).map(Status),
    st.just(Status(503, (("retry-after", "2"),))),
    st.tuples(st.sampled_from([500, 503]), st.booleans()).map(lambda t: Late(*t)),
    st.sampled_from([Twice(0), Twice(1)]),
)
"""What another try mends."""

nonsense = st.sampled_from([None, "", "x", "-1", "1.5", "3, 3", "９", "9" * 20, "1000000"])
garbled = st.one_of(
    nonsense.map(lambda value: Garbled("upload-offset", value)),
    nonsense.map(lambda value: Garbled("upload-length", value)),
    st.sampled_from([None, "http://[::1", "mailto:x", "https://h:x/"]).map(
        lambda value: Garbled("location", value)
    ),
    st.sampled_from([None, "0.2.2", "x"]).map(lambda value: Garbled("tus-version", value)),
)
nasty = st.one_of(
    passing,
    garbled,
    st.just(Lost()),
    st.just(Stale()),
    st.integers(0, 40).map(Back),
    st.sampled_from([301, 400, 401, 403, 404, 405, 410, 412, 413, 415, 501]).map(Status),
)


@st.composite
def tapes(draw: st.DrawFn) -> Tape:
    """A source of a few bytes."""
    data = bytes(range(draw(st.integers(0, 40))))
    piece = draw(st.sampled_from([None, None, 1, 3, 7]))
    return Tape(data, replayable=draw(st.booleans()), piece=piece)


@st.composite
def jobs(draw: st.DrawFn, tape: Tape, features: frozenset[Feature]) -> Job:
    """A way to upload it."""
    known = draw(st.booleans()) or Feature.DEFERRED_LENGTH not in features
    chunks = Chunks(
        size=draw(st.sampled_from([None, 1, 2, 3, 5, 8, 16, 64])),
        smallest=draw(st.sampled_from([1, 1, 1, 2, 4])),
        largest=draw(st.sampled_from([None, None, 12, 24])),
        multiple=draw(st.sampled_from([1, 1, 1, 2, 4])),
    )
    return Job(
        endpoint=ENDPOINT,
        length=len(tape.data) if known else None,
        replayable=tape.replayable,
        chunks=chunks,
        checksum=draw(st.sampled_from([None, None, "auto", "sha1", "crc32"])),
        verify=draw(st.sampled_from([None, None, "length", "download"])),
        patience=Patience(retries=draw(st.integers(0, 8))),
        override=draw(st.booleans()),
        metadata="name eA==" if draw(st.booleans()) else "",
    )


@st.composite
def features(draw: st.DrawFn) -> frozenset[Feature]:
    """What the server offers beyond what is needed."""
    some = [Feature.CREATION_WITH_UPLOAD, Feature.DEFERRED_LENGTH, Feature.TERMINATION]
    return ALL - draw(st.sets(st.sampled_from(some)))


@st.composite
def before(draw: st.DrawFn, tape: Tape, server: PureServer) -> str | None:
    """What an earlier run has left: nothing, or an upload of which the server has some, or all,
    or more than can be, or nothing any more."""
    kind = draw(st.sampled_from(["none", "none", "some", "deferred", "other", "gone"]))
    if kind == "none":
        return None
    count = draw(st.integers(0, len(tape.data)))
    whole = len(tape.data)
    if kind != "gone":
        length = {"some": whole, "deferred": None, "other": whole + 1}[kind]
        server.hold(OLD, tape.data[:count], length)
    return OLD


def play(machine: Machine, player: Player, server: PureServer) -> UploadError | None:
    """Upload, and look at what every upload has to leave behind, however it ended."""
    tape = player.tape
    try:
        result = machine.run()
        done = player.play(result)
    except UploadError as error:
        look_at_failure(machine, player, server, error)
        return error
    upload = server.upload(done.url)
    assert upload is not None
    assert server.content(done.url) == tape.data
    assert upload.length == done.length == len(tape.data), "the length is declared"
    assert upload.finished
    assert player.entry is None or machine.job.upload_url, "what is done is forgotten"
    assert done.resumed <= len(tape.data)
    return None


def look_at_tries(machine: Machine, player: Player) -> None:
    """Between two times that more is confirmed there are no more tries than were given; a new
    start counts from nothing."""
    most = tries = 0
    for what in player.told:
        if isinstance(what, Started):
            most = 0
        elif isinstance(what, Retrying):
            tries += 1
            assert what.tries <= what.of == machine.job.patience.retries
            assert tries <= what.of
        elif isinstance(what, Confirmed) and what.offset > most:
            most, tries = what.offset, 0


def look_at_failure(
    machine: Machine, player: Player, server: PureServer, error: UploadError
) -> None:
    """A failure names what is left, and nothing that could be gone on with is forgotten."""
    if isinstance(error, SourceChanged):
        assert error.url is None
        assert player.entry in (None, OLD)
    held = server.upload(player.entry) if player.entry else None
    let_go = any("does not let us go on" in text for text in player.notices)
    if held is not None and player.entry not in player.gone and not let_go:
        useless = isinstance(error, UploadMismatch) or player.entry == OLD
        assert error.url == player.entry or useless
    if error.url is not None:
        assert error.url in {OLD, player.entry, machine.job.upload_url} or machine.url == error.url


def look_at_memory(player: Player) -> None:
    """The URL is kept before any byte of a PATCH goes there; and it is forgotten when the server
    has everything, or nothing, and not before."""
    known = {OLD}
    for command in player.log:
        if isinstance(command, Keep):
            known.add(command.url)
        if isinstance(command, Exchange) and method_of(command) == "PATCH":
            assert command.url in known
    forgets = [n for n, command in enumerate(player.log) if isinstance(command, Forget)]
    if forgets and player.gone == set():
        assert len(forgets) == 1
        after = [c for c in player.log[forgets[0] :] if isinstance(c, Exchange)]
        assert all(method_of(command) == "DELETE" for command in after)


def look_at_chunks(machine: Machine, player: Player) -> None:
    """Every body is of a size that the endpoint takes, but for the source's last bytes."""
    chunks, tape = machine.job.chunks, player.tape
    for command in player.log:
        if isinstance(command, Exchange) and command.body and tape.piece is None:
            size = command.stop - command.start
            assert size <= (chunks.largest or size)
            if command.stop < len(tape.data):
                assert size >= chunks.smallest
                assert size % chunks.multiple == 0


@BUDGET
@given(st.data())
def test_what_passes_costs_time_and_nothing_else(data: st.DataObject) -> None:
    """As long as there are tries left every upload succeeds, byte for byte, in any weather that
    passes."""
    tape = data.draw(tapes())
    offered = data.draw(features())
    server = PureServer(Policy(features=offered))
    entry = data.draw(before(tape, server))
    known = server.upload(OLD)
    other = known is not None and known.length not in (None, len(tape.data))
    job = data.draw(jobs(tape, offered))
    faults = data.draw(st.lists(st.one_of(st.none(), passing), max_size=12))
    troubles = sum(fault is not None for fault in faults)
    if job.patience.retries < troubles:
        faults = faults[: job.patience.retries]
    player = Player(Weather(server, faults), tape, entry)

    machine = Machine(job)

    error = play(machine, player, server)

    event(type(error).__name__)
    if other and job.length is None:
        assert isinstance(error, UploadMismatch)
    else:
        assert error is None, repr(error)
    look_at_memory(player)
    look_at_tries(machine, player)
    look_at_chunks(machine, player)


@BUDGET
@given(st.data())
def test_no_weather_makes_an_upload_wrong(data: st.DataObject) -> None:
    """Whatever a server does, an upload either is there byte for byte, or fails with an error that
    says where it is; and it comes to an end."""
    tape = data.draw(tapes())
    tape.changes_at = data.draw(st.sampled_from([None, None, None, 1, 2]))
    offered = data.draw(features())
    server = PureServer(Policy(features=offered))
    entry = data.draw(before(tape, server))
    job = data.draw(jobs(tape, offered))
    if entry is not None and data.draw(st.booleans()):
        job = replace(job, upload_url=entry)
    faults = data.draw(st.lists(st.one_of(st.none(), nasty), max_size=16))
    weather = Weather(
        server,
        faults,
        forever=data.draw(st.booleans()),
        narrow=data.draw(st.sampled_from([None, None, 2, 5])),
        mute=data.draw(st.sampled_from([False, False, True])),
    )
    player = Player(weather, tape, entry, fresh=data.draw(st.integers(0, 2)))
    machine = Machine(job)

    error = play(machine, player, server)

    event(type(error).__name__)
    look_at_memory(player)
    look_at_tries(machine, player)
    look_at_chunks(machine, player)


@BUDGET
@given(st.data())
def test_a_server_that_never_heals_is_given_up(data: st.DataObject) -> None:
    """When every request meets the same trouble the upload ends, with as many tries as it has."""
    tape = data.draw(tapes())
    server = PureServer()
    job = data.draw(jobs(tape, ALL))
    fault = data.draw(nasty)
    player = Player(Weather(server, [fault], forever=True), tape, patience=200 + 60 * 41)

    play(Machine(job), player, server)
