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


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as it was read: the upload as recorded, and where its bytes are."""

    upload: Upload
    state: State


def encode(upload: Upload, state: State, bucket: str, key: str) -> bytes:
    """Word an upload as a record."""
    record = words(upload)
    record["Storage"] = {
        "Type": "s3store",
        "Bucket": bucket,
        "Key": key,
        "MultipartUpload": state.multipart or "",
    }
    record[OURS][OUR_STATE] = {
        "size": state.schedule.size,
        "step": state.schedule.step,
        "end": state.end,
        "tail": state.tail,
        "crc": state.crc,
        "parts": state.etags,
    }
    return json.dumps(record, separators=(",", ":")).encode()


def words(upload: Upload) -> dict[str, Any]:
    """Return an upload's record in the file store's words, without where its bytes are."""
    record: dict[str, Any] = json.loads(common.encode(upload, "", ""))
    return record


def decode(id: str, raw: bytes) -> Kept:
    """Read a record.

    Raises:
        RecordBroken: it is not one of ours, or not this upload's.
    """
    try:
        record = json.loads(raw)
        storage, own = record.pop("Storage"), record[OURS].pop(OUR_STATE)
        if storage["Type"] != "s3store":
            raise ValueError("another kind of store wrote it")
        state = _state(storage["MultipartUpload"], own)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordBroken(id, f"{type(error).__name__}: {error}") from error
    return Kept(common.decode(id, json.dumps(record).encode()).upload, state)


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
