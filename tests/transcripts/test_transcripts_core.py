"""The core protocol, and what holds for every request."""

from __future__ import annotations

import pytest
from script import (
    APP,
    CHUNKED,
    DATE,
    ENGINE,
    OCTETS,
    SERVER,
    SOME,
    Body,
    Transcript,
    ask,
    chunks,
    delete,
    done,
    get,
    head,
    joined,
    options,
    partial,
    patch,
    post,
    stored,
    transcript,
    upload,
)

HALF = upload("A", b"hello", 10)
STILL = stored(b"hello", 10)

BAD_NUMBERS = ["-1", "+5", "1.5", "x", "", "5 5", "0x5", "1e1", str(2**63), "9" * 30]


# --- Versions -------------------------------------------------------------------------------------


@transcript
def test_t01_t42_an_upload_from_its_creation_to_its_last_byte():
    """T01, T21, T22, T41, T42: created, filled in several requests, asked about, read back."""
    return Transcript(
        steps=[
            post(upload_length=10).gets(201, binds="N", location="/files/{N}"),
            patch("N", 0, b"hello").gets(204, upload_offset=5).leaves(N=STILL),
            head("N").gets(200, upload_offset=5, upload_length=10),
            patch("N", 5, b" you!").gets(204, upload_offset=10).leaves(N=stored(b"hello you!", 10)),
            get("N").gets(200, b"hello you!"),
        ]
    )


@transcript
def test_t21_all_in_one_patch():
    """T18, T21, T22: the whole rest in one request, at the offset it is at."""
    return Transcript(
        [HALF], [patch("A", 5, b"world").gets(204).leaves(A=stored(b"helloworld", 10))]
    )


@pytest.mark.parametrize("version", ["0.2.2", "1.0.1", "", "1.0.0, 0.2.2", "one"])
@pytest.mark.parametrize("method", ["HEAD", "GET", "PATCH", "DELETE", "POST"])
@transcript
def test_t06_another_version(version, method):
    """T06-T08, C01, C02: 412 with Tus-Version on every method but OPTIONS; nothing is done."""
    target = "" if method == "POST" else "{A}"
    asked = ask(
        *(method, target, b"world"),
        tus_resumable=version,
        upload_offset=5,
        content_type=OCTETS,
        content_length=5,
        upload_length=5,
    )
    return Transcript(
        [HALF],
        [asked.gets(412, tus_version="1.0.0", location=None, upload_offset=None).leaves(A=STILL)],
    )


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 200)])
@transcript
def test_c01_no_version_where_plain_clients_ask(method, status):
    """C01: HEAD and GET need no Tus-Resumable."""
    return Transcript([done("A")], [ask(method, "{A}", tus_resumable=None).gets(status)])


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "POST"])
@transcript
def test_c01_no_version_where_it_is_needed(method):
    """C01, T08: everywhere else a missing version is as bad as a wrong one."""
    target = "" if method == "POST" else "{A}"
    asked = ask(method, target, tus_resumable=None, upload_offset=5, upload_length=5)
    return Transcript([HALF], [asked.gets(412, tus_version="1.0.0").leaves(A=STILL)])


@transcript
def test_t05_the_version_is_on_every_answer():
    """T05: on success and on errors of every kind (each player looks at each answer)."""
    return Transcript(
        [HALF],
        [
            head("A").gets(200),
            head("missing").gets(404),
            ask("PUT", "{A}").gets(405),
            patch("A", 1).gets(409),
            patch("A", 5, b"x" * 6).gets(413),
            ask("GET", "a/b").gets(404),
            options().gets(204),
        ],
    )


# --- OPTIONS --------------------------------------------------------------------------------------

EVERYTHING = (
    "creation,creation-with-upload,creation-defer-length,expiration,checksum,checksum-trailer,"
    "termination,concatenation,concatenation-unfinished"
)
ALGORITHMS = "sha1,sha256,sha512,md5,crc32"


