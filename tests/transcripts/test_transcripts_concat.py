"""Concatenation, with partials that are finished and with such that are not."""

from __future__ import annotations

import pytest
from script import (
    ENGINE,
    Transcript,
    delete,
    done,
    final,
    get,
    head,
    joined,
    partial,
    patch,
    post,
    stored,
    transcript,
    upload,
)

A, B = partial("A", b"one ", 4), partial("B", b"two", 3)
SOME = partial("S", b"th", 5)
DROP = {"drop_partials": True}
JOINED = stored(b"one two", 7)


@transcript
def test_t68_a_partial():
    """T65, T68, T77, T79: made like any other, and it says what it is."""
    return Transcript(
        steps=[
            post(upload_length=5, upload_concat="partial").gets(201, binds="N"),
            head("N").gets(200, upload_concat="partial", upload_offset=0, upload_length=5),
            patch("N", 0, b"hello").gets(204).leaves(N=stored(b"hello", 5)),
        ]
    )


@transcript
def test_c24_a_partial_may_defer_its_length():
    """C24: and carry its first bytes."""
    asked = post(b"he", upload_defer_length=1, upload_concat="partial")
    return Transcript(steps=[asked.gets(201, binds="N", upload_offset=2).leaves(N=stored(b"he"))])


@pytest.mark.parametrize(
    ("urls", "data"),
    [
        ("/files/{A} /files/{B}", b"one two"),
        ("/files/{B} /files/{A}", b"twoone "),
        ("/files/{A} /files/{A} /files/{B}", b"one one two"),
        ("http://example.org/files/{A} {B}", b"one two"),
        ("/files/{B}", b"two"),
    ],
)
@transcript
def test_t69_a_final(urls, data):
    """T67-T70, T74, T76, T79, C25: joined in order, named in any way, its field kept verbatim."""
    return Transcript(
        [A, B],
        [
            post(upload_concat=f"final;{urls}")
            .gets(201, binds="F", location="/files/{F}", upload_offset=None)
            .leaves(F=stored(data, len(data)), A=stored(b"one ", 4)),
            head("F").gets(
                200,
                upload_offset=len(data),
                upload_length=len(data),
                upload_concat=f"final;{urls}",
                upload_metadata=None,
            ),
            get("F").gets(200, data),
        ],
    )


@transcript
def test_t73_metadata_of_a_final():
    """T73: its own, and none of its partials'."""
    return Transcript(
        [partial("A", b"x", 1, metadata="part YQ==")],
        [
            post(upload_concat="final;/files/{A}", upload_metadata="whole Yg==").gets(
                201, binds="F"
            ),
            head("F").gets(200, upload_metadata="whole Yg=="),
            post(upload_concat="final;/files/{A}").gets(201, binds="G"),
            head("G").gets(200, upload_metadata=None),
            head("A").gets(200, upload_metadata="part YQ=="),
        ],
    )


@pytest.mark.parametrize(
    "concat", ["final;", "foo", "final; /files/{A}", "final;{A}  {B}", "final;{A} ", "", "Partial"]
)
@transcript
def test_t68_concat_that_is_none(concat):
    """T68: other words, no URL, or a space too many is 400."""
    asked = post(upload_length=5, upload_concat=concat)
    return Transcript([A, B], [asked.gets(400, code="malformed-header", location=None)])


@pytest.mark.parametrize(
    "url",
    [
        "/files/missing",
        "/elsewhere/{A}",
        "http://example.org/{A}",
        "/files/{P}",
        "/files/{D}",
        "/files/{F}",
        "/files/{A}/x",
        "/files/..",
        "http://[",
    ],
)
@transcript
def test_c24_what_a_final_cannot_be_made_of(url):
    """C24: unknown, foreign or no partial: 400, the same words for all, and nothing is made."""
    asked = post(upload_concat=f"final;/files/{{A}} {url}")
    words = b"bad-concatenation: A final upload can be made of partial uploads only.\n"
    return Transcript(
        [A, upload("P", b"x", 2), done("D"), joined("F", b"x")],
        [asked.gets(400, words, location=None)],
    )


@pytest.mark.parametrize(
    "how", [{"upload_length": 7}, {"upload_defer_length": 1}, {"upload_length": "x"}]
)
@transcript
def test_t71_a_final_with_a_length(how):
    """T71, C22: 400."""
    return Transcript([A], [post(upload_concat="final;{A}", **how).gets(400)])


