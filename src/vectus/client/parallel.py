"""One source over several connections: parts as uploads of their own, joined in the end. Pure.

The judgement over each part is the machine's; here is only what concerns all of them.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import cast

from vectus.client.commands import Exchange, Forget, Keep, Part, Recall, Steps, Tell, Together
from vectus.client.dialogue import (
    Requests,
    discover,
    inspect,
    join,
    tell,
    verify_content,
    verify_length,
)
from vectus.client.happenings import Finished, Noticed
from vectus.client.job import Job, Result
from vectus.client.machine import Machine
from vectus.errors import SourceChanged, UploadError, UploadGone, UploadRefused
from vectus.protocol.dialects import tus1_client as tus
from vectus.protocol.policy import Feature

SMALLEST_PART = 64 << 10
"""Bytes; less is not worth a connection."""


def split(length: int, count: int) -> list[tuple[int, int]]:
    """Cut a length into ranges of equal size, the last one taking what is left over."""
    count = max(1, min(count, length // SMALLEST_PART))
    size = length // count
    starts = [size * number for number in range(count)]
    return list(zip(starts, [*starts[1:], length], strict=True))


class Parallel:
    """One source in several parts.

    Args:
        job: what to do with the whole.
        count: how many parts, at most.
    """

    def __init__(self, job: Job, count: int) -> None:
        self._job = job
        self._count = count
        self._requests = Requests.of(job)
        self._parts: tuple[Part, ...] = ()

    def run(self) -> Steps[Result]:
        """Upload in parts; or in one, where that is all there can be.

        Raises:
            UploadError: each of its kinds.
        """
        why_not = yield from self._obstacle()
        if why_not:
            yield from tell(Tell(Noticed(f"{why_not}: it is uploaded over one connection.")))
        if why_not is not None:
            return (yield from Machine(self._job).run())
        self._parts = self._cut()
        url = yield from self._joined()
        if url is not None:
            return (yield from self._end(Result(url, self._length, resumed=self._length)))
        try:
            results = cast("tuple[Result, ...]", (yield Together(self._parts)))
        except SourceChanged as error:
            yield from self._abandon()
            error.url = None
            raise
        return (yield from self._end((yield from self._join(results))))

    @property
    def _length(self) -> int:
        return cast("int", self._job.length)

    def _obstacle(self) -> Steps[str | None]:
        """Why it can't go in parts, as a clause; empty where that is not worth a word."""
        job = self._job
        if job.length is None or not job.replayable:
            return f"{job.name} can be read only once"
        if job.endpoint is None or job.upload_url is not None:
            return "The upload exists already"
        if len(split(job.length, self._count)) < 2:
            return ""
        offer = yield from discover(self._requests, job.endpoint)
        if Feature.CONCATENATION not in offer.features:
            return "The server does not join parallel uploads"
        return None

    def _cut(self) -> tuple[Part, ...]:
        ranges = split(self._length, self._count)
        job = replace(self._job, metadata="", partial=True, verify=None, keep_entry=True)
        return tuple(
            Part(f"{start}-{stop}", start, stop, replace(job, length=stop - start))
            for start, stop in ranges
        )

    def _joined(self) -> Steps[str | None]:
        """The URL of a final upload that an earlier run has left: nothing is joined twice, also
        where the server does not say at the moment."""
        url = yield Recall()
        if not isinstance(url, str):
            return None
        try:
            state = yield from inspect(self._requests, url)
        except (UploadGone, UploadRefused):
            return None
        final = (state.concat or "").startswith("final")
        return url if final and state.length == self._length else None

    def _join(self, results: tuple[Result, ...]) -> Steps[Result]:
        job, urls = self._job, tuple(result.url for result in results)
        url = yield from join(self._requests, cast("str", job.endpoint), urls, job.metadata)
        yield from tell(Keep(url))
        resumed = sum(result.resumed for result in results)
        retries = sum(result.retries for result in results) + self._requests.budget.spent
        return Result(url, self._length, resumed, retries, urls)

    def _end(self, result: Result) -> Steps[Result]:
        try:
            yield from self._verify(result.url)
        except UploadError as error:
            error.url = result.url
            raise
        yield from self._forget()
        yield from tell(Tell(Finished(result.url, result.length)))
        return result

    def _verify(self, url: str) -> Steps[None]:
        if self._job.verify is not None:
            yield from verify_length(self._requests, url, self._length)
        if self._job.verify == "download":
            yield from verify_content(self._requests, url)

    def _forget(self) -> Steps[None]:
        """The whole comes last: as long as it is known, nothing is joined twice."""
        for part in self._parts:
            yield from tell(Forget(part.label))
        yield from tell(Forget())

    def _abandon(self) -> Steps[None]:
        """No part can be gone on with, since the source is another one now."""
        for part in self._parts:
            url = yield Recall(part.label)
            yield from tell(Forget(part.label))
            if isinstance(url, str):
                with suppress(UploadError):  # it is the changed source that the caller must hear of
                    yield from self._requests.send(Exchange(tus.terminate(), url))


def steps_of(job: Job, count: int) -> Steps[Result]:
    """The conversation of an upload over this many connections."""
    return Parallel(job, count).run() if count > 1 else Machine(job).run()
