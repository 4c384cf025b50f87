"""The tus 1.0.0 dialect: any head gives an intent or a refusal, any outcome a legal reply."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from vectus.protocol.dialects import tus1, tus1_tables as tables
from vectus.protocol.exchange import (
    Append,
    Appended,
    Checksum,
    Create,
    Created,
    Discover,
    Discovered,
    Download,
    Downloaded,
    Inspect,
    Inspected,
    Payload,
    Reason,
    Redirected,
    Refused,
    Terminate,
    Terminated,
    Unchanged,
    Vetoed,
)
from vectus.protocol.fields import format_metadata
from vectus.protocol.messages import Head, Headers, locate
from vectus.protocol.policy import Cors, Feature, Policy
from vectus.protocol.upload import Role, Upload
from vectus.testing.fakes import head

POLICY = Policy(max_size=100)
UPLOAD = Upload("a", length=10, offset=4, expires=2e9)
OCTETS = "application/offset+octet-stream"

# --- Any head -------------------------------------------------------------------------------------

METHODS = ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT", "patch", "", "BREW"]
NAMES = [
    *("tus-resumable", "upload-offset", "upload-length", "upload-defer-length", "upload-concat"),
    *("upload-metadata", "upload-checksum", "content-type", "content-length", "transfer-encoding"),
    *("expect", "trailer", "x-http-method-override", "origin", "range", "if-range"),
    *("access-control-request-method", "if-none-match"),
]
VALUES = [
    *(
        "1.0.0",
        "0",
        "5",
        "1",
        "partial",
        "final;a b",
        "final;/files/a",
        OCTETS,
        "a YQ==",
        "chunked",
    ),
    *(
        "sha1 YQ==",
        "100-continue",
        "Upload-Checksum",
        "PATCH",
        "delete",
        "bytes=0-1",
        "",
        "*",
        "-1",
    ),
]
heads = st.builds(
    lambda method, path, items, trailers: Head(
        method, locate(path), Headers(items), base="/files/", trailers=trailers
    ),
    st.sampled_from(METHODS),
    st.sampled_from(["", "/", "a", "a/b", "é"]),
    st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.sampled_from(VALUES) | st.text(st.characters(max_codepoint=255), max_size=20),
        ),
        max_size=8,
    ).map(lambda items: [("tus-resumable", "1.0.0"), *items]),
    st.booleans(),
)
policies = st.builds(Policy, features=st.frozensets(st.sampled_from(Feature)))


@given(heads, policies)
def test_any_head_is_an_intent_or_a_refusal(asked, policy):
    """Whatever a client sends is understood or refused, and the refusal can be worded."""
    try:
        intent = tus1.decode(asked, policy)
    except Refused as refused:
        reply = tus1.encode(refused, asked, policy)
        assert 400 <= reply.status < 500
    else:
        assert isinstance(intent, Discover | Create | Inspect | Append | Terminate | Download)


# --- Any outcome ----------------------------------------------------------------------------------

BROKEN = ["k YQ==\r\nX-Evil: 1", "k\x00", "🦊 YQ==", "\x7f"]
"""What no client can have sent, but a broken store might give back."""

texts = st.text(max_size=20) | st.sampled_from(["a\r\nX-Evil: 1", "\x00", "é", "text/html", "🦊"])
hostile = st.builds(
    lambda pairs: format_metadata((k, v.encode("utf-8", "replace")) for k, v in pairs.items()),
    st.dictionaries(st.sampled_from(["filename", "name", "filetype", "type", "x"]), texts),
)
uploads = st.builds(
    Upload,
    id=st.just("a"),
    role=st.sampled_from(Role),
    length=st.none() | st.integers(0, 10),
    offset=st.integers(0, 10),
    metadata=st.none() | hostile | st.sampled_from(BROKEN),
    concat=st.none() | st.sampled_from(["partial", "final;a b", *BROKEN]),
    expires=st.none() | st.integers(0, 4 * 10**9).map(float),
    finished=st.booleans(),
)
outcomes = st.one_of(
    st.builds(Discovered, policies),
    st.builds(Created, uploads, st.booleans()),
    st.builds(Inspected, uploads),
    st.builds(Appended, uploads),
    st.builds(Terminated),
    st.builds(Downloaded, uploads, st.integers(0, 5), st.integers(5, 10), st.booleans()),
    st.builds(Redirected, uploads, st.just("https://s3.example/a?b=c")),
    st.builds(Unchanged, uploads),
    st.builds(Refused, st.sampled_from(Reason), texts, st.none() | uploads),
    st.builds(Vetoed, st.integers(400, 599), texts),
)
LEGAL = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@given(outcomes, heads, policies)
def test_any_outcome_is_a_legal_reply(outcome, asked, policy):
    """T33: no reply carries a control character or what Latin-1 lacks, whatever the metadata."""
    asked = replace(asked, headers=Headers((n, v) for n, v in asked.headers if n != "origin"))
    reply = tus1.encode(outcome, asked, policy)

    for name, value in reply.headers:
        assert re.fullmatch(r"[A-Za-z-]+", name)
        assert LEGAL.fullmatch(value), (name, value)
    assert reply.header("tus-resumable") == "1.0.0"
    assert reply.body.count(b"\n") <= 1
    assert 200 <= reply.status <= 599


@given(outcomes, st.sampled_from(METHODS), st.sampled_from(METHODS))
def test_a_length_stands_where_a_body_follows(outcome, method, override):
    """C04, C15: Content-Length is the body's, and is not there on HEAD, 204 and 304."""
    reply = tus1.encode(outcome, head(method, "a", x_http_method_override=override), POLICY)
    length = reply.header("content-length")

    if reply.status in (204, 304):
        assert length is None
    elif isinstance(outcome, Downloaded):
        assert length == str(outcome.stop - outcome.start)
    elif method == "HEAD":
        assert length is None
    else:
        assert length == str(len(reply.body))
    if "HEAD" in (method, override) and override in ("HEAD", method):
        assert reply.body == b""


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "GET", "DELETE"])
def test_every_reason_has_its_words(reason, method):
    """T05: each refusal has a status, one line `code: sentence`, and the protocol's version."""
    reply = tus1.encode(Refused(reason, "A\nsentence.", UPLOAD), head(method, "a"), POLICY)

    assert 400 <= reply.status <= 599
    assert reply.header("Tus-Resumable") == "1.0.0"
    assert reply.header("Cache-Control") == "no-store"
    if method == "HEAD":
        assert reply.body == b""
        assert reply.header("Upload-Offset") is None
    else:
        assert re.fullmatch(rb"[a-z-]+: A sentence\.\n", reply.body)


