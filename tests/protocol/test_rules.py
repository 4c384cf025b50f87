"""The judgement: what is admitted before the bytes, and what is settled after them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from vectus.protocol import rules
from vectus.protocol.exchange import (
    Append,
    Checksum,
    Create,
    Download,
    Downloaded,
    Ending,
    Payload,
    Plan,
    Reason,
    Received,
    Refused,
    Unchanged,
)
from vectus.protocol.policy import Feature, Policy
from vectus.protocol.rules import Action
from vectus.protocol.upload import Role, Stage, Upload

NOW = 1000.0
POLICY = Policy(max_size=100, expire_after=60.0)
UPLOAD = Upload("a", length=10, offset=4, expires=2000.0)
PARTIAL = Upload("p", role=Role.PARTIAL, length=10, offset=10, finished=True)
FINAL = Upload("f", role=Role.FINAL, parts=("p", "q"))
STAGES = {
    Stage.RECEIVING: UPLOAD,
    Stage.FINISHING: replace(UPLOAD, offset=10),
    Stage.FINISHED: replace(UPLOAD, offset=10, finished=True),
    Stage.AWAITING: FINAL,
    Stage.JOINING: replace(FINAL, length=20, joining=True),
    Stage.GONE: replace(FINAL, failed="It is over."),
}


def without(*features: Feature, **limits: object) -> Policy:
    """A policy that offers less."""
    return Policy(features=frozenset(Feature) - set(features), **limits)


def create(role: Role = Role.PLAIN, length: int | None = 5, **more: object) -> Create:
    """A wish for an upload."""
    return Create(role, length, metadata=None, **more)


def reason_of(call, *args: object) -> Reason:
    """The reason for which a rule refuses."""
    with pytest.raises(Refused) as caught:
        call(*args)
    return caught.value.reason


# --- Creating -------------------------------------------------------------------------------------


def test_a_wish_becomes_a_record():
    """The record holds what was asked, when, and until when it lives, in whole seconds."""
    wish = Create(Role.PARTIAL, 5, "a", "partial")
    upload = rules.admit_create(wish, [], POLICY, "id", 1000.25)

    assert upload == Upload(
        "id", Role.PARTIAL, 5, metadata="a", concat="partial", created=1000.25, expires=1061.0
    )


@pytest.mark.parametrize(
    ("wish", "feature"),
    [
        (create(), Feature.CREATION),
        (create(length=None), Feature.DEFERRED_LENGTH),
        (create(Role.PARTIAL), Feature.CONCATENATION),
        (create(Role.FINAL, None), Feature.CONCATENATION),
    ],
)
def test_what_is_not_offered_is_refused(wish, feature):
    """C16: an extension that is off is refused, not ignored."""
    refused = reason_of(rules.admit_create, wish, [], without(feature), "id", NOW)

    assert refused is Reason.NOT_OFFERED


@pytest.mark.parametrize(("length", "fits"), [(99, True), (100, True), (101, False)])
def test_t40_the_cap(length, fits):
    """T40: the cap itself is taken, one byte more is not."""
    if fits:
        assert rules.admit_create(create(length=length), [], POLICY, "id", NOW).length == length
    else:
        refused = reason_of(rules.admit_create, create(length=length), [], POLICY, "id", NOW)
        assert refused is Reason.TOO_LARGE


def test_c28_the_cap_holds_for_a_sum():
    """C28, T67: a final upload has its partials' length, and that has the same limit."""
    wish = create(Role.FINAL, None, parts=("p", "p"))
    half = replace(PARTIAL, length=50, offset=50)
    more = replace(PARTIAL, length=51, offset=51)

    assert rules.admit_create(wish, [half, half], POLICY, "id", NOW).length == 100
    refused = reason_of(rules.admit_create, wish, [half, more], POLICY, "id", NOW)
    assert refused is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "source",
    [None, UPLOAD, FINAL, replace(PARTIAL, taken_by="f"), replace(PARTIAL, failed="why")],
)
def test_c24_a_final_is_made_of_partials_only(source):
    """C24: one that is not there, is none, or is gone is refused, all in the same words."""
    wish = create(Role.FINAL, None, parts=("p", "x"))

    refused = reason_of(rules.admit_create, wish, [PARTIAL, source], POLICY, "id", NOW)
    assert refused is Reason.SOURCES


