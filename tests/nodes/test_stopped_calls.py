"""A node that stands still while a call of its own to S3 is on its way, until it is overtaken.

The call arrives when the other node is in the middle of the upload, or through with it. That a late
record or tail does no harm takes a server that knows conditional puts, as RGW does.
"""

from __future__ import annotations

import random
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.client import HTTPException

import pytest
from cluster import Node, StartNodes
from leftovers import Leftovers

from s3proxy import Cut, Exchange, S3Proxy
from server import Answer
from vectus.stores.s3.place import Place

pytestmark = pytest.mark.timeout(240)

MIB = 1 << 20
LENGTH = 11 * MIB
LONG = 100.0
"""Seconds that nodes wait for S3, and calls are held: more than it takes until they are let go."""

DATA = random.Random(5).randbytes(LENGTH)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a node is stopped: in the middle of a call to S3, made for a PATCH.

    Args:
        operation: the call.
        ending: what its key ends with, after the id.
        before: how many bytes the upload had.
        body: how many the PATCH brings.
    """

    operation: str
    ending: str
    before: int
    body: int


MOMENTS = (
    Moment("CreateMultipartUpload", "", 0, 6 * MIB),
    Moment("UploadPart", "", 6 * MIB, 5 * MIB - 1),
    Moment("PutObject", ".part", 6 * MIB, MIB),
    Moment("PutObject", ".info", 6 * MIB, MIB),
    Moment("CompleteMultipartUpload", "", 6 * MIB, 5 * MIB),
)


HARMLESS = tuple(moment for moment in MOMENTS if moment.ending != ".info")
"""Where a server that knows no conditions does as well."""


class Held:
    """A call on its way to S3, which gets there when it is told to go.

    Args:
        answered: whether its answer comes back, or else the connection breaks.
    """

    def __init__(self, *, answered: bool) -> None:
        self._answered = answered
        self.held, self._go, self._done = (threading.Event() for _ in range(3))

    def __call__(self, exchange: Exchange) -> None:
        body = exchange.take()
        self.held.set()
        self._go.wait(LONG)
        answer, blocks = exchange.forward((body,))
        whole = list(blocks)
        self._done.set()
        if not self._answered:
            raise Cut
        exchange.reply(answer.worded(), *whole)

    def let_go(self) -> None:
        """Let it arrive, and wait until it has."""
        self._go.set()
        assert self._done.wait(LONG)


class Stuck:
    """A PATCH whose node waits for an answer of S3.

    Args:
        node: which.
        proxy: what holds the call.
        moment: which call.
        held: what keeps the call.
        wires: where its connection is closed at last.
    """

    def __init__(
        self, node: Node, proxy: S3Proxy, moment: Moment, held: Held, wires: ExitStack
    ) -> None:
        self.moment = moment
        self.held = held
        self.path = node.create(LENGTH)
        if moment.before:
            node.bring(self.path, DATA[: moment.before])
        self.told = moment.before
        key = self.path.rpartition("/")[2] + moment.ending
        proxy.fail(held, moment.operation, key)
        self._wire = wires.enter_context(node.connect())
        self._wire.patch(self.path, moment.before, moment.body)
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._sender.start()
        assert held.held.wait(LONG), moment

    def _send(self) -> None:
        with suppress(OSError):
            self._wire.send(DATA[self.moment.before :][: self.moment.body])

    def go_on(self, node: Node, stop: int) -> None:
        """Have another node go on with it, for so many bytes."""
        offset = node.bring(self.path, DATA[:stop])
        assert offset >= self.told, (self.moment, offset)
        self.told = max(offset, stop)

    def answer(self) -> Answer | None:
        """Return what its client hears at last, if anything."""
        self._sender.join(20)
        with suppress(OSError, HTTPException):
            return self._wire.answer()
        return None


@pytest.mark.parametrize(
    ("option", "moments", "midway", "answered"),
    [
        ("&conditional_put=true", MOMENTS, True, True),
        ("&conditional_put=true", MOMENTS, False, False),
        ("", HARMLESS, True, False),
    ],
)
def test_stopped_in_a_call_to_s3(
    start_nodes: StartNodes,
    proxied_store: str,
    proxy: S3Proxy,
    place: Place,
    redis_locks: str,
    option: str,
    moments: tuple[Moment, ...],
    *,
    midway: bool,
    answered: bool,
) -> None:
    """Whatever call it was, and whether its answer comes or the connection breaks: no byte that was
    acknowledged is lost, contents are exact, and the node that goes on claims no bytes that do not
    count."""
    stopped, other = start_nodes(2, f"{proxied_store}{option}&timeout={LONG}", redis_locks)
    with ExitStack() as wires:
        stuck = [
            Stuck(stopped, proxy, moment, Held(answered=answered), wires) for moment in moments
        ]
        stopped.freeze()
        for each in stuck:
            each.go_on(other, each.moment.before + 300_000)
        taken_over = [each.told for each in stuck]
        late = stuck if midway else []
        for each in late:
            each.held.let_go()
        for each in stuck:
            each.go_on(other, LENGTH)
        for each in stuck:
            each.held.let_go()
        stopped.thaw()
        answers = [each.answer() for each in stuck]
    for each, offset, answer in zip(stuck, taken_over, answers, strict=True):
        if answer is not None and answer.status < 300:
            assert answer.offset <= offset, each.moment
        for node in (stopped, other):
            assert node.ask_again("HEAD", each.path).offset == LENGTH, each.moment
            assert node.get(each.path) == DATA, each.moment
    assert Leftovers(place).after_a_sweep() == []