def test_codes_are_words_of_their_own():
    """No two reasons share a code, so that clients can tell them apart."""
    codes = [code for _, code in tables.STATUS.values()]

    assert set(tables.STATUS) == set(Reason)
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("reason", Reason)
def test_d3_try_again_is_never_the_end(reason):
    """D3, C46: on HEAD, what passes by itself is 423, the only refusal that no client gives up at;
    and whatever passes says when to ask again."""
    passing = {Reason.LOCKED, Reason.UNAVAILABLE, Reason.FINISHING, Reason.PINNED}
    reply = tus1.encode(Refused(reason, "x"), head("HEAD", "a"), POLICY)

    if reason in passing:
        assert reply.status == 423
    if reason in passing | {Reason.SHUTDOWN, Reason.FULL, Reason.DISPLACED}:
        assert int(reply.header("Retry-After")) > 0
    else:
        assert reply.header("Retry-After") is None


@pytest.mark.parametrize(
    ("reason", "method", "status"),
    [
        (Reason.LOCKED, "PATCH", 423),
        (Reason.LOCKED, "DELETE", 423),
        (Reason.LOCKED, "POST", 503),
        (Reason.UNAVAILABLE, "HEAD", 423),
        (Reason.UNAVAILABLE, "PATCH", 503),
        (Reason.UNAVAILABLE, "DELETE", 503),
        (Reason.UNAVAILABLE, "POST", 503),
        (Reason.DISPLACED, "PATCH", 423),
        (Reason.STALLED, "PATCH", 500),
        (Reason.FULL, "PATCH", 507),
    ],
)
def test_d3_d11_d12_what_each_method_is_told(reason, method, status):
    """D3, D11, D12, C35, C36: the status that makes clients come back instead of giving up."""
    reply = tus1.encode(Refused(reason, "x", UPLOAD), head(method, "a"), POLICY)

    assert reply.status == status


def test_a_veto_speaks_for_itself():
    """An application's refusal has its own status, words and fields."""
    veto = Vetoed(401, "Who are you?", (("WWW-Authenticate", "Basic"),))
    reply = tus1.encode(veto, head("PATCH", "a"), POLICY)

    assert (reply.status, reply.body) == (401, b"refused: Who are you?\n")
    assert reply.header("WWW-Authenticate") == "Basic"


