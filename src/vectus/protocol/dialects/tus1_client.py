"""tus 1.0.0 as the client speaks it: requests worded, answers read.

The counterpart of ``tus1.py``. Grammar only: what an answer means for the upload is judged by
``client/machine.py``. Ids such as T19 are those of ``docs/protocol.md``.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from vectus.protocol import fields
from vectus.protocol.dialects.tus1 import OCTETS, VERSION
from vectus.protocol.dialects.tus1_tables import EXTENSIONS
from vectus.protocol.exchange import Checksum
from vectus.protocol.messages import Headers
from vectus.protocol.policy import Feature

Pair = tuple[str, str]

_VERSIONED: tuple[Pair, ...] = (("Tus-Resumable", VERSION),)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request without its URL and its body."""

    method: str
    headers: tuple[Pair, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """What an endpoint says it can do.

    Args:
        speaks: whether it said that it speaks tus 1.0.0 at all; some hosts never do.
        features: what it announced of what vectus knows.
        algorithms: the checksum algorithms it verifies, in its order of preference.
        max_size: the most bytes an upload may have, or None where it does not say.
        versions: the versions of the protocol that it named.
        extensions: its extensions, as it named them.
    """

    speaks: bool = False
    features: frozenset[Feature] = frozenset()
    algorithms: tuple[str, ...] = ()
    max_size: int | None = None
    versions: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """Where an upload is, as its server says. ``offset`` is None while a join is not done,
    ``deferred`` says that the server waits to be told the length."""

    offset: int | None
    length: int | None
    metadata: str | None = None
    concat: str | None = None
    expires: str | None = None
    deferred: bool = False


def discover() -> Ask:
    """What can you do? This one request need not name a version (T05)."""
    return Ask("OPTIONS")


def create(
    length: int | None,
    *,
    metadata: str = "",
    concat: str | None = None,
    data: bool = False,
    checksum: Checksum | None = None,
) -> Ask:
    """Make an upload; ``length`` None defers it, ``data`` says that the body brings bytes."""
    pairs = [*_VERSIONED, *_length(length, concat)]
    if metadata:
        pairs.append(("Upload-Metadata", metadata))
    if concat is not None:
        pairs.append(("Upload-Concat", concat))
    if data:
        pairs.append(("Content-Type", OCTETS))
    return Ask("POST", (*pairs, *_checksum(checksum)))


def inspect() -> Ask:
    """How far is it?"""
    return Ask("HEAD", _VERSIONED)


def append(offset: int, *, length: int | None = None, checksum: Checksum | None = None) -> Ask:
    """Take the body's bytes at this offset; ``length`` declares what was deferred."""
    pairs = [*_VERSIONED, ("Upload-Offset", str(offset)), ("Content-Type", OCTETS)]
    if length is not None:
        pairs.append(("Upload-Length", str(length)))
    return Ask("PATCH", (*pairs, *_checksum(checksum)))


def terminate() -> Ask:
    """Forget it."""
    return Ask("DELETE", _VERSIONED)


def download() -> Ask:
    """Give me its bytes, as they are: no coding that a proxy might think of."""
    return Ask("GET", (*_VERSIONED, ("Accept-Encoding", "identity")))


def overridden(ask: Ask) -> Ask:
    """The same request for a network that lets only well-known methods pass (T11)."""
    if ask.method not in ("PATCH", "DELETE"):
        return ask
    return Ask("POST", (*ask.headers, ("X-HTTP-Method-Override", ask.method)))


def final_of(urls: tuple[str, ...]) -> str:
    """The ``Upload-Concat`` of an upload that is joined from others (T69)."""
    return f"final;{' '.join(urls)}"


def read_offer(headers: Headers) -> Offer:
    """What an answer to OPTIONS offers."""
    names = _list(headers, "tus-extension")
    versions = _list(headers, "tus-version")
    return Offer(
        speaks=VERSION in versions,
        features=frozenset(f for f, name in EXTENSIONS.items() if name in names),
        algorithms=_list(headers, "tus-checksum-algorithm"),
        max_size=read_number(headers, "tus-max-size"),
        versions=versions,
        extensions=names,
    )


def read_state(headers: Headers) -> State:
    """Where an upload is.

    Raises:
        ValueError: the answer makes no sense.
    """
    offset, length = _strict(headers, "upload-offset"), _strict(headers, "upload-length")
    if offset is not None and length is not None and offset > length:
        raise ValueError(f"Upload-Offset {offset} is beyond Upload-Length {length}.")
    return State(
        offset=offset,
        length=length,
        metadata=headers.get("upload-metadata"),
        concat=headers.get("upload-concat"),
        expires=headers.get("upload-expires"),
        deferred=length is None and "upload-defer-length" in headers,
    )


def read_number(headers: Headers, name: str) -> int | None:
    """A number, or None where there is none or it is not one."""
    try:
        return _strict(headers, name)
    except ValueError:
        return None


def _list(headers: Headers, name: str) -> tuple[str, ...]:
    """A list may come in several lines (RFC 9110, section 5.3)."""
    return fields.parse_list(",".join(headers.all(name)))


def _strict(headers: Headers, name: str) -> int | None:
    value = headers.get(name)
    if value is None:
        return None
    try:
        return fields.parse_number(value)
    except ValueError as error:
        raise ValueError(f"{name.title()} {error}") from None


def _length(length: int | None, concat: str | None) -> tuple[Pair, ...]:
    if concat is not None and concat.startswith("final"):
        return ()  # T71: a final upload's length follows from its parts
    return (("Upload-Defer-Length", "1"),) if length is None else (("Upload-Length", str(length)),)


def _checksum(checksum: Checksum | None) -> tuple[Pair, ...]:
    if checksum is None or checksum.digest is None:
        return ()
    digest = base64.b64encode(checksum.digest).decode()
    return (("Upload-Checksum", f"{checksum.algorithm} {digest}"),)
