"""The options of an ``Uploads`` application, checked: what they are, and how people write them.

Only values and their grammar. Nothing in here opens, reads or imports anything else of vectus.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args
from urllib.parse import urlsplit

from vectus.errors import ConfigurationError

LARGEST = 2**63 - 1
"""No size in the protocol is larger."""

Durability = Literal["none", "finish", "always"]
DURABILITIES: tuple[Durability, ...] = get_args(Durability)
"""When bytes must be on stable storage: never, before the last answer, before every answer."""

DOWNLOADS = ("stream", "redirect", "off")
"""How finished uploads can be read back: through here, from the store's own server, not at all."""

_DOWNLOADS: dict[str | bool, str] = {True: "stream", False: "off"} | {w: w for w in DOWNLOADS}

UNITS: dict[str, int] = {
    "": 1,
    "B": 1,
    **{unit + "B": int(1000**power) for power, unit in enumerate("KMGTPE", 1)},
    **{unit + "iB": int(1024**power) for power, unit in enumerate("KMGTPE", 1)},
}
"""What a size may be written in. A bare ``M`` is not there: it could mean either."""

SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
"""What a duration may be written in."""

LONGEST = 100 * 365 * 86400.0
"""Seconds. Longer times are past the years that dates and timers can hold."""

_FOLDED_UNITS = {name.lower(): factor for name, factor in UNITS.items()}
_SIZE = re.compile(r"(?P<number>[0-9]{1,19}(?:\.[0-9]{1,9})?)\s*(?P<unit>[a-z]*)", re.IGNORECASE)
_SPAN = re.compile(r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(?P<unit>[a-z]*)\s*", re.IGNORECASE)

SIZE_HINT = "Write it like 64MiB, 1.5GB or 1048576."
DURATION_HINT = "Write it like 7d, 12h, 90s or 1h30m, or never."


def parse_size(text: str | int) -> int:
    """Return a number of bytes from what a person wrote: ``64MiB``, ``1.5 GB``, ``123``.

    Raises:
        ConfigurationError: it is no size, or not a whole number of bytes, or too large.
    """
    match = _SIZE.fullmatch(str(text).strip())
    factor = _FOLDED_UNITS.get(match["unit"].lower()) if match else None
    if match is None or factor is None:
        raise ConfigurationError(f"{text!r} is not a size.", SIZE_HINT)
    whole, _, fraction = match["number"].partition(".")
    size, rest = divmod(int(whole + fraction) * factor, int(10 ** len(fraction)))
    if rest:
        raise ConfigurationError(f"{text!r} is not a whole number of bytes.", SIZE_HINT)
    if size > LARGEST:
        raise ConfigurationError(f"{text!r} is more than 2^63-1 bytes.", SIZE_HINT)
    return size


def parse_duration(text: str | float | timedelta | None) -> float | None:
    """Return seconds, or None for ever, from ``7d``, ``12h``, ``1h30m``, ``90s``, ``90`` or
    ``never``.

    Raises:
        ConfigurationError: it is no duration.
    """
    if text is None or (isinstance(text, str) and text.strip().lower() == "never"):
        return None
    if isinstance(text, timedelta):
        seconds = text.total_seconds()
    elif isinstance(text, str):
        seconds = _spell_out(text)
    else:
        seconds = float(text)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ConfigurationError(f"{text!r} is not a duration.", DURATION_HINT)
    if seconds > LONGEST:
        raise ConfigurationError(f"{text!r} is more than a hundred years.", "Write never.")
    return seconds


def parse_seconds(text: str | float | timedelta | None) -> float:
    """Return seconds from a duration that must come to an end.

    Raises:
        ConfigurationError: it is no duration, or never ends.
    """
    seconds = parse_duration(text)
    if seconds is None:
        raise ConfigurationError("This time must come to an end.", "Write it like 90s, 20 or 1h.")
    return seconds


def parse_download(how: str | bool) -> str:  # noqa: FBT001 - the first words for it were these two
    """Return one of ``DOWNLOADS`` from what an application wrote; True streams, False is off.

    Raises:
        ConfigurationError: it is none of them.
    """
    if (word := _DOWNLOADS.get(how)) is None:
        raise ConfigurationError(
            f"{how!r} is no way to download.", f"Use one of {', '.join(DOWNLOADS)}."
        )
    return word


def parse_base_path(text: str) -> str:
    """Return a mount path with a slash at both ends.

    Raises:
        ConfigurationError: it is not a plain absolute path.
    """
    if not re.fullmatch(r"/(?:[A-Za-z0-9._~-]+/)*(?:[A-Za-z0-9._~-]+)?", text):
        raise ConfigurationError(
            f"{text!r} is not a path to serve under.",
            "Begin it with a slash, and use letters, digits and ._~- as in /files/.",
        )
    if any(part in {".", ".."} for part in text.split("/")):
        raise ConfigurationError(f"{text!r} has a dot segment in it.", "Leave it out.")
    return text if text.endswith("/") else text + "/"


def parse_public_url(text: str | None) -> str | None:
    """Return the URL the outside sees the uploads under, with a slash at its end.

    Raises:
        ConfigurationError: it is not an absolute http or https URL without query or fragment.
    """
    if text is None:
        return None
    hint = "Write it like https://example.org/files/."
    try:
        url = urlsplit(text)
        bad = url.scheme not in {"http", "https"} or not url.hostname or url.port == 0
    except ValueError:
        bad = True
    if bad or not re.fullmatch(r"[!-~]+", text):
        raise ConfigurationError(f"{text!r} is not an absolute http or https URL.", hint)
    if url.query or url.fragment or url.username is not None or text[-1] in "?#":
        raise ConfigurationError(f"{text!r} has a user, query or fragment in it.", hint)
    return text if text.endswith("/") else text + "/"


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of an ``Uploads`` application, in their final types.

    Args:
        base_path: where it is mounted, with a slash at both ends.
        public_url: the URL its uploads have outside, ending in a slash; None makes ``Location``
            path-absolute.
        max_size: bytes that one upload may have, or None.
        expire_after: seconds an unfinished upload lives after its last byte, or None for ever.
        expire_finished: seconds a finished upload lives, or None for ever.
        durability: one of ``DURABILITIES``.
        drop_partials: whether partials are used up by the final upload that joins them.
        download: one of ``DOWNLOADS``.
        lock_timeout: seconds to wait for an upload's lock.
        join_timeout: seconds to wait for a join before answering without it.
    """

    base_path: str = "/"
    public_url: str | None = None
    max_size: int | None = None
    expire_after: float | None = 7 * 86400.0
    expire_finished: float | None = None
    durability: str = "finish"
    drop_partials: bool = False
    download: str = "stream"
    lock_timeout: float = 20.0
    join_timeout: float = 10.0

    def __post_init__(self) -> None:
        for complain in _COMPLAINTS:
            complain(self)

    @classmethod
    def parse(
        cls,
        *,
        base_path: str = "/",
        public_url: str | None = None,
        max_size: str | int | None = None,
        expire_after: str | float | timedelta | None = "7d",
        expire_finished: str | float | timedelta | None = None,
        durability: str = "finish",
        drop_partials: bool = False,
        download: str | bool = True,
        lock_timeout: str | float | timedelta = 20.0,
        join_timeout: str | float | timedelta = 10.0,
    ) -> Settings:
        """Return settings from what a person or an application wrote.

        Raises:
            ConfigurationError: one of the values makes no sense.
        """
        return cls(
            base_path=parse_base_path(base_path),
            public_url=parse_public_url(public_url),
            max_size=None if max_size is None else parse_size(max_size),
            expire_after=parse_duration(expire_after),
            expire_finished=parse_duration(expire_finished),
            durability=durability,
            drop_partials=drop_partials,
            download=parse_download(download),
            lock_timeout=parse_seconds(lock_timeout),
            join_timeout=parse_seconds(join_timeout),
        )


def _spell_out(text: str) -> float:
    spans = list(_SPAN.finditer(text.strip()))
    units = [span["unit"].lower() for span in spans]
    gaps = "".join(span.group() for span in spans) != text.strip()
    twice = len(set(units)) < len(units)
    bare = "" in units and len(units) > 1
    if not spans or gaps or twice or bare or not set(units) <= SECONDS.keys():
        raise ConfigurationError(f"{text!r} is not a duration.", DURATION_HINT)
    return sum(
        float(span["number"]) * SECONDS[unit] for span, unit in zip(spans, units, strict=True)
    )


def _check_durability(settings: Settings) -> None:
    if settings.durability not in DURABILITIES:
        raise ConfigurationError(
            f"{settings.durability!r} is not a durability.",
            f"Use one of {', '.join(DURABILITIES)}.",
        )


def _check_max_size(settings: Settings) -> None:
    if settings.max_size is not None and not 0 < settings.max_size <= LARGEST:
        raise ConfigurationError(
            f"A largest size of {settings.max_size} bytes lets nothing in.",
            "Leave it out for no limit.",
        )


def _check_lives(settings: Settings) -> None:
    if settings.expire_after == 0 or settings.expire_finished == 0:
        raise ConfigurationError(
            "An upload that expires after no time at all is never there.",
            "Write never to keep uploads for ever.",
        )


_COMPLAINTS = (_check_durability, _check_max_size, _check_lives)