def test_t72_c21_unfinished_partials():
    """T72, C21: partials may be unfinished where that is offered; the length is told later."""
    wish = create(Role.FINAL, None, parts=("p", "q"))
    some = replace(PARTIAL, offset=3, finished=False)
    deferred = replace(some, length=None)
    less = without(Feature.CONCATENATION_UNFINISHED)

    assert rules.admit_create(wish, [PARTIAL, some], POLICY, "id", NOW).length == 20
    assert rules.admit_create(wish, [PARTIAL, deferred], POLICY, "id", NOW).length is None
    assert reason_of(rules.admit_create, wish, [PARTIAL, some], less, "id", NOW) is Reason.SOURCES
    assert rules.admit_create(wish, [PARTIAL, PARTIAL], less, "id", NOW).length == 20


@pytest.mark.parametrize(
    ("length", "payload", "reason"),
    [
        (5, Payload(6), Reason.TOO_LARGE),
        (None, Payload(101), Reason.TOO_LARGE),
        (5, Payload(5, Checksum("crc31", b"")), Reason.ALGORITHM),
    ],
)
def test_c38_bytes_on_post_are_judged_before_it_exists(length, payload, reason):
    """C38, C30: a POST whose bytes cannot fit is refused before there is an upload."""
    wish = create(length=length, payload=payload)

    assert reason_of(rules.admit_create, wish, [], POLICY, "id", NOW) is reason


# --- Whether it is there --------------------------------------------------------------------------

WAYS = {
    (Stage.FINISHING, Action.INSPECT): Reason.FINISHING,
    (Stage.RECEIVING, Action.DOWNLOAD): Reason.UNFINISHED,
    (Stage.FINISHING, Action.DOWNLOAD): Reason.UNFINISHED,
    (Stage.AWAITING, Action.DOWNLOAD): Reason.UNFINISHED,
    (Stage.JOINING, Action.DOWNLOAD): Reason.UNFINISHED,
    (Stage.JOINING, Action.TERMINATE): Reason.PINNED,
    (Stage.AWAITING, Action.APPEND): Reason.FINAL,
    (Stage.JOINING, Action.APPEND): Reason.FINAL,
    **{(Stage.GONE, action): Reason.GONE for action in Action},
}


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("stage", Stage)
def test_what_each_stage_allows(stage, action):
    """D8, T75: every action at every stage is allowed, or refused for its own reason."""
    if reason := WAYS.get((stage, action)):
        assert reason_of(rules.admit, action, STAGES[stage], POLICY, NOW) is reason
    else:
        rules.admit(action, STAGES[stage], POLICY, NOW)


def test_t75_c26_a_joined_final_takes_no_bytes_either():
    """T75, C26: that a final upload is finished changes nothing."""
    done = replace(FINAL, length=20, offset=20, finished=True)

    assert reason_of(rules.admit, Action.APPEND, done, POLICY, NOW) is Reason.FINAL


@pytest.mark.parametrize("action", Action)
def test_t50_what_has_expired_is_gone(action):
    """T50, D7: an upload whose time is over is gone for every request, from that second on."""
    assert reason_of(rules.admit, action, UPLOAD, POLICY, 2000.0) is Reason.GONE
    assert not rules.expired(UPLOAD, POLICY, 1999.9)


def test_d7_lifetimes_are_those_of_now():
    """D7: what was promised less outlives its time where its kind lives for ever now."""
    forever = Policy(expire_after=None, expire_finished=None)
    finished = replace(UPLOAD, offset=10, finished=True)
    partial = replace(finished, role=Role.PARTIAL)

    assert not rules.expired(UPLOAD, forever, 9e9)
    assert not rules.expired(finished, POLICY, 9e9)
    assert rules.expired(finished, Policy(expire_finished=5.0), 9e9)
    assert rules.expired(partial, POLICY, 9e9)
    assert not rules.expired(replace(UPLOAD, expires=None), POLICY, 9e9)


# --- Appending ------------------------------------------------------------------------------------


def append(offset: int = 4, length: int | None = None, **payload: object) -> Append:
    """A wish to append."""
    return Append("a", offset, length, Payload(**({"size": 3} | payload)))