def test_override_of_a_head_is_a_get_without_length_of_a_body():
    """C04: with GET as the override of a HEAD the method is GET."""
    asked = head("HEAD", "a", x_http_method_override=" get ", range="bytes=0-1")

    assert tus1.decode(asked, POLICY) == Download("a", ranges="bytes=0-1")


# --- What is read ---------------------------------------------------------------------------------


def test_a_patch_is_read_whole():
    """T20, T36, T54: offset, declared length, size and checksum."""
    asked = head(
        *("PATCH", "a"),
        content_type=f"{OCTETS.upper()}; x=y",
        upload_offset=4,
        upload_length=10,
        upload_checksum="md5 " + base64.b64encode(b"d").decode(),
        content_length=6,
    )

    assert tus1.decode(asked, POLICY) == Append(
        "a", 4, 10, Payload(6, Checksum("md5", b"d"), trailer=False)
    )


def test_c31_no_length_and_no_chunks_is_no_bytes():
    """C31: a request with neither has an empty body."""
    asked = head("PATCH", "a", content_type=OCTETS, upload_offset=4)

    assert tus1.decode(asked, POLICY).payload == Payload(0)


@pytest.mark.parametrize(("length", "size"), [(None, None), (0, 0), (7, 7)])
def test_c29_a_body_of_http_2_may_have_any_length(length, size):
    """C29: from HTTP/2 on a body needs no chunks to come without a length."""
    asked = head("PATCH", "a", content_type=OCTETS, upload_offset=4, content_length=length)

    assert tus1.decode(replace(asked, framed=False), POLICY).payload == Payload(size)


def test_t60_a_trailer_is_read_where_it_can_come():
    """T60, D10: chunked, declared, and on a front end that delivers it."""
    asked = head(
        *("PATCH", "a"),
        content_type=OCTETS,
        upload_offset=4,
        transfer_encoding="chunked",
        trailer=["x-other", "X, upload-checksum"],
    )
    assert tus1.decode(asked, POLICY).payload == Payload(None, None, trailer=True)

    with pytest.raises(Refused) as caught:
        tus1.decode(replace(asked, trailers=False), POLICY)
    assert caught.value.reason is Reason.NOT_OFFERED


@pytest.mark.parametrize(
    ("items", "claim"),
    [
        ([("upload-checksum", "md5 ZA==")], ("md5", b"d")),
        ([("upload-checksum", "md5")], None),
        ([("x", "y")], None),
    ],
)
def test_t60_claims_of_trailers(items, claim):
    """T60, C18: a checksum after the bytes, or none that can be read."""
    assert tus1.claim_of(Headers(items)) == claim


def test_a_final_is_read_by_its_ids():
    """T68, T69: parts in their order, the field and the metadata as sent."""
    asked = head(
        "POST", upload_concat="final;/files/b http://x/files/a b", upload_metadata="k YQ=="
    )

    assert tus1.decode(asked, POLICY) == Create(
        *(Role.FINAL, None, "k YQ=="),
        concat="final;/files/b http://x/files/a b",
        parts=("b", "a", "b"),
    )


# --- What is worded -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feature", "name"),
    [(feature, name) for feature, name in tables.EXTENSIONS.items()],
)
def test_t09_what_is_off_is_not_announced(feature, name):
    """T09, T29, T30, T37, T43, T47, T53, T62, T65, T72: an extension is listed while it is on."""
    asked = head("OPTIONS")
    on = tus1.encode(Discovered(Policy()), asked, Policy()).header("Tus-Extension").split(",")
    less = Policy(features=frozenset(Feature) - {feature})
    off = tus1.encode(Discovered(less), asked, less).header("Tus-Extension").split(",")

    assert name in on
    assert name not in off


def test_t09_nothing_on_offer_is_no_field():
    """T09, T10, T59: without extensions, cap or checksums their fields are absent."""
    core = Policy(features=frozenset())
    reply = tus1.encode(Discovered(core), head("OPTIONS"), core)

    assert reply.header("Tus-Version") == "1.0.0"
    for name in ("Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm"):
        assert reply.header(name) is None


def test_d10_trailers_are_announced_where_they_come():
    """D10, T60: the extension is listed by front ends that deliver trailers only."""
    asked = replace(head("OPTIONS"), trailers=False)
    listed = tus1.encode(Discovered(Policy()), asked, Policy()).header("Tus-Extension").split(",")

    assert "checksum-trailer" not in listed
    assert "checksum" in listed


