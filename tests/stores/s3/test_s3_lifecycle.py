"""The lifecycle of a bucket: what its rules do to uploads, and that only ours is ever changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count

import pytest
from s3_places import make_place
from s3_servers_odd import MinIO, Refusing, Swift

from vectus.errors import StoreError, StoreUnavailable
from vectus.findings import Change, Finding, Grade, Question
from vectus.stores.s3.bucket import Bucket
from vectus.stores.s3.client import Gateway
from vectus.stores.s3.lifecycle import (
    DAY,
    SPACE,
    Configuration,
    Rule,
    days_for,
    difference,
    is_settled,
    judge,
    life,
    others_same,
    own_id,
    rules_of,
    same,
    shortest,
    with_rule,
)
from vectus.stores.s3.mending import plan
from vectus.stores.s3.place import Place

WEEK = 7 * DAY


def configuration(*rules: str, space: str = SPACE) -> Configuration:
    """Return a configuration of rules as XML."""
    named = f' xmlns="{space}"' if space else ""
    inside = "".join(f"<Rule>{rule}</Rule>" for rule in rules)
    return Configuration(
        f"<LifecycleConfiguration{named}>{inside}</LifecycleConfiguration>".encode()
    )


def aborting(days: int, where: str = "<Filter/>", status: str = "Enabled", id: str = "x") -> str:
    """Return a rule that aborts uploads, as XML."""
    return (
        f"<ID>{id}</ID>{where}<Status>{status}</Status><AbortIncompleteMultipartUpload>"
        f"<DaysAfterInitiation>{days}</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
    )


def filtered(inside: str) -> str:
    """Return a filter."""
    return f"<Filter>{inside}</Filter>"


TAG = "<Tag><Key>a</Key><Value>b</Value></Tag>"
OURS = aborting(14, filtered("<Prefix>in/</Prefix>"), id=own_id("in/"))

OLD_STYLE = """<ID>old style</ID><Prefix>logs/</Prefix><Status>Enabled</Status>
<Expiration><Days>90</Days></Expiration>"""
TAGGED = f"""<ID>tagged</ID>{filtered(f"<And><Prefix>a/</Prefix>{TAG}</And>")}
<Status>Enabled</Status><NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays>
<NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration>"""
OFF = """<ID>off</ID><Filter><Prefix>b/</Prefix></Filter><Status>Disabled</Status>
<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"""
FOREIGN = (OLD_STYLE, TAGGED, OFF)
"""Rules of other people, as servers keep them."""


# --- Reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "touches", "covers"),
    [
        ("<Filter/>", True, True),
        ("", True, True),
        ("<Prefix/>", True, True),
        ("<Prefix>in/</Prefix>", True, True),
        ("<Prefix>i</Prefix>", True, True),
        (filtered("<Prefix>in/</Prefix>"), True, True),
        (filtered("<Prefix>in/a</Prefix>"), True, False),
        (filtered("<Prefix>out/</Prefix>"), False, False),
        (filtered(TAG), True, False),
        (filtered(f"<And><Prefix>in/</Prefix>{TAG}</And>"), True, False),
        (filtered(f"<And><Prefix>out/</Prefix>{TAG}</And>"), False, False),
        (filtered("<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>"), True, False),
    ],
)
@pytest.mark.parametrize("space", [SPACE, ""])
def test_what_a_rule_is_about(where: str, touches: object, covers: object, space: str) -> None:
    """Old prefixes, filters, and all that narrows them; with a namespace or without."""
    (rule,) = rules_of(configuration(aborting(3, where), space=space))

    assert (rule.days, rule.touches("in/"), rule.covers("in/")) == (3, touches, covers)


def test_no_configuration_has_no_rules() -> None:
    """There may be none, and it may not be XML."""
    assert rules_of(Configuration()) == ()
    with pytest.raises(StoreError):
        rules_of(Configuration(b"<html>"))


def test_the_shortest_counts() -> None:
    """Of all rules that may hit an upload the first to do so, whoever made it; not those that are
    disabled, or about something else."""
    rules = rules_of(
        configuration(
            aborting(9, id="all"),
            aborting(5, filtered("<Prefix>in/a</Prefix>"), id="some"),
            aborting(2, status="Disabled", id="off"),
            aborting(1, "<Prefix>out/</Prefix>", id="other"),
            *FOREIGN,
        )
    )

    assert shortest(rules, "in/").id == "some"
    assert shortest(rules, "out/").id == "other"
    assert shortest(rules_of(configuration(*FOREIGN)), "in/") is None


def test_a_day_before_the_rule() -> None:
    """An upload ends a day before S3 drops it; of a single day, half of it is left."""
    lives = [life(Rule("x", True, "", days=days)) / DAY for days in (1, 2, 7, 14)]

    assert lives == [0.5, 1, 6, 13]


def test_days() -> None:
    """At least 14, and at least twice the expiry, as the rule counts from the initiation."""
    assert [days_for(days * DAY) for days in (0.1, 7, 7.1, 30)] == [14, 14, 15, 60]


# --- Judging --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "expire_after", "grade", "words"),
    [
        ((), WEEK, Grade.WARNING, "No rule of the bucket"),
        ((), None, Grade.OK, "never expire"),
        ((aborting(14),), WEEK, Grade.OK, "14 days"),
        ((aborting(13),), WEEK, Grade.WARNING, "12 days from its creation"),
        ((aborting(14),), None, Grade.WARNING, "13 days from its creation"),
        ((aborting(2),), WEEK, Grade.WARNING, "1 day from its creation"),
        ((aborting(30, filtered(TAG)),), WEEK, Grade.WARNING, "Only a part"),
        ((OURS,), 2 * WEEK, Grade.WARNING, own_id("in/")),
        ((OURS, *FOREIGN), WEEK, Grade.OK, own_id("in/")),
    ],
)
def test_what_it_means_for_uploads(
    rules: tuple[str, ...], expire_after: float | None, grade: Grade, words: str
) -> None:
    """Whether what nobody finishes is dropped, and whether that is too soon."""
    (found,) = judge(rules_of(configuration(*rules)), "in/", expire_after)

    assert found.grade is grade
    assert words in found.says
    assert bool(found.hint) is (grade is Grade.WARNING)


@pytest.mark.parametrize(
    "harm",
    [
        "<Expiration><Days>30</Days></Expiration>",
        "<Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration>",
        "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>",
    ],
)
def test_rules_that_take_uploads_away(harm: str) -> None:
    """What deletes finished uploads, or moves their records out of reach, is told of."""
    rule = f"<ID>harm</ID><Prefix>in/</Prefix><Status>Enabled</Status>{harm}"
    found = list(judge(rules_of(configuration(OURS, rule)), "in/", WEEK))

    assert [each.grade for each in found] == [Grade.OK, Grade.WARNING]
    assert "harm" in found[1].says


# --- Adding ours ----------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [SPACE, ""])
def test_ours_is_added_and_the_others_stay(space: str) -> None:
    """Every other rule is the same XML afterwards, with what nobody here has ever heard of."""
    strange = "<ID>new</ID><Filter/><Status>Enabled</Status><Teleport><To>Mars</To></Teleport>"
    before = configuration(*FOREIGN, strange, space=space)
    after = with_rule(before, "in/", 14)

    assert rules_of(after) == (*rules_of(before), *rules_of(configuration(OURS)))
    assert others_same(before, after, "in/")
    assert b"<Teleport><To>Mars</To></Teleport>" in after.xml
    assert difference(before, after)[-1].startswith(f"+ {own_id('in/')}")
    assert {line[0] for line in difference(before, after)[:-1]} == {" "}


def test_ours_is_replaced() -> None:
    """There is one rule of ours for a prefix, at the place where it was; another prefix has its
    own."""
    other = aborting(14, filtered("<Prefix>out/</Prefix>"), id=own_id("out/"))
    before = configuration(TAGGED, OURS, other, OURS)
    after = with_rule(before, "in/", 30)

    ids = [rule.id for rule in rules_of(after)]
    assert ids == ["tagged", own_id("in/"), own_id("out/")]
    assert [line[0] for line in difference(before, after)] == [" ", " ", "-", "-", "+"]
    assert others_same(before, after, "in/")


def test_a_configuration_of_our_own() -> None:
    """Where there is none, one with our rule is made."""
    after = with_rule(Configuration(), "", 14)

    assert SPACE.encode() in after.xml
    assert [(rule.prefix, rule.days) for rule in rules_of(after)] == [("", 14)]
    assert is_settled(rules_of(after), "", 14)
    assert is_settled(rules_of(after), "", 10)
    assert not is_settled(rules_of(after), "", 15)
    assert not is_settled(rules_of(after), "in/", 14)


def test_the_style_of_the_others_is_kept() -> None:
    """S3 refuses a mixture of prefixes inside filters and outside of them."""
    old = with_rule(configuration(OLD_STYLE), "in/", 14)
    new = with_rule(configuration(TAGGED), "in/", 14)

    assert b"Filter" not in old.xml
    assert new.xml.count(b"<Filter>") == 2
    assert rules_of(old)[-1] == rules_of(new)[-1]


def test_what_cannot_be_kept_is_not_touched() -> None:
    """A configuration that would come out otherwise is not written at all."""
    strange = configuration(f"{OLD_STYLE}<Odd xmlns=''>1</Odd>")

    with pytest.raises(StoreError, match="cannot be kept"):
        with_rule(strange, "in/", 14)


def test_comparing() -> None:
    """Order and blanks say nothing; values, and what goes with them, do."""
    one = configuration(*FOREIGN)
    spaced = Configuration(one.xml.replace(b"><", b">\n  <"))

    assert same(one, configuration(*reversed(FOREIGN)))
    assert same(one, spaced)
    assert not same(one, Configuration(one.xml.replace(b"90", b"91")))
    assert not same(one, replace(one, minimum="varies_by_storage_class"))


# --- At real servers ------------------------------------------------------------------------------


_buckets = count()


@pytest.fixture
def lone(rgw: str) -> Iterator[Place]:
    """A place in a bucket of its own, as rules are the bucket's. They go with the test: RGW works
    off those of all buckets, one after the other."""
    place = Place(f"vectus-rules-{next(_buckets)}", "in", rgw, "us-east-1")
    with contextlib.closing(Gateway(place)) as gateway:
        gateway.call("create_bucket")
        yield place
        gateway.call("delete_bucket_lifecycle")


def ask(place: Place, expire_after: float | None = WEEK, connect=Gateway) -> Change | Finding:
    """Ask what would be set right."""
    return plan(Question("s3://unused", expire_after), place, connect)


@contextlib.contextmanager
def opened(place: Place) -> Iterator[Bucket]:
    """Look at a bucket."""
    with contextlib.closing(Gateway(place)) as gateway:
        yield Bucket(gateway, place)


def make(change: Change | Finding) -> Finding:
    """Make a change that there must be."""
    assert isinstance(change, Change)
    return change.make()


def test_a_real_server_keeps_foreign_rules(lone: Place) -> None:
    """RGW has the others as they were, and ours; again is no change, longer is one."""
    with opened(lone) as bucket:
        bucket.set_lifecycle(configuration(*FOREIGN))
        before = bucket.lifecycle()
        assert make(ask(lone)).grade is Grade.OK
        after = bucket.lifecycle()
        assert others_same(before, after, "in/")
        assert set(rules_of(after)) == {*rules_of(before), *rules_of(configuration(OURS))}

        settled = ask(lone)
        assert isinstance(settled, Finding)
        assert settled.grade is Grade.OK
        assert make(ask(lone, 30 * DAY)).grade is Grade.OK
        assert is_settled(rules_of(bucket.lifecycle()), "in/", 60)
        assert others_same(before, bucket.lifecycle(), "in/")


def test_the_first_rule_of_a_bucket(lone: Place, moto: str) -> None:
    """Where there is no configuration, one is made; a server may add words of its own to it."""
    for place in (lone, make_place(moto)):
        assert make(ask(place)).grade is Grade.OK
        with opened(place) as bucket:
            assert is_settled(rules_of(bucket.lifecycle()), bucket.key(""), 14)


def test_what_goes_with_the_rules_is_kept(lone: Place) -> None:
    """The size below which objects are not moved is in a header; S3 resets it where it is left
    out."""
    name, sent = "TransitionDefaultMinimumObjectSize", []

    class Amazon(Gateway):
        def call(self, operation: str, **parameters: object):
            if operation == "put_bucket_lifecycle_configuration":
                sent.append(parameters[name])
            answer = super().call(operation, **parameters)
            answer[name] = "varies_by_storage_class"
            return answer

    with opened(lone) as bucket:
        bucket.set_lifecycle(configuration(*FOREIGN))

    assert make(ask(lone, connect=Amazon)).grade is Grade.OK
    assert sent == ["varies_by_storage_class"]


def test_somebody_else_changes_the_rules(lone: Place) -> None:
    """What was changed after it was shown is not written over."""
    change = ask(lone)
    with opened(lone) as bucket:
        bucket.set_lifecycle(configuration(*FOREIGN))
        between = bucket.lifecycle()
        found = make(change)

        assert found.grade is Grade.FAILURE
        assert "nothing was written" in found.says
        assert same(bucket.lifecycle(), between)


def test_never(lone: Place) -> None:
    """Where uploads never expire no rule is made, and one of ours is told of."""
    without = ask(lone, None)
    make(ask(lone))
    with_one = ask(lone, None)

    assert isinstance(without, Finding)
    assert isinstance(with_one, Finding)
    assert (without.grade, with_one.grade) == (Grade.NOTE, Grade.WARNING)
    assert own_id("in/") in with_one.says


@pytest.mark.parametrize("connect", [Swift, MinIO])
def test_servers_that_take_no_rule(lone: Place, connect: Callable[[Place], Gateway]) -> None:
    """What the server says is told in plain words, and nothing is changed."""
    found = make(ask(lone, connect=connect))

    assert found.grade is Grade.FAILURE
    assert "does not take the rule" in found.says
    with opened(lone) as bucket:
        assert rules_of(bucket.lifecycle()) == ()


def test_rights(lone: Place) -> None:
    """Whoever may not read or write rules is told what to allow."""
    for word in ("get", "put"):
        denied = {f"{word}_bucket_lifecycle_configuration": "AccessDenied"}
        found = ask(lone, connect=partial(Refusing, **denied))
        found = make(found) if isinstance(found, Change) else found

        assert found.grade is Grade.FAILURE
        assert "s3:PutLifecycleConfiguration" in found.hint


def test_a_server_that_changes_other_rules(lone: Place) -> None:
    """What is there afterwards is compared: a server that loses other rules is found out."""

    class Forgetful(Gateway):
        def call(self, operation: str, **parameters: object):
            if operation == "put_bucket_lifecycle_configuration":
                parameters["Raw"] = with_rule(Configuration(), "in/", 14).xml
            return super().call(operation, **parameters)

    with opened(lone) as bucket:
        bucket.set_lifecycle(configuration(*FOREIGN))
    found = make(ask(lone, connect=Forgetful))

    assert found.grade is Grade.FAILURE
    assert "- old style" in found.says


@pytest.mark.parametrize("when", [1, 2, 3])
def test_the_server_goes_away(lone: Place, when: int) -> None:
    """Nothing is claimed that is not known."""
    calls = count(1)
    counting = False

    class Leaving(Gateway):
        def call(self, operation: str, **parameters: object):
            if counting and next(calls) >= when:
                raise StoreUnavailable("gone")
            return super().call(operation, **parameters)

    change = ask(lone, connect=Leaving)
    counting = True
    found = make(change)

    assert found.grade is Grade.FAILURE
    assert "cannot be told" in found.says
