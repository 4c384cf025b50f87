"""Records: tusd's layout in both directions, and whatever else may lie in an ``.info`` file."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from vectus.errors import RecordBroken
from vectus.protocol.upload import Role, Upload
from vectus.stores.record import decode, differs, encode, measured, place
from vectus.testing.stores import CHANGES, FULL, ID

DIRECTORY = "/srv/uploads"

TUSD: dict[str, Any] = {
    "ID": ID,
    "Size": 11,
    "SizeIsDeferred": False,
    "Offset": 3,
    "MetaData": {"filename": "wörld.txt", "empty": "", "a": "1"},
    "IsPartial": False,
    "IsFinal": False,
    "PartialUploads": None,
    "Storage": {
        "Type": "filestore",
        "Path": f"{DIRECTORY}/{ID}",
        "InfoPath": f"{DIRECTORY}/{ID}.info",
    },
}
"""A record as tusd 2 writes it."""


def tusd(**changes: object) -> bytes:
    """Return tusd's record with some keys changed."""
    return json.dumps({**TUSD, **changes}).encode()


def written(upload: Upload) -> dict[str, Any]:
    """Return what we write for an upload."""
    record = json.loads(encode(upload, f"{DIRECTORY}/{ID}", f"{DIRECTORY}/{ID}.info"))
    assert isinstance(record, dict)
    return record


# --- What tusd wrote ------------------------------------------------------------------------------


def test_a_record_of_tusd_is_read() -> None:
    """What tusd knows of an upload is known; its ``Offset`` is never read (D1)."""
    kept = decode(ID, tusd())

    assert kept.upload == Upload(
        ID, length=11, metadata="a MQ==,empty,filename d8O2cmxkLnR4dA==", foreign=True
    )
    assert place(kept, DIRECTORY) == f"{DIRECTORY}/{ID}"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"SizeIsDeferred": True, "Size": 0}, {"length": None}),
        ({"MetaData": None}, {"metadata": None}),
        ({"MetaData": {}}, {"metadata": None}),
        ({"MetaData": {"a b": "x", "c,d": "x", "": "x", "ok": "x"}}, {"metadata": "ok eA=="}),
        ({"MetaData": {"schlüssel": "x"}}, {"metadata": "schl\xc3\xbcssel eA=="}),
        ({"IsPartial": True}, {"role": Role.PARTIAL, "concat": "partial"}),
        (
            {"IsFinal": True, "PartialUploads": ["a", "b"]},
            {"role": Role.FINAL, "parts": ("a", "b"), "concat": "final;a b"},
        ),
        ({"Storage": None}, {}),
        ({"Unknown": [1, {"deep": None}]}, {}),
    ],
)
def test_variants_of_tusd_are_read(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    """Null maps and lists, deferred sizes and concatenations are as tusd means them."""
    plain = decode(ID, tusd(MetaData=None)).upload
    found = decode(ID, tusd(**{"MetaData": None, **changes})).upload

    assert found == replace(plain, **expected)


@pytest.mark.parametrize(
    ("size", "offset", "finished"),
    [(0, 0, False), (10, 10, False), (11, 11, True), (12, 11, False)],
)
def test_a_whole_file_of_tusd_is_finished(size: int, offset: int, finished: bool) -> None:  # noqa: FBT001
    """D2: a record without our key whose size equals ``Size`` is finished and fires nothing."""
    upload = measured(decode(ID, tusd()).upload, size)

    assert (upload.offset, upload.finished, upload.announced) == (offset, finished, finished)


def test_a_final_upload_that_tusd_did_not_join_has_no_bytes() -> None:
    """A join that tusd did not end is begun anew."""
    upload = decode(ID, tusd(IsFinal=True, PartialUploads=["a"])).upload

    assert measured(upload, 5).offset == 0
    assert measured(upload, 11).finished


# --- What tusd will read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "upload",
    [
        replace(FULL, metadata="a MQ==,empty,filename d8O2cmxkLnR4dA==", length=11, offset=3),
        replace(FULL, role=Role.PARTIAL, concat="partial"),
        replace(FULL, role=Role.FINAL, parts=("a", "b"), concat="final;/files/a /files/b"),
        replace(FULL, length=None),
    ],
)
def test_tusd_can_read_ours(upload: Upload) -> None:
    """Every key of tusd's is there, of its type, and says what it says to tusd."""
    record = written(upload)
    ours = record.pop("Vectus")

    assert ours
    assert record.keys() == TUSD.keys()
    assert record["Size"] == (upload.length or 0)
    assert record["SizeIsDeferred"] == (upload.length is None)
    assert record["IsPartial"] == (upload.role is Role.PARTIAL)
    assert record["IsFinal"] == (upload.role is Role.FINAL)
    assert record["PartialUploads"] == (list(upload.parts) or None)
    assert record["Storage"] == TUSD["Storage"]
    assert all(type(value) is str for value in record["MetaData"].values())


