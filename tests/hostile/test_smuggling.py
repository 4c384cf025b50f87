"""Requests whose framing can be read in two ways, and heads that nobody should send.

Each is refused, and the connection closed, so that what follows it is never taken for a request.
"""

from __future__ import annotations

import pytest

from server import OCTETS, Server, chunk

FRAMINGS = {
    "length and chunked": "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "chunked and length": "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "two lengths": "Content-Length: 5\r\nContent-Length: 6\r\n",
    "the same length twice": "Content-Length: 5\r\nContent-Length: 5\r\n",
    "a list of lengths": "Content-Length: 5, 5\r\n",
    "a signed length": "Content-Length: +5\r\n",
    "a negative length": "Content-Length: -5\r\n",
    "a hexadecimal length": "Content-Length: 0x5\r\n",
    "a broken length": "Content-Length: 5 5\r\n",
    "an enormous length": "Content-Length: 18446744073709551621\r\n",
    "chunked not last": "Transfer-Encoding: chunked, identity\r\n",
    "chunked twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "an unknown coding": "Transfer-Encoding: xchunked\r\n",
    "a hidden coding": "Transfer-Encoding: \x0bchunked\r\n",
    "a folded coding": "Transfer-Encoding:\r\n chunked\r\n",
    "a space before the colon": "Content-Length : 5\r\n",
    "a folded line": "X-Any: a\r\n b\r\nContent-Length: 5\r\n",
    "a NUL in a value": "X-Any: a\x00b\r\nContent-Length: 5\r\n",
    "a NUL in a name": "X-A\x00ny: ab\r\nContent-Length: 5\r\n",
    "a bare return": "X-Any: a\rb\r\nContent-Length: 5\r\n",
    "a nameless field": ": a\r\nContent-Length: 5\r\n",
    "no colon": "Any\r\nContent-Length: 5\r\n",
}

CHUNKS = {
    "no number": b"xyz\r\nhello\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a prefixed size": b"0x5\r\nhello\r\n0\r\n\r\n",
    "an enormous size": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "too short a chunk": b"9\r\nhello\r\n0\r\n\r\n",
    "too long a chunk": b"3\r\nhello\r\n0\r\n\r\n",
    "no end of line": b"5\r\nhello0\r\n\r\n",
    "a space in the size": b"5 5\r\nhello\r\n0\r\n\r\n",
    "an empty size": b"\r\nhello\r\n0\r\n\r\n",
}


def smuggled(victim: str) -> bytes:
    """A request that must never be read as one."""
    return f"DELETE {victim} HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\n\r\n".encode()


def patch(path: str, framing: str) -> bytes:
    """The head of a PATCH that is framed somehow."""
    head = f"PATCH {path} HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
    return f"{head}Content-Type: {OCTETS}\r\n{framing}\r\n".encode("latin-1")


def refused(answers: bytes) -> bool:
    """Whether there is one answer, and that is a refusal."""
    statuses = (b"HTTP/1.1 400 ", b"HTTP/1.1 413 ", b"HTTP/1.1 501 ")
    return answers.startswith(statuses) and answers.count(b"HTTP/1.") == 1


