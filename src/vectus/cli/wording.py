"""Sizes, times and names as people read them; and what must not be read. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

SHORTEST_SECRET = 4
"""Characters. Shorter ones stand in too many words to be taken out of them."""

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(count: float) -> str:
    """Write a number of bytes: ``1.5 MiB``."""
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def span(seconds: float) -> str:
    """Write a time that is left: ``1:02:03``, or without the hours."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours > 99:
        return "days"
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def percent(count: int, length: int) -> int:
    """Write a part of a whole; 100 is all of it and never almost."""
    return 100 * count // length if length else 100


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Count things: ``1 file``, ``2 files``."""
    return f"{count} {noun}" if count == 1 else f"{count} {nouns or noun + 's'}"


def clean(text: str) -> str:
    """Write a name so that it can do nothing to a terminal, and stays on its line: what is not
    printable, or no Unicode, as escapes."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def unicode(text: str) -> str:
    """Write a name as Unicode, whatever the file system allowed: other bytes become U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def without_password(url: str) -> str:
    """Take out of a URL, or of what was meant as one, everything that may be a password."""
    return re.sub(r"(//|^).*@", r"\1", url, flags=re.DOTALL)


class Veil:
    """Takes secrets out of what others say: a server may repeat them in its refusal.

    Args:
        secrets: what must not be shown; each word of it counts by itself as well.
        known: what is no secret, whatever the others say: the URL that stands everywhere.
    """

    def __init__(self, secrets: Iterable[str], known: str = "") -> None:
        words = {word for secret in secrets for word in (secret, *secret.split())}
        self._secrets = sorted(
            (word for word in words if len(word) >= SHORTEST_SECRET and word not in known),
            key=len,
            reverse=True,
        )

    def __call__(self, text: str) -> str:
        """Return the text without them."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text