def test_metadata_is_decoded_for_tusd_and_kept_verbatim() -> None:
    """Tusd's hooks read decoded values; T39 echoes what the client sent, byte for byte."""
    sent = "filename d8O2cmxkLnR4dA==,flag,raw gIGC/w==,caf\xc3\xa9 MQ=="
    record = written(replace(FULL, metadata=sent))

    assert record["MetaData"] == {
        "filename": "wörld.txt",
        "flag": "",
        "raw": "\ufffd\ufffd\ufffd\ufffd",
        "café": "1",
    }
    assert decode(ID, json.dumps(record).encode()).upload.metadata == sent


def test_our_key_keeps_to_what_is_not_as_usual() -> None:
    """D1: ``pending`` says from where on bytes do not count; what is as by default is left out."""
    record = written(Upload(ID, length=11, offset=3, pending=3, created=2.5))

    assert record["Vectus"] == {"created": 2.5, "pending": {"from": 3}}


# --- There and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", CHANGES)
def test_ours_come_back(what: str) -> None:
    """Whatever a record can say is read as it was written."""
    upload = CHANGES[what]
    raw = json.dumps(written(upload)).encode()

    assert decode(ID, raw).upload == upload
    assert not differs(decode(ID, raw).upload, upload)


texts = st.text(st.characters(codec="latin-1"))
counts = st.integers(0, 2**63 - 1)
times = st.floats(0, 2**40)
uploads = st.builds(
    Upload,
    id=st.just(ID),
    role=st.sampled_from(Role),
    length=st.none() | counts,
    metadata=st.none() | texts,
    concat=st.none() | texts,
    parts=st.lists(st.from_regex(r"[\w-]{1,9}", fullmatch=True)).map(tuple),
    created=times,
    expires=st.none() | times,
    finished=st.booleans(),
    announced=st.booleans(),
    joining=st.booleans(),
    failed=st.none() | st.text(),
    taken_by=st.none() | st.just("final"),
    pending=st.none() | counts,
    fence=counts,
)


@given(uploads)
def test_any_upload_comes_back(upload: Upload) -> None:
    """No text, time or number is changed by being written and read."""
    assert decode(ID, json.dumps(written(upload)).encode()).upload == upload


