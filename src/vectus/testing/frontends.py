"""What every front end must do: a suite to inherit from, for our front ends and for yours.

It knows HTTP/1.1 (``vectus.testing.wire``) and the handler that answers (``vectus.testing.probe``);
how a front end does it must never matter here. It runs under pytest with pytest-asyncio in its
automatic mode::

    class TestMyFrontEnd(FrontEndSuite):
        @pytest.fixture
        async def url(self):
            async with serving(my_front_end(probe)) as port:
                yield f"http://127.0.0.1:{port}/"
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from vectus.testing.probe import PIECE, Probe, pattern, probe
from vectus.testing.wire import LIMIT, Wire, chunked, request

__all__ = ["FrontEndSuite", "Probe", "probe"]

SOON = 5.0
"""Seconds within which what should happen at once must have happened, on a busy machine too."""


class FrontEndSuite:
    """What a front end must do. Needs the fixture ``url``: where it serves ``probe``, with a slash
    at the end.

    What a front end can do depends on its server. ``delivers_trailers``: declared trailer fields.
    ``keeps_early_bytes``: every byte that came before the client left. ``asks_late``: a client that
    waits for ``100 Continue`` is asked for its bytes when they are poured, not before.
    ``client_context`` is what an ``https`` URL is asked with.
    """

    delivers_trailers = False
    keeps_early_bytes = False
    asks_late = True
    client_context: ssl.SSLContext | None = None

    @pytest.fixture
    def path(self, url: str) -> str:
        """The path of the collection."""
        return urlsplit(url).path

    @asynccontextmanager
    async def connected(self, url: str) -> AsyncIterator[Wire]:
        """Connect."""
        parts = urlsplit(url)
        context = self.client_context if parts.scheme == "https" else None
        async with asyncio.timeout(LIMIT):
            reader, writer = await asyncio.open_connection(
                parts.hostname, parts.port, ssl=context, limit=1 << 20
            )
        try:
            yield Wire(reader, writer)
        finally:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()

    @pytest.fixture
    async def wire(self, url: str) -> AsyncIterator[Wire]:
        """A connection."""
        async with self.connected(url) as wire:
            yield wire

    async def reported(self, url: str, id: str, count: int = -1) -> dict[str, Any]:
        """Return what the probe saw of a request, once it has ended or has so many bytes."""
        async with asyncio.timeout(LIMIT), self.connected(url) as wire:
            while True:
                asked = await wire.ask("GET", urlsplit(url).path + id, headers={"Do": "report"})
                seen: dict[str, Any] = asked.told
                if seen.get("ending") or seen.get("error") or 0 <= count <= seen.get("count", -1):
                    return seen
                await asyncio.sleep(0.01)

    async def all_closed(self, wire: Wire, path: str) -> None:
        """Wait until every content is closed: its last byte may be here a moment before."""
        async with asyncio.timeout(LIMIT):
            while (await wire.ask("GET", path, headers={"Do": "opened"})).told["open"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    # Heads.

    async def test_a_head_says_what_was_asked(self, wire: Wire, path: str) -> None:
        """Method, target, fields in their order, and the URI as sent reach the handler."""
        headers = {"X-One": " a, b ", "UPLOAD-Offset": "0", "X-Text": "gr\xfc\xdfe"}
        told = (await wire.ask("PATCH", f"{path}abc-_9?x=%20", b"", headers)).told["head"]
        assert told["method"] == "PATCH"
        assert (told["target"], told["id"]) == ("Resource", "abc-_9")
        assert told["uri"] == f"{path}abc-_9?x=%20"
        assert told["trailers"] is self.delivers_trailers
        fields = dict(told["headers"])
        assert fields["x-one"] == "a, b"
        assert fields["upload-offset"] == "0"
        assert fields["x-text"] == "gr\xfc\xdfe"

    async def test_a_repeated_field_keeps_each_value(self, wire: Wire, path: str) -> None:
        """Lines of one name stay apart, in the order they were sent."""
        await wire.send(f"POST {path} HTTP/1.1\r\nHost: h\r\nX-Two: 1\r\nx-two: 2\r\n\r\n".encode())
        told = (await wire.answer()).told["head"]
        assert [v for n, v in told["headers"] if n == "x-two"] == ["1", "2"]
        assert told["target"] == "Collection"

    @pytest.mark.parametrize(
        "rest", ["a/b", "a%2Fb", "%61bc", "abc/", "a.b", "x" * 129, "%2e%2e", "%00", "a%20b"]
    )
    async def test_nothing_but_an_id_names_an_upload(
        self, wire: Wire, path: str, rest: str
    ) -> None:
        """D13: what does not match the ids' grammar exactly as sent points nowhere."""
        answer = await wire.ask("POST", path + rest)
        assert answer.status in {400, 404} or answer.told["head"]["target"] == "Nowhere"

    async def test_ids_are_appended_to_the_base(self, wire: Wire, path: str) -> None:
        """``Location`` is right under the mount, from the collection as from an upload."""
        for rest in ("", "abc"):
            assert (await wire.ask("POST", path + rest)).told["head"]["base"] == path

    # Bodies.

    @pytest.mark.parametrize("act", ["", "slowly"])
    @pytest.mark.parametrize("length", [0, 1, 4096, PIECE + 1, 3 * 1024 * 1024 + 17])
    async def test_a_body_is_poured_whole(
        self, wire: Wire, path: str, act: str, length: int
    ) -> None:
        """Every byte comes once, in order, one piece at a time, on a connection used again."""
        for seed in range(2):
            data = pattern(seed, length)
            told = (await wire.ask("PATCH", path + "whole", data, {"Do": act})).told
            assert (told["count"], told["ending"]) == (length, "COMPLETE")
            assert told["digest"] == hashlib.sha256(data).hexdigest()
            assert told["overlaps"] == 0

    @pytest.mark.parametrize("act", ["", "slowly"])
    async def test_a_chunked_body_is_poured_whole(self, wire: Wire, path: str, act: str) -> None:
        """C29: so does one whose length nobody knows."""
        pieces = [pattern(i, size) for i, size in enumerate((1, 5000, 300_000, 2, 1_000_000))]
        headers = {"Do": act, "Transfer-Encoding": "chunked"}
        told = (await wire.ask("PATCH", path + "chunked", chunked(*pieces), headers)).told
        assert told["ending"] == "COMPLETE"
        assert told["digest"] == hashlib.sha256(b"".join(pieces)).hexdigest()
        assert (await wire.ask("PATCH", path + "next", b"x")).told["count"] == 1

    async def test_slow_bodies_do_not_mix(self, url: str, path: str) -> None:
        """Two uploads that are written slowly at the same time keep their own bytes."""

        async def upload(seed: int) -> None:
            data = pattern(seed, 4_000_000 + seed)
            async with self.connected(url) as wire:
                told = (await wire.ask("PATCH", f"{path}mix-{seed}", data, {"Do": "slowly"})).told
            assert told["digest"] == hashlib.sha256(data).hexdigest()
            assert told["overlaps"] == 0

        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*(upload(seed) for seed in range(3)))

    async def test_a_failing_take_ends_the_pour(self, wire: Wire, path: str) -> None:
        """What ``take`` raises comes out of ``pour``, and the client gets the answer."""
        answer = await wire.ask("PATCH", path + "fail", pattern(0, 10_000), {"Do": "fail"})
        assert (answer.status, answer.told["error"]) == (500, "the disk is on fire")

    async def test_a_client_that_leaves_is_noticed(self, url: str, path: str) -> None:
        """C34: the pour ends ``GONE``; our own server gives every byte that came before."""
        data = pattern(1, 200_000)
        async with self.connected(url) as wire:
            await wire.send(request("PATCH", path + "gone", data, {"Content-Length": "400000"}))
            await self.reported(url, "gone", 1)
        seen = await self.reported(url, "gone")
        assert seen["ending"] == "GONE"
        assert seen["count"] <= len(data)
        if self.keeps_early_bytes:
            assert seen["digest"] == hashlib.sha256(data).hexdigest()

    async def test_a_waiting_body_can_be_stopped(self, url: str, path: str) -> None:
        """The holder of a body leaves when a newer request wants it, and its answer is sent."""
        async with self.connected(url) as wire, asyncio.timeout(LIMIT):
            await wire.send(request("PATCH", path + "held", b"x" * 10, {"Content-Length": "100"}))
            await self.reported(url, "held", 10)
            async with self.connected(url) as other, asyncio.timeout(SOON):
                await other.ask("POST", path + "held", headers={"Do": "wanted"})
                told = (await wire.answer()).told
        assert (told["count"], told["ending"]) == (10, "WANTED")

    async def test_trailers_come_if_declared(self, wire: Wire, path: str) -> None:
        """D10: declared fields, and no others, are the body's trailers, and never the head's."""
        body = chunked(b"abc", trailer=b"X-Sum: 1 \r\nX-Other: 2\r\n")
        headers = {"Transfer-Encoding": "chunked", "Trailer": "x-sum"}
        told = (await wire.ask("PATCH", path + "trailers", body, headers)).told
        assert told["count"] == 3
        assert told["trailers"] == ([["x-sum", "1"]] if self.delivers_trailers else [])
        assert "x-sum" not in dict(told["head"]["headers"])

    # Expectations and refusals.

    async def test_a_client_is_asked_for_its_body_when_it_is_poured(
        self, wire: Wire, path: str
    ) -> None:
        """T46, C33: ``100 Continue`` comes before the body is sent."""
        headers = {"Expect": "100-continue", "Content-Length": "5"}
        await wire.send(request("PATCH", path + "expect", b"", headers))
        assert (await wire.answer()).status == 100
        await wire.send(b"hello")
        assert (await wire.answer()).told["count"] == 5

    async def test_a_refused_client_is_not_asked(self, wire: Wire, path: str) -> None:
        """C33, D9: a refusal of a request with ``Expect`` gets no ``100 Continue``."""
        headers = {"Expect": "100-continue", "Content-Length": "5", "Do": "refuse"}
        await wire.send(request("PATCH", path + "expect", b"", headers))
        statuses = [(await wire.answer()).status]
        if statuses == [100] and not self.asks_late:
            statuses = [(await wire.answer()).status]
        assert statuses == [409]

    async def test_a_refusal_is_answered_unread(self, wire: Wire, path: str) -> None:
        """D9: the answer does not wait for the body."""
        headers = {"Content-Length": "100000", "Do": "refuse"}
        await wire.send(request("PATCH", path + "refused", b"x" * 10, headers))
        async with asyncio.timeout(SOON):
            assert (await wire.answer()).status == 409

    # Replies.

    async def test_head_has_no_body(self, wire: Wire, path: str) -> None:
        """HEAD is answered with a GET's fields and no body."""
        answer = await wire.ask("HEAD", path + "x", headers={"Do": "content", "Size": "7"})
        assert answer.headers["content-length"] == "7"
        assert (await wire.ask("GET", path + "x", headers={"Do": "report"})).status == 200
        await self.all_closed(wire, path)

    @pytest.mark.parametrize("length", [1, PIECE, 2_000_003])
    async def test_content_is_sent_whole(self, wire: Wire, path: str, length: int) -> None:
        """Content is sent as long as it is, and closed."""
        headers = {"Do": "content", "Size": str(length)}
        for _ in range(2):
            answer = await wire.ask("GET", path + "x", headers=headers)
            assert answer.headers["content-length"] == str(length)
            assert answer.body == pattern(7, length)
        await self.all_closed(wire, path)

    async def test_content_nobody_waits_for_is_closed(self, url: str, path: str) -> None:
        """A client that leaves in the middle costs nothing from then on."""
        async with self.connected(url) as wire:
            headers = {"Do": "content", "Size": "20000000"}
            await wire.send(request("GET", path + "x", headers=headers))
            await wire.reader.readexactly(1000)
            wire.writer.transport.abort()
        async with self.connected(url) as wire:
            await self.all_closed(wire, path)

    async def test_a_reply_can_end_the_connection(self, wire: Wire, path: str) -> None:
        """``close`` is told to the client, and done."""
        answer = await wire.ask("POST", path, headers={"Do": "close"})
        assert answer.headers["connection"].lower() == "close"
        assert await wire.ended() == b""
