"""What an ``s3://`` URL says: which bucket, where in it, at which server, and how objects are kept.

Nothing is opened in here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from vectus.errors import ConfigurationError
from vectus.stores.s3.parts import LARGEST, PREFERRED, SMALLEST

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}")
_SIZE = re.compile(r"(\d+)(|[KMGT]i?B)", re.IGNORECASE)
_ENDPOINT = re.compile(r"https?://[^\s?#@]+", re.IGNORECASE)
_SERVER = re.compile(r"https?://[^\s/?#@]+/?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


LONGEST_LIFE = 7 * 86400
"""For how many seconds a signature can be made to last."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where uploads are kept in S3, and how.

    Args:
        bucket: which one.
        prefix: what every key begins with, without the slash that follows it.
        endpoint: the server's URL, or None for AWS's.
        region: where the bucket is, or None for what AWS's usual chain says.
        storage_class: of finished uploads.
        sse: how objects are encrypted, such as ``aws:kms``.
        sse_key: the KMS key's id.
        acl: a canned ACL for finished uploads.
        tags: of finished uploads, as in a query: ``a=1&b=2``.
        part_size: how long parts are unless the length asks for more; None for what is usual.
        equal_parts: whether all parts of an upload but the last must have one size.
        conditional_put: whether records are put under a condition, which the server must honour.
        spool: how many bytes may wait on this machine's disk in all.
        spool_directory: where; the system's temporary directory by default.
        parts_in_flight: how many parts are sent at once.
        parts_per_upload: the same, of one upload; until a part is recorded it counts.
        smallest: the least the server takes for a part; only for servers that take less than S3.
        public_endpoint: the URL at which whoever downloads reaches the server, or None where it is
            the same.
        link_lifetime: for how many seconds a URL that is given out can be used.
        timeout: for how many seconds S3 may be silent before a call counts as failed.
        long_timeout: the same, for what may take S3 minutes: copying, and putting parts together.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    storage_class: str | None = None
    sse: str | None = None
    sse_key: str | None = None
    acl: str | None = None
    tags: str | None = None
    part_size: int | None = None
    equal_parts: bool = False
    conditional_put: bool = False
    spool: int = 2 << 30
    spool_directory: str | None = None
    parts_in_flight: int = 16
    parts_per_upload: int = 8
    smallest: int = SMALLEST
    public_endpoint: str | None = None
    link_lifetime: int = 300
    timeout: float = 15.0
    long_timeout: float = 300.0

    def __post_init__(self) -> None:
        if not 0 < self.link_lifetime <= LONGEST_LIFE:
            raise ConfigurationError(
                f"A URL cannot be of use for {self.link_lifetime} seconds.",
                f"Give link_lifetime a value from 1 to {LONGEST_LIFE}.",
            )
        if self.endpoint is not None and not _ENDPOINT.fullmatch(self.endpoint):
            raise ConfigurationError(
                f"{self.endpoint} is no URL of an S3 server.",
                "Write endpoint like https://s3.example.org.",
            )
        if self.public_endpoint is not None and not _SERVER.fullmatch(self.public_endpoint):
            raise ConfigurationError(
                f"{self.public_endpoint} is no URL of an S3 server.",
                "Write public_endpoint like https://s3.example.org, without a path.",
            )
        if not 0 < self.timeout <= self.long_timeout < math.inf:
            raise ConfigurationError(
                "Nothing can be waited for that long.",
                "Give timeout and long_timeout seconds above zero, the second not less.",
            )
        part = PREFERRED if self.part_size is None else self.part_size
        if not self.smallest <= part <= LARGEST:
            raise ConfigurationError(
                f"Parts of {part} bytes are not what S3 takes.",
                "Give part_size a value from 5MiB to 5GiB, or leave it out.",
            )
        if self.spool < part:
            raise ConfigurationError(
                "There is no room for a single part in the spool.",
                f"Give spool at least {part} bytes, better several times as many.",
            )
        if not 0 < self.parts_per_upload <= self.parts_in_flight:
            raise ConfigurationError(
                "No part could be sent, or fewer in all than of one upload.",
                "Give parts_in_flight and parts_per_upload at least 1, the first not less.",
            )

    @property
    def folder(self) -> str:
        """What every key begins with."""
        return f"{self.prefix}/" if self.prefix else ""

    @property
    def extras(self) -> dict[str, str]:
        """What S3 is told beside the bytes of a finished upload."""
        tagging = urlencode(self.tag_pairs, quote_via=quote)  # there are servers that keep a plus
        wanted = {"StorageClass": self.storage_class, "ACL": self.acl, "Tagging": tagging}
        return {name: value for name, value in wanted.items() if value} | self.encryption

    @property
    def tag_pairs(self) -> list[tuple[str, str]]:
        """The tags of finished uploads."""
        return parse_qsl(self.tags or "", keep_blank_values=True)

    @property
    def encryption(self) -> dict[str, str]:
        """What S3 is told beside the bytes of every object."""
        wanted = {"ServerSideEncryption": self.sse, "SSEKMSKeyId": self.sse_key}
        return {name: value for name, value in wanted.items() if value}


def parse(where: str) -> Place:
    """Read an ``s3://bucket/prefix?option=value`` URL.

    Raises:
        ConfigurationError: it is none, or an option makes no sense.
    """
    url = urlsplit(where)
    if not _BUCKET.fullmatch(url.netloc) or url.fragment:
        raise ConfigurationError(
            f"{where} names no bucket.", "Write it like s3://bucket/prefix?region=eu-central-1."
        )
    given = parse_qsl(url.query, keep_blank_values=True)
    return Place(url.netloc, unquote(url.path).strip("/"), **_options(dict(given)))


def _options(given: Mapping[str, str]) -> dict[str, Any]:
    if unknown := given.keys() - _READERS.keys():
        raise ConfigurationError(
            f"There is no option {min(unknown)!r} of S3 stores.",
            f"There are {', '.join(_READERS)}.",
        )
    return {name: _read(name, value) for name, value in given.items()}


def _read(name: str, value: str) -> object:
    try:
        return _READERS[name](value)
    except ValueError:
        raise ConfigurationError(
            f"{name}={value} is not understood.",
            "Write sizes like 16MiB, numbers in digits, and yes or no as true or false.",
        ) from None


def _size(value: str) -> int:
    match = _SIZE.fullmatch(value)
    if not match:
        raise ValueError(value)
    return int(match[1]) * _UNITS[match[2][:1].lower()]


def _flag(value: str) -> bool:
    if value.lower() not in {"true", "false"}:
        raise ValueError(value)
    return value.lower() == "true"


def _text(value: str) -> str:
    if not value:
        raise ValueError(value)
    return value


_KINDS: dict[str, Callable[[str], object]] = {"int": int, "float": float, "bool": _flag}
_SIZES = {"part_size", "spool"}
_READERS: dict[str, Callable[[str], object]] = {
    field.name: _size if field.name in _SIZES else _KINDS.get(str(field.type), _text)
    for field in fields(Place)
    if field.name not in {"bucket", "prefix", "smallest"}
}
"""Which options a URL may have, and how each is read."""
