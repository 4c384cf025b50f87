"""tus 1.0.0 as the server speaks it: its header fields and status codes live here alone.

``Tus1.decode`` reads a head, ``Tus1.encode`` words an outcome. Ids such as T19 and C05 are those
of ``docs/protocol.md``. No judgement is made here beyond a field's grammar.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar, assert_never

from vectus.protocol import cors, fields
from vectus.protocol.dialects import tus1_tables as tables
from vectus.protocol.exchange import (
    Append,
    Appended,
    Checksum,
    Create,
    Created,
    Discover,
    Discovered,
    Download,
    Downloaded,
    Inspect,
    Inspected,
    Intent,
    Outcome,
    Payload,
    Reason,
    Redirected,
    Refused,
    Terminate,
    Terminated,
    Unchanged,
    Vetoed,
)
from vectus.protocol.messages import Collection, Head, Headers, Reply, Resource
from vectus.protocol.policy import ALGORITHMS, Feature, Policy
from vectus.protocol.upload import ID, Role, Stage, Upload

VERSION = "1.0.0"
OCTETS = "application/offset+octet-stream"

T = TypeVar("T")
Pair = tuple[str, str]


def method_of(head: Head) -> str:
    """The method that counts: the override's, if there is one (T11, C04)."""
    override = head.headers.get("x-http-method-override")
    return override.strip().upper() if override is not None else head.method


# --- Requests -------------------------------------------------------------------------------------


def decode(head: Head, policy: Policy) -> Intent:
    """Turn a request's head into what it asks for.

    Raises:
        Refused: it is not tus 1.0.0, or a field is not as its grammar says.
    """
    method = method_of(head)
    if method == "OPTIONS":
        return Discover()
    _check_version(head, method)
    return _reader(head, method, policy)(head)


def _check_version(head: Head, method: str) -> None:
    """A missing version is tolerated where a plain HTTP client may ask (C01)."""
    version = _single(head, "tus-resumable")
    if version != VERSION and not (version is None and method in ("HEAD", "GET")):
        raise Refused(Reason.VERSION, f"This server speaks tus {VERSION}.")


def _reader(head: Head, method: str, policy: Policy) -> Callable[[Head], Intent]:
    if isinstance(head.target, Collection):
        readers: dict[str, Callable[[Head], Intent]] = {"POST": _create}
    elif isinstance(head.target, Resource):
        readers = {"HEAD": _inspect, "PATCH": _append, "DELETE": _terminate, "GET": _download}
    else:
        raise Refused(Reason.NOT_FOUND, "There is no such upload.")
    if method not in readers or method not in allowed(head, policy):
        raise Refused(Reason.METHOD, f"{method} cannot be used on this URL.")
    return readers[method]


def allowed(head: Head, policy: Policy) -> tuple[str, ...]:
    """The methods a URL can be asked with, as configured (C43)."""
    if isinstance(head.target, Collection):
        return ("POST", "OPTIONS")
    switchable = {"GET": Feature.DOWNLOAD, "DELETE": Feature.TERMINATION}
    methods = ("HEAD", "PATCH", "GET", "DELETE", "OPTIONS")
    return tuple(m for m in methods if m not in switchable or switchable[m] in policy.features)


def _inspect(head: Head) -> Intent:
    return Inspect(_id(head))


def _terminate(head: Head) -> Intent:
    return Terminate(_id(head))


def _download(head: Head) -> Intent:
    return Download(
        _id(head),
        ranges=head.headers.get("range"),
        if_range=head.headers.get("if-range"),
        if_none_match=head.headers.get("if-none-match"),
    )


def _append(head: Head) -> Intent:
    if not _carries_octets(head):
        raise Refused(Reason.MEDIA_TYPE, f"The body must be of type {OCTETS}.")
    offset = _field(head, "upload-offset", fields.parse_number)
    if offset is None:
        raise Refused(Reason.MALFORMED, "Upload-Offset is missing.")
    length = _field(head, "upload-length", fields.parse_number)
    return Append(_id(head), offset, length, _payload(head))


