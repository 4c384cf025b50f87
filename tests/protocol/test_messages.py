"""Heads and replies, and where a URL points."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from vectus.protocol.messages import Collection, Headers, Nowhere, Reply, Resource, locate
from vectus.protocol.upload import ID
from vectus.testing.fakes import head


@pytest.mark.parametrize("path", ["", "/"])
def test_c43_the_collection_with_and_without_slash(path):
    """C43: the creation URL is the same with its last slash and without."""
    assert locate(path) == Collection()


@given(st.text(max_size=140))
def test_only_ids_are_resources(path):
    """D13: what does not match the grammar of ids names nothing."""
    name = path.removeprefix("/")
    if ID.fullmatch(name):
        assert locate(path) == Resource(name)
    elif name:
        assert locate(path) == Nowhere()


@pytest.mark.parametrize(
    "path",
    ["/a/b", "/..", "/a.info", "/%2e", "/a b", "//a", "/" + "a" * 129, "/a\n", "/é", "/a\x00"],
)
def test_hostile_paths_name_nothing(path):
    """D13: no dot, no slash, no control, nothing overlong ever becomes an id."""
    assert locate(path) == Nowhere()


def test_headers_keep_every_line():
    """Every line of a field is kept, in order; names count in lower case, edges are trimmed."""
    headers = Headers.parse([(b"X-A", b" 1\t"), (b"x-a", b"2"), (b"B", b"\xff")])

    assert headers.get("x-a") == "1"
    assert headers.all("x-a") == ["1", "2"]
    assert headers.get("b") == "\xff"
    assert headers.get("c") is None
    assert headers.all("c") == []
    assert "b" in headers
    assert list(headers) == [("x-a", "1"), ("x-a", "2"), ("b", "\xff")]
    assert repr(headers) == "Headers([('x-a', '1'), ('x-a', '2'), ('b', 'ÿ')])"


def test_a_reply_finds_its_fields():
    """A reply's field is found by its name in any case."""
    reply = Reply(200, (("ETag", "x"), ("etag", "y")))

    assert reply.header("etag") == "x"
    assert reply.header("Location") is None


def test_a_location_is_under_the_mount():
    """D13: an upload's URL is the mount's base and its id."""
    assert head("POST").location("abc") == "/files/abc"
