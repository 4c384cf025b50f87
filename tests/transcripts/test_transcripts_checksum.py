"""Checksums, before the bytes and after them."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
from script import (
    APP,
    CHUNKED,
    ENGINE,
    SERVER,
    Body,
    Transcript,
    chunks,
    patch,
    post,
    stored,
    transcript,
    upload,
)

HALF = upload("A", b"hello", 10)
STILL = stored(b"hello", 10)
WHOLE = stored(b"helloworld", 10)
GOES_ON = patch("A", 5, b"world").gets(204).leaves(A=WHOLE)

ALGORITHMS = ["sha1", "sha256", "sha512", "md5", "crc32"]


def checksum(data: bytes, algorithm: str = "sha1") -> str:
    """Word a checksum."""
    if algorithm == "crc32":
        digest = zlib.crc32(data).to_bytes(4, "big")
    else:
        digest = hashlib.new(algorithm, data).digest()
    return f"{algorithm} {base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@transcript
def test_t54_a_right_checksum(algorithm):
    """T53-T56, T58: verified over the bytes of this request, and taken."""
    asked = patch("A", 5, b"world", upload_checksum=checksum(b"world", algorithm))
    return Transcript([HALF], [asked.gets(204, upload_offset=10).leaves(A=WHOLE)])


@transcript
def test_crc32_is_four_bytes_big_endian():
    """T61: so that every client computes the same."""
    known, turned = "crc32 y/Q5Jg==", "crc32 Jjn0yw=="  # of 123456789, and the other way round
    return Transcript(
        [upload("A", b"", 9)],
        [
            patch("A", 0, b"123456789", upload_checksum=turned).gets(460),
            patch("A", 0, b"123456789", upload_checksum=known).gets(204),
        ],
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@transcript
def test_t56_a_wrong_checksum(algorithm):
    """T55-T57, C16: 460, nothing is kept, and the next request goes on from the old offset."""
    asked = patch("A", 5, b"world", upload_checksum=checksum(b"other", algorithm))
    refused = asked.gets(460, code="checksum-mismatch", upload_offset=5).leaves(A=STILL)
    return Transcript([HALF], [refused, GOES_ON])


@pytest.mark.parametrize("algorithm", ["SHA1", "sha-1", "rot13", "sha3_256", "shake_128", ""])
@transcript
def test_t58_an_unknown_algorithm(algorithm):
    """T56-T58: 400, upper case included, and nothing is kept."""
    claim = checksum(b"world").replace("sha1", algorithm)
    asked = patch("A", 5, b"world", upload_checksum=claim)
    return Transcript([HALF], [asked.gets(400).leaves(A=STILL), GOES_ON])


@pytest.mark.parametrize(
    "claim", ["sha1", "sha1 %", "sha1 YQ", "sha1  YQ==", "YQ==", "", "sha1,YQ=="]
)
@transcript
def test_t61_a_checksum_that_is_none(claim):
    """T61: no space, no digest, or no Base64 is 400."""
    asked = patch("A", 5, b"world", upload_checksum=claim)
    return Transcript([HALF], [asked.gets(400, code="malformed-header").leaves(A=STILL)])


@transcript
def test_t55_a_checksum_of_chunks():
    """T55: verified once the last chunk is in."""
    right = {"upload_checksum": checksum(b"world"), **CHUNKED}
    wrong = {"upload_checksum": checksum(b"w"), **CHUNKED}
    return Transcript(
        [HALF],
        [
            patch("A", 5, chunks(b"w", b"orld"), **wrong).gets(460).leaves(A=STILL),
            patch("A", 5, chunks(b"w", b"orld"), **right).gets(204).leaves(A=WHOLE),
        ],
    )


@transcript
def test_c10_an_overrun_with_a_checksum():
    """C10: too many bytes are too many, right checksum or not."""
    right = {"upload_checksum": checksum(b"world!"), **CHUNKED}
    asked = patch("A", 5, chunks(b"world!"), **right).gets(413, upload_offset=5)
    return Transcript([HALF], [asked.leaves(A=STILL)])


@pytest.mark.parametrize("how", [{"content_length": 5}, CHUNKED])
@transcript
def test_c20_a_cut_with_a_checksum(how):
    """C20: unverifiable, so nothing is kept, even what would match."""
    cut = patch("A", 5, Body((b"wor",), "cut"), upload_checksum=checksum(b"wor"), **how)
    return Transcript([HALF], [cut.gets(400, upload_offset=5).leaves(A=STILL), GOES_ON])


@transcript
def test_c19_a_checksum_on_post():
    """C19: verified too; a wrong one leaves an empty upload, and its Location."""
    return Transcript(
        steps=[
            post(b"hello", upload_length=5, upload_checksum=checksum(b"hello"))
            .gets(201, binds="N", upload_offset=5)
            .leaves(N=stored(b"hello", 5)),
            post(b"hello", upload_length=5, upload_checksum=checksum(b"other"))
            .gets(460, binds="M", location="/files/{M}", upload_offset=0)
            .leaves(M=stored(b"", 5)),
            post(b"hello", upload_length=5, upload_checksum="rot13 YQ==").gets(400, location=None),
        ]
    )


@transcript
def test_t53_no_bytes_have_a_checksum_too():
    """T53: an empty body is verified like any other."""
    return Transcript(
        [HALF],
        [
            patch("A", 5, b"", upload_checksum=checksum(b"")).gets(204, upload_offset=5),
            patch("A", 5, b"", upload_checksum=checksum(b"x")).gets(460, upload_offset=5),
        ],
    )


# --- Trailers -------------------------------------------------------------------------------------

TRAILER = {"trailer": "Upload-Checksum", **CHUNKED}


def ended(*trailers: tuple[str, str], ending: str = "whole") -> Body:
    """A chunked body with trailers."""
    return Body((b"w", b"orld"), ending, trailers)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@transcript
def test_t60_a_checksum_after_the_bytes(algorithm):
    """T60, C18: right, it counts."""
    asked = patch("A", 5, ended(("Upload-Checksum", checksum(b"world", algorithm))), **TRAILER)
    return Transcript([HALF], [asked.gets(204).leaves(A=WHOLE)], levels=[ENGINE, SERVER])


@pytest.mark.parametrize(
    ("trailers", "status"),
    [
        ([("Upload-Checksum", checksum(b"other"))], 460),
        ([("Upload-Checksum", "rot13 YQ==")], 400),
        ([("Upload-Checksum", "sha1")], 400),
        ([("X-Other", "1")], 400),
        ([], 400),
    ],
)
@transcript
def test_t60_c18_a_trailer_that_does_not_verify(trailers, status):
    """T57, T60, C18: wrong, unknown, broken or missing: nothing of the request is kept."""
    asked = patch("A", 5, ended(*trailers), **TRAILER).gets(status, upload_offset=5)
    return Transcript([HALF], [asked.leaves(A=STILL), GOES_ON], levels=[ENGINE, SERVER])


@transcript
def test_c18_a_cut_before_the_trailer():
    """C18, C20: what was promised did not come, so nothing is kept."""
    asked = patch("A", 5, ended(ending="cut"), **TRAILER).gets(400, upload_offset=5)
    return Transcript([HALF], [asked.leaves(A=STILL), GOES_ON], levels=[ENGINE, SERVER])


@transcript
def test_c18_header_and_trailer():
    """C18: both are 400, before the body."""
    claim = checksum(b"world")
    asked = patch("A", 5, ended(("Upload-Checksum", claim)), upload_checksum=claim, **TRAILER)
    return Transcript([HALF], [asked.gets(400).leaves(A=STILL)])


@transcript
def test_d10_a_trailer_that_was_not_declared():
    """D10: it does not count: the bytes are plain ones, and a wrong checksum among them nothing."""
    asked = patch("A", 5, ended(("Upload-Checksum", checksum(b"other"))), **CHUNKED)
    return Transcript([HALF], [asked.gets(204).leaves(A=WHOLE)], levels=[ENGINE, SERVER])


@transcript
def test_d10_a_trailer_is_never_a_header():
    """D10: an offset after the bytes changes nothing."""
    asked = patch("A", 5, ended(("Upload-Offset", "0")), **CHUNKED, trailer="Upload-Offset")
    return Transcript([HALF], [asked.gets(204).leaves(A=WHOLE)], levels=[ENGINE, SERVER])


@transcript
def test_d10_trailers_where_they_do_not_come():
    """D10, C16: over plain messages such a request is refused before its body."""
    asked = patch("A", 5, ended(), **TRAILER)
    return Transcript([HALF], [asked.gets(400, code="not-offered").leaves(A=STILL)], levels=[APP])


@transcript
def test_d10_a_trailer_without_chunks():
    """D10: trailers need chunks, so what declares one with a length is refused."""
    asked = patch("A", 5, b"world", trailer="Upload-Checksum")
    return Transcript([HALF], [asked.gets(400, code="not-offered").leaves(A=STILL)])
