"""The grammar of header fields: what is taken, what is refused, and that nothing else happens."""

from __future__ import annotations

import base64
import contextlib
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given, strategies as st

from vectus.protocol import fields

PARSERS = {
    "number": fields.parse_number,
    "defer": fields.parse_defer_length,
    "base64": fields.parse_base64,
    "metadata": fields.parse_metadata,
    "checksum": fields.parse_checksum,
    "concat": fields.parse_concat,
    "list": fields.parse_list,
    "media type": fields.media_type,
    "url": lambda text: fields.id_of(text, "/files/"),
    "range": lambda text: fields.parse_range(text, 10),
}

latin = st.text(st.characters(max_codepoint=255), max_size=80)
"""What a header's value can be: bytes, decoded one to one."""

words = ["bytes=", "-", "final;", "partial", " ", ",", "=", "1", "http://[", "//", "sha1 ", "key "]
garbage = latin | st.lists(st.sampled_from(words) | latin, max_size=6).map("".join)

keys = st.text(
    st.characters(min_codepoint=33, max_codepoint=255, exclude_characters=",\x7f"), min_size=1
).filter(lambda key: not any(c.isspace() for c in key))


@pytest.mark.parametrize("name", PARSERS)
@given(text=garbage)
def test_garbage_gives_a_value_or_a_value_error(name, text):
    """Whatever a client sends, a parser returns or raises ValueError, nothing else."""
    with contextlib.suppress(ValueError):
        PARSERS[name](text)


@given(st.integers(0, fields.LARGEST))
def test_numbers_round_trip(number):
    """T02, T03: every number a file can have is taken."""
    assert fields.parse_number(str(number)) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "+5",
        "-1",
        "1.5",
        "x",
        "0x10",
        "1_000",
        " 1",
        "1 ",
        "1\n",
        "१",
        "²",
        "1e3",
        "5,5",
        str(2**63),
        "9" * 19,
        "9" * 20,
        "0" * 20,
    ],
)
def test_t02_t03_c41_only_digits_are_numbers(text):
    """T02, T03, C41: signs, spaces, other digits and what no file can hold are refused."""
    with pytest.raises(ValueError, match="whole number"):
        fields.parse_number(text)


@pytest.mark.parametrize("text", ["0", "2", "true", "", "01", " 1", "1,1"])
def test_t31_t35_a_deferral_is_1(text):
    """T31, T35: nothing but 1 defers a length."""
    fields.parse_defer_length("1")
    with pytest.raises(ValueError, match="1 or absent"):
        fields.parse_defer_length(text)


@given(st.dictionaries(keys, st.binary(max_size=20), max_size=5))
def test_metadata_round_trips(pairs):
    """T32: what is formatted is parsed to the same, in the same order."""
    assert list(fields.parse_metadata(fields.format_metadata(pairs.items())).items()) == list(
        pairs.items()
    )


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", {}),
        (" ", {}),
        ("a", {"a": b""}),
        ("a ", {"a": b""}),
        ("a YQ==", {"a": b"a"}),
        ("a YQ==,b", {"a": b"a", "b": b""}),
        ("a YQ==, b Yg==", {"a": b"a", "b": b"b"}),
        ("filename\xe9 YQ==", {"filename\xe9": b"a"}),
    ],
)
def test_t32_c14_what_metadata_may_be(text, pairs):
    """T32, C14: pairs, values that may be missing, and an empty field for none at all."""
    assert fields.parse_metadata(text) == pairs


@pytest.mark.parametrize(
    "text",
    [
        ",",
        "a,",
        ",a",
        "a YQ==,,b",
        "a  YQ==",
        "a YQ",
        "a YQ==x",
        "a Y Q==",
        "a %",
        "a YQ==,a Yg==",
        "a,a",
        "a\x00 YQ==",
        "a\x7f",
        "a\r\nX: y",
        "a -_==",
        "a é",
        "a\tYQ==",
    ],
)
def test_t32_c14_defective_metadata_is_refused(text):
    """C14, T33: a pair without key, a key twice, controls, or what is not Base64 is an error."""
    with pytest.raises(ValueError, match="has "):
        fields.parse_metadata(text)


@given(st.sampled_from(["sha1", "md5", "x"]), st.binary(min_size=1, max_size=64))
def test_checksums_round_trip(algorithm, digest):
    """T61: an algorithm, one space, a digest."""
    text = f"{algorithm} {base64.b64encode(digest).decode()}"
    assert fields.parse_checksum(text) == (algorithm, digest)


@pytest.mark.parametrize(
    "text", ["", "sha1", "sha1 ", "sha1  YQ==", "sha1 YQ", "sha1\tYQ==", "YQ=="]
)
def test_t61_broken_checksums_are_refused(text):
    """T61: no space, no digest, or no Base64 is an error."""
    with pytest.raises(ValueError, match="must be"):
        fields.parse_checksum(text)


@pytest.mark.parametrize(
    ("text", "urls"),
    [("partial", None), ("final;/a", ("/a",)), ("final;/a /b /a", ("/a", "/b", "/a"))],
)
def test_t68_what_concat_may_be(text, urls):
    """T68: a partial, or a final with its list in order."""
    assert fields.parse_concat(text) == urls


