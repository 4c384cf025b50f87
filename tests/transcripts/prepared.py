"""Puts into a store what a transcript says is there before, through the store's own contract."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import replace

from script import Given

from vectus.contracts import Joins, Lease, Store
from vectus.protocol.exchange import Payload, Plan
from vectus.protocol.upload import Role, Upload

Names = dict[str, str]
"""The ids of the uploads a transcript talks about."""


def fill(text: str, names: Names) -> str:
    """Put ids in the place of names."""
    return re.sub(r"\{(\w+)\}", lambda m: names.get(m[1], m[1]), text)


async def prepare(store: Store, lease: Lease, given: Given, names: Names) -> None:
    """Put an upload into a store, with its lock held: a server may be looking around in it."""
    upload = Upload(
        names[given.name],
        role=given.role,
        length=given.length,
        metadata=given.metadata,
        concat=None if given.concat is None else fill(given.concat, names),
        parts=tuple(names[part] for part in given.parts),
        created=time.time(),
        fence=lease.fence,
        expires=None if given.expires is None else time.time() + given.expires,
    )
    await store.create(upload)
    changed = replace(upload, offset=len(given.data), announced=given.finished)
    changed = replace(changed, finished=given.finished, joining=given.joining)
    if given.role is Role.FINAL:
        if given.data:
            await join(store, upload, given.data)
        await store.save(changed)
    else:
        await append(store, upload, changed, given.data)


async def append(store: Store, upload: Upload, changed: Upload, data: bytes) -> None:
    """Give an upload its bytes, and the record that it has then."""
    plan = Plan(0, None, upload.length, Payload(len(data)), revocable=False)
    async with store.append(upload, plan) as sink:
        if data and (unfinished := sink.write(memoryview(data))) is not None:
            await unfinished
        await sink.commit(changed)


async def join(store: Store, final: Upload, data: bytes) -> None:
    """Give a final upload its bytes, by way of a partial that is gone afterwards."""
    assert isinstance(store, Joins)
    id, size = secrets.token_hex(16), len(data)
    part = Upload(id, Role.PARTIAL, length=size, concat="partial", fence=final.fence)
    whole = replace(part, offset=size, finished=True, announced=True)
    await store.create(part)
    await append(store, part, whole, data)
    await store.join(final, [whole], take_over=False)
    await store.remove(id)
