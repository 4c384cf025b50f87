"""Single questions to a server, asked until they are answered for good. Pure, like the machine.

None of them carries bytes of the source; that is ``machine.py``'s affair.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from vectus.client.commands import (
    Answer,
    Broken,
    Command,
    Compare,
    Exchange,
    Known,
    Learn,
    Pause,
    Refresh,
    Steps,
    Tell,
)
from vectus.client.happenings import Retrying
from vectus.client.job import Job, Patience
from vectus.client.verdicts import (
    Verdict,
    created_url,
    describe,
    judge,
    no_creation,
    patience_asked,
    refusal,
)
from vectus.errors import (
    NotOffered,
    NotTus,
    ServerUnreachable,
    UploadGone,
    UploadRefused,
    VerificationFailed,
)
from vectus.protocol.dialects import tus1_client as tus
from vectus.protocol.dialects.tus1_client import Ask, Offer, State
from vectus.protocol.policy import Feature

T = TypeVar("T")

PREFERRED = ("sha256", "sha1", "sha512", "md5", "crc32")
"""For a checksum of ``"auto"``: what is sound and quick comes first."""


def ask(command: Command, kind: type[T]) -> Steps[T]:
    """Yield a command and give its reply a type."""
    reply = yield command
    assert isinstance(reply, kind), f"{command} was answered with {reply!r}"
    return reply


def tell(command: Command) -> Steps[None]:
    """Yield a command that has no reply."""
    yield command


class Budget:
    """How many more tries there are. It starts anew whenever bytes have been confirmed."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._tries = 0
        self.spent = 0

    @property
    def left(self) -> int:
        """How many more tries there are."""
        return max(self._patience.retries - self._tries, 0)

    def renew(self) -> None:
        """There was progress."""
        self._tries = 0

    def spend(self, why: str, least: float = 0.0) -> Steps[None]:
        """Wait for another try, ``least`` seconds or longer.

        Raises:
            ServerUnreachable: there is none left.
        """
        patience = self._patience
        if not self.left:
            raise ServerUnreachable(self._tries + 1, why)
        longest = min(patience.delay * 2 ** min(self._tries, 30), patience.longest)
        self._tries += 1
        self.spent += 1
        delay = max(longest, least)
        yield from tell(Tell(Retrying(why, delay, self._tries, patience.retries)))
        yield from tell(Pause(longest, least))


class Requests:
    """Sends requests for one job.

    Args:
        budget: what trying again is taken from.
        override: whether PATCH and DELETE travel as POST.
    """

    def __init__(self, budget: Budget, *, override: bool = False) -> None:
        self.budget = budget
        self._override = override
        self._refreshed = False

    @classmethod
    def of(cls, job: Job) -> Requests:
        """Return the requests of a job, with a budget of its own."""
        return cls(Budget(job.patience), override=job.override)

    def send(self, request: Exchange) -> Steps[Answer | Broken]:
        """Send a request once; credentials that ran out are refreshed, once in a row.

        Raises:
            UploadRefused: it cannot be sent at all.
        """
        if self._override:
            request = replace(request, ask=tus.overridden(request.ask))
        answer = yield from self._authorised(request)
        assert isinstance(answer, Answer | Broken)
        return answer

    def compare(self, url: str) -> Steps[Answer | Broken | int | None]:
        """Download an upload once and compare it with the source, as ``Compare`` has it.

        Raises:
            UploadRefused: it cannot be asked for at all.
        """
        found = yield from self._authorised(Compare(tus.download(), url))
        assert found is None or isinstance(found, Answer | Broken | int)
        return found

    def insist(self, what: Ask, url: str) -> Steps[Answer]:
        """Send a request without a body until the answer is one that will not change.

        Raises:
            ServerUnreachable: the budget is used up.
            UploadRefused: it cannot be sent at all.
        """
        while True:
            answer = yield from self.send(Exchange(what, url))
            if isinstance(answer, Answer) and judge(answer) is not Verdict.AGAIN:
                return answer
            yield from self.wait(answer)

    def wait(self, trouble: Answer | Broken) -> Steps[None]:
        """Wait for another try after what may pass."""
        if isinstance(trouble, Broken):
            yield from self.budget.spend(trouble.why)
        else:
            yield from self.budget.spend(describe(trouble), patience_asked(trouble))

    def _authorised(self, command: Exchange | Compare) -> Steps[object]:
        reply = yield command
        if isinstance(reply, Broken) and reply.final:
            raise UploadRefused(reply.why, reply.hint)
        if not isinstance(reply, Answer):
            return reply
        if judge(reply) is Verdict.REFRESH and (yield from self._refresh()):
            return (yield from self._authorised(command))
        self._refreshed = self._refreshed and not reply.good
        return reply

    def _refresh(self) -> Steps[bool]:
        if self._refreshed:
            return False
        self._refreshed = True
        return (yield from ask(Refresh(), bool))