@pytest.mark.parametrize(
    "text",
    [
        "",
        "final",
        "final;",
        "final; ",
        "final; a",
        "final;a  b",
        "final;a ",
        "foo",
        "Partial",
        "partial;",
        "final ;a",
        "FINAL;a",
        "final;\x00/a",
        "final;/a\x1f /b",
    ],
)
def test_t68_broken_concat_is_refused(text):
    """T68: other words, no URL at all, or a space too many is an error."""
    with pytest.raises(ValueError, match="must be 'partial'"):
        fields.parse_concat(text)


@pytest.mark.parametrize(
    "url",
    ["/files/abc", "abc", "http://other.example/files/abc", "//x/files/abc", "/files/abc?q#f"],
)
@pytest.mark.parametrize("base", ["/files/", "https://public.example/files/"])
def test_t68_urls_may_be_absolute_or_relative(url, base):
    """T68: an upload is named by its path, whatever the host; proxies change that."""
    assert fields.id_of(url, base) == "abc"


@pytest.mark.parametrize("url", ["/other/abc", "files/abc", "http://[", "./abc", "/abc"])
def test_c24_foreign_urls_name_nothing(url):
    """C24: a URL that is not below the mount is an error."""
    with pytest.raises(ValueError, match=r".+"):
        fields.id_of(url, "/files/")


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_ranges_lie_within_the_length(first, last, length):
    """C44: what a range gives is a part of the bytes, and never an empty one."""
    for text in (f"bytes={first}-{last}", f"bytes={first}-", f"bytes=-{last}"):
        try:
            found = fields.parse_range(text, length)
        except ValueError:
            continue
        if found is not None:
            assert 0 <= found[0] < found[1] <= length


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("bytes=0-3", (0, 4)),
        ("bytes=4-", (4, 10)),
        ("bytes=9-9", (9, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-99", (5, 10)),
        ("bytes= 1-2 ", (1, 3)),
        ("bytes=3-2", None),
        ("bytes=-", None),
        ("bytes=0-1,4-5", None),
        ("items=0-1", None),
        ("0-1", None),
        ("bytes=x-1", None),
    ],
)
def test_c44_ranges(text, span):
    """C44: one range counts, from the front or the back; what is none is ignored."""
    assert fields.parse_range(text, 10) == span


@pytest.mark.parametrize(("text", "length"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=-1", 0)])
def test_c44_ranges_that_no_byte_satisfies(text, length):
    """C44: a range outside is an error."""
    with pytest.raises(ValueError, match="outside"):
        fields.parse_range(text, length)


@given(st.integers(0, 4 * 10**9))
def test_t52_dates_are_imf_fixdates(timestamp):
    """T52: a date is read back to the second, says GMT, and has its fixed width."""
    text = fields.format_date(timestamp)

    assert parsedate_to_datetime(text) == datetime.fromtimestamp(timestamp, UTC)
    assert text.endswith(" GMT")
    assert len(text) == 29


@given(st.text(min_size=1, max_size=40))
def test_t33_c44_any_filename_survives_as_header_data(name):
    """T33, C44: a file name of any characters comes back whole, and no byte of it is control."""
    text = fields.format_disposition("attachment", name.encode("utf-8", "replace").decode())
    message = Message()
    message["Content-Disposition"] = text
    _, _, encoded = text.rpartition("filename*=")

    assert all(" " <= c <= "~" for c in text)
    assert message.get_params(header="Content-Disposition")[0][0] == "attachment"
    assert encoded.startswith("UTF-8''")


def test_c44_a_filename_is_given_twice():
    """C44: once in ASCII for old browsers, once whole (RFC 6266)."""
    assert fields.format_disposition("inline", 'na"ïf 100%.txt') == (
        "inline; filename=\"na__f 100_.txt\"; filename*=UTF-8''na%22%C3%AFf%20100%25.txt"
    )
    assert fields.format_disposition("inline", None) == "inline"
    assert fields.format_disposition("inline", "") == "inline"


@pytest.mark.parametrize(
    ("value", "bare"),
    [("A/B", "a/b"), ("a/b; charset=x", "a/b"), (" a/b ;x", "a/b"), ("", ""), (";", "")],
)
def test_c05_a_media_type_is_bare_and_lower_case(value, bare):
    """C05: parameters and the case of letters do not count."""
    assert fields.media_type(value) == bare


def test_c44_what_may_be_sent_as_a_media_type():
    """C44, T33: two tokens and a slash; nothing that could break a header."""
    assert fields.is_media_type("text/plain")
    for text in ("text", "text/", "/x", "a/b c", "a/b\r\nx: y", "a/b;c", "é/x", ""):
        assert not fields.is_media_type(text)


def test_what_can_be_a_value():
    """T33: tabs and whatever is printable in Latin-1; no control, nothing beyond."""
    assert fields.is_value("a\t \xff\x80~")
    for text in ("\n", "a\r", "\x00", "\x7f", "Ā", "🦊"):
        assert not fields.is_value(text)


def test_lists_are_split_and_lowered():
    """A list of tokens may have spaces, empty items and any case."""
    assert fields.parse_list(" A, b,,\tC ,") == ("a", "b", "c")
