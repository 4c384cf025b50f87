"""An upload's record as tusd writes it to ``<id>.info``, and what we add to it.

tusd's keys come first and mean what they mean to tusd. What tusd cannot keep (metadata and concat
exactly as sent, expiry, finish, pending bytes, fence) is under one key of ours, which tusd
ignores. A record without that key was written by tusd: it is ``foreign``.

Pure: it turns bytes into records and back. No files in here, no clock.

How a record tells where the data are: by ``Storage.Path``, read relative to the folder of
``Storage.InfoPath``, since that one's real place is known; so a directory may be moved. Without
``InfoPath`` an absolute path inside the directory is taken as it is, and any path that ends in
the id means ``<dir>/<id>``. A path that leads elsewhere makes the record broken for us.
"""

from __future__ import annotations

import base64
import binascii
import json
import os.path
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from math import isfinite
from operator import attrgetter
from typing import Any, NoReturn, TypeVar

from vectus.errors import RecordBroken
from vectus.protocol.upload import Role, Upload

T = TypeVar("T")
Fields = dict[str, Any]
"""Keyword arguments of an ``Upload``, each checked."""

OURS = "Vectus"
"""The key of ours in tusd's record."""

LARGEST = 2**63 - 1

_KEY = re.compile(r"[^\x00-\x20,\x7f]+")
_ROLES = {(False, False): Role.PLAIN, (True, False): Role.PARTIAL, (False, True): Role.FINAL}
_DEFAULTS = {field.name: field.default for field in fields(Upload)}


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as it was read. The upload's offset is what was recorded, if anything was."""

    upload: Upload
    path: str | None
    info_path: str | None


def encode(upload: Upload, data_path: str, info_path: str) -> bytes:
    """Word an upload as a record of ours."""
    storage = {"Type": "filestore", "Path": data_path, "InfoPath": info_path}
    return _WRITER.encode(words(upload, storage)).encode()


def words(upload: Upload, storage: Fields) -> Fields:
    """Return a record's words; ``storage`` says where the bytes are."""
    return {
        "ID": upload.id,
        "Size": upload.length or 0,
        "SizeIsDeferred": upload.length is None,
        "Offset": upload.offset,
        "MetaData": _decoded(upload.metadata),
        "IsPartial": upload.role is Role.PARTIAL,
        "IsFinal": upload.role is Role.FINAL,
        "PartialUploads": list(upload.parts) or None,
        "Storage": storage,
        OURS: _own(upload),
    }


def decode(id: str, raw: bytes) -> Kept:
    """Read a record.

    Raises:
        RecordBroken: it is not one, or not this upload's.
    """
    try:
        record = _object(_READER.decode(raw.decode("utf-8", "surrogatepass")))
        return _kept(id, record)
    except (ValueError, RecursionError) as error:
        raise RecordBroken(id, str(error)) from error


def read(id: str, record: Fields) -> Upload:
    """Read an upload out of a record's words.

    Raises:
        ValueError: they are none, or not this upload's.
    """
    if record.get("ID") != id:
        raise ValueError("it names another upload")
    own = record.get(OURS)
    common = _common(record)
    rest = _foreign(record, common) if own is None else _ours(_object(own))
    return Upload(id, **common, **rest)


def place(kept: Kept, directory: str) -> str:
    """Return where in ``directory`` the data of an upload are, by the rule above.

    Raises:
        RecordBroken: outside.
    """
    usual = os.path.join(directory, kept.upload.id)
    if kept.path is None or kept.path == usual:
        return usual
    inside = _inside(kept, kept.path, directory)
    if inside is None or inside.startswith((".", "/")) or inside.endswith(".info"):
        raise RecordBroken(kept.upload.id, "its data lie outside the store's directory")
    return os.path.join(directory, inside)


def measured(upload: Upload, size: int) -> Upload:
    """Give a record the offset that its data tell: their size, but for what does not count.

    Raises:
        RecordBroken: it is finished, and its data are not all there.
    """
    if upload.taken_by is not None:
        return upload
    if upload.foreign and size == upload.length:
        return replace(upload, offset=size, finished=True, announced=True)
    offset = _counting(upload, size)
    if upload.finished and offset != upload.length:
        raise RecordBroken(upload.id, "it is finished, but its data are not all there")
    return upload if offset == upload.offset else replace(upload, offset=offset)


def differs(stored: Upload, wanted: Upload) -> bool:
    """Whether a record has to be written: whether more changed than what the data tell.

    A new fence alone is none: where one is needed, the sink has left it before its first byte.
    """
    moved = _records_offset(wanted) and wanted.offset != stored.offset
    return moved or _beyond(wanted) != _beyond(stored)


def _counting(upload: Upload, size: int) -> int:
    if upload.role is Role.FINAL:
        return upload.offset if upload.offset <= size else 0
    bounds = (size, upload.pending, upload.length)
    return min(bound for bound in bounds if bound is not None)


def _records_offset(upload: Upload) -> bool:
    """Whether the offset is in the record because the size of the data does not tell it."""
    return upload.role is Role.FINAL or upload.taken_by is not None


