"""The client's judgement: from what is known of a source to an upload that is whole.

Pure: commands go out, replies come in (``commands.py``); no I/O, no clock, no chance. Read
``Machine.run`` from top to bottom: find the upload or make it, send until the server has it all,
verify, forget. Only what the server acknowledged counts: after every trouble it is asked how far
it got, and nothing is sent where it did not say it is.
"""

from __future__ import annotations

from typing import cast
from urllib.parse import urldefrag

from vectus.client.commands import (
    Answer,
    Broken,
    Check,
    Digest,
    Exchange,
    Forget,
    Held,
    Hold,
    Keep,
    Recall,
    Steps,
    Tell,
)
from vectus.client.dialogue import (
    Requests,
    ask,
    discover,
    read,
    tell,
    verify_content,
    verify_length,
)
from vectus.client.happenings import Confirmed, Finished, Noticed, Started
from vectus.client.job import SMALLEST_CHUNK, Job, Result
from vectus.client.verdicts import Verdict, created_url, judge, refusal
from vectus.errors import (
    NotOffered,
    NotTus,
    SourceChanged,
    UploadError,
    UploadGone,
    UploadMismatch,
    UploadRefused,
    UploadTooLarge,
)
from vectus.protocol.dialects import tus1_client as tus
from vectus.protocol.dialects.tus1_client import Offer
from vectus.protocol.exchange import Checksum
from vectus.protocol.policy import Feature

PREFERRED = ("sha256", "sha1", "sha512", "md5", "crc32")
"""For a checksum of ``"auto"``: what is sound and quick comes first."""