def _create(head: Head) -> Intent:
    concat = _single(head, "upload-concat")
    urls = _field(head, "upload-concat", fields.parse_concat)
    length = _length(head)
    metadata = _single(head, "upload-metadata")
    _field(head, "upload-metadata", fields.parse_metadata)
    carries = _carries_octets(head)
    if urls is not None:
        return _final(head, concat, urls, length, metadata)
    if length is None and "upload-defer-length" not in head.headers:
        raise Refused(Reason.MALFORMED, "Upload-Length or Upload-Defer-Length is missing.")
    return Create(
        role=Role.PARTIAL if concat else Role.PLAIN,
        length=length,
        metadata=metadata or None,
        concat=concat,
        payload=_payload(head) if carries else None,
    )


def _length(head: Head) -> int | None:
    """T34, T35, C42: a length, or word that it comes later; not both."""
    length = _field(head, "upload-length", fields.parse_number)
    _field(head, "upload-defer-length", fields.parse_defer_length)
    if length is not None and "upload-defer-length" in head.headers:
        raise Refused(Reason.MALFORMED, "Upload-Length and Upload-Defer-Length exclude each other.")
    return length


def _final(
    head: Head, concat: str | None, urls: tuple[str, ...], length: int | None, metadata: str | None
) -> Intent:
    if length is not None or "upload-defer-length" in head.headers:  # T71, C22
        raise Refused(Reason.MALFORMED, "A final upload has the length of its partials.")
    if _framing(head) != 0:  # C23
        raise Refused(Reason.FINAL, "A final upload takes no bytes of its own.")
    return Create(
        role=Role.FINAL,
        length=None,
        metadata=metadata or None,
        concat=concat,
        parts=tuple(_source(url, head.base) for url in urls),
    )


def _source(url: str, base: str) -> str:
    """C24: what names no upload of ours is answered like one that is not there."""
    try:
        id = fields.id_of(url, base)
    except ValueError:
        id = ""
    if not ID.fullmatch(id):
        raise Refused(Reason.SOURCES, "A final upload can be made of partial uploads only.")
    return id


def _carries_octets(head: Head) -> bool:
    """C05: the bare type counts, in any case of letters, parameters or not."""
    return fields.media_type(head.headers.get("content-type") or "") == OCTETS


def _payload(head: Head) -> Payload:
    expect = head.headers.get("expect")
    if expect is not None and expect.lower() != "100-continue":  # C33
        raise Refused(Reason.EXPECTATION, "The only expectation met here is 100-continue.")
    told = head.framed or "content-length" in head.headers
    size = _framing(head) if told else None
    trailer = _promises_checksum(head)
    claim = _field(head, "upload-checksum", fields.parse_checksum)
    if claim is not None and trailer:  # C18
        raise Refused(Reason.MALFORMED, "Upload-Checksum comes as a header and as a trailer.")
    if trailer and (not head.trailers or size is not None):  # D10
        raise Refused(Reason.NOT_OFFERED, "A checksum cannot come as a trailer of this request.")
    return Payload(size, Checksum(*claim) if claim else None, trailer)


def _promises_checksum(head: Head) -> bool:
    declared = head.headers.all("trailer")
    return any("upload-checksum" in fields.parse_list(value) for value in declared)


def _framing(head: Head) -> int | None:
    """How many bytes the body has, or None where only its end will tell (C29, C31, C32)."""
    chunked = "transfer-encoding" in head.headers
    size = _field(head, "content-length", fields.parse_number)
    if chunked and size is not None:
        raise Refused(Reason.FRAMING, "Content-Length and Transfer-Encoding exclude each other.")
    return None if chunked else size or 0


def claim_of(trailers: Headers) -> tuple[str, bytes] | None:
    """Read a checksum that came as a trailer (T60); None where it is missing or none."""
    value = trailers.get("upload-checksum")
    try:
        return None if value is None else fields.parse_checksum(value)
    except ValueError:
        return None


def _id(head: Head) -> str:
    assert isinstance(head.target, Resource)
    return head.target.id


