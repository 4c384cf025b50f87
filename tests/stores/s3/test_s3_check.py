"""``vectus check`` on servers that are sound, and on those that are not: what is found, and that
nothing is left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from s3_places import LEAST, make_place
from s3_servers_odd import (
    R2,
    Atomic,
    MinIO,
    Mixed,
    Racy,
    Rclone,
    Refusing,
    Swift,
    Undead,
    Whole,
    refuse,
)

from vectus.errors import StoreUnavailable
from vectus.findings import Finding, Grade, Question
from vectus.stores.s3.check import FOLDER, TRIALS, probe
from vectus.stores.s3.client import Answer, Gateway
from vectus.stores.s3.place import Place

WEEK = 7 * 86400.0
QUESTION = Question("s3://unused", WEEK)

Connect = Callable[[Place], Gateway]


def check(place: Place, connect: Connect = Gateway) -> dict[str, Finding]:
    """Check a place; return what was found by what it is about."""
    return {finding.subject: finding for finding in probe(QUESTION, place, connect)}


def grades(found: dict[str, Finding], but: Grade = Grade.OK) -> dict[str, Grade]:
    """Return what is not as it should be."""
    return {name: each.grade for name, each in found.items() if each.grade is not but}


def left(place: Place) -> list[str]:
    """Return what there is under a place's prefix, under way or not."""
    with contextlib.closing(Gateway(place)) as gateway:
        objects = gateway.call("list_objects_v2", Prefix=f"{place.prefix}/").get("Contents", ())
        begun = gateway.call("list_multipart_uploads", Prefix=f"{place.prefix}/")
        return [each["Key"] for each in (*objects, *begun.get("Uploads", ()))]


def look(subject: str, place: Place, connect: Connect = Gateway) -> Finding:
    """Check a place until something is found about a subject."""
    with contextlib.closing(probe(QUESTION, place, connect)) as findings:  # type: ignore[type-var]
        return next(found for found in findings if found.subject == subject)


@pytest.fixture
def place(place: Place) -> Iterator[Place]:
    """A place at the real server, in which a check leaves nothing."""
    yield place
    assert left(place) == []


def test_a_real_server(place: Place) -> None:
    """RGW has all that is needed; its If-Match is of no use, and no rule is there."""
    found = check(place)

    assert grades(found) == {
        "conditions": Grade.NOTE,
        "lifecycle": Grade.WARNING,
        "locks": Grade.NOTE,
    }
    assert "If-Match is refused although it matches" in found["conditions"].says
    assert "--fix" in found["lifecycle"].hint
    assert {"server", "bucket"} | {name for name, *_ in TRIALS} == {
        *found.keys() - {"unfinished"},
        "versions",
    }


@pytest.fixture
def conditions(moto: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[Connect], Finding]:
    """Try nothing but conditions, at a server that honours them."""
    trials = [trial for trial in TRIALS if trial[0] == "conditions"]
    monkeypatch.setattr("vectus.stores.s3.check.TRIALS", trials)
    return lambda connect: look("conditions", make_place(moto), connect)


def test_a_server_with_conditions(conditions: Callable[[Connect], Finding]) -> None:
    """What honours conditions, in races too, is recommended the option that makes use of it."""
    found = conditions(Atomic)

    assert (found.grade, found.options) == (Grade.OK, {"conditional_put": "true"})


def test_equal_parts_are_found_out(place: Place) -> None:
    """R2 refuses unequal parts; with equal_parts=true it has all that is needed."""
    found = look("multipart", place, R2)
    assert found.grade is Grade.FAILURE
    assert found.options == {"equal_parts": "true"}
    assert "same length" in found.says
    assert "equal_parts=true" in found.hint

    assert look("multipart", replace(place, equal_parts=True), R2).grade is Grade.OK


def test_equal_parts_that_nobody_needs(place: Place) -> None:
    """An option that a server does not need, and that costs something, is told of."""
    found = look("parts", replace(place, equal_parts=True))

    assert (found.grade, found.options) == (Grade.NOTE, {"equal_parts": None})