# --- Broken ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        tusd()[:-1],
        tusd()[: len(tusd()) // 2],
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"\0" * 300,
        b"[" * 100_000,
        b'{"ID": 1' + b"0" * 5000 + b"}",
        tusd(ID="another"),
        tusd(ID=None),
        tusd(Size="11"),
        tusd(Size=11.0),
        tusd(Size=True),
        tusd(Size=-1),
        tusd(Size=2**63),
        tusd(SizeIsDeferred=0),
        tusd(MetaData=[]),
        tusd(MetaData={"a": 1}),
        tusd(IsPartial="yes"),
        tusd(IsPartial=True, IsFinal=True),
        tusd(PartialUploads={"a": 1}),
        tusd(PartialUploads=[1]),
        tusd(Storage=[]),
        tusd(Storage={"Type": "s3store"}),
        tusd(Storage={"Type": "filestore", "Path": 1}),
        tusd(Vectus=[]),
        tusd(Vectus={"finished": 1}),
        tusd(Vectus={"created": "now"}),
        tusd(Vectus={"created": float("nan")}),
        tusd(Vectus={"expires": float("inf")}),
        tusd(Vectus={"pending": 5}),
        tusd(Vectus={"pending": {"from": -5}}),
        tusd(Vectus={"fence": None}),
        tusd(Vectus={"metadata": ["a"]}),
        tusd(Vectus={"taken_by": False}),
    ],
)
def test_what_is_no_record_is_broken(raw: bytes) -> None:
    """Half-written, foreign and mistyped records are told as such, never half-believed."""
    with pytest.raises(RecordBroken):
        decode(ID, raw)


@given(st.binary() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_garbage_is_broken(garbage: object) -> None:
    """Anything that is not a record raises one error."""
    raw = garbage if isinstance(garbage, bytes) else json.dumps(garbage).encode()
    with pytest.raises(RecordBroken):
        decode(ID, raw)


def test_a_finished_upload_whose_data_are_short_is_broken() -> None:
    """A lost tail is not made up: an upload is not finished with fewer bytes than it has."""
    with pytest.raises(RecordBroken):
        measured(replace(FULL, finished=True), 999)


@pytest.mark.parametrize(
    ("upload", "size", "offset"),
    [
        (FULL, 7, 7),
        (FULL, 1007, 1000),
        (replace(FULL, length=None), 7, 7),
        (replace(FULL, pending=5), 7, 5),
        (replace(FULL, pending=5), 3, 3),
        (replace(FULL, role=Role.FINAL), 7, 0),
        (replace(FULL, role=Role.FINAL, offset=1000), 1000, 1000),
        (replace(FULL, role=Role.FINAL, offset=1000), 999, 0),
        (replace(FULL, taken_by="final", offset=1000), 0, 1000),
    ],
)
def test_the_data_tell_the_offset(upload: Upload, size: int, offset: int) -> None:
    """D1: the offset is the data's size, unless bytes of them do not count."""
    assert measured(upload, size).offset == offset


# --- Where the data are ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        ({}, ID),
        ({"Path": f"/srv/uploads/{ID}"}, ID),
        ({"Path": f"data/{ID}"}, ID),
        ({"Path": ID}, ID),
        ({"Path": f"/elsewhere/{ID}", "InfoPath": f"/elsewhere/{ID}.info"}, ID),
        ({"Path": f"data/{ID}", "InfoPath": f"data/{ID}.info"}, ID),
        ({"Path": f"./{ID}", "InfoPath": f"{ID}.info"}, ID),
        ({"Path": "data/users/7/film.mp4", "InfoPath": f"data/{ID}.info"}, "users/7/film.mp4"),
        ({"Path": "/srv/uploads/users/film.mp4"}, "users/film.mp4"),
        ({"Path": "/tmp/film.mp4"}, None),
        ({"Path": "film.mp4"}, None),
        ({"Path": "../film.mp4", "InfoPath": f"{ID}.info"}, None),
        ({"Path": "data/../../etc/passwd", "InfoPath": f"data/{ID}.info"}, None),
        ({"Path": "data/.joins/x", "InfoPath": f"data/{ID}.info"}, None),
        ({"Path": "data/other.info", "InfoPath": f"data/{ID}.info"}, None),
        ({"Path": "data", "InfoPath": f"data/{ID}.info"}, None),
    ],
)
def test_data_are_found_inside_the_directory_only(
    storage: dict[str, str], expected: str | None
) -> None:
    """``Storage.Path`` is followed inside the directory; a moved directory is no obstacle."""
    kept = decode(ID, tusd(Storage=storage))
    if expected is None:
        with pytest.raises(RecordBroken):
            place(kept, DIRECTORY)
    else:
        assert place(kept, DIRECTORY) == f"{DIRECTORY}/{expected}"