@pytest.mark.parametrize("target", ["", "{A}", "nothing/here"])
@pytest.mark.parametrize("version", [None, "1.0.0", "9.9.9"])
@transcript
def test_t27_options(target, version):
    """T04, T09, T26-T29, T58, T59, C03: 204 with everything there is, whatever the version."""
    asked = options(target, tus_resumable=version).gets(
        204,
        tus_version="1.0.0",
        tus_extension=EVERYTHING,
        tus_checksum_algorithm=ALGORITHMS,
        tus_max_size=None,
    )
    return Transcript([HALF], [asked], levels=[ENGINE, SERVER])


@transcript
def test_t29_options_without_our_own_server():
    """T29, T60, D10: over plain messages trailers do not come, so they are not announced."""
    extensions = EVERYTHING.replace("checksum-trailer,", "")
    return Transcript(steps=[options().gets(204, tus_extension=extensions)], levels=[APP])


@transcript
def test_t10_the_cap_is_announced():
    """T10: Tus-Max-Size, where there is a cap."""
    return Transcript(steps=[options().gets(204, tus_max_size=100)], options={"max_size": 100})


# --- The override ---------------------------------------------------------------------------------


@pytest.mark.parametrize("real", ["POST", "GET", "PUT", "DELETE", "PATCH", "BREW"])
@pytest.mark.parametrize("override", ["PATCH", "patch", "Patch"])
@transcript
def test_t11_an_override_is_the_method(real, override):
    """T11, T12, C04: on every method, in any case of letters; the real one does not count."""
    levels = [ENGINE, APP] if real == "BREW" else [ENGINE, APP, SERVER]
    asked = ask(
        *(real, "{A}", b"world"),
        x_http_method_override=override,
        content_type=OCTETS,
        content_length=5,
        upload_offset=5,
    )
    return Transcript(
        [HALF],
        [asked.gets(204, upload_offset=10).leaves(A=stored(b"helloworld", 10))],
        levels=levels,
    )


@transcript
def test_t11_t12_delete_by_override():
    """T11, T12: a client that can POST only removes an upload so."""
    return Transcript(
        [HALF],
        [ask("POST", "{A}", x_http_method_override="DELETE").gets(204).leaves(A=None)],
    )


@transcript
def test_c04_head_by_override():
    """C04: the answer to a POST that is a HEAD has no body, and says so, as it is one to a POST."""
    asked = ask("POST", "{A}", x_http_method_override="HEAD")
    missing = ask("POST", "missing", x_http_method_override="HEAD")
    return Transcript(
        [HALF],
        [
            asked.gets(200, upload_offset=5, upload_length=10, content_length=0),
            missing.gets(404, content_length=0),
        ],
    )


@transcript
def test_c04_get_by_override_of_a_head():
    """C04, T11: whatever the override says, the answer to a HEAD has no body."""
    asked = ask("HEAD", "{A}", x_http_method_override="GET")
    return Transcript([done("A")], [asked.gets(200, b"")], levels=[APP, SERVER])


@pytest.mark.parametrize("override", ["BREW", "", "PATCH, DELETE", "GET POST"])
@transcript
def test_c04_an_unknown_override(override):
    """C04: another method is 405, with those that are allowed."""
    asked = ask("POST", "{A}", x_http_method_override=override)
    return Transcript(
        [HALF],
        [asked.gets(405, allow="HEAD, PATCH, GET, DELETE, OPTIONS").leaves(A=STILL)],
    )


# --- HEAD -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (upload("A", b"", 10), {"upload_offset": 0, "upload_length": 10}),
        (HALF, {"upload_offset": 5, "upload_length": 10}),
        (done("A"), {"upload_offset": 5, "upload_length": 5}),
        (done("A", b""), {"upload_offset": 0, "upload_length": 0}),
        (upload("A", b"he"), {"upload_offset": 2, "upload_length": None}),
        (partial("A", b"he", 5), {"upload_offset": 2, "upload_concat": "partial"}),
    ],
)
@transcript
def test_t13_head(given, says):
    """T13-T17, T77, C15: offset always, length if known, never stored, no length of a body."""
    asked = head("A").gets(200, cache_control="no-store", **says)
    return Transcript([given], [asked])