@pytest.mark.parametrize(
    ("kind", "sent", "disposition"),
    [
        ("image/png", "image/png", "inline"),
        ("IMAGE/PNG", "image/png", "inline"),
        ("video/mp4", "video/mp4", "inline"),
        ("text/html", "text/html", "attachment"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("application/pdf", "application/pdf", "attachment"),
        ("text/plain; charset=x", "application/octet-stream", "attachment"),
        ("a/b\r\nX-Evil: 1", "application/octet-stream", "attachment"),
        ("", "application/octet-stream", "attachment"),
    ],
)
def test_c44_inline_only_what_cannot_run(kind, sent, disposition):
    """C44, T33: the metadata's type is used if it is one, inline only where inert."""
    metadata = format_metadata([("filetype", kind.encode())])
    done = replace(UPLOAD, offset=10, finished=True, metadata=metadata)
    reply = tus1.encode(Downloaded(done, 0, 10, ranged=False), head("GET", "a"), POLICY)

    assert reply.header("Content-Type") == sent
    assert reply.header("Content-Disposition") == disposition
    assert reply.header("X-Content-Type-Options") == "nosniff"


@pytest.mark.parametrize("metadata", [None, "", "name", "filename =", "not base64 %%"])
def test_c44_metadata_that_says_nothing(metadata):
    """C44: a download works whatever the record's metadata is."""
    done = replace(UPLOAD, offset=10, finished=True, metadata=metadata)
    reply = tus1.encode(Downloaded(done, 2, 5, ranged=True), head("GET", "a"), POLICY)

    assert reply.status == 206
    assert reply.header("Content-Range") == "bytes 2-4/10"
    assert reply.header("Content-Disposition") == "attachment"


def test_c44_a_download_from_elsewhere():
    """C44: whoever is sent to another server is told where for once only, with a status that makes
    a GET of a POST that says it is one (T11)."""
    done = replace(UPLOAD, offset=10, finished=True)
    reply = tus1.encode(Redirected(done, "https://s3.example/a"), head("GET", "a"), POLICY)

    assert (reply.status, reply.header("Location")) == (302, "https://s3.example/a")
    assert reply.header("Cache-Control") == "no-store"
    assert reply.header("Content-Length") == "0"


# --- Other origins --------------------------------------------------------------------------------


def granted(cors: Cors | None, origin: str | None = "https://a.example", **fields: object) -> dict:
    """The fields that other origins get, on a HEAD or a preflight."""
    policy = replace(POLICY, cors=cors)
    method = "OPTIONS" if "access_control_request_method" in fields else "HEAD"
    outcome = Discovered(policy) if method == "OPTIONS" else Inspected(UPLOAD)
    reply = tus1.encode(outcome, head(method, "a", origin=origin, **fields), policy)
    return {n: v for n, v in reply.headers if n.startswith("Access-Control") or n == "Vary"}


def test_c45_any_origin_by_default():
    """C45: every page may use it and read the fields of every extension."""
    fields = granted(Cors())
    exposed = fields["Access-Control-Expose-Headers"].split(", ")

    assert fields["Access-Control-Allow-Origin"] == "*"
    assert {"Upload-Limit", "Upload-Expires", "Tus-Checksum-Algorithm", "Location"} <= set(exposed)
    assert granted(Cors(), origin=None) == {}


def test_c45_preflights_list_what_may_be_sent():
    """C45: methods and fields of every extension, for as long as configured."""
    fields = granted(Cors(max_age=5), access_control_request_method="PATCH")
    accepted = fields["Access-Control-Allow-Headers"].split(", ")

    assert {"Upload-Checksum", "Upload-Offset", "Tus-Resumable", "Authorization"} <= set(accepted)
    assert "PATCH" in fields["Access-Control-Allow-Methods"].split(", ")
    assert fields["Access-Control-Max-Age"] == "5"


def test_c45_one_origin_and_credentials():
    """C45: a chosen origin is named, credentials need that, and strangers get nothing."""
    one = Cors(("https://a.example",))
    told = granted(replace(one, credentials=True))

    assert granted(one)["Access-Control-Allow-Origin"] == "https://a.example"
    assert granted(one)["Vary"] == "Origin"
    assert told["Access-Control-Allow-Credentials"] == "true"
    assert granted(Cors(credentials=True))["Access-Control-Allow-Origin"] == "https://a.example"
    assert "Access-Control-Allow-Origin" not in granted(one, origin="https://b.example")
    assert granted(None) == {}