@transcript
def test_c23_a_final_with_bytes():
    """C23: 403, whatever their type."""
    return Transcript(
        [A],
        [
            post(b"x", upload_concat="final;{A}").gets(403, location=None),
            post(b"x", upload_concat="final;{A}", content_type="text/plain").gets(403),
        ],
    )


@pytest.mark.parametrize("offset", [0, 2, 99])
@transcript
def test_t75_patch_of_a_final(offset):
    """T75, C26: 403, joined or not, whatever its offset; nothing changes."""
    return Transcript(
        [A, SOME, final("F", "A", "S"), joined("G", b"ab")],
        [
            patch("F", offset, b"x").gets(403, code="final-upload"),
            patch("F", offset).gets(403),
            patch("G", offset, b"x").gets(403).leaves(G=stored(b"ab", 2)),
        ],
    )


@transcript
def test_t72_unfinished_partials():
    """T72, T76, T78, C21, D8: no offset until it is joined, its length when it can be told, 409 on
    GET; the last partial's last byte brings the join, and nobody has to ask."""
    return Transcript(
        [A, SOME, partial("L")],
        [
            post(upload_concat="final;/files/{A} /files/{S} {L}").gets(201, binds="F"),
            head("F").gets(200, upload_offset=None, upload_length=None, upload_defer_length=None),
            patch("L", 0, b"!", upload_length=1).gets(204),
            head("F").gets(200, upload_offset=None, upload_length=10),
            get("F").gets(409),
            patch("S", 2, b"ree").gets(204).leaves(F=stored(b"one three!", 10)),
            head("F").gets(200, upload_offset=10, upload_length=10),
        ],
    )


@transcript
def test_d8_a_partial_that_goes():
    """D8: a final upload that has lost a partial is 410."""
    return Transcript(
        [A, SOME, final("F", "A", "S")],
        [
            delete("S").gets(204).leaves(S=None),
            head("F").gets(410, upload_offset=None),
            get("F").gets(410, code="gone"),
        ],
    )


@transcript
def test_d8_head_joins_what_is_complete():
    """D8: a final upload that was left behind is joined by whoever asks."""
    return Transcript(
        [A, B, final("F", "A", "B")],
        [head("F").gets(200, upload_offset=7).leaves(F=JOINED)],
    )


@transcript
def test_d8_head_goes_on_with_a_join():
    """D8: so is one whose join was begun and never ended."""
    return Transcript(
        [A, B, final("F", "A", "B", length=7, joining=True)],
        [
            delete("A").gets(423, code="being-joined", retry_after=5),
            head("F").gets(200, upload_offset=7).leaves(F=JOINED),
            delete("A").gets(204).leaves(A=None, F=JOINED),
        ],
        levels=[ENGINE],
    )


@transcript
def test_c27_partials_stay():
    """C27, T74: a partial may be removed afterwards, and the final upload stays whole."""
    return Transcript(
        [A, B],
        [
            post(upload_concat="final;{A} {B}").gets(201, binds="F"),
            head("A").gets(200, upload_offset=4),
            delete("A").gets(204).leaves(A=None, F=JOINED),
            get("F").gets(200, b"one two"),
            post(upload_concat="final;{A} {B}").gets(400),
        ],
    )


@transcript
def test_d8_partials_that_are_dropped():
    """D8: used up they are 410, and the same request again gives the same Location."""
    return Transcript(
        [A, B],
        [
            post(upload_concat="final;{A} {B}").gets(201, binds="F").leaves(F=JOINED),
            head("A").gets(410),
            delete("B").gets(410),
            post(upload_concat="final;{A} {B}").gets(201, location="/files/{F}"),
            post(upload_concat="final;{A}").gets(400),
            get("F").gets(200, b"one two"),
        ],
        options=DROP,
    )


@transcript
def test_c28_a_sum_above_the_cap():
    """C28, D8: 413 at POST; where it shows later the final upload is 410."""
    return Transcript(
        [partial("A", b"x" * 60, 60), partial("L")],
        [
            post(upload_concat="final;{A} {A}").gets(413, location=None),
            post(upload_concat="final;{A} {L}").gets(201, binds="F"),
            patch("L", 0, b"y" * 41, upload_length=41).gets(204),
            head("F").gets(410),
        ],
        options={"max_size": 100},
    )


@transcript
def test_t63_a_final_can_be_removed():
    """T63: joined or waiting; its partials stay."""
    return Transcript(
        [A, SOME, final("F", "A", "S"), joined("G", b"ab")],
        [
            delete("F").gets(204).leaves(F=None, A=stored(b"one ", 4)),
            delete("G").gets(204).leaves(G=None),
        ],
    )