def heard(server: Server, request: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes, and return all that comes back until the server closes the connection."""
    with server.connect() as wire:
        wire.send(request)
        if half_close:
            wire.half_close()
        return wire.everything()


def test_ambiguous_framing(server: Server) -> None:
    """A head with an ambiguous or broken framing is refused, nothing of it is stored, and what
    follows it on the connection is not a request (C32, C41)."""
    wrong = {}
    for name, framing in FRAMINGS.items():
        path, victim = server.create(5), server.create(5)
        answers = heard(server, patch(path, framing) + b"0\r\n\r\n" + smuggled(victim))
        if not refused(answers) or (server.offset(path), server.offset(victim)) != (0, 0):
            wrong[name] = answers
    assert not wrong


def test_broken_chunks(server: Server) -> None:
    """Broken chunks end the body early: 400, the connection closes, what came before them is kept,
    and what follows is not a request (D10)."""
    wrong = {}
    for name, body in CHUNKS.items():
        path, victim = server.create(50), server.create(5)
        request = patch(path, "Transfer-Encoding: chunked\r\n") + b"4\r\ngood\r\n" + body
        answers = heard(server, request + smuggled(victim), half_close=True)
        kept = server.offset(path) >= 4 and server.stored(path)[:4] == b"good"
        if not refused(answers) or not kept or server.offset(victim) != 0:
            wrong[name] = answers
    assert not wrong


def test_the_next_request_is_read(server: Server) -> None:
    """A request that follows a well-framed body in the same packet is one."""
    path, second = server.create(5), server.create(5)
    with server.connect() as wire:
        wire.send(patch(path, "Content-Length: 5\r\n") + b"hello" + smuggled(second))
        assert wire.answer().status == 204
    assert server.get(path) == b"hello"


def test_bodies_of_other_methods(server: Server) -> None:
    """A body that its method has no use for is no request either, and does not harm the next one
    on the connection, if it still is open."""
    victim = server.create(5)
    hidden = smuggled(victim)
    for method in ("HEAD", "GET", "OPTIONS", "DELETE", "POST", "PUT", "PATCH"):
        path = server.create(5)
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\n"
        sized = f"{head}Content-Length: {len(hidden)}\r\n\r\n".encode() + hidden
        chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk(hidden) + chunk(b"")
        last = b"HEAD /files/last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        for request in (sized, chunked):
            answers = heard(server, request + last)
            assert answers.count(b"HTTP/1.1 ") <= 2, (method, answers)
            assert b"HTTP/1.1 204 No Content" not in answers.partition(b"\r\n\r\n")[2], answers
        assert server.offset(victim) == 0, method


def test_pipelined_and_cut(server: Server) -> None:
    """Of several PATCHes in one packet, of which the last is cut, each gets its own bytes."""
    paths = [server.create(6) for _ in range(4)]
    requests = [
        patch(path, "Content-Length: 6\r\n") + b"%dabcde" % n for n, path in enumerate(paths)
    ]
    with server.connect() as wire:
        wire.send(b"".join(requests)[:-3])
        wire.half_close()
        answers = wire.everything()
    assert answers.count(b"HTTP/1.1 204 ") == 3, answers
    assert answers.count(b"HTTP/1.1 400 ") == 1, answers
    assert [server.stored(path) for path in paths] == [b"0abcde", b"1abcde", b"2abcde", b"3ab"]
    assert server.offset(paths[3]) == 3


@pytest.mark.parametrize("size", [70_000, 20_000_000])
def test_huge_head(size: int, server: Server) -> None:
    """A head of more than 64 KiB is refused with 431 and the connection closed, without its being
    taken into memory (D11)."""
    path = server.create(5)
    with server.connect() as wire:
        wire.send(b"HEAD " + path.encode() + b" HTTP/1.1\r\nHost: a\r\nX-Any: ")
        sent = 0
        while sent < size:
            block = wire.send_some(b"a" * 60_000)
            if not block:
                break
            sent += block
        assert wire.everything().startswith(b"HTTP/1.1 431 ")
    assert server.offset(path) == 0


def test_huge_head_of_many_lines(server: Server) -> None:
    """The same of a head of very many small fields."""
    with server.connect() as wire:
        wire.send(b"OPTIONS /files/ HTTP/1.1\r\nHost: a\r\n")
        for _ in range(20):
            wire.send_some(b"X-Any: 0123456789\r\n" * 1000)
        assert wire.everything().startswith(b"HTTP/1.1 431 ")


def test_huge_trailers(server: Server) -> None:
    """The same of a trailer section: it is no way around the limit."""
    path = server.create(5)
    with server.connect() as wire:
        wire.send(patch(path, "Transfer-Encoding: chunked\r\nTrailer: X-Any\r\n"))
        wire.send(b"5\r\nhello\r\n0\r\nX-Any: ")
        for _ in range(200):
            if not wire.send_some(b"a" * 60_000):
                break
        answers = wire.everything()
    assert answers.startswith(b"HTTP/1.1 4"), answers
    assert server.offset(path) in {0, 5}


def test_large_but_lawful_head(server: Server) -> None:
    """Metadata of some tens of kilobytes is no attack."""
    metadata = "name " + "QUFB" * 10_000
    path = server.create(5, upload_metadata=metadata)
    assert server.ask("HEAD", path).headers["upload-metadata"] == metadata
