"""What the words on the command line mean, without any server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vectus.cli.connection import parse_header, parse_place
from vectus.cli.files import Item, find, trouble_of, type_of
from vectus.cli.parser import Parser
from vectus.cli.remembering import default_path
from vectus.cli.upload import PRESETS
from vectus.cli.wording import Veil, clean, size, span
from vectus.client import presets
from vectus.errors import ConfigurationError


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "image/jpeg"),
        ("a.tar.gz", "application/gzip"),
        ("a.tar.xz", "application/x-xz"),
        ("a.unheardof", None),
        ("none", None),
        ("data:text,x", None),
        ("http:x.png", "image/png"),
    ],
)
def test_types(name, kind) -> None:
    """A type is guessed by the name, which is never taken for a URL."""
    assert type_of(name) == kind


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {}, "/home/me/.local/state/vectus/uploads.json"),
        ("linux", {"XDG_STATE_HOME": "/state"}, "/state/vectus/uploads.json"),
        ("linux", {"XDG_STATE_HOME": "relative"}, "/home/me/.local/state/vectus/uploads.json"),
        ("linux", {"XDG_STATE_HOME": ""}, "/home/me/.local/state/vectus/uploads.json"),
        ("darwin", {}, "/home/me/Library/Application Support/vectus/uploads.json"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/vectus/uploads.json"),
        ("win32", {}, "/home/me/AppData/Local/vectus/uploads.json"),
    ],
)
def test_where_uploads_are_remembered(platform, environ, expected) -> None:
    """Each platform has its place for what a program remembers."""
    assert default_path(environ, platform, lambda: Path("/home/me")) == Path(expected)


def test_nobody_at_home() -> None:
    """Without a home directory there is no such place, and no error."""

    def nowhere() -> Path:
        raise RuntimeError("no home")

    assert default_path({}, "linux", nowhere) is None


def test_the_directory_that_is_named_begins_the_relative_path(tmp_path, monkeypatch) -> None:
    """Also where its name is not in what was written."""
    (tmp_path / "top" / "sub").mkdir(parents=True)
    (tmp_path / "top" / "sub" / "a").touch()
    monkeypatch.chdir(tmp_path / "top")
    for word in (".", "../top", "../top/", str(tmp_path / "top"), "sub/.."):
        (item,) = find([word], {}, recursive=True).items
        assert item.metadata["relativePath"] == "top/sub/a"


def test_metadata_of_the_user_win(tmp_path) -> None:
    """What is said is not guessed."""
    (tmp_path / "a.jpg").touch()
    (item,) = find([str(tmp_path / "a.jpg")], {"filetype": "x/y", "k": None}, recursive=False).items

    assert item.metadata == {"filename": "a.jpg", "filetype": "x/y", "k": None}


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="only POSIX has a root")
def test_what_may_not_be_read_is_told_before_anything_is_sent(tmp_path) -> None:
    """A file without permission is a sentence, unless root may read it all the same."""
    path = tmp_path / "a"
    path.touch()
    path.chmod(0)
    trouble = trouble_of(Item(str(path), path, size=0))

    assert os.geteuid() == 0 or "cannot be read: permission denied" in str(trouble)


def test_a_name_with_a_null(tmp_path) -> None:
    """What no file can be called is a sentence as well."""
    (item,) = find(["a\0b"], {}, recursive=False).items

    assert "cannot be read" in str(item.trouble)


def test_places() -> None:
    """A user and a password leave the URL, decoded; the rest stays as it was."""
    place = parse_place("https://a%40b:p%3Aw@h.example:8443/f%20s/?q=a@b#part")

    assert (place.url, place.user) == ("https://h.example:8443/f%20s/?q=a@b", ("a@b", "p:w"))
    assert parse_place("http://[::1]:80/x").url == "http://[::1]:80/x"
    assert parse_place("http://u@h/").user == ("u", "")


@pytest.mark.parametrize(
    "text", ["", "h", "/x", "http:/h", "http://h:x/", "http://h/a b", "http://h:0"]
)
def test_no_places(text) -> None:
    """What is no URL is refused."""
    with pytest.raises(ConfigurationError):
        parse_place(text)


def test_headers() -> None:
    """A name, a colon, a value without its margins."""
    assert parse_header("X-A:  b: c ") == ("X-A", "b: c")
    assert parse_header("X-A:") == ("X-A", "")


def test_the_veil() -> None:
    """Secrets, and the words in them, are taken out; what is in the URL is no secret."""
    veil = Veil(["Bearer abcdef", "abcd", "x", "http://host"], "http://host/files/")

    assert veil("Bearer abcdef, abcdef, abcd x http://host/") == "***, ***, *** x http://host/"


def test_words() -> None:
    """Names stay on their line, sizes and times are short."""
    assert clean("a\n\x1b[2J\udcff") == "a\\n\\x1b[2J\\udcff"
    assert [size(n) for n in (0, 999, 1000, 1536, 10**9)] == [
        *("0 B", "999 B", "1.0 KiB", "1.5 KiB", "953.7 MiB"),
    ]
    assert [span(n) for n in (0.4, 61, 3723, 10**6)] == ["0:00", "1:01", "1:02:03", "days"]


def test_presets_are_those_of_the_client() -> None:
    """The help knows them without loading the client."""
    assert set(PRESETS) == set(presets.PRESETS)


def test_scattered_words() -> None:
    """Words stand anywhere between the options, in their order."""
    parser = Parser(prog="p")
    parser.scattered = "words"
    parser.add_argument("words", nargs="+")
    parser.add_argument("--n")
    parser.set_defaults(parser=parser)

    for line in ("a b - d", "a --n 1 b - d", "--n 1 a b - d", "a b --n=1 -- - d"):
        assert parser.parse_args(line.split()).words == ["a", "b", "-", "d"]
    assert parser.parse_args(["a", "--n", "1", "--", "-x"]).words == ["a", "-x"]