def test_copies_that_are_none(place: Place) -> None:
    """A part that was said to be copied is looked at."""
    found = check(place, Rclone)

    assert found["copies"].grade is Grade.WARNING
    assert f"copied {LEAST} bytes, and has 0" in found["copies"].says
    assert found["conditions"].grade is Grade.NOTE
    assert "ignored" in found["conditions"].says
    assert found["lifecycle"].grade is Grade.NOTE
    assert Grade.FAILURE not in grades(found).values()


@pytest.mark.parametrize("connect", [Swift, Rclone, Gateway])
def test_conditions_that_are_asked_for_and_not_kept(place: Place, connect: Connect) -> None:
    """conditional_put=true at a server that does not honour conditions is a failure."""
    found = look("conditions", replace(place, conditional_put=True), connect)

    assert (found.grade, found.options) == (Grade.FAILURE, {"conditional_put": None})


def test_races(conditions: Callable[[Connect], Finding]) -> None:
    """A server that honours conditions only one by one is found out."""
    found = conditions(Racy)

    assert found.grade is Grade.NOTE
    assert "Of 4 writers at once 4 were told that they won." in found.says


@pytest.mark.parametrize(
    ("connect", "subject", "words"),
    [
        (Whole, "ranges", "others came"),
        (Mixed, "multipart", "not those that were sent"),
        (MinIO, "MinIO", "a day after they began"),
    ],
)
def test_other_habits(place: Place, connect: Connect, subject: str, words: str) -> None:
    """What a server does otherwise is said in a sentence."""
    found = look(subject, place, connect)

    assert found.grade is not Grade.OK
    assert words in found.says


def test_aborts_that_are_none(rgw: str) -> None:
    """An upload that was aborted must be gone."""
    place = replace(make_place(rgw), smallest=LEAST, part_size=LEAST)
    found = look("abort", place, Undead)

    assert (found.grade, found.says) == (
        Grade.FAILURE,
        "A multipart upload that was aborted is still there.",
    )


OPERATIONS = {
    "put_object": ("objects", Grade.FAILURE),
    "list_parts": ("multipart", Grade.FAILURE),
    "create_multipart_upload": ("multipart", Grade.FAILURE),
    "list_multipart_uploads": ("unfinished", Grade.WARNING),
    "upload_part_copy": ("copies", Grade.WARNING),
    "get_bucket_lifecycle_configuration": ("lifecycle", Grade.WARNING),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_not_allowed(place: Place, operation: str) -> None:
    """What the credentials may not do is found, as bad as it is; what to allow is said."""
    subject, grade = OPERATIONS[operation]

    found = look(subject, place, partial(Refusing, **{operation: "AccessDenied"}))

    assert found.grade is grade
    assert "s3:" in found.hint


CODES = {
    "NoSuchBucket": ("bucket", "There is no bucket"),
    "InvalidAccessKeyId": ("credentials", "does not know the access key"),
    "SignatureDoesNotMatch": ("credentials", "does not belong to the access key"),
    "ExpiredToken": ("credentials", "expired"),
    "RequestTimeTooSkewed": ("credentials", "clocks"),
    "AccessDenied": ("rights", "do not allow it"),
    "SomethingNew": ("server", "SomethingNew: said the server"),
}


@pytest.mark.parametrize("code", CODES)
def test_why_nothing_works(place: Place, code: str) -> None:
    """Whatever stands in the way of everything is the one finding."""
    subject, words = CODES[code]

    found = list(probe(QUESTION, place, partial(Refusing, list_objects_v2=code)))

    assert [(each.subject, each.grade, each.unreached) for each in found] == [
        (subject, Grade.FAILURE, False)
    ]
    assert words in found[0].says


def test_another_region(place: Place) -> None:
    """The region that S3 names is the one to write."""

    class Elsewhere(Gateway):
        def call(self, operation: str, **_: Any) -> Answer:
            told = "the region 'us-east-1' is wrong; expecting 'eu-central-1'"
            refuse(operation, "AuthorizationHeaderMalformed", told, Region="eu-central-1")
            return Answer()

    (found,) = probe(QUESTION, place, Elsewhere)

    assert found.subject == "bucket"
    assert "region=eu-central-1" in found.hint


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [("http://127.0.0.1:1", "connection refused"), ("https://{}", "wrong version number")],
)
def test_nobody_answers(rgw: str, endpoint: str, words: str) -> None:
    """A server that is not there, or speaks no TLS, is told from one that refuses."""
    place = replace(make_place(rgw), endpoint=endpoint.format(rgw.removeprefix("http://")))
    (found,) = probe(QUESTION, place)

    assert (found.subject, found.grade, found.unreached) == ("server", Grade.FAILURE, True)
    assert words in found.says
    assert place.bucket not in found.says