@pytest.mark.parametrize(
    ("wish", "upload", "reason"),
    [
        (append(3), UPLOAD, Reason.OFFSET),
        (append(5), UPLOAD, Reason.OFFSET),
        (append(size=7), UPLOAD, Reason.TOO_LARGE),
        (append(length=11), UPLOAD, Reason.LENGTH),
        (append(length=9), UPLOAD, Reason.LENGTH),
        (append(length=3), replace(UPLOAD, length=None), Reason.LENGTH),
        (append(length=101), replace(UPLOAD, length=None), Reason.TOO_LARGE),
        (append(size=97), replace(UPLOAD, length=None), Reason.TOO_LARGE),
        (append(size=3, length=6), replace(UPLOAD, length=None), Reason.TOO_LARGE),
        (append(checksum=Checksum("SHA1", b"")), UPLOAD, Reason.ALGORITHM),
        (append(offset=10), replace(UPLOAD, offset=10, finished=True), Reason.TOO_LARGE),
        (append(offset=3), FINAL, Reason.FINAL),
    ],
)
def test_what_an_append_is_refused_for(wish, upload, reason):
    """T20, T36, T58, C08, C09, C12, C30: by its head alone, in the order of C07."""
    with pytest.raises(Refused) as caught:
        rules.admit_append(wish, upload, POLICY, NOW)

    assert caught.value.reason is reason
    assert caught.value.upload in (upload, None)


@pytest.mark.parametrize(
    ("wish", "upload", "start", "room", "length", "revocable"),
    [
        (append(), UPLOAD, 4, 6, 10, False),
        (append(size=6), UPLOAD, 4, 6, 10, False),
        (append(size=0), UPLOAD, 4, 6, 10, False),
        (append(length=10), UPLOAD, 4, 6, 10, False),
        (append(size=None), UPLOAD, 4, 6, 10, True),
        (append(checksum=Checksum("md5", b"")), UPLOAD, 4, 6, 10, True),
        (append(size=None, trailer=True), UPLOAD, 4, 6, 10, True),
        (append(), replace(UPLOAD, length=None), 4, 96, None, False),
        (append(size=None), replace(UPLOAD, length=None), 4, 96, None, True),
        (append(length=7), replace(UPLOAD, length=None), 4, 3, 7, False),
        (append(length=4, size=0), replace(UPLOAD, length=None), 4, 0, 4, False),
    ],
)
def test_what_an_append_may_do(wish, upload, start, room, length, revocable):
    """D1, D4, C12, C29: where it starts, how much fits, and whether it may be taken back."""
    plan = rules.admit_append(wish, upload, POLICY, NOW)

    assert (plan.start, plan.room, plan.length) == (start, room, length)
    assert plan.revocable is revocable


def test_without_any_limit_nothing_overruns():
    """C29: chunks into an upload without length, where there is no cap, are plain bytes."""
    plan = rules.admit_append(append(size=None), replace(UPLOAD, length=None), Policy(), NOW)

    assert (plan.room, plan.revocable) == (None, False)


# --- Settling -------------------------------------------------------------------------------------

PLAN = Plan(4, 6, 10, Payload(3), revocable=False)
CHECKED = replace(PLAN, payload=Payload(3, Checksum("md5", b"d")), revocable=True)
EARLY = [e for e in Ending if e is not Ending.COMPLETE]


def test_every_early_end_has_its_words():
    """Invariant 2: no way for a body to end is without a verdict."""
    assert set(rules.VERDICTS) == set(EARLY)


@pytest.mark.parametrize("ending", Ending)
def test_t25_what_is_kept_at_each_end(ending):
    """T25, C34, C10: early ends keep what came, but for an overrun and a lost lock."""
    received = Received(3, ending)
    if ending in (Ending.OVERRUN, Ending.LOST):
        with pytest.raises(Refused):
            rules.settle(PLAN, UPLOAD, received, POLICY, NOW)
    else:
        settled = rules.settle(PLAN, UPLOAD, received, POLICY, NOW)
        assert (settled.offset, settled.length, settled.expires) == (7, 10, 1060.0)


