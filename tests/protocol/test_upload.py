"""The life of an upload, as its table tells it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from vectus.protocol.upload import LIFE, Role, Stage, Upload

PLAIN = Upload("a", length=5)
FINAL = Upload("f", role=Role.FINAL, length=5, parts=("a", "b"))

uploads = st.builds(
    Upload,
    id=st.just("a"),
    role=st.sampled_from(Role),
    length=st.none() | st.integers(0, 3),
    offset=st.integers(0, 3),
    finished=st.booleans(),
    joining=st.booleans(),
    failed=st.none() | st.just("why"),
    taken_by=st.none() | st.just("f"),
)


@pytest.mark.parametrize(
    ("upload", "stage"),
    [
        (PLAIN, Stage.RECEIVING),
        (replace(PLAIN, length=None, offset=5), Stage.RECEIVING),
        (replace(PLAIN, role=Role.PARTIAL), Stage.RECEIVING),
        (replace(PLAIN, offset=5), Stage.FINISHING),
        (replace(PLAIN, length=0), Stage.FINISHING),
        (replace(PLAIN, offset=5, finished=True), Stage.FINISHED),
        (FINAL, Stage.AWAITING),
        (replace(FINAL, length=None), Stage.AWAITING),
        (replace(FINAL, joining=True), Stage.JOINING),
        (replace(FINAL, joining=True, offset=5), Stage.FINISHING),
        (replace(FINAL, offset=5, finished=True), Stage.FINISHED),
        (replace(FINAL, failed="why"), Stage.GONE),
        (replace(PLAIN, offset=5, finished=True, taken_by="f"), Stage.GONE),
    ],
)
def test_the_table_of_life(upload, stage):
    """Each stage looks in a record as the table says."""
    assert upload.stage is stage


@given(uploads)
def test_every_record_has_a_stage(upload):
    """No record is without a stage, and only finals wait for others."""
    assert upload.stage in Stage
    if upload.role is not Role.FINAL:
        assert upload.stage not in (Stage.AWAITING, Stage.JOINING)
    if upload.stage is Stage.FINISHING:
        assert upload.complete


def test_the_table_has_a_row_for_every_stage():
    """A new stage needs a row."""
    assert {stage for stage, _ in LIFE} == set(Stage)


def test_c44_a_tag_tells_uploads_apart():
    """C44: an entity tag is quoted, and another upload's is another."""
    assert replace(PLAIN, offset=5).tag == '"a-5"'
