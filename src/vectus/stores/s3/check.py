"""Tries out what a server can do of all that the store asks of it; one finding each.

Everything happens under ``<prefix>/.check/``, under names that nobody else uses and no upload can
have, and is deleted in the end, whatever happens. What is changed for good is ``mending.py``'s
affair.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from vectus.errors import StoreError, StoreUnavailable
from vectus.findings import Finding, Grade, Question
from vectus.stores.s3 import lifecycle
from vectus.stores.s3.bucket import Bucket
from vectus.stores.s3.client import Gateway, Missing, Rejected, Taken
from vectus.stores.s3.diagnosis import RIGHTS, answer_to, code_of, diagnose, why
from vectus.stores.s3.place import Place, parse

FOLDER = ".check/"
"""Names with a dot are no upload's."""

RACERS, RACES = 4, 5
"""How many want the same at once, and how often."""

OLD = 3600.0
"""Seconds. No check takes as long."""

SAMPLE = 1024
"""How many bytes are looked at around every place where something may have gone wrong."""

ODD = 1000
"""The length of a last part."""


class Broken(Exception):
    """The server did something else than it said. Its text is a sentence."""


class Bench:
    """What the trials work with.

    Args:
        place: where, and how.
        gateway: makes the calls.
        question: what is to be found out.
        cleaning: where to note what must be undone.
    """

    def __init__(
        self, place: Place, gateway: Gateway, question: Question, cleaning: contextlib.ExitStack
    ) -> None:
        self.place = place
        self.gateway = gateway
        self.question = question
        self.bucket = Bucket(gateway, place)
        self._cleaning = cleaning
        self._run = secrets.token_hex(8)
        self._count = 0
        self._silent = False

    def name(self) -> str:
        """Return a new name; what is made under it will be deleted."""
        self._count += 1
        name = f"{FOLDER}{self._run}-{self._count}"
        self._cleaning.callback(self.undo, self.bucket.delete, name)
        return name

    def undo(self, call: Callable[..., object], *args: object) -> None:
        """Make a call that may fail; not if the one before found that nobody answers any more."""
        try:
            if not self._silent:
                call(*args)
        except StoreError as error:
            self._silent = not answer_to(error)

    def tidy(self) -> None:
        """Delete what a check left long ago that was killed."""
        old = time.time() - OLD
        key, cut = self.bucket.key(FOLDER), len(self.bucket.key(""))
        for each in self.gateway.call("list_objects_v2", Prefix=key).get("Contents", ()):
            if each["LastModified"].timestamp() < old:
                self.undo(self.bucket.delete, each["Key"][cut:])
        for begun in self.bucket.unfinished(FOLDER):
            if begun.initiated < old:
                self.undo(self.bucket.abort, begun.name, begun.multipart)

    @contextlib.contextmanager
    def multipart(self, name: str) -> Iterator[str]:
        """Begin a multipart upload; it is aborted if what is done with it does not succeed. One
        that was completed never is."""
        multipart = self.bucket.begin(name, {})
        try:
            yield multipart
        except BaseException:
            self.undo(self.bucket.abort, name, multipart)
            raise

    def assemble(self, sizes: Sequence[int]) -> tuple[str, bytes]:
        """Make an object of parts of such sizes; return its name and its bytes."""
        name, data = self.name(), os.urandom(sum(sizes))
        with self.multipart(name) as multipart:
            etags, at = [], 0
            for number, size in enumerate(sizes, 1):
                etags.append(self.bucket.send(name, multipart, number, data[at : at + size]))
                at += size
            self._compare_parts(name, multipart, sizes)
            self.bucket.complete(name, multipart, tuple(etags))
        return name, data

    def _compare_parts(self, name: str, multipart: str, sizes: Sequence[int]) -> None:
        found = self.bucket.part_sizes(name, multipart)
        if found != dict(enumerate(sizes, 1)):
            raise Broken(f"Parts of {list(sizes)} bytes were sent, and {found} are listed.")

    def compare(self, name: str, data: bytes, seams: Sequence[int] = ()) -> None:
        """Make sure that an object is as long as what it was made of, and the same at both ends
        and around some places between."""
        size = self.bucket.size(name)
        if size != len(data):
            raise Broken(f"An object of {len(data)} bytes came out with {size}.")
        for seam in (0, *seams, len(data)):
            start, stop = max(0, seam - SAMPLE), min(len(data), seam + SAMPLE)
            if self.read(name, start, stop) != data[start:stop]:
                raise Broken(f"Bytes {start} to {stop} of an object are not those that were sent.")

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Read a range, or as much more as the server likes to give."""
        with contextlib.closing(self.bucket.open(name, start, stop)) as body:
            return body.read(2 * (stop - start))


def probe(
    question: Question, place: Place | None = None, connect: Callable[[Place], Gateway] = Gateway
) -> Iterator[Finding]:
    """Try a store in S3; see ``findings.Probe``.

    Args:
        question: what is asked.
        place: where, if not where the question's URL says.
        connect: opens the door to a server.
    """
    place = place or parse(question.store)
    try:
        gateway = connect(place)
    except StoreError as error:
        yield _failed(error, place)
        return
    with contextlib.ExitStack() as cleaning:
        cleaning.callback(gateway.close)
        yield from _try_all(Bench(place, gateway, question, cleaning))


def _try_all(bench: Bench) -> Iterator[Finding]:
    try:
        reached = list(_reach(bench))
    except StoreError as error:
        yield _failed(error, bench.place)
        return
    yield from reached
    with contextlib.suppress(StoreError):
        bench.tidy()
    for subject, trial, grade in TRIALS:
        try:
            yield from trial(bench)
        except Broken as broken:
            yield Finding(subject, grade, str(broken), _CONSEQUENCES.get(subject, ""))
        except StoreError as error:
            if not answer_to(error) and isinstance(error, StoreUnavailable):
                yield _failed(error, bench.place)
                return
            yield _refused(subject, grade, error, bench.place)


def _failed(error: StoreError, place: Place) -> Finding:
    """What stands in the way of everything."""
    meaning = diagnose(error, place)
    unreached = not answer_to(error) and meaning.subject == "server"
    return Finding(meaning.subject, Grade.FAILURE, meaning.says, meaning.hint, unreached=unreached)


def _refused(subject: str, grade: Grade, error: StoreError, place: Place) -> Finding:
    """What stands in the way of one thing."""
    hint = _CONSEQUENCES.get(subject, "")
    if code_of(error) in {"AccessDenied", "403"}:
        hint = f"{RIGHTS} {hint}".strip()
    meaning = diagnose(error, place)
    says = why(error) if meaning.subject == "server" else meaning.says
    return Finding(subject, grade, f"{says.rstrip('.')}.", hint)


# --- The trials -----------------------------------------------------------------------------------


def _reach(bench: Bench) -> Iterator[Finding]:
    place = bench.place
    answer = bench.gateway.call("list_objects_v2", MaxKeys=1, Prefix=bench.bucket.key(""))
    about = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    yield Finding("server", Grade.OK, f"{place.endpoint or 'AWS'} answers.")
    yield Finding("bucket", Grade.OK, f"{place.bucket} is there, and the credentials are accepted.")
    if "minio" in about.get("server", "").lower():
        yield Finding("MinIO", Grade.WARNING, MINIO, MINIO_HINT)


MINIO = "MinIO drops uploads by itself a day after they began, however they go on."
MINIO_HINT = "Have it wait, as by `mc admin config set ALIAS api stale_uploads_expiry=336h`."


def _objects(bench: Bench) -> Iterator[Finding]:
    bucket, name, data = bench.bucket, bench.name(), os.urandom(ODD)
    bucket.publish(name, data, {"ContentType": "text/plain"})
    if bucket.get(name) != data:
        raise Broken("An object that was read is not what was put.")
    if name not in {each.name for each in bucket.list_all(name)}:
        raise Broken("An object that was put is not listed.")
    bucket.put(name, b"")
    if bucket.size(name) != 0:
        raise Broken("An object that was put again, empty, is what it was.")
    bucket.delete(name)
    try:
        bucket.get(name)
    except Missing:
        yield Finding("objects", Grade.OK, "They are put, read, replaced, listed and deleted.")
        return
    raise Broken("An object that was deleted can still be read.")


def _ranges(bench: Bench) -> Iterator[Finding]:
    name, data = bench.name(), os.urandom(ODD)
    bench.bucket.put(name, data)
    got = bench.read(name, 100, 200)
    if got != data[100:200]:
        raise Broken(f"100 bytes of an object were asked for, and {len(got)} others came.")
    yield Finding("ranges", Grade.OK, "A part of an object can be read by itself.")


def _parts(bench: Bench) -> Iterator[Finding]:
    """R2 wants parts of one size, and says so only when they are put together."""
    least, place = bench.place.smallest, bench.place
    larger = least + least // 5
    sizes = (least, larger, ODD)
    try:
        name, data = bench.assemble(sizes)
    except Rejected as error:
        yield from _equal_parts(bench, why(error))
        return
    bench.compare(name, data, (least, least + larger))
    yield Finding("multipart", Grade.OK, "Objects are made of parts, of any sizes.")
    if place.equal_parts:
        says = "equal_parts=true is not needed, and limits uploads of unknown length."
        yield Finding("parts", Grade.NOTE, says, options={"equal_parts": None})


def _equal_parts(bench: Bench, refusal: str) -> Iterator[Finding]:
    least = bench.place.smallest
    name, data = bench.assemble((least, least, ODD))
    bench.compare(name, data, (least, 2 * least))
    says = f"Objects are made of parts, but only of equal ones ({refusal})."
    grade = Grade.OK if bench.place.equal_parts else Grade.FAILURE
    hint = "" if bench.place.equal_parts else "Put equal_parts=true into the URL."
    yield Finding("multipart", grade, says, hint, options={"equal_parts": "true"})


def _aborting(bench: Bench) -> Iterator[Finding]:
    bucket, name = bench.bucket, bench.name()
    with bench.multipart(name) as multipart:
        bucket.send(name, multipart, 1, os.urandom(ODD))
        if not bucket.is_open(name, multipart):
            raise Broken("A multipart upload is not there right after it began.")
        yield from _listing(bench, name, multipart)
        bucket.abort(name, multipart)
        if bucket.is_open(name, multipart):
            raise Broken("A multipart upload that was aborted is still there.")
    yield Finding("abort", Grade.OK, "What is not wanted any more is dropped.")


def _listing(bench: Bench, name: str, multipart: str) -> Iterator[Finding]:
    hint = "What a crash leaves behind at the wrong moment stays, and is to be paid for."
    try:
        found = {each.multipart for each in bench.bucket.unfinished(name)}
    except StoreError as error:
        yield _refused("unfinished", Grade.WARNING, error, bench.place)
        return
    if multipart in found:
        yield Finding("unfinished", Grade.OK, "Multipart uploads under way are listed.")
    else:
        yield Finding("unfinished", Grade.WARNING, "One that is under way is not listed.", hint)


def _copies(bench: Bench) -> Iterator[Finding]:
    """Some servers say that they copied a part, and store none."""
    bucket, least = bench.bucket, bench.place.smallest
    source, data = bench.name(), os.urandom(least + ODD)
    bucket.put(source, data)
    name = bench.name()
    with bench.multipart(name) as multipart:
        etag = bucket.copy(name, multipart, 1, source, ODD, ODD + least)
        size = bucket.part_sizes(name, multipart).get(1)
        if size != least:
            raise Broken(f"The server says that it copied {least} bytes, and has {size}.")
        bucket.complete(name, multipart, (etag,))
    bench.compare(name, data[ODD:])
    yield Finding("copies", Grade.OK, "The server copies parts by itself.")


def _conditions(bench: Bench) -> Iterator[Finding]:
    lacking = _lacking(bench)
    wanted = bench.place.conditional_put
    if lacking is None:
        grade, hint = Grade.OK, "" if wanted else "Put conditional_put=true into the URL."
        says = "Of several writers at once one wins, and the others are told."
        yield Finding("conditions", grade, says, hint, options={"conditional_put": "true"})
    elif wanted:
        hint = "Take conditional_put=true out of the URL."
        yield Finding("conditions", Grade.FAILURE, lacking, hint, {"conditional_put": None})
    else:
        yield Finding("conditions", Grade.NOTE, f"{lacking} The store does without.")


def _lacking(bench: Bench) -> str | None:
    """Say what is wrong with conditional puts, or None."""
    try:
        for lacking in (_lacks_creation(bench), _lacks_replacement(bench)):
            if lacking:
                return lacking
        races = [_race(bench, wanted) for _ in range(RACES) for wanted in (_absent, _unchanged)]
    except StoreError as error:
        return f"Conditional puts are refused ({why(error)})."
    worst = max(races, key=lambda winners: abs(winners - 1))
    if worst != 1:
        return f"Of {RACERS} writers at once {worst} were told that they won."
    return None


def _lacks_creation(bench: Bench) -> str | None:
    name = bench.name()
    if _put(bench, name, IfNoneMatch="*") is None:
        return "If-None-Match: * is refused for a new object."
    if _put(bench, name, IfNoneMatch="*"):
        return "If-None-Match: * is ignored."
    return None


def _lacks_replacement(bench: Bench) -> str | None:
    name = bench.name()
    first = _put(bench, name)
    second = _put(bench, name, IfMatch=first)
    if second is None:
        return "If-Match is refused although it matches."
    if _put(bench, name, IfMatch=first):
        return "If-Match is ignored."
    return None


Condition = Mapping[str, str | None]


def _absent(bench: Bench, name: str) -> Condition:
    return {"IfNoneMatch": "*"}


def _unchanged(bench: Bench, name: str) -> Condition:
    return {"IfMatch": _put(bench, name)}


def _race(bench: Bench, wanted: Callable[[Bench, str], Condition]) -> int:
    """Have several write at once under a condition that holds for one; return how many won."""
    name, start = bench.name(), Barrier(RACERS)
    condition = wanted(bench, name)

    def run(_: int) -> str | None:
        start.wait(60)
        return _put(bench, name, **condition)

    with ThreadPoolExecutor(RACERS, "vectus-check") as racers:
        return sum(etag is not None for etag in racers.map(run, range(RACERS)))


def _put(bench: Bench, name: str, **condition: str | None) -> str | None:
    """Put something new; return its entity tag, or None if a condition stood in the way."""
    data = os.urandom(16)
    key = bench.bucket.key(name)
    try:
        put = bench.gateway.call(
            "put_object",
            Key=key,
            Body=data,
            ContentLength=len(data),
            **bench.place.encryption,
            **condition,
        )
    except Taken:
        return None
    return str(put["ETag"])


def _links(bench: Bench) -> Iterator[Finding]:
    name, data = bench.name(), os.urandom(ODD)
    bench.bucket.publish(name, data, {})
    url = bench.bucket.link(name, "text/plain", "attachment")
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - made by boto
            got, kind = answer.read(), answer.headers.get_content_type()
    except OSError as error:
        raise Broken(f"A signed URL cannot be fetched: {error}.") from None
    if got != data or kind != "text/plain":
        raise Broken("A signed URL does not give what it is for.")
    yield Finding("links", Grade.OK, "Signed URLs work, as --download redirect needs them.")


def _versions(bench: Bench) -> Iterator[Finding]:
    try:
        found = bench.gateway.call("get_bucket_versioning").get("Status")
    except StoreError:
        return
    if found == "Enabled":
        yield Finding("versions", Grade.WARNING, VERSIONS, VERSIONS_HINT)


VERSIONS = "The bucket keeps every version of every object, of records and tails too."
VERSIONS_HINT = (
    "Keep uploads in a bucket without versions, or have a rule with NoncurrentVersionExpiration "
    "delete them soon."
)


def _lifecycle(bench: Bench) -> Iterator[Finding]:
    prefix, expire_after = bench.bucket.key(""), bench.question.expire_after
    try:
        rules = lifecycle.rules_of(bench.bucket.lifecycle())
    except (Missing, Rejected) as error:
        says = f"The server has no lifecycle rules ({why(error)}). The store sweeps by itself."
        yield Finding("lifecycle", Grade.NOTE, says)
        return
    yield from lifecycle.judge(rules, prefix, expire_after)


def _locks(bench: Bench) -> Iterator[Finding]:
    if bench.question.locks is None:
        says = "Without --locks one machine only may serve these uploads."
        yield Finding("locks", Grade.NOTE, says)


Trial = Callable[[Bench], Iterator[Finding]]

TRIALS: tuple[tuple[str, Trial, Grade], ...] = (
    ("objects", _objects, Grade.FAILURE),
    ("ranges", _ranges, Grade.FAILURE),
    ("multipart", _parts, Grade.FAILURE),
    ("abort", _aborting, Grade.FAILURE),
    ("copies", _copies, Grade.WARNING),
    ("conditions", _conditions, Grade.WARNING),
    ("links", _links, Grade.WARNING),
    ("versions", _versions, Grade.WARNING),
    ("lifecycle", _lifecycle, Grade.WARNING),
    ("locks", _locks, Grade.NOTE),
)
"""What is tried, in this order, and how bad it is if it does not work."""

_CONSEQUENCES = {
    "objects": "Without this nothing can be kept here.",
    "ranges": "Without this no upload can go on, and no download either.",
    "multipart": "Without this nothing larger than a part can be kept here.",
    "abort": "Without this what clients delete stays.",
    "copies": "Uploads that are joined will be read and sent again by this server.",
    "links": "Leave --download as it is, and downloads go through this server.",
    "unfinished": "What a crash leaves behind at the wrong moment stays, and is to be paid for.",
    "lifecycle": "Allow s3:GetLifecycleConfiguration, so that uploads are not promised more time "
    "than they have.",
}
"""What follows from a failure, or what to do about it."""