@pytest.mark.parametrize("ending", Ending)
def test_each_early_end_is_refused_in_the_end(ending):
    """Only a body that came whole is acknowledged."""
    if ending is Ending.COMPLETE:
        rules.acknowledge(UPLOAD, Received(3, ending))
    else:
        reason = reason_of(rules.acknowledge, UPLOAD, Received(3, ending))
        assert reason is rules.VERDICTS[ending][0]


@pytest.mark.parametrize("ending", EARLY)
def test_c20_what_cannot_be_verified_is_not_kept(ending):
    """C20, T57: a checksummed body that ended early leaves nothing, even if it matches so far."""
    reason = reason_of(rules.settle, CHECKED, UPLOAD, Received(3, ending, b"d", b"d"), POLICY, NOW)

    assert reason is rules.VERDICTS[ending][0]


@pytest.mark.parametrize(
    ("digest", "claimed", "reason"),
    [
        (b"d", b"e", Reason.CHECKSUM),
        (b"d", None, Reason.UNVERIFIED),
        (None, b"e", Reason.ALGORITHM),
        (None, None, Reason.UNVERIFIED),
    ],
)
@pytest.mark.parametrize("trailer", [False, True])
def test_t56_t57_what_a_checksum_is_refused_for(digest, claimed, reason, trailer):
    """T56, T57, T60: a wrong one, a missing one, and one that nobody knows."""
    payload = Payload(None, trailer=True) if trailer else CHECKED.payload
    plan = replace(CHECKED, payload=payload)
    received = Received(3, Ending.COMPLETE, digest, claimed)

    assert reason_of(rules.settle, plan, UPLOAD, received, POLICY, NOW) is reason


def test_t56_a_right_checksum_counts():
    """T56: then the bytes are as good as any."""
    received = Received(3, Ending.COMPLETE, b"d", b"d")

    assert rules.settle(CHECKED, UPLOAD, received, POLICY, NOW).offset == 7


def test_d7_only_bytes_prolong_a_life():
    """D7: the time counts from the last byte; a request without any changes nothing."""
    settled = rules.settle(PLAN, UPLOAD, Received(0, Ending.COMPLETE), POLICY, NOW)

    assert settled.expires == UPLOAD.expires


def test_what_tusd_wrote_becomes_ours():
    """A committed append makes a foreign record one of ours."""
    foreign = replace(UPLOAD, foreign=True, pending=4)

    settled = rules.settle(PLAN, foreign, Received(1, Ending.COMPLETE), POLICY, NOW)
    assert (settled.foreign, settled.pending) == (False, None)


# --- Finishing and joining ------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("lifetime", [None, 30.0])
def test_d7_what_finishing_does_to_a_life(role, lifetime):
    """D7: finished uploads live for ever or for their own time, partials go on as before."""
    policy = replace(POLICY, expire_finished=lifetime)
    upload = replace(UPLOAD, role=role, offset=10, foreign=True)
    done = rules.finish(upload, policy, NOW)
    expected = 2000.0 if role is Role.PARTIAL else (None if lifetime is None else 1030.0)

    assert (done.finished, done.foreign, done.expires) == (True, False, expected)


def test_what_is_unsettled():
    """D2: what waits for a step without bytes is driven on, the telling of a finish too."""
    assert {stage for stage, upload in STAGES.items() if rules.unsettled(upload)} == {
        Stage.FINISHING,
        Stage.AWAITING,
        Stage.JOINING,
        Stage.FINISHED,
    }
    assert not rules.unsettled(replace(STAGES[Stage.FINISHED], announced=True))


def test_d8_what_partials_make_of_a_final():
    """D8, T78: its length once all are known; failed when one is gone, or for too large a sum."""
    some = replace(PARTIAL, id="q", length=None, offset=1, finished=False)
    large = replace(PARTIAL, id="q", length=91)

    assert rules.review_final(FINAL, [PARTIAL, some], POLICY).length is None
    assert rules.review_final(FINAL, [PARTIAL, PARTIAL], POLICY).length == 20
    assert rules.review_final(FINAL, [PARTIAL, None], POLICY).stage is Stage.GONE
    assert rules.review_final(FINAL, [PARTIAL, large], POLICY).stage is Stage.GONE
    taken = replace(PARTIAL, taken_by="g")
    assert rules.review_final(FINAL, [PARTIAL, taken], POLICY).stage is Stage.GONE
    taken = replace(PARTIAL, taken_by="f")
    assert rules.review_final(FINAL, [PARTIAL, taken], POLICY).stage is Stage.AWAITING


