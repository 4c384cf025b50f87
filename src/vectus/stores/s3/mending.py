"""Adds the one lifecycle rule that is ours to a bucket, and leaves every other as it is.

A configuration can only be written whole, and nothing keeps two from writing it at once. So it is
read again right before it is written, and right after.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vectus.errors import StoreError, StoreUnavailable
from vectus.findings import Change, Finding, Grade, Question
from vectus.stores.s3.bucket import Bucket
from vectus.stores.s3.client import Gateway
from vectus.stores.s3.diagnosis import answer_to, code_of, why
from vectus.stores.s3.lifecycle import (
    Configuration,
    days_for,
    difference,
    is_settled,
    others_same,
    own_id,
    rules_of,
    same,
    with_rule,
)
from vectus.stores.s3.place import Place, parse

SUBJECT = "fix"

NEVER = "Uploads that never expire must not be dropped by a rule, so none is added."
NEVER_HINT = "Give --expire-after the time that `vectus serve` is given."
CHANGED = "Somebody else has changed the bucket's rules meanwhile, so nothing was written."
DENIED = "Allow s3:GetLifecycleConfiguration and s3:PutLifecycleConfiguration."
UNSURE = "Whether the rule was written cannot be told"
NOT_TAKEN = "Nothing was changed. The store sweeps by itself, as long as it runs."


@dataclass(frozen=True, slots=True)
class Doors:
    """The way to a bucket, for as long as it is needed.

    Args:
        place: where it is.
        connect: opens the door to its server.
    """

    place: Place
    connect: Callable[[Place], Gateway]

    @contextlib.contextmanager
    def bucket(self) -> Iterator[Bucket]:
        """Open it."""
        with contextlib.closing(self.connect(self.place)) as gateway:
            yield Bucket(gateway, self.place)


def plan(
    question: Question, place: Place | None = None, connect: Callable[[Place], Gateway] = Gateway
) -> Change | Finding:
    """Say what the rule would change; see ``findings.Mend``.

    Args:
        question: what is asked.
        place: where, if not where the question's URL says.
        connect: opens the door to a server.
    """
    doors = Doors(place or parse(question.store), connect)
    try:
        with doors.bucket() as bucket:
            return _plan(doors, bucket.key(""), bucket.lifecycle(), question.expire_after)
    except StoreError as error:
        return _refused("The bucket's rules cannot be read", error)


def _plan(
    doors: Doors, prefix: str, before: Configuration, expire_after: float | None
) -> Change | Finding:
    rules = rules_of(before)
    if expire_after is None:
        ours = [rule.words for rule in rules if rule.id == own_id(prefix)]
        there = f" There is one, that should be removed: {ours[0]}." if ours else ""
        return Finding(SUBJECT, Grade.WARNING if ours else Grade.NOTE, NEVER + there, NEVER_HINT)
    days = days_for(expire_after)
    if is_settled(rules, prefix, days):
        return Finding(SUBJECT, Grade.OK, "The rule is there already; nothing was changed.")
    wanted = with_rule(before, prefix, days)
    writing = Writing(doors, prefix, before, wanted)
    where = f"lifecycle rules of {doors.place.bucket}"
    return Change(where, difference(before, wanted), writing.run)


@dataclass(frozen=True, slots=True)
class Writing:
    """A change that has been agreed to.

    Args:
        doors: the way there.
        prefix: what our rule is about.
        before: what was there when the change was shown.
        wanted: what shall be there.
    """

    doors: Doors
    prefix: str
    before: Configuration
    wanted: Configuration

    def run(self) -> Finding:
        """Make it, and look what came of it."""
        try:
            with self.doors.bucket() as bucket:
                return self._write(bucket)
        except StoreError as error:
            return _refused(UNSURE, error)

    def _write(self, bucket: Bucket) -> Finding:
        try:
            if not same(bucket.lifecycle(), self.before):
                return Finding(SUBJECT, Grade.FAILURE, CHANGED, "Run it again.")
            bucket.set_lifecycle(self.wanted)
        except StoreError as error:
            if isinstance(error, StoreUnavailable) and not answer_to(error):
                return _refused(UNSURE, error)
            return _refused("The server does not take the rule", error, NOT_TAKEN)
        return self._compare(bucket.lifecycle())

    def _compare(self, found: Configuration) -> Finding:
        if not others_same(self.before, found, self.prefix):
            lost = "; ".join(line for line in difference(self.before, found) if line[0] != " ")
            says = f"The server has changed other rules than was asked for: {lost}."
            return Finding(SUBJECT, Grade.FAILURE, says, "Set them right by hand.")
        ours = [rule for rule in rules_of(found) if rule in rules_of(self.wanted)]
        if not any(rule.id == own_id(self.prefix) for rule in ours):
            says = "The server took the rule, and does not have it."
            return Finding(SUBJECT, Grade.FAILURE, says, "Look at the rules again in a while.")
        return Finding(SUBJECT, Grade.OK, "The rule was written, and the others are as they were.")


def _refused(what: str, error: StoreError, hint: str = "") -> Finding:
    if code_of(error) in {"AccessDenied", "403"}:
        hint = f"{DENIED} {hint}".strip()
    return Finding(SUBJECT, Grade.FAILURE, f"{what} ({why(error)}).", hint)