def _single(head: Head, name: str) -> str | None:
    """A field that may come once (C41)."""
    values = head.headers.all(name)
    if len(values) > 1:
        _malformed(name, "must come once.")
    return values[0] if values else None


def _field(head: Head, name: str, parse: Callable[[str], T]) -> T | None:
    value = _single(head, name)
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:
        _malformed(name, str(error))


def _malformed(name: str, problem: str) -> NoReturn:
    raise Refused(Reason.MALFORMED, f"{name.title()} {problem}")


# --- Replies --------------------------------------------------------------------------------------


def encode(outcome: Outcome, head: Head, policy: Policy) -> Reply:
    """Word an outcome as the reply to a request."""
    status, pairs, body = _word(outcome, head, policy)
    if method_of(head) == "HEAD":
        body = b""
    if not (head.method == "HEAD" or status in (204, 304) or isinstance(outcome, Downloaded)):
        pairs = (*pairs, ("Content-Length", str(len(body))))  # C15: none on HEAD
    granted = cors.grant(
        policy.cors,
        head,
        methods=tables.METHODS,
        accepts=tables.ACCEPTS,
        exposes=tables.EXPOSES,
    )
    close = isinstance(outcome, Refused) and outcome.reason in tables.CLOSES
    return Reply(status, (("Tus-Resumable", VERSION), *pairs, *granted), body, close=close)


def _word(outcome: Outcome, head: Head, policy: Policy) -> tuple[int, tuple[Pair, ...], bytes]:
    match outcome:
        case Discovered():
            return 204, _discovered(outcome.policy, head), b""
        case Created(upload, received):
            offset = _offset(upload) if received else ()
            about = (*offset, *_most(upload, policy), *_expires(upload, policy))
            return 201, (_location(upload, head), *about), b""
        case Inspected(upload):
            return 200, _inspected(upload, policy), b""
        case Appended(upload):
            return 204, (*_offset(upload), *_expires(upload, policy)), b""
        case Terminated():
            return 204, (), b""
        case Downloaded():
            return 206 if outcome.ranged else 200, _downloaded(outcome), b""
        case Redirected():
            # Not 307: a POST that says it is a GET (T11) must become one.
            return 302, (("Location", outcome.url), ("Cache-Control", "no-store")), b""
        case Unchanged(upload):
            return 304, (("ETag", upload.tag),), b""
        case Refused():
            return _refused(outcome, head, policy)
    assert_never(outcome)


def _discovered(policy: Policy, head: Head) -> tuple[Pair, ...]:
    """T27 to T29: what is on offer; the checksum trailer where the front end has it (D10)."""
    names = [
        name
        for feature, name in tables.EXTENSIONS.items()
        if feature in policy.features and (head.trailers or feature is not Feature.CHECKSUM_TRAILER)
    ]
    pairs = [("Tus-Version", VERSION)]
    if names:
        pairs.append(("Tus-Extension", ",".join(names)))
    if policy.largest is not None:
        pairs.append(("Tus-Max-Size", str(policy.largest)))
    if Feature.CHECKSUM in policy.features:
        pairs.append(("Tus-Checksum-Algorithm", ",".join(ALGORITHMS)))
    return tuple(pairs)


def _inspected(upload: Upload, policy: Policy) -> tuple[Pair, ...]:
    joined = upload.role is not Role.FINAL or upload.stage is Stage.FINISHED
    pairs: list[Pair] = [*(_offset(upload) if joined else ())]  # T13, T76
    if upload.length is not None:
        pairs.append(("Upload-Length", str(upload.length)))
    elif upload.role is not Role.FINAL:
        pairs.append(("Upload-Defer-Length", "1"))
    pairs += _most(upload, policy)
    pairs += _verbatim("Upload-Metadata", upload.metadata)
    pairs += _verbatim("Upload-Concat", upload.concat)
    return (*pairs, *_expires(upload, policy), ("Cache-Control", "no-store"))


def _verbatim(name: str, value: str | None) -> tuple[Pair, ...]:
    """T39, T79: as the client sent it. That it was checked when it came is no promise that every
    store gives it back so."""
    return ((name, value),) if value is not None and fields.is_value(value) else ()


