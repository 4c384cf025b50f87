"""Creation, with bytes and with lengths that come later; expiry; metadata."""

from __future__ import annotations

import pytest
from script import (
    APP,
    CHUNKED,
    DATE,
    ENGINE,
    SERVER,
    Body,
    Transcript,
    ask,
    chunks,
    get,
    head,
    partial,
    patch,
    post,
    stored,
    transcript,
    upload,
)

CAP = {"max_size": 100}
BAD_NUMBERS = ["-1", "+5", "1.5", "x", "", str(2**63)]

# --- Lengths --------------------------------------------------------------------------------------


@transcript
def test_t41_post():
    """T30, T41, C40: 201, an empty body, a Location that works, no offset without bytes."""
    asked = post(upload_length=10).gets(
        *(201, b""), binds="N", location="/files/{N}", upload_offset=None, upload_expires=DATE
    )
    return Transcript(
        steps=[
            asked.leaves(N=stored(b"", 10)),
            head("N").gets(200, upload_offset=0, upload_length=10, upload_defer_length=None),
        ]
    )


@pytest.mark.parametrize("value", BAD_NUMBERS)
@transcript
def test_t03_a_length_that_is_none(value):
    """T03, C41: 400, and nothing is made."""
    return Transcript(steps=[post(upload_length=value).gets(400, location=None)])


@pytest.mark.parametrize(
    "lengths",
    [
        {},
        {"upload_length": 5, "upload_defer_length": 1},
        {"upload_length": [5, 5]},
        {"upload_defer_length": [1, 1]},
        *({"upload_defer_length": value} for value in ("0", "2", "true", "", "01")),
        *({"upload_length": 5, "upload_defer_length": value} for value in ("0", "")),
    ],
)
@transcript
def test_t34_one_of_two_lengths(lengths):
    """T31, T34, T35, C42: neither, both, twice, or a deferral that is not 1 is 400."""
    return Transcript(steps=[post(**lengths).gets(400, code="malformed-header")])


@transcript
def test_t37_a_length_that_comes_later():
    """T36, T37, C12: deferred until a PATCH declares it; the same again is fine, another is not."""
    return Transcript(
        steps=[
            post(upload_defer_length=1).gets(201, binds="N"),
            head("N").gets(200, upload_offset=0, upload_defer_length=1, upload_length=None),
            patch("N", 0, b"he").gets(204).leaves(N=stored(b"he")),
            patch("N", 2, b"l", upload_length=5).gets(204).leaves(N=stored(b"hel", 5)),
            head("N").gets(200, upload_length=5, upload_defer_length=None),
            patch("N", 3, b"l", upload_length=6).gets(400, upload_offset=3),
            patch("N", 3, b"l", upload_length=4).gets(400).leaves(N=stored(b"hel", 5)),
            patch("N", 3, b"lo", upload_length=5).gets(204).leaves(N=stored(b"hello", 5)),
            patch("N", 5, upload_length=5).gets(204),
            patch("N", 5, upload_length=6).gets(400).leaves(N=stored(b"hello", 5)),
        ]
    )


@transcript
def test_c12_a_declaration_that_completes():
    """C12: with no bytes, where the offset is the length."""
    return Transcript(
        [upload("A", b"hello")],
        [
            patch("A", 5, upload_length=4).gets(400).leaves(A=stored(b"hello")),
            patch("A", 5, upload_length=5).gets(204, upload_offset=5),
            head("A").gets(200, upload_length=5).leaves(A=stored(b"hello", 5)),
        ],
    )


@pytest.mark.parametrize("value", BAD_NUMBERS)
@transcript
def test_t36_a_declaration_that_is_none(value):
    """T36, C41: a malformed length on PATCH is 400."""
    asked = patch("A", 5, b"!", upload_length=value).gets(400)
    return Transcript([upload("A", b"hello")], [asked.leaves(A=stored(b"hello"))])


@pytest.mark.parametrize(
    ("body", "how", "status"),
    [
        (b"12345678", {"upload_length": 6}, 413),
        (chunks(b"12345678"), {"upload_length": 6, **CHUNKED}, 413),
        (b"123", {"upload_length": 6, "upload_checksum": "sha1 YQ=="}, 460),
        (b"123", {"upload_length": 6, "upload_checksum": "rot13 YQ=="}, 400),
    ],
)
@transcript
def test_c13_a_declaration_in_a_refused_request(body, how, status):
    """C13, D4: it does not count: all or nothing."""
    return Transcript(
        [upload("A", b"he")],
        [
            patch("A", 2, body, **how).gets(status, upload_offset=2).leaves(A=stored(b"he")),
            patch("A", 2, b"llo", upload_length=5).gets(204).leaves(A=stored(b"hello", 5)),
        ],
    )


