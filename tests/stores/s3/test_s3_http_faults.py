"""Every call to S3 fails once, in every way that calls over HTTP can; then all goes on."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import cycle, dropwhile

import boto3
import pytest
from botocore import xform_name
from s3_fault_stories import STORIES, Client, Story
from s3_places import LEAST, make_place

from s3proxy import (
    Call,
    Fault,
    Rule,
    S3Proxy,
    cut,
    cut_answer,
    cut_request,
    error,
    lose_answer,
    lost,
    unanswered,
)
from vectus.stores.s3 import walk
from vectus.stores.s3.client import Answer, Gateway
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store

THOROUGH = "VECTUS_THOROUGH" in os.environ
AT_ONCE = 8
SILENCE = 1.0
"""Seconds after which a silent S3 counts as away."""

READS = ("Get", "Head", "List")
"""How operations begin that change nothing."""

UNREAD: tuple[Fault, ...] = (error(), lost, cut_answer, unanswered)
"""What can be done to those; it comes to the same, so each site has one of them."""

UNDONE: tuple[Fault, ...] = (error(503, "SlowDown"), cut_request, cut)
SILENT: tuple[Fault, ...] = (lost, unanswered)
"""What can be done to others, besides losing the answer: each site has one of either."""


@pytest.fixture(autouse=True)
def short_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody knows of is swept at once."""
    monkeypatch.setattr(walk, "OLD", -60.0)