class Machine:
    """One upload of one source: ``run`` is the conversation.

    Args:
        job: what to do.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.url: str | None = None
        self.offset = 0
        self.length = job.length
        self._requests = Requests.of(job)
        self._promised: int | None = None  # the length that the server knows of
        self._algorithm: str | None = None
        self._confirmed = 0
        self._reached = 0  # how far any byte was ever sent
        self._resumed = 0
        self._restarted = False
        self._most: int | None = None  # bytes that fit into one request, as far as was found

    def run(self) -> Steps[Result]:
        """Upload.

        Raises:
            UploadError: each of its kinds; its ``url`` says what is left at the server.
        """
        try:
            yield from self._find()
            yield from self._send_all()
            yield from self._verify()
        except SourceChanged:
            yield from self._abandon()
            raise
        except UploadError as error:
            error.url = self.url
            raise
        if not self.job.keep_entry:
            yield from tell(Forget())
        url, length = cast("str", self.url), cast("int", self.length)
        yield from tell(Tell(Finished(url, length)))
        return Result(url, length, self._resumed, self._requests.budget.spent)

    # --- Which upload ---

    def _find(self) -> Steps[None]:
        """Go on with the upload that is known, or make one."""
        if self.job.upload_url is not None:
            found = yield from self._resume(self.job.upload_url)
            if not found:
                raise UploadGone(f"There is no upload at {self.job.upload_url}.")
            return
        known = yield Recall()
        if isinstance(known, str) and (yield from self._resume_known(known)):
            return
        yield from self._create()

    def _resume_known(self, url: str) -> Steps[bool]:
        """Go on with what is remembered, if that is of any use."""
        try:
            found = yield from self._resume(url)
        except UploadMismatch as error:
            yield from self._notice(f"{error.problem} It is uploaded anew.")
            return False
        except UploadRefused as error:
            if error.status != 403:
                raise
            # The old URL is given up only when there is a new one: ``Keep`` replaces it.
            yield from self._notice("The server does not let us go on. It is uploaded anew.")
            return False
        if not found:
            yield from self._notice("The server has the upload no more. It is uploaded anew.")
            yield from tell(Forget())
        return found

    def _resume(self, url: str) -> Steps[bool]:
        """Be where an upload is; say whether there is one."""
        answer = yield from self._requests.insist(tus.inspect(), url)
        if judge(answer) is Verdict.GONE:
            return False
        self._place(url, answer)
        self._resumed = self._reached = self.offset
        yield from self._confirm(self.offset)
        yield from tell(Tell(Started(url, self.offset, self.length, resumed=True)))
        yield from self._choose_algorithm()
        return True

    def _place(self, url: str, answer: Answer) -> None:
        """Be where an answer to HEAD says that the upload is.

        Raises:
            UploadMismatch: it cannot be an upload of this source.
        """
        state = read(answer, url)
        if state.offset is None:
            raise UploadMismatch(f"{url} is joined from other uploads and takes no bytes.")
        if state.length is not None and self.length not in (None, state.length):
            raise UploadMismatch(
                f"The server has an upload of {state.length} bytes at {url}, "
                f"but {self.job.name} has {self.length}."
            )
        if self.length is not None and state.offset > self.length:
            raise UploadMismatch(
                f"The server has {state.offset} bytes at {url}, "
                f"but {self.job.name} has only {self.length}."
            )
        self.url, self.offset, self._promised = url, state.offset, state.length
        if state.offset == state.length:
            self.length = state.length

    # --- A new upload ---

    def _create(self) -> Steps[None]:
        """Make an upload. A source that fits one chunk travels along, where that is offered; but
        only in the first try, since the URL of one that fails may be lost."""
        endpoint = self._endpoint()
        offer = yield from discover(self._requests, endpoint)
        yield from self._choose_algorithm()
        along = yield from self._along(offer)
        self._refuse_unoffered(offer, endpoint)
        while True:
            answer = yield from self._post(endpoint, along)
            url = None if isinstance(answer, Broken) else self._created(endpoint, answer)
            if url is not None:
                break
            if along is None or not self._too_large(answer):
                yield from self._wait_to_create(endpoint, offer, answer)
            along = None
        yield from self._begin(url, cast("Answer", answer), along)

    def _post(self, endpoint: str, along: Held | None) -> Steps[Answer | Broken]:
        stop = along.stop if along else 0
        what = tus.create(
            self.length,
            metadata=self.job.metadata,
            concat="partial" if self.job.partial else None,
            data=stop > 0,
            checksum=(yield from self._checksum(stop)),
        )
        self._reached = max(self._reached, stop)
        return (yield from self._requests.send(Exchange(what, endpoint, 0, stop, body=stop > 0)))

    def _created(self, endpoint: str, answer: Answer) -> str | None:
        """The URL of what was made: also of what a try that failed has left behind."""
        if answer.good or judge(answer) is Verdict.AGAIN:
            return created_url(endpoint, answer)
        return None

    def _begin(self, url: str, answer: Answer, along: Held | None) -> Steps[None]:
        """Remember a new upload before any other byte goes there."""
        self.url, self.offset, self._promised = url, 0, self.length
        yield from tell(Keep(url))
        yield from tell(Tell(Started(url, 0, self.length, resumed=False)))
        if not answer.good:
            yield from self._requests.wait(answer)
            yield from self._recover()
        elif along is not None and along.stop:
            yield from self._accept(along, answer)

    def _too_large(self, answer: Answer | Broken) -> bool:
        return isinstance(answer, Answer) and judge(answer) is Verdict.SMALLER

    def _wait_to_create(self, endpoint: str, offer: Offer, answer: Answer | Broken) -> Steps[None]:
        """Wait for another try to create.

        Raises:
            UploadRefused: there is none, the answer is final.
        """
        if isinstance(answer, Answer):
            if self._too_large(answer):
                limit = tus.read_number(answer.headers, "tus-max-size")
                raise UploadTooLarge(self.length, offer.max_size if limit is None else limit)
            if answer.good or (not offer.speaks and judge(answer) is not Verdict.AGAIN):
                words = f"does not create uploads (it answered {answer.status})"
                error = NotTus(f"{endpoint} {words}.", "See whether it is a tus server's URL.")
                error.status = answer.status
                raise refusal(answer, "POST", endpoint) if answer.status in _TELLING else error
            if judge(answer) is not Verdict.AGAIN:
                raise refusal(answer, "POST", endpoint)
        yield from self._requests.wait(answer)

    def _endpoint(self) -> str:
        if self.job.endpoint is None:
            raise UploadGone(f"There is no upload at {self.job.upload_url}.")
        return urldefrag(self.job.endpoint).url

    def _along(self, offer: Offer) -> Steps[Held | None]:
        """What of the source can travel with its creation; a source that turns out to end within
        its first chunk has a known length."""
        if self.length is not None and Feature.CREATION_WITH_UPLOAD not in offer.features:
            return None
        if self.length is not None and self.length > self.job.first_chunk:
            return None
        held = yield from ask(Hold(0, self.job.first_chunk), Held)
        if held.last:
            self.length = held.stop
            yield from tell(Check())
        return held if held.last and Feature.CREATION_WITH_UPLOAD in offer.features else None

    def _refuse_unoffered(self, offer: Offer, endpoint: str) -> None:
        if self.length is None and Feature.DEFERRED_LENGTH not in offer.features:
            raise NotOffered(
                f"{endpoint} wants to know the length of an upload beforehand.",
                "Give it: length=… or --length N.",
            )
        if None not in (self.length, offer.max_size) and self.length > offer.max_size:  # type: ignore[operator]
            raise UploadTooLarge(self.length, offer.max_size)

    # --- Sending ---

    def _send_all(self) -> Steps[None]:
        """Send until the server has it all, and knows that it has."""
        while self.length is None or self.offset < self.length or self._promised is None:
            held = yield from ask(Hold(self.offset, self._count()), Held)
            self._refuse_other_length(held)
            if held.last:
                yield from tell(Check())
            answer = yield from self._patch(held)
            yield from self._react(held, answer)

    def _count(self) -> int:
        """How many bytes go into the next request."""
        ends = [end - self.offset for end in (self.length, self._promised) if end is not None]
        sizes = [size for size in (self.job.chunk, self._most) if size is not None]
        return min(ends + sizes)

    def _refuse_other_length(self, held: Held) -> None:
        """The server was promised a length: a source that ends before, or goes on behind it, is
        not what was promised."""
        promised = self._promised
        if promised is not None and held.last != (held.stop == promised):
            more = "fewer" if held.last else "more"
            raise UploadMismatch(
                f"The server expects {promised} bytes at {self.url}, "
                f"but {self.job.name} has {more}."
            )

    def _patch(self, held: Held) -> Steps[Answer | Broken]:
        declared = (held.stop if held.last else self.length) if self._promised is None else None
        what = tus.append(
            self.offset, length=declared, checksum=(yield from self._checksum(held.stop))
        )
        self._reached = max(self._reached, held.stop)
        request = Exchange(what, cast("str", self.url), self.offset, held.stop, body=True)
        return (yield from self._requests.send(request))

    def _checksum(self, stop: int) -> Steps[Checksum | None]:
        if self._algorithm is None or stop == self.offset:
            return None
        digest = yield from ask(Digest(self._algorithm, self.offset, stop), bytes)
        return Checksum(self._algorithm, digest)

    def _choose_algorithm(self) -> Steps[None]:
        """Take the checksum that was asked for, where the server verifies it.

        Raises:
            NotOffered: it does not.
        """
        wanted, endpoint = self.job.checksum, self.job.endpoint
        if wanted is None:
            return
        offer = yield from discover(self._requests, endpoint or cast("str", self.url))
        offered = offer.algorithms if Feature.CHECKSUM in offer.features else ()
        choice = [a for a in (PREFERRED if wanted == "auto" else (wanted,)) if a in offered]
        if not choice:
            known = f"It knows {', '.join(offered)}." if offered else "It verifies none."
            raise NotOffered(f"The server does not verify {wanted} checksums.", known)
        self._algorithm = choice[0]

    # --- What came of it ---

    def _react(self, held: Held, answer: Answer | Broken) -> Steps[None]:
        if isinstance(answer, Answer):
            if answer.good:
                yield from self._accept(held, answer)
                return
            verdict = judge(answer)
            if verdict is Verdict.GONE:
                yield from self._restart()
                return
            if verdict is Verdict.SMALLER and self._halve(held):
                yield from self._recover()
                return
            if verdict is not Verdict.AGAIN:
                raise refusal(answer, "PATCH", cast("str", self.url))
        yield from self._requests.wait(answer)
        yield from self._recover()

    def _accept(self, held: Held, answer: Answer) -> Steps[None]:
        """Be where the server says that the bytes it took have led."""
        offset = tus.read_number(answer.headers, "upload-offset")
        if offset is not None and offset > held.stop:
            raise UploadMismatch(
                f"The server says that it has {offset} bytes at {self.url}, "
                f"but only {held.stop} were sent."
            )
        if offset is None or offset < self.offset or (offset == self.offset < held.stop):
            if offset is not None:
                yield from self._requests.budget.spend("the server took none of the bytes")
            yield from self._recover()
            return
        self.offset = offset
        if held.last:
            self.length = self._promised = held.stop
        elif self.length is not None:
            self._promised = self.length
        yield from self._confirm(offset)

    def _confirm(self, offset: int) -> Steps[None]:
        if offset > self._confirmed:
            self._confirmed = offset
            self._requests.budget.renew()
        yield from tell(Tell(Confirmed(offset)))

    def _recover(self) -> Steps[None]:
        """Ask how far the upload is, and be there."""
        url = cast("str", self.url)
        answer = yield from self._requests.insist(tus.inspect(), url)
        if judge(answer) is Verdict.GONE:
            yield from self._restart()
            return
        self._place(url, answer)
        if self.offset > self._reached:
            raise UploadMismatch(
                f"The server has {self.offset} bytes at {url}, but only {self._reached} were sent: "
                "somebody else sends there too."
            )
        if self.offset < self._confirmed and not self.job.replayable:
            raise UploadGone(
                f"The server has lost bytes at {url} that it had acknowledged, "
                f"and {self.job.name} cannot be read again."
            )
        yield from self._confirm(self.offset)

    def _halve(self, held: Held) -> bool:
        """Take smaller chunks from now on; say whether that is possible."""
        size = held.stop - self.offset
        floor = max(self.job.chunks.smallest, self.job.chunks.multiple, SMALLEST_CHUNK)
        if size <= floor:
            return False
        half = max(size // 2, floor)
        self._most = half - half % self.job.chunks.multiple
        return True

    def _restart(self) -> Steps[None]:
        """Begin anew, once: the upload is gone."""
        again = self.job.replayable or self._confirmed == 0
        if self._restarted or not again or self.job.endpoint is None:
            gone, self.url = self.url, None
            raise UploadGone(f"The server has the upload at {gone} no more.")
        self._restarted = True
        yield from self._notice("The server has the upload no more. It is uploaded anew.")
        yield from tell(Forget())
        self.url, self.offset, self.length = None, 0, self.job.length
        self._confirmed = self._reached = self._resumed = 0
        yield from self._create()

    # --- The end ---

    def _verify(self) -> Steps[None]:
        url, length = cast("str", self.url), cast("int", self.length)
        if self.job.verify == "length":
            yield from verify_length(self._requests, url, length)
        elif self.job.verify == "download":
            yield from verify_content(self._requests, url)

    def _abandon(self) -> Steps[None]:
        """The source is another one now: nobody can go on with the upload, so it goes away, if
        the server lets it."""
        if self.url is not None and self.job.upload_url is None:
            yield from self._requests.send(Exchange(tus.terminate(), self.url))
            yield from tell(Forget())
        self.url = None

    def _notice(self, text: str) -> Steps[None]:
        yield from tell(Tell(Noticed(text)))


_TELLING = frozenset({401, 403, 429})
"""Refusals that say more than that this may be no tus server."""
