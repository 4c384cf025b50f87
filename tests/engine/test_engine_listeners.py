"""Listeners: who is told what, in which order, and what a veto or a failure does."""

from __future__ import annotations

import asyncio
import logging

import pytest

from vectus.events import (
    BeforeCreate,
    BeforeFinish,
    BeforeRequest,
    BeforeTerminate,
    Created,
    Event,
    Finished,
    Received,
    Rejected,
    Terminated,
    UploadEvent,
)
from vectus.testing.fakes import Recorder
from world import id_of


async def test_a_life_in_events(world):
    """Every step of an upload's life is told once, with the record as it was then."""
    id = id_of(await world.ask("POST", "", b"he", upload_length=5))
    await world.patch(id, 2, b"llo")
    await world.ask("DELETE", id)

    assert world.recorder.names == [
        *("BeforeRequest", "BeforeCreate", "Created", "Received"),
        *("BeforeRequest", "Received", "BeforeFinish", "Finished"),
        *("BeforeRequest", "BeforeTerminate", "Terminated"),
    ]
    received = [e for e in world.recorder.events if isinstance(e, Received)]
    assert [(e.count, e.upload.offset) for e in received] == [(2, 2), (3, 5)]
    assert {u.id for u in world.recorder.uploads(UploadEvent)} == {id}
    assert all(event.request is not None for event in world.recorder.events)
    (finished,) = world.recorder.uploads(Finished)
    assert finished.finished


async def test_listeners_are_told_in_order_one_after_another(world):
    """Async and plain listeners are told in the order they came, each after the one before."""
    order = []

    async def slow(event: Event) -> None:
        order.append("slow begins")
        await asyncio.sleep(0)
        order.append("slow ends")

    world.announcer.add(Created, slow)
    world.announcer.add(Created, lambda _: order.append("plain"))
    world.announcer.add(Terminated, lambda _: order.append("never"))
    await world.create(5)

    assert order == ["slow begins", "slow ends", "plain"]


async def test_a_kind_stands_for_its_subclasses(world):
    """A listener of a kind hears of every event below it."""
    recorder = Recorder()
    world.announcer.add(UploadEvent, recorder)
    await world.create(5)

    assert recorder.names == ["BeforeCreate", "Created"]


@pytest.mark.parametrize("call", ["plain", "async"])
async def test_a_veto_of_creation(world, call):
    """BeforeCreate: a refusal leaves nothing behind, in the words of the application."""

    async def refuse(event: Event) -> None:
        raise Rejected(422, "No.")

    def refuse_plainly(event: Event) -> None:
        raise Rejected(422, "No.")

    world.announcer.add(BeforeCreate, refuse if call == "async" else refuse_plainly)
    reply = await world.ask("POST", "", b"he", upload_length=5)

    assert (reply.status, reply.body) == (422, b"refused: No.\n")
    assert reply.header("Location") is None
    assert "create" not in world.store.calls


async def test_a_veto_of_a_final(world):
    """BeforeCreate: a final upload can be refused as well."""
    part = await world.partial(b"a")
    world.recorder.failures[BeforeCreate] = Rejected(403)
    reply = await world.ask("POST", upload_concat=f"final;{part}")

    assert (reply.status, reply.body) == (403, b"refused: The application refused the request.\n")


async def test_a_veto_of_termination(world):
    """BeforeTerminate: a refusal keeps the upload."""
    id = await world.done()
    world.recorder.failures[BeforeTerminate] = Rejected(403)

    assert (await world.ask("DELETE", id)).status == 403
    assert await world.data(id) == b"hello"
    assert "Terminated" not in world.recorder.names


async def test_a_veto_of_a_finish_can_be_overcome(world):
    """BeforeFinish: refused, the upload waits with all its bytes; HEAD is 423, so that the client
    keeps it; once nobody objects the next request finishes it."""
    id = await world.create(5)
    world.recorder.failures[BeforeFinish] = Rejected(422, "A virus.")
    reply = await world.patch(id, 0, b"hello")
    assert (reply.status, reply.body) == (422, b"refused: A virus.\n")
    asked = await world.ask("HEAD", id)
    assert (asked.status, asked.header("Retry-After")) == (423, "1")
    assert asked.header("Upload-Offset") is None
    assert (await world.patch(id, 5)).status == 422
    assert (await world.ask("GET", id)).status == 409
    assert "Finished" not in world.recorder.names

    world.recorder.failures.clear()
    assert (await world.patch(id, 5)).status == 204
    assert await world.data(id) == b"hello"
    assert world.recorder.names.count("Finished") == 1