@pytest.fixture(autouse=True)
def light_records() -> Iterator[None]:
    """What is logged of a failure keeps none of its connections open: there are thousands."""

    def lighten(record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        return True

    logger = logging.getLogger("vectus")
    logger.addFilter(lighten)
    yield
    logger.removeFilter(lighten)


@dataclass(frozen=True, slots=True)
class Site:
    """A call in a story."""

    operation: str
    name: str
    nth: int

    def __str__(self) -> str:
        return f"{self.operation} {self.name}"

    def where(self, place: Place, call: Call) -> bool:
        """Whether a call is this one of some place's."""
        return call.key == f"{place.prefix}/{self.name}" and (
            (call.operation, call.nth) == (self.operation, self.nth)
        )


def faults(story: Story, sites: Sequence[Site]) -> Iterator[tuple[Site, Fault]]:
    """Yield what is to be done at which site of a story: all there is if that is wished for."""
    if not THOROUGH:
        yield from some_faults(story, sites)
        return
    for site in sites:
        reads = site.operation.startswith(READS)
        for fault in UNREAD if reads else (*UNDONE, *SILENT, lose_answer):
            yield site, fault


def some_faults(story: Story, sites: Sequence[Site]) -> Iterator[tuple[Site, Fault]]:
    """Yield some of each kind, in turn, and fewer where a story is like another one."""
    unread, undone, silent = map(cycle, (UNREAD, UNDONE, SILENT))
    for site in dropwhile(lambda site: story.since not in ("", str(site)), sites):
        if not site.operation.startswith(READS):
            yield from ((site, next(undone)), (site, lose_answer))
            if not story.brief:
                yield site, next(silent)
        elif not story.brief:
            yield site, next(unread)


class Hasty(Gateway):
    """A gateway that tries once, and does not wait for long at one site. Everywhere else it waits
    for as long as a busy machine may take."""

    def __init__(self, place: Place, site: Site | None) -> None:
        super().__init__(place, pauses=())
        self._site = site
        hasty = replace(place, timeout=SILENCE, long_timeout=SILENCE)
        self._hasty = Gateway(hasty, pauses=()) if site else self
        self._seen: Counter[tuple[str, str]] = Counter()
        self._start = f"{place.prefix}/"

    def call(self, operation: str, **parameters: object) -> Answer:
        name = str(parameters.get("Key", parameters.get("Prefix"))).removeprefix(self._start)
        self._seen[operation, name] += 1
        if self._site is not None and self._is_near(self._site, operation, name):
            return self._hasty.call(operation, **parameters)
        return super().call(operation, **parameters)

    def _is_near(self, site: Site, operation: str, name: str) -> bool:
        """Whether a call may be the one: what is done at once may come in another order there."""
        same = (operation, name) == (xform_name(site.operation), site.name)
        return same and abs(self._seen[operation, name] - site.nth) <= 1

    def close(self) -> None:
        super().close()
        if self._hasty is not self:
            self._hasty.close()


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a story is told.

    Args:
        url: of the S3 server itself.
        proxy: in front of it.
        story: what is told.
        options: of its places.
    """

    url: str
    proxy: S3Proxy
    story: Story
    options: Mapping[str, bool]

    @asynccontextmanager
    async def server(self, hasty: Site | None = None) -> AsyncIterator[tuple[Place, Client]]:
        """A client and its server at a place of their own, behind the proxy."""
        sizes = {"smallest": LEAST, "part_size": LEAST, "spool": 64 * LEAST}
        place = replace(make_place(self.proxy.url), timeout=30.0, **sizes, **self.options)
        gateway = Hasty(place, hasty)
        store = S3Store(place, gateway)
        client = Client(store, listening=self.story.listening)
        try:
            yield place, client
        finally:
            await client.aclose()
            await store.aclose()
            gateway.close()

    async def sites(self) -> list[Site]:
        """Tell it without faults; return its calls."""
        async with self.server() as (place, client):
            await self.story.tell(client)
            start = f"{place.prefix}/"
            return [
                Site(call.operation, call.key.removeprefix(start), call.nth)
                for call in self.proxy.calls
                if call.key.startswith(start)
            ]

    async def survives(self, fault: Fault, site: Site) -> Rule:
        """Tell it while a call fails, and look at what has come of it."""
        hasty = site if fault in SILENT else None  # nobody else has to wait
        async with self.server(hasty) as (place, client):
            rule = self.proxy.fail(fault, where=lambda call: site.where(place, call))
            try:
                await self.story.tell(client)
                rule.times = rule.fired
                await verify(client, Bare(self.url, place))
            except BaseException as error:
                error.add_note(f"{site} {site.nth}: {client.answers}")
                raise
            return rule


async def verify(client: Client, bare: Bare) -> None:
    """All that was uploaded is there, once, was told once, and nothing else is left."""
    for id, data in client.whole.items():
        assert await client.get(id) == data
        assert await client.finishes(id) == 1
    wanted = {name for id in client.whole for name in (id, f"{id}.info")}
    for _ in range(5):
        await client.sweep()
        left = await asyncio.to_thread(bare.names)
        begun = await asyncio.to_thread(bare.unfinished)
        if left == wanted and not begun:
            return
    assert not begun
    assert left >= wanted
    assert is_tidy(left), left
    # Where the answer to its creation was lost, a client has to create an upload again.
    for twin in {name.removesuffix(".info") for name in left - wanted}:
        assert await client.get(twin) in client.whole.values()


def is_tidy(left: set[str]) -> bool:
    """Whether there is nothing but finished uploads with their records."""
    ids = {name for name in left if not name.endswith(".info")}
    return left == ids | {f"{id}.info" for id in ids}


class Bare:
    """What is really there, asked of S3 itself."""

    def __init__(self, url: str, place: Place) -> None:
        self._where = {"Bucket": place.bucket, "Prefix": f"{place.prefix}/"}
        self._client = shared(url)

    def names(self) -> set[str]:
        """The names of all objects."""
        found = self._client.list_objects_v2(**self._where).get("Contents", ())
        return {each["Key"].removeprefix(self._where["Prefix"]) for each in found}

    def unfinished(self) -> list[str]:
        """The keys of all multipart uploads."""
        found = self._client.list_multipart_uploads(**self._where)
        return [each["Key"] for each in found.get("Uploads", ())]


@cache
def shared(url: str):
    """A client that has time."""
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1")


@pytest.mark.timeout(1800 if THOROUGH else 300)
@pytest.mark.parametrize("name", STORIES)
async def test_any_call_may_fail(rgw: str, name: str) -> None:
    """Whichever call of an upload's life fails, and however: the client goes on where it is told,
    which is never further back than before; what comes out is what was sent, its end is told once,
    and nothing else is left."""
    await told_with_faults(rgw, STORIES[name])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["tiny, with a say", "created with a little"])
async def test_any_call_may_fail_under_conditions(
    moto: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where puts have conditions: one that was obeyed, and whose answer was lost, is not
    taken for somebody else's."""
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", LEAST)
    await told_with_faults(moto, replace(STORIES[name], brief=True), conditional_put=True)


async def told_with_faults(url: str, story: Story, **options: bool) -> None:
    """Tell a story again and again, each time with another fault."""
    with S3Proxy(url) as proxy:
        stage = Stage(url, proxy, story, options)
        calls = await stage.sites()
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(site: Site, fault: Fault) -> Rule:
            async with gate:
                return await stage.survives(fault, site)

        cases = [one(*case) for case in faults(story, calls)]
        rules = await asyncio.gather(*cases, return_exceptions=True)  # each to its end
        if failures := [each for each in rules if isinstance(each, Exception)]:
            raise ExceptionGroup(f"{len(failures)} of {len(rules)} cases", failures)
        idle = [rule for rule in rules if isinstance(rule, Rule) and not rule.fired]
        assert len(idle) <= len(rules) // 4, "other calls than before"
