"""A server without a server: what uploads are, and what every request ought to do to them.

It is as short as the rules allow, and it shares no line with the real one: where both agree, one of
them had to be wrong twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

CAP = 16
"""The largest upload."""

LIFE = 100.0
"""Seconds an unfinished upload lives."""


@dataclass
class Item:
    """One upload."""

    id: str
    length: int | None
    kind: str = "plain"
    data: bytes = b""
    parts: tuple[str, ...] = ()
    expires: float | None = None
    finished: bool = False
    failed: bool = False
    taken: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every byte is there."""
        return self.length is not None and len(self.data) == self.length

    @property
    def gone(self) -> bool:
        """Whether it can never be finished, or was used up."""
        return self.failed or self.taken is not None

    @property
    def waits(self) -> bool:
        """Whether it is a final upload that is not joined."""
        return self.kind == "final" and not self.finished and not self.failed


@dataclass(frozen=True)
class Bytes:
    """A body, as its request describes it and as it comes.

    Args:
        data: what comes.
        size: Content-Length, or None where it is chunked.
        ending: ``whole``, or a way to end early.
        checksum: ``none``; ``right`` or ``wrong``; ``late`` or ``late wrong``, in a trailer;
            ``missing``, a trailer that does not come.
    """

    data: bytes = b""
    size: int | None = 0
    ending: str = "whole"
    checksum: str = "none"

    @property
    def revocable(self) -> bool:
        """Whether nothing of it counts before its end, should the server die."""
        return self.checksum != "none" or self.size is None


EARLY = {"gone": 400, "broken": 400, "stalled": 500, "shutdown": 503, "full": 507, "wanted": 423}
"""Ways to end early, and their status."""


@dataclass
class Model:
    """All uploads, and the time."""

    drop: bool
    now: float
    items: dict[str, Item] = field(default_factory=dict)

    # --- What is there ----------------------------------------------------------------------------

    def awaited(self, id: str) -> bool:
        """Whether an unjoined final upload names it."""
        return any(item.waits and id in item.parts for item in self.items.values())

    def expired(self, item: Item) -> bool:
        """Whether its time is over (D7)."""
        if item.expires is None or (item.finished and item.kind != "partial"):
            return False
        spared = item.kind == "partial" and self.awaited(item.id)
        return self.now >= item.expires and not spared

    def life(self, item: Item) -> float | None:
        """When it will expire, as a request for it is told."""
        if item.expires is not None and self.now >= item.expires and not self.expired(item):
            return self.now + LIFE
        return item.expires

    def missing(self, id: str) -> int | None:
        """The status if there is nothing to work with, else None."""
        item = self.items.get(id)
        if item is None:
            return 404
        return 410 if item.gone or self.expired(item) else None

    # --- Requests: the status, and what becomes of everything -------------------------------------

    def head(self, id: str) -> int:
        """A question."""
        return self.missing(id) or 200

    def get(self, id: str) -> int:
        """A download."""
        return self.missing(id) or (200 if self.items[id].finished else 409)

    def delete(self, id: str) -> int:
        """A termination."""
        if status := self.missing(id):
            return status
        del self.items[id]
        self.settle()
        return 204

    def create(self, id: str, kind: str, length: int | None, body: Bytes | None) -> int:
        """A creation; the upload is there if its id is among the items."""
        room = CAP if length is None else length
        if room > CAP or (body is not None and body.size is not None and body.size > room):
            return 413
        item = self.items[id] = Item(id, length, kind, expires=self.now + LIFE)
        status = 201 if body is None else self.receive(item, body, length)
        self.finish(item)
        return 201 if status == 204 else status

    def patch(self, id: str, offset: int, declared: int | None, body: Bytes) -> int:
        """An append."""
        if status := self.missing(id):
            return status
        item = self.items[id]
        if item.kind == "final":
            return 403
        if offset != len(item.data):
            return 409
        length = item.length if declared is None else declared
        if item.length not in (None, length) or (length is not None and length < offset):
            return 400
        if length is not None and length > CAP:
            return 413
        if body.size is not None and offset + body.size > (CAP if length is None else length):
            return 413
        status = self.receive(item, body, length)
        self.finish(item)
        return status

    def receive(self, item: Item, body: Bytes, length: int | None) -> int:
        """A body, admitted by its head."""
        if len(item.data) + len(body.data) > (CAP if length is None else length):
            return 413
        if body.ending != "whole" and body.checksum != "none":
            return EARLY[body.ending]
        if body.checksum in ("wrong", "late wrong"):
            return 460
        if body.checksum == "missing":
            return 400
        self.keep(item, body.data, length)
        return EARLY.get(body.ending, 204)

    def keep(self, item: Item, data: bytes, length: int | None) -> None:
        """Bytes that count."""
        if not item.finished:
            item.expires = self.now + LIFE if data else self.life(item)
            item.data += data
            item.length = length

    def crash(self, id: str, body: Bytes) -> None:
        """The server dies when all of a body has come but its end: plain bytes are as good as
        acknowledged, others never were."""
        if not body.revocable:
            self.items[id].data += body.data

    def finish(self, item: Item) -> None:
        """What follows a last byte."""
        if item.complete and not item.finished and not item.waits:
            item.finished = True
            if item.kind != "partial":
                item.expires = None
        self.settle()

    def final(self, id: str, parts: tuple[str, ...]) -> tuple[int, str]:
        """A final upload; returns its status, and the id that it gets."""
        found = [self.items.get(part) for part in parts]
        for item in self.items.values():
            if item.parts == parts and any(f is not None and f.taken == item.id for f in found):
                return 201, item.id
        present = [f for f in found if f is not None and f.kind == "partial" and not f.gone]
        if len(present) < len(found):
            return 400, ""
        length = total(present)
        if length is not None and length > CAP:
            return 413, ""
        self.items[id] = Item(id, length, "final", parts=parts, expires=self.now + LIFE)
        self.settle()
        return 201, id

    # --- What happens by itself -------------------------------------------------------------------

    def settle(self) -> None:
        """Join what can be joined, give up what cannot."""
        for final in list(self.items.values()):
            if final.waits and not self.expired(final):
                self.join(final)

    def join(self, final: Item) -> None:
        """One final upload."""
        parts = [self.items.get(part) for part in final.parts]
        present = [part for part in parts if part is not None and not part.gone]
        if len(present) < len(parts):
            final.failed = True
            return
        final.length = total(present)
        if final.length is not None and final.length > CAP:
            final.failed = True
        elif all(part.complete for part in present):
            final.data = b"".join(part.data for part in present)
            final.finished, final.expires = True, None
            if self.drop and final.length:  # of no bytes there is nothing to take over
                for part in present:
                    part.taken = final.id

    def sweep(self) -> None:
        """The sweeper's round; what it removes first may be what kept something else."""
        while over := [item for item in self.items.values() if self.expired(item)]:
            for item in over:
                del self.items[item.id]
        for item in self.items.values():
            if item.complete:
                self.finish(item)
        self.settle()


def total(parts: list[Item]) -> int | None:
    """The length of several, if all are known."""
    lengths = [part.length for part in parts]
    return None if None in lengths else sum(length or 0 for length in lengths)
