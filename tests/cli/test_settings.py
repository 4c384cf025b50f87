"""What people write for sizes, times and places, and what it means."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from vectus.errors import ConfigurationError
from vectus.settings import (
    DURABILITIES,
    LARGEST,
    UNITS,
    Settings,
    parse_base_path,
    parse_duration,
    parse_public_url,
    parse_seconds,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("123", 123),
        (123, 123),
        ("64MiB", 64 << 20),
        ("64 mib", 64 << 20),
        ("1GB", 10**9),
        ("1.5KB", 1500),
        ("0", 0),
        ("7EiB", 7 << 60),
        (str(LARGEST), LARGEST),
    ],
)
def test_a_size_is_read_as_written(text, size) -> None:
    """KB is a thousand, KiB is 1024, and a bare number is bytes."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "64M", "MiB", "1,5GB", "-1", "+1", "1e3", "0.5B", "8EiB", "٣", "1 000", "1..5KB", True],
)
def test_what_is_no_size_is_refused(text) -> None:
    """Anything else is refused, a bare M (which could mean either) included."""
    with pytest.raises(ConfigurationError):
        parse_size(text)


@given(st.integers(0, LARGEST), st.sampled_from(sorted(UNITS)))
def test_whole_sizes_are_exact(number: int, unit: str) -> None:
    """No size goes through a float."""
    if number * UNITS[unit] <= LARGEST:
        assert parse_size(f"{number}{unit}") == number * UNITS[unit]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("7d", 604800),
        ("2W", 1209600),
        ("250ms", 0.25),
        ("1.5d", 129600),
        (20, 20),
        (0.5, 0.5),
        (timedelta(days=1), 86400),
        ("never", None),
        ("Never", None),
        (None, None),
    ],
)
def test_a_duration_is_read_as_written(text, seconds) -> None:
    """Units add up, a bare number is seconds, and never is None."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "10x",
        "1h1h",
        "5m10",
        "-1s",
        "1 0s",
        "d",
        "1e3",
        "inf",
        "nan",
        -1.0,
        float("inf"),
    ],
)
def test_what_is_no_duration_is_refused(text) -> None:
    """Anything else is refused, numbers without an end included."""
    with pytest.raises(ConfigurationError):
        parse_duration(text)


def test_a_time_out_ends() -> None:
    """Where waiting must end, never is refused."""
    with pytest.raises(ConfigurationError):
        parse_seconds("never")


@given(st.text(max_size=20))
def test_nothing_written_crashes_a_parser(text: str) -> None:
    """Whatever is written gives a value or a ConfigurationError."""
    for parse in (parse_size, parse_duration, parse_base_path, parse_public_url):
        with contextlib.suppress(ConfigurationError):
            parse(text)


@pytest.mark.parametrize(
    ("text", "path"), [("/", "/"), ("/files", "/files/"), ("/a/b-c/", "/a/b-c/")]
)
def test_a_base_path_has_slashes_at_both_ends(text, path) -> None:
    """The slash at the end may be left out."""
    assert parse_base_path(text) == path


@pytest.mark.parametrize(
    "text", ["", "files", "//", "/a//b", "/../x", "/a b", "/a?b", "/ä", "/a\n"]
)
def test_a_base_path_is_a_plain_path(text) -> None:
    """What would need quoting, or would be normalised by somebody, is refused."""
    with pytest.raises(ConfigurationError):
        parse_base_path(text)


def test_a_public_url_ends_in_a_slash() -> None:
    """The slash at the end may be left out."""
    assert parse_public_url("https://example.org/files") == "https://example.org/files/"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "example.org",
            "ftp://example.org/",
            "http://",
            "http://u@h/",
            "http://h/?q",
            "http://h/#",
        ),
        *("http://h:99999/", "http://h/ä", "http://h/\r\nX: y"),
    ],
)
def test_a_public_url_is_a_plain_absolute_one(text) -> None:
    """What could not stand before an id in a Location is refused."""
    with pytest.raises(ConfigurationError):
        parse_public_url(text)


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "often"},
        {"max_size": 0},
        {"expire_after": 0},
        {"expire_finished": "0s"},
        {"lock_timeout": "never"},
        {"join_timeout": -1},
    ],
)
def test_settings_that_make_no_sense_are_refused(options) -> None:
    """Values that would lock everybody out are refused with a hint."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.parse(**options)
    assert caught.value.hint


def test_settings_have_the_documented_defaults() -> None:
    """Unfinished uploads live seven days, finished ones for ever, and finishing is durable."""
    settings = Settings.parse()
    assert settings == Settings()
    assert (settings.expire_after, settings.expire_finished) == (604800, None)
    assert settings.durability == "finish"
    assert settings.durability in DURABILITIES