@transcript
def test_c15_head_has_no_content_length():
    """C15: what a HEAD answers is no upload's size."""
    return Transcript([HALF], [head("A").gets(200, content_length=None)], levels=[ENGINE])


@pytest.mark.parametrize("id", ["missing", "a" * 129, "..", "a.info", "%41", "a%2Fb"])
@transcript
def test_t15_head_of_nothing(id):
    """T15, D13: 404 without an offset, for ids that are free and for what is no id."""
    return Transcript(steps=[head(id).gets(404, upload_offset=None)])


@transcript
def test_t15_t50_head_of_what_has_expired():
    """T15, T50: 410 without an offset."""
    return Transcript(
        [upload("A", b"he", 5, expires=-1.0)],
        [
            head("A").gets(410, upload_offset=None),
            patch("A", 2, b"llo").gets(410, code="gone", upload_offset=None),
        ],
        levels=[ENGINE, APP],
    )


# --- PATCH ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OCTETS.upper(), f"{OCTETS};charset=utf-8", f" {OCTETS} ; a=b"])
@transcript
def test_c05_the_media_type_in_other_words(kind):
    """C05, T19: letters of any case and parameters are fine."""
    asked = patch("A", 5, b"world", content_type=kind)
    return Transcript([HALF], [asked.gets(204).leaves(A=stored(b"helloworld", 10))])


@pytest.mark.parametrize("kind", [None, "application/octet-stream", "", "text/plain", f"x{OCTETS}"])
@transcript
def test_t19_another_media_type(kind):
    """T19, C05: missing or another is 415, and nothing is kept."""
    asked = patch("A", 5, b"world", content_type=kind)
    return Transcript([HALF], [asked.gets(415).leaves(A=STILL)])


@pytest.mark.parametrize("offset", [0, 4, 6, 10, 2**63 - 1])
@transcript
def test_t20_another_offset(offset):
    """T20: lower or higher, it is 409, with the offset it should be, and nothing changes."""
    asked = patch("A", offset, b"xxx").gets(409, code="offset-mismatch", upload_offset=5)
    return Transcript([HALF], [asked.leaves(A=STILL)])


@pytest.mark.parametrize("value", [None, *BAD_NUMBERS])
@transcript
def test_t02_an_offset_that_is_none(value):
    """T02, C06, C41: missing or malformed it is 400."""
    asked = patch("A", 5, b"xxx", upload_offset=value)
    return Transcript([HALF], [asked.gets(400, code="malformed-header").leaves(A=STILL)])


@pytest.mark.parametrize(
    "field",
    ["upload_offset", "upload_length", "upload_checksum", "tus_resumable"],
)
@transcript
def test_c41_the_same_field_twice(field):
    """C41: of two lines none can be the right one, even if they agree."""
    value = {"tus_resumable": "1.0.0", "upload_checksum": "sha1 YQ=="}.get(field, "5")
    asked = patch("A", 5, b"xxx", **{field: [value, value]})
    return Transcript([HALF], [asked.gets(400).leaves(A=STILL)])


@transcript
def test_t23_patch_of_nothing():
    """T23: 404, before any look at the offset."""
    return Transcript(steps=[patch("missing", 7, b"x").gets(404)])


