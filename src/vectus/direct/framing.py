"""Where a request's body ends, judged from its head alone: RFC 9112, section 6, at its strictest.

Two parties that disagree about where a body ends can be made to smuggle requests past each other,
so whatever is not plain is refused before an application hears of it. Pure: no sockets in here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MARKS = frozenset((b"content-length", b"transfer-encoding", b"expect", b"trailer", b"upgrade"))
"""The fields, in lower case, that a head is judged by."""

Marks = Sequence[tuple[bytes, bytes]]

LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Framing:
    """Where a body ends.

    Args:
        length: its bytes, or None when it is chunked.
        expects: whether the client waits for ``100 Continue``.
        trailers: names of the trailer fields it declared.
    """

    length: int | None = 0
    expects: bool = False
    trailers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is answered without anybody hearing of it; the connection ends with it."""

    status: int
    text: str


BARE = Framing()


def judge(marks: Marks, version: str) -> Framing | Refusal:
    """Judge a head by its marks, named in lower case.

    Only ``100-continue`` is looked at among expectations; others are the application's to refuse.
    """
    if not marks:
        return BARE
    values: dict[bytes, list[bytes]] = {}
    for name, value in marks:
        values.setdefault(name, []).append(value.strip(b" \t"))
    lengths, codings = values.get(b"content-length", ()), values.get(b"transfer-encoding", ())
    if lengths and codings:
        return Refusal(400, "Content-Length and Transfer-Encoding exclude each other.")
    length = _coded(codings, version) if codings else _counted(lengths)
    if isinstance(length, Refusal):
        return length
    expectations = values.get(b"expect", ())
    return Framing(
        length,
        expects=version == "1.1" and any(e.lower() == b"100-continue" for e in expectations),
        trailers=_declared(values.get(b"trailer", ())) if length is None else frozenset(),
    )


def _counted(lengths: Sequence[bytes]) -> int | Refusal:
    """Section 6.3: a list of lengths, even of equal ones, is an error one may refuse."""
    if not lengths:
        return 0
    if len(lengths) > 1:
        return Refusal(400, "There is more than one Content-Length.")
    digits = lengths[0]
    if not digits.isdigit() or len(digits) > 19 or int(digits) > LARGEST:
        return Refusal(400, "Content-Length is not a number of bytes.")
    return int(digits)


def _coded(codings: Sequence[bytes], version: str) -> Refusal | None:
    """Section 6.1: only HTTP/1.1 has transfer codings, and ``chunked`` is the one we know."""
    if version != "1.1":
        return Refusal(400, "HTTP/1.0 has no transfer codings.")
    if [c.lower() for c in codings] != [b"chunked"]:
        return Refusal(501, "The only transfer coding known here is chunked.")
    return None


def _declared(fields: Sequence[bytes]) -> frozenset[str]:
    names = b",".join(fields).decode("latin-1").split(",")
    return frozenset(name.strip().lower() for name in names if name.strip())