def discover(requests: Requests, endpoint: str) -> Steps[Offer]:
    """Ask an endpoint what it offers, unless it was asked before.

    Many hosts answer OPTIONS for nobody, and take uploads all the same: then nothing beyond
    creation is taken for granted.

    Raises:
        NotTus: it speaks other versions only.
    """
    known = yield Known(endpoint)
    if isinstance(known, Offer):
        return known
    answer = yield from requests.insist(tus.discover(), endpoint)
    offer = tus.read_offer(answer.headers) if answer.good else Offer()
    if offer.versions and not offer.speaks:
        raise NotTus(f"{endpoint} does not speak tus 1.0.0, but {', '.join(offer.versions)}.")
    if answer.status not in _MAY_CHANGE:
        yield from tell(Learn(endpoint, offer))
    return offer


_MAY_CHANGE = frozenset({401, 403, 407})
"""Refusals of a question that other credentials may mend: they are not remembered."""


def choose_algorithm(wanted: str, offer: Offer) -> str:
    """The checksum algorithm to use where one is wanted, ``"auto"`` being any that is offered.

    Raises:
        NotOffered: the server does not verify it.
    """
    offered = offer.algorithms if Feature.CHECKSUM in offer.features else ()
    for choice in PREFERRED if wanted == "auto" else (wanted,):
        if choice in offered:
            return choice
    what = "checksums" if wanted == "auto" else f"{wanted} checksums"
    known = f"It knows {', '.join(offered)}." if offered else "It verifies none."
    raise NotOffered(f"The server does not verify {what}.", known)


def inspect(requests: Requests, url: str) -> Steps[State]:
    """Ask where an upload is.

    Raises:
        UploadGone: there is no such upload.
        NotTus: the answer makes no sense.
        UploadRefused: the server does not say.
    """
    answer = yield from requests.insist(tus.inspect(), url)
    if judge(answer) is Verdict.GONE:
        raise UploadGone(f"There is no upload at {url}.", "See whether the URL is right.")
    return read(answer, url)


def read(answer: Answer, url: str) -> State:
    """What an answer to HEAD says.

    Raises:
        NotTus: it makes no sense.
        UploadRefused: it is no success.
    """
    if not answer.good:
        raise refusal(answer, "HEAD", url)
    try:
        state = tus.read_state(answer.headers)
    except ValueError as error:
        raise NotTus(f"{url} answers what makes no sense: {error}") from None
    final = (state.concat or "").startswith("final")
    if state.offset is None and not final:
        raise NotTus(f"{url} does not say how far it is.", "See whether it is an upload's URL.")
    return state


def terminate(requests: Requests, url: str) -> Steps[bool]:
    """Have an upload deleted; say whether it was there.

    Raises:
        UploadRefused: the server does not do that.
    """
    answer = yield from requests.insist(tus.terminate(), url)
    if not answer.good and judge(answer) is not Verdict.GONE:
        raise refusal(answer, "DELETE", url)
    return answer.good


def join(requests: Requests, endpoint: str, urls: tuple[str, ...], metadata: str) -> Steps[str]:
    """Have complete partial uploads joined, and return the final upload's URL.

    Raises:
        UploadRefused: the server does not do that.
    """
    what = tus.create(None, metadata=metadata, concat=tus.final_of(urls))
    answer = yield from requests.insist(what, endpoint)
    url = created_url(endpoint, answer) if answer.good else None
    if url is None:
        raise no_creation(answer, endpoint, Offer(speaks=True), None)
    return url


def verify_length(requests: Requests, url: str, length: int) -> Steps[None]:
    """Ask whether a finished upload is as long as it must be.

    Raises:
        VerificationFailed: it is not, or the server does not say.
    """
    while True:
        try:
            state = yield from inspect(requests, url)
        except UploadGone:
            raise VerificationFailed(f"The server has nothing at {url} any more.") from None
        if state.length not in (None, length) or state.offset not in (None, length):
            raise VerificationFailed(
                f"The server has {state.offset} of {state.length} bytes at {url}, "
                f"but {length} were sent."
            )
        if state.offset is not None and state.length is None:
            raise VerificationFailed(f"The server does not say how long {url} is.")
        if state.offset is not None:
            return
        yield from requests.budget.spend("the server is still joining the parts", 1.0)


def verify_content(requests: Requests, url: str) -> Steps[None]:
    """Read a finished upload back and compare.

    Raises:
        VerificationFailed: it differs.
        UploadRefused: the server does not give it back.
    """
    while True:
        found = yield from requests.compare(url)
        if found is None:
            return
        if isinstance(found, int):
            raise VerificationFailed(f"What {url} gives back differs at byte {found}.")
        if isinstance(found, Answer) and judge(found) is not Verdict.AGAIN:
            raise refusal(found, "GET", url)
        yield from requests.wait(found)
