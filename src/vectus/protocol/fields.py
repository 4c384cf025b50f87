"""The grammar of header fields, as parse/format pairs with their clause beside them.

Every parser raises ``ValueError`` with a sentence for the client; none knows what a field is for.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote, urlsplit

LARGEST = 2**63 - 1
"""The largest number taken from a client: what a signed 64-bit file offset can hold."""

_DIGITS = re.compile(r"[0-9]{1,19}")
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE = re.compile(rf"{_WORD}/{_WORD}")
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def parse_number(value: str) -> int:
    """A non-negative integer: ASCII digits and nothing else (tus 1.0.0, Upload-Offset and
    Upload-Length; no sign, no white space, no underscore)."""
    if not _DIGITS.fullmatch(value) or (number := int(value)) > LARGEST:
        raise ValueError("must be a whole number from 0 to 2^63-1, in digits only.")
    return number


def parse_defer_length(value: str) -> None:
    """The deferral of a length is said by ``1`` alone (tus 1.0.0, Upload-Defer-Length)."""
    if value != "1":
        raise ValueError("must be 1 or absent.")


def parse_base64(value: str) -> bytes:
    """Standard Base64 with its padding (RFC 4648, section 4)."""
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("must be Base64 with padding.") from None


def parse_metadata(value: str) -> dict[str, bytes]:
    """Pairs split by commas, a pair being a key and, after one space, its Base64 value (tus 1.0.0,
    Upload-Metadata). An empty field means no metadata: tuspy sends it."""
    pairs: dict[str, bytes] = {}
    if not value.strip(" \t"):
        return pairs
    for pair in value.split(","):
        key, _, encoded = pair.strip(" \t").partition(" ")
        if not key or _CONTROL.search(key):
            raise ValueError("has a pair without a proper key.")
        if key in pairs:
            raise ValueError("has the same key twice.")
        try:
            pairs[key] = parse_base64(encoded)
        except ValueError:
            raise ValueError("has a value that is not Base64 after one space.") from None
    return pairs


def format_metadata(pairs: Iterable[tuple[str, bytes]]) -> str:
    """Write metadata the way ``parse_metadata`` reads it."""
    return ",".join(f"{k} {base64.b64encode(v).decode()}" if v else k for k, v in pairs)


def parse_checksum(value: str) -> tuple[str, bytes]:
    """An algorithm, one space, the digest in Base64 (tus 1.0.0, Upload-Checksum)."""
    algorithm, space, digest = value.partition(" ")
    if not space or not digest:
        raise ValueError("must be an algorithm, a space and a Base64 digest.")
    return algorithm, parse_base64(digest)


def parse_concat(value: str) -> tuple[str, ...] | None:
    """``partial`` gives None; ``final;`` and URLs split by single spaces give the URLs (tus 1.0.0,
    Upload-Concat)."""
    if value == "partial":
        return None
    kind, _, urls = value.partition(";")
    names = tuple(urls.split(" "))
    if kind != "final" or not all(names) or _CONTROL.search(value):
        raise ValueError("must be 'partial', or 'final;' and URLs split by single spaces.")
    return names


def parse_list(value: str) -> tuple[str, ...]:
    """A comma-separated list of tokens, in lower case (RFC 9110, section 5.6.1)."""
    return tuple(t for item in value.split(",") if (t := item.strip(" \t").lower()))


def media_type(value: str) -> str:
    """The bare type of a Content-Type field, in lower case (RFC 9110, section 8.3.1)."""
    return value.partition(";")[0].strip(" \t").lower()


def is_media_type(value: str) -> bool:
    """Whether a text is a bare media type, fit to be sent as one."""
    return bool(_MEDIA_TYPE.fullmatch(value))


def is_value(text: str) -> bool:
    """Whether a text can be sent as a field's value (RFC 9110, section 5.5)."""
    return bool(_VALUE.fullmatch(text))


def id_of(url: str, base: str) -> str:
    """Return what a URL, absolute or relative, names under ``base``.

    Only the path is compared: proxies rewrite hosts, and an id is unguessable anyway.
    """
    prefix = urlsplit(base).path
    path = urlsplit(url).path
    if "/" not in path:  # relative to the collection, such as "abc"
        return path
    if not path.startswith(prefix):
        raise ValueError("names a URL that is not one of this server's uploads.")
    return path[len(prefix) :]


@lru_cache(maxsize=256)
def format_date(timestamp: float) -> str:
    """Seconds since the epoch as an IMF-fixdate (RFC 9110, section 5.6.7)."""
    return formatdate(timestamp, usegmt=True)


def parse_range(value: str, length: int) -> tuple[int, int] | None:
    """One byte range against a length, as (start, stop), stop not included (RFC 9110, 14.1.2).

    Returns None where the field is to be ignored: another unit, several ranges, not its grammar.

    Raises:
        ValueError: it is a range, and none of it lies within the length.
    """
    match = _RANGE.fullmatch(value)
    if match is None or match.group(1, 2) == ("", ""):
        return None
    first, last = match.group(1, 2)
    if not first:
        start, stop = max(0, length - int(last)), length
    elif last and int(last) < int(first):
        return None
    else:
        start, stop = int(first), min(int(last) + 1, length) if last else length
    if start >= length or start >= stop:
        raise ValueError("lies outside the upload.")
    return start, stop


def format_disposition(kind: str, filename: str | None) -> str:
    """A Content-Disposition with the name twice: in ASCII, and whole as ``filename*`` (RFC 6266,
    section 4.3 and appendix D; RFC 8187)."""
    if not filename:
        return kind
    plain = re.sub(r'[^ -~]|["\\%]', "_", filename)
    whole = quote(filename, safe="!#$&+-.^_`|~")
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{whole}"