@transcript
def test_t38_no_bytes():
    """T38, C11: complete at creation; it can be asked about, appended nothing to, and read."""
    return Transcript(
        steps=[
            post(upload_length=0).gets(201, binds="N", upload_offset=None, upload_expires=None),
            head("N").gets(200, upload_offset=0, upload_length=0).leaves(N=stored(b"", 0)),
            patch("N", 0).gets(204, upload_offset=0),
            get("N").gets(200, b"", content_length=0),
        ]
    )


# --- The cap --------------------------------------------------------------------------------------


@transcript
def test_t40_the_cap():
    """T40: one byte above it is 413, exactly it is fine."""
    return Transcript(
        steps=[
            post(upload_length=101).gets(413, code="too-large", location=None),
            post(upload_length=100).gets(201),
        ],
        options=CAP,
    )


@transcript
def test_c30_the_cap_of_a_deferred_length():
    """C30, C12: by Content-Length before reading, by chunks as they come, and by declaration."""
    full = stored(b"x" * 100)
    return Transcript(
        [upload("A", b"x" * 90)],
        [
            patch("A", 90, b"y" * 11).gets(413, upload_offset=90),
            patch("A", 90, chunks(b"y" * 11), **CHUNKED).gets(413, upload_offset=90),
            patch("A", 90, b"y", upload_length=101).gets(413).leaves(A=stored(b"x" * 90)),
            patch("A", 90, chunks(b"x" * 10), **CHUNKED).gets(204).leaves(A=full),
            patch("A", 100, upload_length=100).gets(204).leaves(A=stored(b"x" * 100, 100)),
            post(b"y" * 101, upload_defer_length=1).gets(413, location=None),
        ],
        options=CAP,
    )


# --- Bytes on POST --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, CHUNKED])
@transcript
def test_t45_bytes_on_post(how):
    """T43, T45, C29: some or all of them: 201, Location, and the offset they reach."""

    def body(data: bytes):
        return chunks(data) if how else data

    return Transcript(
        steps=[
            post(body(b"he"), upload_length=5, **how)
            .gets(201, binds="N", location="/files/{N}", upload_offset=2, upload_expires=DATE)
            .leaves(N=stored(b"he", 5)),
            patch("N", 2, b"llo").gets(204).leaves(N=stored(b"hello", 5)),
            post(body(b"hello"), upload_length=5, **how)
            .gets(201, binds="M", upload_offset=5, upload_expires=None)
            .leaves(M=stored(b"hello", 5)),
            post(body(b""), upload_length=5, **how)
            .gets(201, binds="L", upload_offset=0)
            .leaves(L=stored(b"", 5)),
        ]
    )


@transcript
def test_c39_bytes_on_post_without_a_length():
    """C39: the length may come later."""
    asked = post(b"he", upload_defer_length=1).gets(201, binds="N", upload_offset=2)
    return Transcript(
        steps=[asked.leaves(N=stored(b"he")), head("N").gets(200, upload_defer_length=1)]
    )


@transcript
def test_c38_too_many_bytes_on_post():
    """C38: by Content-Length it is refused before there is an upload; by chunks it is there, and
    its Location told."""
    return Transcript(
        steps=[
            post(b"123456", upload_length=5).gets(413, location=None),
            post(chunks(b"123456"), upload_length=5, **CHUNKED)
            .gets(413, binds="N", location="/files/{N}", upload_offset=0)
            .leaves(N=stored(b"", 5)),
            patch("N", 0, b"hello").gets(204),
        ]
    )


@transcript
def test_t45_a_cut_on_post():
    """T45: what came is kept, and the answer, should anybody read it, says where."""
    cut = Body((b"he",), "cut")
    asked = post(cut, upload_length=5, content_length=5)
    return Transcript(
        steps=[
            asked.gets(400, binds="N", location="/files/{N}", upload_offset=2).leaves(
                N=stored(b"he", 5)
            )
        ],
        levels=[ENGINE, APP],
    )


@pytest.mark.parametrize("kind", [None, "text/plain", "application/json"])
@transcript
def test_t44_a_body_of_another_type(kind):
    """T44, C40: it is no upload data: a plain creation, without an offset."""
    asked = post(b"hello", upload_length=5, content_type=kind)
    return Transcript(
        steps=[asked.gets(201, binds="N", upload_offset=None).leaves(N=stored(b"", 5))]
    )


