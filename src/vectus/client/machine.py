"""The client's judgement: from what is known of a source to an upload that is whole.

Pure: commands go out, replies come in (``commands.py``); no I/O, no clock, no chance. Read
``Machine.run`` from top to bottom: find the upload or make it, send until the server has it all,
verify, forget. Only what the server acknowledged counts: after every trouble it is asked how far
it got, and nothing is sent where it did not say it is.
"""

from __future__ import annotations

from contextlib import suppress
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
    choose_algorithm,
    discover,
    read,
    tell,
    verify_content,
    verify_length,
)
from vectus.client.happenings import Confirmed, Finished, Noticed, Started
from vectus.client.job import HELD_CHUNK, Job, Result
from vectus.client.verdicts import (
    Verdict,
    adopted_url,
    created_url,
    judge,
    no_creation,
    refusal,
)
from vectus.errors import (
    NotOffered,
    NotTus,
    SourceChanged,
    UploadError,
    UploadGone,
    UploadMismatch,
    UploadRefused,
    UploadTooLarge,
    VerificationFailed,
)
from vectus.protocol.dialects import tus1_client as tus
from vectus.protocol.dialects.tus1_client import Offer, State
from vectus.protocol.exchange import Checksum
from vectus.protocol.policy import Feature


class Machine:
    """One upload of one source: ``run`` is the conversation.

    Args:
        job: what to do.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.url: str | None = None
        self.offset = 0
        self.length = job.length  # of the source, as far as it is known
        self._requests = Requests.of(job)
        self._promised: int | None = None  # the length that the server knows of
        self._limit: int | None = None  # what it takes at most, where it has said so
        self._algorithm: str | None = None
        self._confirmed = 0  # the most that it ever acknowledged of this upload
        self._reached = 0  # how far any byte of this upload was ever sent
        self._resumed = 0
        self._made = False  # whether the upload was made here and now
        self._remembered = False  # whether the resume store knows of it
        self._restarted = False
        self._most: int | None = None  # bytes that fit into one request, as far as was found

    def run(self) -> Steps[Result]:
        """Upload.

        Raises:
            UploadError: each of its kinds; its ``url`` says what is left at the server.
        """
        try:
            yield from self._transfer()
            yield from self._verify()
            return (yield from self._finish())
        except UploadError as error:
            error.url = self.url
            raise

    def _transfer(self) -> Steps[None]:
        try:
            yield from self._find()
            yield from self._send_all()
        except SourceChanged:
            yield from self._abandon()
            raise

    # --- Which upload ---

    def _find(self) -> Steps[None]:
        """Go on with the upload that is known, or make one."""
        if self.job.upload_url is not None:
            if not (yield from self._resume(self.job.upload_url)):
                raise UploadGone(
                    f"There is no upload at {self.job.upload_url}.", "See whether the URL is right."
                )
        elif not (yield from self._resume_known()):
            yield from self._create()

    def _resume_known(self) -> Steps[bool]:
        """Go on with what is remembered, if there is anything and it is of any use.

        Unless it is gone it is forgotten only when there is a new one: ``Keep`` replaces it.
        """
        url = yield Recall()
        if not isinstance(url, str):
            return False
        self._remembered = True
        try:
            if not (yield from self._resume(url)):
                yield from self._forget()
                yield from self._give_up(_NO_MORE)
        except (UploadMismatch, NotTus) as error:
            yield from self._give_up(error.problem)
        except UploadRefused as error:
            if error.status != 403:
                raise
            yield from self._give_up("The server does not let us go on.")
        return self._remembered

    def _give_up(self, why: str) -> Steps[None]:
        self.url, self._remembered = None, False
        yield from tell(Tell(Noticed(f"{why} It is uploaded anew.")))

    def _resume(self, url: str) -> Steps[bool]:
        """Be where an upload is; say whether there is one."""
        self.url = url
        answer = yield from self._requests.insist(tus.inspect(), url)
        if _whole(answer):  # or an answer that came twice, and is about another upload
            answer = yield from self._requests.insist(tus.inspect(), url)
        if judge(answer) is Verdict.GONE:
            self.url = None
            return False
        self._place(read(answer, url))
        self._resumed = self.offset
        yield from tell(Tell(Started(url, self.offset, self.length, resumed=True)))
        yield from self._confirm()
        return True

    def _place(self, state: State) -> None:
        """Be where the server says that the upload is.

        Raises:
            UploadMismatch: it cannot be an upload of this source.
        """
        name, length, offset = self.job.name, self.length, state.offset
        if offset is None:
            raise UploadMismatch(f"{self.url} is joined from other uploads and takes no bytes.")
        if state.length is not None and length not in (None, state.length):
            raise UploadMismatch(
                f"The server has an upload of {state.length} bytes at {self.url}, "
                f"but {name} has {length}."
            )
        if length is not None and offset > length:
            raise UploadMismatch(
                f"The server has {offset} bytes at {self.url}, but {name} has only {length}."
            )
        self.offset = offset
        if state.length is not None or state.deferred:  # else it keeps to itself what it knows
            self._promised = state.length

    # --- A new upload ---

    def _create(self) -> Steps[None]:
        """Make an upload. A source that fits one chunk travels along, where that is offered; but
        only in the first try, since the URL of one that fails may be lost."""
        endpoint = self._endpoint()
        offer = yield from discover(self._requests, endpoint)
        self._limit = offer.max_size
        if self.job.checksum is not None:
            self._algorithm = choose_algorithm(self.job.checksum, offer)
        along = yield from self._along(offer)
        self._refuse_unoffered(offer, endpoint)
        while True:
            answer = yield from self._post(endpoint, along)
            url = None if isinstance(answer, Broken) else _made(endpoint, answer)
            if url is not None:
                return (yield from self._begin(url, cast("Answer", answer), along))
            if not along.stop or not _too_large(answer):
                yield from self._wait_to_create(endpoint, offer, answer)
            along = _NOTHING

    def _endpoint(self) -> str:
        return urldefrag(cast("str", self.job.endpoint)).url

    def _along(self, offer: Offer) -> Steps[Held]:
        """What of the source travels with its creation: all of it or nothing. A source that turns
        out to end within its first chunk has a known length."""
        rides = Feature.CREATION_WITH_UPLOAD in offer.features
        if self.length is not None and (not rides or self.length > self.job.first_chunk):
            return _NOTHING
        held = yield from self._hold(self.job.first_chunk)
        return held if held.last and rides else _NOTHING

    def _refuse_unoffered(self, offer: Offer, endpoint: str) -> None:
        if self.length is None and Feature.DEFERRED_LENGTH not in offer.features:
            raise NotOffered(
                f"{endpoint} wants to know the length of an upload beforehand.",
                "Give it: length=… or --length N.",
            )
        if self.length is not None and offer.max_size is not None and self.length > offer.max_size:
            raise UploadTooLarge(self.length, offer.max_size)

    def _post(self, endpoint: str, along: Held) -> Steps[Answer | Broken]:
        stop = along.stop
        what = tus.create(
            self.length,
            metadata=self.job.metadata,
            concat="partial" if self.job.partial else None,
            data=stop > 0,
            checksum=(yield from self._checksum(stop)),
        )
        self._reached = max(self._reached, stop)
        return (yield from self._requests.send(Exchange(what, endpoint, 0, stop, body=stop > 0)))

    def _wait_to_create(self, endpoint: str, offer: Offer, answer: Answer | Broken) -> Steps[None]:
        """Wait for another try to create.

        Raises:
            UploadRefused: there is none, the answer is final.
        """
        if isinstance(answer, Answer) and judge(answer) is not Verdict.AGAIN:
            raise no_creation(answer, endpoint, offer, self.length)
        yield from self._requests.wait(answer)

    def _begin(self, url: str, answer: Answer, along: Held) -> Steps[None]:
        """Remember a new upload before any other byte goes there."""
        self.url, self._promised = url, self.length
        self._made = self._remembered = True
        yield from tell(Keep(url))
        yield from tell(Tell(Started(url, 0, self.length, resumed=False)))
        if not answer.good:
            yield from self._mend(along, answer, "POST")
        elif along.stop and "upload-offset" in answer.headers:
            yield from self._accept(along, answer)
        elif along.stop:
            yield from self._recover()

    # --- Sending ---

    def _send_all(self) -> Steps[None]:
        """Send until the server has it all, and knows that it has."""
        while self._promised is None or self.length is None or self.offset < self.length:
            held = yield from self._hold(self._count())
            if held.stop == self.offset == self._promised:
                return  # the server had it all, as the source's end has shown
            answer = yield from self._patch(held)
            if isinstance(answer, Answer) and answer.good:
                yield from self._accept(held, answer)
            else:
                yield from self._mend(held, answer, "PATCH")

    def _count(self) -> int:
        """How many bytes go into the next request; at least one is looked for, so that a source
        that goes on is seen to."""
        ends = [end for end in (self.length, self._promised) if end is not None]
        sizes = [size for size in (self.job.chunk, self._most) if size is not None]
        return min([max(end - self.offset, 1) for end in ends] + sizes, default=HELD_CHUNK)

    def _hold(self, count: int) -> Steps[Held]:
        """Have the next bytes at hand; before the last ones go, look whether the source is still
        what it was."""
        held = yield from ask(Hold(self.offset, count), Held)
        assert held.last or held.stop > self.offset, "a source that does not end held nothing"
        yield from self._refuse_other_length(held)
        if held.last:
            self.length = held.stop
            yield from tell(Check())
        return held

    def _refuse_other_length(self, held: Held) -> Steps[None]:
        """A source that ends before what was announced, or goes on behind it, is not what was
        announced; nobody can go on with an upload that was made for it."""
        announced = self.length if self._promised is None else self._promised
        if announced is None:
            return
        if held.stop > announced or held.last != (held.stop == announced):
            if self._made:
                yield from self._abandon()
            than = "more" if held.stop >= announced else "fewer"
            raise UploadMismatch(
                f"{self.job.name} has {than} bytes than the {announced} that were announced."
            )

    def _patch(self, held: Held) -> Steps[Answer | Broken]:
        what = tus.append(
            self.offset,
            length=self.length if self._promised is None else None,
            checksum=(yield from self._checksum(held.stop)),
        )
        self._reached = max(self._reached, held.stop)
        request = Exchange(what, cast("str", self.url), self.offset, held.stop, body=True)
        return (yield from self._requests.send(request))

    def _checksum(self, stop: int) -> Steps[Checksum | None]:
        if self.job.checksum is None or stop == self.offset:
            return None
        if self._algorithm is None:  # of an upload that was not made here and now
            url = self._endpoint() if self.job.endpoint else cast("str", self.url)
            self._algorithm = choose_algorithm(
                self.job.checksum, (yield from discover(self._requests, url))
            )
        digest = yield from ask(Digest(self._algorithm, self.offset, stop), bytes)
        return Checksum(self._algorithm, digest)

    # --- What came of it ---

    def _accept(self, held: Held, answer: Answer) -> Steps[None]:
        """Be where the server says that the bytes it took have led."""
        offset = tus.read_number(answer.headers, "upload-offset")
        if offset is None or not (self.offset < offset < held.stop or offset == held.stop):
            yield from self._requests.budget.spend("the server does not say that it took the bytes")
            yield from self._recover()
            return
        self.offset = offset
        if self.length is not None:
            self._promised = self.length
        yield from self._confirm()

    def _confirm(self) -> Steps[None]:
        if self.offset > self._confirmed:
            self._confirmed = self.offset
            self._requests.budget.renew()
        yield from tell(Tell(Confirmed(self.offset)))

    def _mend(self, held: Held, trouble: Answer | Broken, method: str) -> Steps[None]:
        """Do after a request that failed what makes another try worth while.

        Raises:
            UploadRefused: nothing does.
        """
        verdict = judge(trouble) if isinstance(trouble, Answer) else Verdict.AGAIN
        if verdict is Verdict.GONE:
            yield from self._restart()
            return
        if verdict is Verdict.SMALLER:
            self._shrink(held, cast("Answer", trouble), method)
        elif verdict is Verdict.AGAIN:
            yield from self._requests.wait(trouble)
        else:
            raise refusal(cast("Answer", trouble), method, cast("str", self.url))
        yield from self._recover()

    def _shrink(self, held: Held, answer: Answer, method: str) -> None:
        """Take smaller chunks from now on.

        Raises:
            UploadTooLarge: it is the upload that is too large.
            UploadRefused: they are as small as can be.
        """
        said = tus.read_number(answer.headers, "tus-max-size")
        limit = self._limit if said is None else said
        if limit is not None and held.stop > limit:
            raise UploadTooLarge(self.length, limit)
        size, chunks = held.stop - self.offset, self.job.chunks
        if size <= chunks.least:
            raise refusal(answer, method, cast("str", self.url))
        self._most = chunks.fit(size // 2)

    def _recover(self) -> Steps[None]:
        """Ask how far the upload is, and be there."""
        while True:
            answer = yield from self._requests.insist(tus.inspect(), cast("str", self.url))
            if judge(answer) is Verdict.GONE:
                yield from self._restart()
                return
            doubt = self._believe(answer)
            if doubt is None:
                break
            yield from self._requests.budget.spend(doubt)
        yield from self._confirm()

    def _believe(self, answer: Answer) -> str | None:
        """Be where an answer to HEAD says; or return why it may be better to ask again, as caches
        and stores that lag behind themselves do sometimes come to their senses.

        Raises:
            UploadError: it will not help.
        """
        url, job = cast("str", self.url), self.job
        if not answer.good:
            raise refusal(answer, "HEAD", url)
        try:
            state = read(answer, url)
        except NotTus as error:
            return error.problem
        if state.offset is not None and state.offset < self._confirmed and not job.replayable:
            if self._requests.budget.left:
                return "the server has fewer bytes than it acknowledged"
            raise UploadGone(
                f"The server has lost bytes at {url} that it had acknowledged, "
                f"and {job.name} cannot be read again."
            )
        self._place(state)
        if self.offset > self._reached:
            raise UploadMismatch(
                f"The server has {self.offset} bytes at {url}, but only {self._reached} were sent: "
                "somebody else sends there too."
            )
        return None

    def _restart(self) -> Steps[None]:
        """Begin anew, once: the upload is gone."""
        gone, self.url = self.url, None
        yield from self._forget()
        again = self.job.replayable or self._confirmed == 0
        if self._restarted or not again or self.job.upload_url is not None:
            raise UploadGone(f"The server has the upload at {gone} no more.")
        self._restarted, self._promised = True, None
        yield from self._give_up(_NO_MORE)
        self._confirmed = self._reached = self._resumed = self.offset = 0
        yield from self._create()

    # --- The end ---

    def _verify(self) -> Steps[None]:
        url, length = cast("str", self.url), cast("int", self.length)
        try:
            if self.job.verify == "length":
                yield from verify_length(self._requests, url, length)
            elif self.job.verify == "download":
                yield from verify_content(self._requests, url)
        except VerificationFailed:
            yield from self._forget()  # the same command is to try it anew
            raise

    def _finish(self) -> Steps[Result]:
        url, length = cast("str", self.url), cast("int", self.length)
        if not self.job.keep_entry:
            yield from self._forget()
        yield from tell(Tell(Finished(url, length)))
        return Result(url, length, self._resumed, self._requests.budget.spent)

    def _forget(self) -> Steps[None]:
        """Nobody is to go on with the upload: it is done, or gone, or of no use to anybody."""
        if self._remembered:
            self._remembered = False
            yield from tell(Forget())

    def _abandon(self) -> Steps[None]:
        """The source is another one now: nobody can go on with the upload, so it goes away, if
        the server lets it; unless somebody else has made it."""
        if self.job.partial:
            return  # all parts go, and together: whoever has made them sees to it
        url, self.url = self.url, None
        yield from self._forget()
        if url is None or url == self.job.upload_url:
            return
        with suppress(UploadError):
            yield from self._requests.send(Exchange(tus.terminate(), url))


def _made(endpoint: str, answer: Answer) -> str | None:
    """The URL of what a creation made: also of what one that failed has left behind."""
    return created_url(endpoint, answer) if answer.good else adopted_url(endpoint, answer)


def _whole(answer: Answer) -> bool:
    """Whether an answer to HEAD says that nothing is missing."""
    offset = tus.read_number(answer.headers, "upload-offset")
    return bool(offset) and offset == tus.read_number(answer.headers, "upload-length")


def _too_large(answer: Answer | Broken) -> bool:
    return isinstance(answer, Answer) and judge(answer) is Verdict.SMALLER


_NOTHING = Held(0, last=False)
_NO_MORE = "The server has the upload no more."
