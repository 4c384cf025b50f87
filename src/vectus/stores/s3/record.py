"""The record of an upload in a bucket: the file store's words, and where the bytes are beside them.

Pure: it turns bytes into records and back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from vectus.errors import RecordBroken
from vectus.protocol.upload import Upload
from vectus.stores import record as common
from vectus.stores.s3.layout import State
from vectus.stores.s3.parts import LARGEST, MOST, Schedule

OURS = common.OURS
OUR_STATE = "s3"
"""The key, beneath ours, of where the bytes are."""

_READER = json.JSONDecoder(parse_constant=common.refuse_constant)
_WRITER = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as it was read: the upload as recorded, where its bytes are, and the entity tag by
    which the record can be told from later ones."""

    upload: Upload
    state: State
    tag: str = ""


def encode(upload: Upload, state: State, bucket: str, key: str) -> bytes:
    """Word an upload as a record."""
    record = common.words(
        upload,
        {
            "Type": "s3store",
            "Bucket": bucket,
            "Key": key,
            "MultipartUpload": state.multipart or "",
        },
    )
    record[OURS][OUR_STATE] = {
        "size": state.schedule.size,
        "step": state.schedule.step,
        "end": state.end,
        "tail": state.tail,
        "crc": state.crc,
        "tag": state.tag,
        "turn": state.turn,
        "seen": state.seen,
        "setbacks": state.setbacks,
        "parts": state.etags,
    }
    return _WRITER.encode(record).encode()


def metadata(upload: Upload) -> dict[str, str]:
    """Return what an upload's metadata say, decoded."""
    found: dict[str, str] = common.words(upload, {})["MetaData"]
    return found


def decode(id: str, raw: bytes, tag: str = "") -> Kept:
    """Read a record.

    Raises:
        RecordBroken: it is not one of ours, or not this upload's.
    """
    try:
        record = _READER.decode(raw.decode())
        storage, own = record.pop("Storage"), record[OURS].pop(OUR_STATE)
        if storage["Type"] != "s3store":
            raise ValueError("another kind of store wrote it")
        state = _state(storage["MultipartUpload"], own)
        return Kept(common.read(id, record), state, tag)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordBroken(id, f"{type(error).__name__}: {error}") from error


def _state(multipart: object, own: dict[str, Any]) -> State:
    counts = {name: _count(own[name]) for name in ("size", "step", "end", "tail", "crc")}
    if not 0 < counts["size"] <= LARGEST:
        raise ValueError("its parts have no size")
    etags = tuple(_text(etag) for etag in own["parts"])
    state = State(
        Schedule(counts["size"], counts["step"]),
        _text(multipart) or None,
        etags,
        counts["end"],
        counts["tail"],
        counts["crc"],
        _text(own["tag"]),
        _count(own["turn"]),
        _count(own["seen"]),
        _count(own.get("setbacks", 0)),
    )
    if len(etags) > MOST or not state.consistent:
        raise ValueError("its parts do not add up")
    return state


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("something that must be text is not")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("something that must be a count is not")
    return value