@transcript
def test_t46_expect_on_post():
    """T46, C33: told to go on before its bytes, but not if it is refused anyway."""
    return Transcript(
        steps=[
            post(b"hello", upload_length=5, expect="100-continue").gets(
                201, continued=True, upload_offset=5
            ),
            post(b"hello", upload_length=4, expect="100-continue").gets(413, continued=False),
        ]
    )


@pytest.mark.parametrize("path", ["", "/"])
@transcript
def test_c43_the_last_slash(path):
    """C43: the creation URL works with it and without."""
    return Transcript(steps=[ask("POST", path, upload_length=5).gets(201)], levels=[ENGINE])


# --- Metadata -------------------------------------------------------------------------------------

ODD = "b Yg==,a, filename\xe9 w6k=,  z YQ== "


@pytest.mark.parametrize("metadata", ["filename YS50eHQ=", "b Yg==,a YQ==", "empty,x", ODD.strip()])
@transcript
def test_t39_metadata_comes_back_as_it_was_sent(metadata):
    """T32, T39, C14: byte for byte, in its order, with its spaces."""
    return Transcript(
        steps=[
            post(upload_length=5, upload_metadata=metadata).gets(201, binds="N"),
            head("N").gets(200, upload_metadata=metadata),
            patch("N", 0, b"hello").gets(204),
            head("N").gets(200, upload_metadata=metadata),
        ]
    )


@pytest.mark.parametrize("metadata", ["", " "])
@transcript
def test_c14_empty_metadata(metadata):
    """C14: an empty field is no metadata; tuspy sends it."""
    return Transcript(
        steps=[
            post(upload_length=5, upload_metadata=metadata).gets(201, binds="N"),
            head("N").gets(200, upload_metadata=None),
        ],
        levels=[ENGINE, APP, SERVER] if not metadata else [APP, SERVER],
    )


@pytest.mark.parametrize(
    "metadata", [",", "a,", "a  YQ==", "a YQ", "a YQ==,a Yg==", "a %%%", "a é", "a YQ==,,b", "\t,"]
)
@transcript
def test_c14_defective_metadata(metadata):
    """C14, T32: 400, and nothing is made."""
    asked = post(upload_length=5, upload_metadata=metadata)
    return Transcript(steps=[asked.gets(400, code="malformed-header", location=None)])


@transcript
def test_c41_metadata_twice():
    """C41: two lines of it are refused."""
    asked = post(upload_length=5, upload_metadata=["a YQ==", "b Yg=="])
    return Transcript(steps=[asked.gets(400)])


# --- Expiry ---------------------------------------------------------------------------------------


@transcript
def test_t48_when_it_expires():
    """T47-T49, T52, C17: on POST, PATCH and HEAD while unfinished, refusals of PATCH included."""
    return Transcript(
        steps=[
            post(upload_length=5).gets(201, binds="N", upload_expires=DATE),
            head("N").gets(200, upload_expires=DATE),
            patch("N", 0, b"he").gets(204, upload_expires=DATE),
            patch("N", 0, b"he").gets(409, upload_expires=DATE),
            patch("N", 2, b"1234").gets(413, upload_expires=DATE),
            patch("N", 2, b"llo").gets(204, upload_expires=None),
            head("N").gets(200, upload_expires=None),
        ]
    )


@transcript
def test_t49_a_partial_goes_on_expiring():
    """T49, D7: a partial upload says when it expires, complete or not."""
    return Transcript(
        [partial("A", b"he", 5)],
        [
            patch("A", 2, b"llo").gets(204, upload_expires=DATE),
            head("A").gets(200, upload_expires=DATE),
        ],
    )


@transcript
def test_t47_expiry_can_be_off():
    """T47: then it is neither announced nor told."""
    return Transcript(
        steps=[
            post(upload_length=5).gets(201, binds="N", upload_expires=None),
            patch("N", 0, b"he").gets(204, upload_expires=None),
            head("N").gets(200, upload_expires=None),
        ],
        options={"expire_after": None},
    )


@transcript
def test_t51_starting_anew():
    """T50, T51: what has expired is 410, and a new upload is a new start."""
    return Transcript(
        [upload("A", b"he", 5, expires=-1.0)],
        [
            patch("A", 2, b"llo").gets(410),
            post(b"hello", upload_length=5).gets(201, binds="N", upload_offset=5),
        ],
        levels=[ENGINE, APP],
    )