async def test_a_veto_of_a_finish_on_creation(world):
    """BeforeFinish: a POST with all bytes that is refused says where its upload is."""
    world.recorder.failures[BeforeFinish] = Rejected(422)
    reply = await world.ask("POST", "", b"hello", upload_length=5)
    world.recorder.failures.clear()

    assert reply.status == 422
    assert await world.offset(id_of(reply)) == 5


async def test_the_sweeper_overcomes_a_veto(world):
    """D2: nobody needs to ask again: the sweeper does, soon after."""
    id = await world.create(5)
    world.recorder.failures[BeforeFinish] = Rejected(422)
    await world.patch(id, 0, b"hello")
    world.recorder.failures.clear()
    assert world.progress.owed == {id}
    await world.progress.sweep_owed()

    await world.until_finished(id)
    assert world.progress.owed == set()


async def test_partials_are_nothing_in_themselves(world):
    """T66: nobody is asked or told that a partial is finished."""
    await world.partial(b"hello")

    assert {"BeforeFinish", "Finished"} & set(world.recorder.names) == set()
    assert "Received" in world.recorder.names


@pytest.mark.parametrize("kind", [Created, Received, Finished, Terminated])
@pytest.mark.parametrize("failure", [RuntimeError("broken"), Rejected(403)])
async def test_a_listener_that_fails_afterwards_harms_nobody(world, caplog, kind, failure):
    """What has happened has happened: a failure, or a refusal that comes too late, is logged."""
    world.recorder.failures[kind] = failure
    with caplog.at_level(logging.ERROR, "vectus"):
        reply = await world.ask("POST", "", b"hello", upload_length=5)
        id = id_of(reply)
        deleted = await world.ask("DELETE", id)

    assert (reply.status, deleted.status) == (201, 204)
    assert kind.__name__ in caplog.text


@pytest.mark.parametrize("kind", [BeforeRequest, BeforeCreate, BeforeFinish, BeforeTerminate])
async def test_a_listener_that_fails_when_asked_refuses(world, kind):
    """A verdict that cannot be had is none in favour: nothing happens, and it is our fault."""
    id = await world.create(5)
    await world.patch(id, 0, b"hell")
    world.recorder.failures[kind] = RuntimeError("broken")
    asked = {
        BeforeRequest: lambda: world.ask("HEAD", id),
        BeforeCreate: lambda: world.ask("POST", upload_length=5),
        BeforeFinish: lambda: world.patch(id, 4, b"o"),
        BeforeTerminate: lambda: world.ask("DELETE", id),
    }

    assert (await asked[kind]()).status == 500
    assert await world.exists(id)
    assert not (await world.record(id)).finished


async def test_a_finish_is_told_again_after_a_crash(world, build):
    """Finished: if the process dies between the record and the telling, the next one tells it,
    once."""
    id = await world.create(5)
    world.store.after("save", OSError("the process died here"))
    assert (await world.patch(id, 0, b"hello")).status == 503
    assert (await world.record(id)).finished

    again = build(restart=world)
    assert await again.offset(id) == 5
    assert await again.offset(id) == 5
    assert again.recorder.names.count("Finished") == 1


async def test_the_scan_tells_what_a_crash_kept_back(world, build):
    """D2: after a restart the sweeper finishes and tells, without any request."""
    asked = await world.create(5)
    recorded = await world.create(5)
    for id in (asked, recorded):
        world.store.before("commit" if id is asked else "nothing", OSError("died"))
        world.store.after("save" if id is recorded else "nothing", OSError("died"))
        await world.patch(id, 0, b"hello")
    again = build(restart=world)
    await again.sweeper.scan()

    for id in (asked, recorded):
        await again.until_finished(id)
    await again.settle(lambda: _told(again, 2))


async def _told(world, count: int) -> bool:
    """Whether so many finishes were told."""
    return world.recorder.names.count("Finished") == count


async def test_a_finish_nobody_listens_to_is_not_told_later(build):
    """A finish that was recorded while nobody listened is not news after a restart."""
    world = build(listening=False)
    id = await world.done()
    again = build(restart=world)
    await again.offset(id)

    assert "Finished" not in again.recorder.names
    assert (await again.record(id)).announced


async def test_somebody_who_listened_and_is_gone(world, build):
    """A finish that was to be told is settled when nobody is there to hear it any more."""
    id = await world.create(5)
    world.store.after("save", OSError("the process died here"))
    await world.patch(id, 0, b"hello")
    again = build(restart=world, listening=False)
    await again.offset(id)

    assert (await again.record(id)).announced