def test_wrong_keys(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real refusals of a wrong secret, of a wrong key, and of none."""
    import boto3

    said = []
    for key, secret in (("AKTEST", "wrong"), ("wrong", "SKTEST"), (None, None)):
        session = boto3.Session(key, secret)
        if key is None:
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        with monkeypatch.context() as patch:
            patch.setattr(boto3, "DEFAULT_SESSION", session)
            said += [found.says for found in probe(QUESTION, place)]
    monkeypatch.undo()

    assert said == [
        "The secret key does not belong to the access key.",
        "The server does not know the access key.",
        "There are no credentials.",
    ]


def test_no_such_bucket(rgw: str) -> None:
    """A real refusal of a bucket that is not there."""
    (found,) = probe(QUESTION, Place("nobody-made-it", "", rgw, "us-east-1"))

    assert found.says == f"There is no bucket nobody-made-it on {rgw}."


def test_versions(rgw: str) -> None:
    """A bucket that keeps every version of every record is told of."""
    place = Place("vectus-versions", "in", rgw, "us-east-1", smallest=LEAST, part_size=LEAST)
    with contextlib.closing(Gateway(place)) as gateway:
        gateway.call("create_bucket")
        gateway.call("put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})

    assert look("versions", place).grade is Grade.WARNING


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize(
    ("operation", "nth"),
    [("put_object", 2), ("upload_part", 2), ("complete_multipart_upload", 1), ("list_parts", 3)],
)
def test_nothing_is_left_when_it_is_stopped(
    place: Place, operation: str, nth: int, error: type[BaseException]
) -> None:
    """Ctrl-C, or a fault of our own, at any moment: what was made is deleted."""
    count = 0

    class Stopping(Gateway):
        def call(self, called: str, **parameters: Any) -> Answer:
            nonlocal count
            count += called == operation
            if called == operation and count == nth:
                raise error
            return super().call(called, **parameters)

    with pytest.raises(error):
        check(place, Stopping)
    assert count >= nth


def test_nothing_is_left_when_nobody_wants_to_know_more(place: Place) -> None:
    """Closing the iterator cleans up."""
    findings = probe(QUESTION, place)
    for _ in range(3):
        next(findings)
    findings.close()  # type: ignore[attr-defined]


def test_what_a_killed_check_left(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next check but one deletes it, an hour later; what is young may be in use."""
    with contextlib.closing(Gateway(place)) as gateway:
        key = f"{place.prefix}/{FOLDER}old"
        gateway.call("put_object", Key=key, Body=b"left")
        gateway.call("create_multipart_upload", Key=key)
    look("objects", place)
    assert left(place) == [key, key]
    monkeypatch.setattr("vectus.stores.s3.check.OLD", -60.0)

    look("objects", place)


def test_a_server_that_goes_away_ends_it(place: Place) -> None:
    """What comes after it is not tried, nor cleaned up call by call."""
    asked = []

    class Leaving(Gateway):
        def call(self, operation: str, **parameters: Any) -> Answer:
            asked.append(operation)
            if len(asked) > 4:
                raise StoreUnavailable("gone")
            return super().call(operation, **parameters)

    found = check(place, Leaving)
    with contextlib.closing(Gateway(place)) as gateway:
        for key in left(place):
            gateway.call("delete_object", Key=key)

    assert found["server"].unreached
    assert len(asked) == 6