@transcript
def test_c07_the_order_of_checks():
    """C07: version, type, syntax, existence, final, offset, completeness, length, size."""
    everything = {
        "tus_resumable": "0",
        "content_type": "text/plain",
        "upload_offset": "x",
        "upload_length": 7,
        "content_length": 99,
    }
    body = b"x" * 99

    def but(**right) -> dict:
        return everything | right

    fine = {"tus_resumable": "1.0.0", "content_type": OCTETS}
    return Transcript(
        [HALF, done("D"), joined("F", b"ab")],
        [
            patch("A", 0, body, **but()).gets(412),
            patch("A", 0, body, **but(tus_resumable="1.0.0")).gets(415),
            patch("A", 0, body, **but(**fine)).gets(400),
            patch("missing", 0, body, **but(**fine, upload_offset=0)).gets(404),
            patch("F", 0, body, **but(**fine, upload_offset=99)).gets(403),
            patch("A", 0, body, **but(**fine, upload_offset=0)).gets(409),
            patch("A", 0, body, **but(**fine, upload_offset=5)).gets(400, code="length-mismatch"),
            patch("A", 0, body, **but(**fine, upload_offset=5, upload_length=10)).gets(413),
            patch("D", 0, body, **but(**fine, upload_offset=4, upload_length=5)).gets(409),
            patch("D", 0, body, **but(**fine, upload_offset=5, upload_length=5)).gets(413),
        ],
    )


@transcript
def test_c08_a_complete_upload():
    """C08: no bytes are 204, some are 413, another offset is 409; it stays as it is."""
    whole = stored(b"hello", 5)
    return Transcript(
        [done("A")],
        [
            patch("A", 5).gets(204, upload_offset=5, upload_expires=None).leaves(A=whole),
            patch("A", 5, b"!").gets(413, upload_offset=5).leaves(A=whole),
            patch("A", 5, chunks(b"!"), **CHUNKED).gets(413).leaves(A=whole),
            patch("A", 5, chunks(), **CHUNKED).gets(204).leaves(A=whole),
            patch("A", 0, b"hello").gets(409, upload_offset=5).leaves(A=whole),
        ],
    )


@transcript
def test_c09_too_long_by_its_head():
    """C09: more than the length by Content-Length is 413 before reading, and nothing is kept."""
    asked = patch("A", 5, b"123456").gets(413, code="too-large", upload_offset=5)
    return Transcript([HALF], [asked.leaves(A=STILL)])


@pytest.mark.parametrize("pieces", [(b"123456",), (b"12345", b"6"), (b"1", b"2" * 100)])
@transcript
def test_c10_too_long_by_its_chunks(pieces):
    """C10: chunks past the length are a refusal: nothing is kept, nothing completes."""
    asked = patch("A", 5, chunks(*pieces), **CHUNKED).gets(413, code="overrun", upload_offset=5)
    return Transcript(
        [HALF], [asked.leaves(A=STILL), patch("A", 5, b"world").gets(204, upload_offset=10)]
    )


@pytest.mark.parametrize("pieces", [(b"world",), (b"w", b"orld"), (b"w", b"o", b"r", b"l", b"d")])
@transcript
def test_c29_chunks(pieces):
    """C29, T22: a body without Content-Length is taken, up to exactly the length."""
    asked = patch("A", 5, chunks(*pieces), **CHUNKED).gets(204, upload_offset=10)
    return Transcript([HALF], [asked.leaves(A=stored(b"helloworld", 10))])


@transcript
def test_c31_neither_length_nor_chunks():
    """C31: a PATCH of no bytes."""
    asked = patch("A", 5, content_length=None).gets(204, upload_offset=5)
    return Transcript([HALF], [asked.leaves(A=STILL)])


@transcript
def test_c32_length_and_chunks():
    """C32: both is 400, and nothing is kept; a server's parser may refuse it even sooner."""
    asked = patch("A", 5, chunks(b"world"), transfer_encoding="chunked", content_length=5)
    return Transcript([HALF], [asked.gets(400).leaves(A=STILL)], levels=[ENGINE, APP])


@transcript
def test_c33_expect_continue():
    """C33, T46: a 100 before the body is read, and none before a refusal."""
    return Transcript(
        [HALF],
        [
            patch("A", 4, b"world", expect="100-continue").gets(409, continued=False),
            patch("A", 5, b"world", expect="100-Continue").gets(204, continued=True),
        ],
    )