def test_d8_when_a_final_can_be_joined():
    """D8: when every partial is complete; from then on it pins them."""
    some = replace(PARTIAL, offset=3)

    assert rules.joinable([PARTIAL, PARTIAL])
    assert not rules.joinable([PARTIAL, some])
    assert not rules.joinable([PARTIAL, None])
    assert [stage for stage, u in STAGES.items() if rules.pinning(u)] == [Stage.JOINING]


# --- Downloading ----------------------------------------------------------------------------------

DONE = replace(UPLOAD, offset=10, finished=True)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({}, (0, 10, False)),
        ({"ranges": "bytes=2-4"}, (2, 5, True)),
        ({"ranges": "bytes=-4"}, (6, 10, True)),
        ({"ranges": "bytes=0-1,3-4"}, (0, 10, False)),
        ({"ranges": "nonsense"}, (0, 10, False)),
        ({"ranges": "bytes=2-4", "if_range": DONE.tag}, (2, 5, True)),
        ({"ranges": "bytes=2-4", "if_range": '"other"'}, (0, 10, False)),
        ({"ranges": "bytes=2-4", "if_range": f"W/{DONE.tag}"}, (0, 10, False)),
        ({"if_none_match": '"other"'}, (0, 10, False)),
    ],
)
def test_c44_what_a_download_gives(asked, answer):
    """C44: all of it, or a range of it, if its conditions hold."""
    found = rules.admit_download(Download("a", **asked), DONE, POLICY, NOW)

    assert found == Downloaded(DONE, *answer[:2], ranged=answer[2])


@pytest.mark.parametrize("condition", [DONE.tag, "*", f'"x", W/{DONE.tag}'])
def test_c44_what_the_client_has_already(condition):
    """C44: If-None-Match compares weakly, over a list, before any range."""
    asked = Download("a", ranges="bytes=99-", if_none_match=condition)

    assert rules.admit_download(asked, DONE, POLICY, NOW) == Unchanged(DONE)


def test_c44_a_range_outside():
    """C44: a range that no byte satisfies is refused, and the length told."""
    asked = Download("a", ranges="bytes=10-")
    with pytest.raises(Refused) as caught:
        rules.admit_download(asked, DONE, POLICY, NOW)

    assert (caught.value.reason, caught.value.upload) == (Reason.RANGE, DONE)


@pytest.mark.parametrize("redirect", [False, True])
@pytest.mark.parametrize("emptied", [False, True])
def test_c44_what_is_to_be_had_elsewhere(*, redirect, emptied):
    """C44: downloads go to the store's own server where it is so configured, but for empty ones."""
    upload = replace(DONE, length=0, offset=0) if emptied else DONE
    found = Downloaded(upload, 0, upload.offset, ranged=False)

    assert rules.redirects(found, replace(POLICY, redirect=redirect)) is (redirect and not emptied)


# --- Everything together --------------------------------------------------------------------------

records = st.builds(
    Upload,
    id=st.just("a"),
    role=st.sampled_from(Role),
    length=st.none() | st.integers(0, 6),
    offset=st.integers(0, 6),
    finished=st.booleans(),
).filter(lambda u: u.length is None or u.offset <= u.length)
wishes = st.builds(
    Append,
    id=st.just("a"),
    offset=st.integers(0, 7),
    length=st.none() | st.integers(0, 8),
    payload=st.builds(Payload, st.none() | st.integers(0, 8)),
)


@given(wishes, records, st.none() | st.integers(1, 7))
def test_no_plan_goes_past_a_limit(wish, upload, cap):
    """Invariant: what is admitted starts at the offset and cannot pass the length or the cap."""
    policy = Policy(max_size=cap)
    try:
        plan = rules.admit_append(wish, upload, policy, NOW)
    except Refused:
        return
    limit = plan.length if plan.length is not None else cap

    assert plan.start == upload.offset == wish.offset
    assert plan.room is None if limit is None else plan.start + plan.room <= max(limit, plan.start)
    assert plan.room is None or (wish.payload.size or 0) <= plan.room
    if upload.length is not None:
        assert plan.length == upload.length