def _own(upload: Upload) -> dict[str, object]:
    """Return what tusd's keys do not hold; whatever is as by default is left out."""
    names = _OWN if _records_offset(upload) else _OWN_BUT_OFFSET
    own = {name: value for name in names if (value := getattr(upload, name)) != _DEFAULTS[name]}
    if upload.pending is not None:
        own["pending"] = {"from": upload.pending}
    return own


def _kept(id: str, record: Fields) -> Kept:
    storage = _maybe(_object, record.get("Storage")) or {}
    if storage.get("Type", "filestore") != "filestore":
        raise ValueError("another kind of store wrote it")
    path, info_path = (_maybe(_text, storage.get(name)) for name in ("Path", "InfoPath"))
    return Kept(read(id, record), path or None, info_path or None)


def _common(record: dict[str, object]) -> Fields:
    role = _ROLES.get((_flag(record.get("IsPartial", False)), _flag(record.get("IsFinal", False))))
    if role is None:
        raise ValueError("it is both a partial and a final upload")
    size = _count(record.get("Size", 0))
    return {
        "role": role,
        "length": None if _flag(record.get("SizeIsDeferred", False)) else size,
        "parts": tuple(_text(part) for part in _maybe(_list, record.get("PartialUploads")) or ()),
    }


def _ours(own: dict[str, object]) -> Fields:
    return {name: _OWN[name](value) for name, value in own.items() if name in _OWN}


def _foreign(record: dict[str, object], common: Fields) -> Fields:
    return {
        "metadata": _worded(_maybe(_object, record.get("MetaData")) or {}),
        "concat": _concat(common["role"], common["parts"]),
        "foreign": True,
    }


def _concat(role: Role, parts: tuple[str, ...]) -> str | None:
    """Word what tusd does not keep; the client's URLs are unknown, so its ids must do."""
    if role is Role.FINAL:
        return "final;" + " ".join(parts)
    return "partial" if role is Role.PARTIAL else None


def _worded(metadata: dict[str, object]) -> str | None:
    """Word decoded metadata as a header value, the names in order."""
    pairs = (_pair(name, _text(value)) for name, value in sorted(metadata.items()))
    return ",".join(pair for pair in pairs if pair) or None


def _pair(name: str, value: str) -> str:
    key = name.encode("utf-8", "replace").decode("latin-1")
    if not _KEY.fullmatch(key):
        return ""
    return f"{key} {base64.b64encode(value.encode('utf-8', 'replace')).decode()}".rstrip()


def _decoded(metadata: str | None) -> dict[str, str]:
    """Decode a header value for tusd and for its hooks; the value as sent remains the truth."""
    pairs = (pair.strip(" ").partition(" ") for pair in (metadata or "").split(","))
    return {_plain(name): _value(value) for name, _, value in pairs if name}


def _plain(name: str) -> str:
    return name.encode("latin-1", "replace").decode("utf-8", "replace")


def _value(encoded: str) -> str:
    try:
        return base64.b64decode(encoded).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def _inside(kept: Kept, path: str, directory: str) -> str | None:
    if kept.info_path and os.path.isabs(path) == os.path.isabs(kept.info_path):
        return os.path.relpath(path, os.path.dirname(kept.info_path) or ".")
    if os.path.isabs(path) and not (rest := os.path.relpath(path, directory)).startswith(".."):
        return rest
    return kept.upload.id if os.path.basename(path) == kept.upload.id else None


# What may stand for a key; everything else makes the record broken.


def _maybe(read: Callable[[object], T], value: object) -> T | None:
    return None if value is None else read(value)


def _a(kind: type[T]) -> Callable[[object], T]:
    def read(value: object) -> T:
        if isinstance(value, kind):
            return value
        raise ValueError(f"a {type(value).__name__} stands where a {kind.__name__} must be")

    return read


_object: Callable[[object], dict[str, object]] = _a(dict)
_list: Callable[[object], list[object]] = _a(list)
_text = _a(str)
_flag = _a(bool)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise ValueError("something that must be a count of bytes is not")
    return value


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError("something that must be a time is not")
    return float(value)


def _pending(value: object) -> int:
    return _count(_object(value).get("from"))


def refuse_constant(name: str) -> NoReturn:
    """Refuse what some call a number."""
    raise ValueError(f"{name} is no number")


_READER = json.JSONDecoder(parse_constant=refuse_constant)
_WRITER = json.JSONEncoder(separators=(",", ":"))

_beyond = attrgetter(*(name for name in _DEFAULTS if name not in {"offset", "fence"}))
"""All of an upload but its offset and its fence."""


_OWN: dict[str, Callable[[object], object]] = {
    "metadata": _text,
    "concat": _text,
    "created": _time,
    "expires": _time,
    "finished": _flag,
    "announced": _flag,
    "joining": _flag,
    "failed": _text,
    "taken_by": _text,
    "pending": _pending,
    "fence": _count,
    "offset": _count,
    "key": _text,
}
"""Our key's keys, and how each is read."""

_OWN_BUT_OFFSET = tuple(name for name in _OWN if name != "offset")