@transcript
def test_c33_another_expectation():
    """C33: anything else to be expected is 417."""
    asked = patch("A", 5, b"world", expect="a miracle").gets(417, continued=False)
    return Transcript([HALF], [asked.leaves(A=STILL)])


@pytest.mark.parametrize("how", [{"content_length": 5}, CHUNKED])
@transcript
def test_t25_c34_a_cut_keeps_what_came(how):
    """T24, T25, C34: the client is gone in the middle: what arrived counts, and it can go on."""
    cut = Body((b"wo",), "cut")
    return Transcript(
        [HALF],
        [
            patch("A", 5, cut, **how)
            .gets(400, code="interrupted", upload_offset=7, upload_expires=DATE)
            .leaves(A=stored(b"hellowo", 10)),
            patch("A", 7, b"rld").gets(204).leaves(A=stored(b"helloworld", 10)),
        ],
    )


@transcript
def test_d10_broken_chunks():
    """D10: broken framing is an early end: what came before it is kept, and it is 400."""
    asked = patch("A", 5, Body((b"wo",), "broken"), **CHUNKED).gets(400, upload_offset=7)
    return Transcript([HALF], [asked.leaves(A=stored(b"hellowo", 10))], levels=[ENGINE, SERVER])


# --- Other URLs and methods -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD", "DELETE", "PATCH"])
@transcript
def test_c43_other_methods_on_the_collection(method):
    """C43: 405, and what is allowed."""
    asked = ask(method, "", content_type=OCTETS).gets(405, allow="POST, OPTIONS")
    return Transcript(steps=[asked])


@pytest.mark.parametrize("method", ["PUT", "POST"])
@transcript
def test_other_methods_on_an_upload(method):
    """405, and what is allowed."""
    asked = ask(method, "{A}").gets(405, allow="HEAD, PATCH, GET, DELETE, OPTIONS")
    return Transcript([HALF], [asked.leaves(A=STILL)])


@transcript
def test_what_is_switched_off():
    """C37, C43: downloads and termination can be off: 405, and not among what is allowed."""
    return Transcript(
        [done("A")],
        [
            get("A").gets(405, allow="HEAD, PATCH, OPTIONS"),
            delete("A").gets(405).leaves(A=stored(b"hello", 5)),
        ],
        options={"download": False, "termination": False},
        levels=[ENGINE, APP],
    )


# --- DELETE ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [HALF, done("A"), upload("A"), partial("A", b"a", 1)])
@transcript
def test_t63_delete(given):
    """T62-T64, C37: 204 for finished and unfinished ones; afterwards everything is 404."""
    return Transcript(
        [given],
        [
            delete("A").gets(204, content_length=None).leaves(A=None),
            head("A").gets(404),
            patch("A", 0, b"x").gets(404),
            get("A").gets(404),
            delete("A").gets(404),
        ],
    )


# --- Other origins --------------------------------------------------------------------------------

PREFLIGHT = {"origin": "https://a.example", "access_control_request_method": "PATCH"}


@transcript
def test_c45_cors():
    """C45: a preflight without any credentials, and answers that pages may read, errors too."""
    page = {"origin": "https://a.example"}
    exposed = {"access_control_allow_origin": "*", "access_control_expose_headers": SOME}
    return Transcript(
        [HALF],
        [
            options("{A}", tus_resumable=None, **PREFLIGHT).gets(
                204,
                access_control_allow_origin="*",
                access_control_allow_methods="POST, HEAD, PATCH, GET, DELETE, OPTIONS",
                access_control_allow_headers=SOME,
                access_control_max_age=SOME,
            ),
            head("A", **page).gets(200, **exposed),
            patch("A", 1, **page).gets(409, **exposed),
            head("missing", **page).gets(404, **exposed),
            head("A").gets(200, access_control_allow_origin=None),
        ],
    )
