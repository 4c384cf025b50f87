"""GET: whole, in ranges, on conditions, and never as anything that could run."""

from __future__ import annotations

import base64

import pytest
from script import Transcript, done, get, head, joined, partial, transcript, upload

TAG = '"{A}-5"'


def metadata(**pairs: str) -> str:
    """Word metadata."""
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in pairs.items())


@transcript
def test_c44_the_whole():
    """C44: with length, tag, ranges on offer, and nothing for a browser to guess."""
    return Transcript(
        [done("A")],
        [
            get("A").gets(
                *(200, b"hello"),
                content_length=5,
                accept_ranges="bytes",
                etag=TAG,
                content_type="application/octet-stream",
                content_disposition="attachment",
                x_content_type_options="nosniff",
                content_range=None,
            )
        ],
    )


@pytest.mark.parametrize(
    ("ranges", "body", "told"),
    [
        ("bytes=0-0", b"h", "bytes 0-0/5"),
        ("bytes=1-3", b"ell", "bytes 1-3/5"),
        ("bytes=3-", b"lo", "bytes 3-4/5"),
        ("bytes=3-99", b"lo", "bytes 3-4/5"),
        ("bytes=-2", b"lo", "bytes 3-4/5"),
        ("bytes=-99", b"hello", "bytes 0-4/5"),
    ],
)
@transcript
def test_c44_a_range(ranges, body, told):
    """C44: 206 with these bytes and where they are."""
    asked = get("A", range=ranges)
    return Transcript(
        [done("A")],
        [asked.gets(206, body, content_range=told, content_length=len(body), etag=TAG)],
    )


@pytest.mark.parametrize("ranges", ["bytes=5-", "bytes=9-99", "bytes=-0"])
@transcript
def test_c44_a_range_outside(ranges):
    """C44: 416, with the length."""
    asked = get("A", range=ranges).gets(
        416, code="range-not-satisfiable", content_range="bytes */5"
    )
    return Transcript([done("A")], [asked])


@pytest.mark.parametrize("ranges", ["bytes=3-1", "bytes=0-1,3-4", "items=0-1", "bytes", "x"])
@transcript
def test_c44_a_range_that_is_none(ranges):
    """C44: ignored: the whole, with 200."""
    asked = get("A", range=ranges).gets(200, b"hello", content_range=None)
    return Transcript([done("A")], [asked])


@transcript
def test_c44_a_range_of_nothing():
    """C44: no range is satisfiable in an upload without bytes."""
    return Transcript(
        [done("A", b"")],
        [get("A", range="bytes=0-").gets(416), get("A").gets(200, b"", content_length=0)],
    )


@transcript
def test_c44_conditions():
    """C44: If-Range and If-None-Match compare with the tag."""
    return Transcript(
        [done("A")],
        [
            get("A", range="bytes=1-2", if_range=TAG).gets(206, b"el"),
            get("A", range="bytes=1-2", if_range='"old"').gets(200, b"hello"),
            get("A", range="bytes=1-2", if_range="Sun, 06 Nov 1994 08:49:37 GMT").gets(200),
            get("A", if_none_match=TAG).gets(304, etag=TAG, content_length=None),
            get("A", if_none_match=f'"x", W/{TAG}').gets(304),
            get("A", if_none_match="*").gets(304),
            get("A", if_none_match='"x"').gets(200, b"hello"),
        ],
    )


@pytest.mark.parametrize(
    ("pairs", "kind", "disposition"),
    [
        (
            {"filename": "a.png", "filetype": "image/png"},
            "image/png",
            "inline; filename=\"a.png\"; filename*=UTF-8''a.png",
        ),
        (
            {"name": "résumé.html", "type": "text/html"},
            "text/html",
            "attachment; filename=\"r_sum_.html\"; filename*=UTF-8''r%C3%A9sum%C3%A9.html",
        ),
        (
            {"filename": 'a"\r\nX-Evil: 1', "filetype": "image/png\r\nX-Evil: 1"},
            "application/octet-stream",
            "attachment; filename=\"a___X-Evil: 1\"; filename*=UTF-8''a%22%0D%0AX-Evil%3A%201",
        ),
        ({"filetype": "image/svg+xml"}, "image/svg+xml", "attachment"),
        ({"filetype": "audio/ogg"}, "audio/ogg", "inline"),
    ],
)
@transcript
def test_c44_what_a_browser_may_do(pairs, kind, disposition):
    """C44, T33: names in both forms, inline only what is inert, and no header out of metadata."""
    asked = get("A").gets(
        200,
        content_type=kind,
        content_disposition=disposition,
        x_content_type_options="nosniff",
        x_evil=None,
    )
    return Transcript([done("A", metadata=metadata(**pairs))], [asked])


@transcript
def test_c44_what_is_not_finished():
    """C44, D8: 409 for what is under way, 404 for what is not there."""
    return Transcript(
        [upload("A", b"he", 5), upload("B", b"hello")],
        [
            get("A").gets(409, code="unfinished"),
            get("B").gets(409),
            get("missing").gets(404),
            head("A").gets(200),
        ],
    )


@transcript
def test_c44_partials_and_finals():
    """C44: both can be read once they are finished."""
    return Transcript(
        [partial("P", b"abc", 3), joined("F", b"abcdef")],
        [get("P").gets(200, b"abc"), get("F", range="bytes=-3").gets(206, b"def")],
    )