def _location(upload: Upload, head: Head) -> Pair:
    return ("Location", head.location(upload.id))


def _offset(upload: Upload) -> tuple[Pair, ...]:
    return (("Upload-Offset", str(upload.offset)),)


def _most(upload: Upload, policy: Policy) -> tuple[Pair, ...]:
    """What OPTIONS tells of all uploads, where less holds for one whose length came late."""
    deferred = upload.length is None and upload.role is not Role.FINAL
    if not deferred or policy.largest_deferred == policy.largest:
        return ()
    return (("Tus-Max-Size", str(policy.largest_deferred)),)


def _expires(upload: Upload, policy: Policy) -> tuple[Pair, ...]:
    """C17: while it is unfinished, and as long as uploads expire here."""
    unfinished = not upload.finished or upload.role is Role.PARTIAL
    if upload.expires is None or not unfinished or Feature.EXPIRATION not in policy.features:
        return ()
    return (("Upload-Expires", fields.format_date(upload.expires)),)


def _downloaded(outcome: Downloaded) -> tuple[Pair, ...]:
    upload, start, stop = outcome.upload, outcome.start, outcome.stop
    kind, disposition = described(upload)
    pairs = [
        ("Content-Length", str(stop - start)),
        ("Accept-Ranges", "bytes"),
        ("ETag", upload.tag),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Type", kind),
        ("Content-Disposition", disposition),
    ]
    if outcome.ranged:
        pairs.append(("Content-Range", f"bytes {start}-{stop - 1}/{upload.offset}"))
    return tuple(pairs)


def described(upload: Upload) -> tuple[str, str]:
    """The Content-Type and the Content-Disposition of a download, from the metadata; shown inline
    only where a browser runs nothing of it (C44), and never trusted as header data (T33)."""
    try:
        pairs = fields.parse_metadata(upload.metadata or "")
    except ValueError:
        pairs = {}
    texts = {key: value.decode("utf-8", "replace") for key, value in pairs.items()}
    given = (texts.get("filetype") or texts.get("type") or "").strip().lower()
    kind = given if fields.is_media_type(given) else "application/octet-stream"
    inline = kind in tables.INERT or kind.startswith(("audio/", "video/"))
    name = texts.get("filename") or texts.get("name")
    return kind, fields.format_disposition("inline" if inline else "attachment", name)


def _refused(refused: Refused, head: Head, policy: Policy) -> tuple[int, tuple[Pair, ...], bytes]:
    reason, upload, method = refused.reason, refused.upload, method_of(head)
    status, code = tables.STATUS[reason]
    status = tables.EXCEPTIONS.get((reason, method), status)
    pairs = list(_remedy(refused, head, policy))
    if isinstance(refused, Vetoed):
        status = refused.status
        pairs.extend(refused.headers)
    if refused.created is not None:
        pairs.append(("Location", head.location(refused.created)))
    if upload is not None and method in ("POST", "PATCH"):
        if reason in tables.OFFSET_SHOWN:
            pairs.extend(_offset(upload))
        pairs.extend(_expires(upload, policy))
    pairs += [("Cache-Control", "no-store"), ("Content-Type", "text/plain; charset=utf-8")]
    detail = " ".join(refused.detail.split())
    return status, tuple(pairs), f"{code}: {detail}\n".encode()


def _remedy(refused: Refused, head: Head, policy: Policy) -> tuple[Pair, ...]:
    """What helps the client to do better."""
    if refused.reason is Reason.VERSION:
        return (("Tus-Version", VERSION),)  # T07
    if refused.reason is Reason.METHOD:
        return (("Allow", ", ".join(allowed(head, policy))),)
    if refused.reason is Reason.RANGE and refused.upload is not None:
        return (("Content-Range", f"bytes */{refused.upload.offset}"),)
    if refused.reason in tables.RETRY_AFTER:
        return (("Retry-After", str(tables.RETRY_AFTER[refused.reason])),)
    return ()
