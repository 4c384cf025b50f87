"""What our protocol class makes of heads and framing, judged before an application hears of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from wires import LIMIT, Recorder, Running, patiently

from vectus.asgi import FrontEnd
from vectus.direct.framing import BARE, Framing, Refusal, judge
from vectus.protocol.exchange import Ending

Serve = Callable[..., Running]

HEAD = b"PATCH /a HTTP/1.1\r\nHost: h\r\n"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        (b"Content-Length: 5, 5\r\n", 400),
        (b"Content-Length: +5\r\n", 400),
        (b"Content-Length: -5\r\n", 400),
        (b"Content-Length: 0x5\r\n", 400),
        (b"Content-Length: \r\n", 400),
        (b"Content-Length: 9223372036854775808\r\n", 400),
        (b"Content-Length: 99999999999999999999999\r\n", 400),
        (b"Transfer-Encoding: gzip, chunked\r\n", 501),
        (b"Transfer-Encoding: gzip\r\n", 501),
        (b"Transfer-Encoding: chunked, chunked\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding : chunked\r\n", 400),
        (b"Content-Length: 5\r\n X: folded\r\n", 400),
        (b"X: a\x00b\r\n", 400),
        (b"No colon\r\n", 400),
    ],
)
def test_ambiguous_framing_is_refused(
    plain: Running, recorder: Recorder, fields: bytes, status: int
) -> None:
    """C32: what two parties could understand differently is refused unheard, and the connection
    ends; a request smuggled behind it is never answered."""
    with plain.connect() as client:
        client.send(HEAD + fields + b"\r\nhelloGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
        answered, headers, _ = client.answer()
        assert answered == status
        assert headers["connection"] == "close"
        assert client.ended() == b""
    assert recorder.heads == []


@pytest.mark.parametrize(
    ("marks", "version", "framing"),
    [
        ([], "1.1", BARE),
        ([(b"content-length", b"0")], "1.1", Framing(0)),
        ([(b"content-length", b" 17 ")], "1.0", Framing(17)),
        ([(b"content-length", b"9223372036854775807")], "1.1", Framing(2**63 - 1)),
        ([(b"transfer-encoding", b"Chunked")], "1.1", Framing(None)),
        (
            [(b"content-length", b"1"), (b"expect", b"100-Continue")],
            "1.1",
            Framing(1, expects=True),
        ),
        ([(b"content-length", b"1"), (b"expect", b"100-continue")], "1.0", Framing(1)),
        ([(b"content-length", b"1"), (b"expect", b"else")], "1.1", Framing(1)),
        ([(b"content-length", b"1"), (b"trailer", b"x")], "1.1", Framing(1)),
        (
            [(b"transfer-encoding", b"chunked"), (b"trailer", b"X-A, x-b"), (b"trailer", b",c")],
            "1.1",
            Framing(None, trailers=frozenset(("x-a", "x-b", "c"))),
        ),
    ],
)
def test_plain_framing_is_understood(
    marks: list[tuple[bytes, bytes]], version: str, framing: Framing
) -> None:
    """RFC 9112, section 6: what a head says of its body."""
    assert judge(marks, version) == framing


@pytest.mark.parametrize(
    ("marks", "version"),
    [
        ([(b"content-length", b"\xb2")], "1.1"),
        ([(b"content-length", b"1_0")], "1.1"),
        ([(b"transfer-encoding", b"chunked")], "1.0"),
        ([(b"transfer-encoding", b"identity")], "1.1"),
        ([(b"transfer-encoding", b"")], "1.1"),
        ([(b"content-length", b"1"), (b"transfer-encoding", b"chunked")], "1.1"),
    ],
)
def test_unclear_framing_is_not(marks: list[tuple[bytes, bytes]], version: str) -> None:
    """RFC 9112, section 6: what is refused here whatever the parser in front of it let through."""
    assert isinstance(judge(marks, version), Refusal)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 15_000,
        b"GET /" + b"x" * 70_000,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 66_000 + b"\r\n\r\n",
    ],
    ids=["value", "fields", "target", "complete"],
)
def test_a_large_head_is_refused(running: Running, recorder: Recorder, head: bytes) -> None:
    """D11: more than 64 KiB of head is 431, whether it ever ends or not."""
    with running.connect() as client:
        client.send(head)
        assert client.answer()[0] == 431
        assert client.ended() == b""
    assert recorder.heads == []


def test_a_head_of_almost_64_kib_is_fine(running: Running, recorder: Recorder) -> None:
    """D11: also when it comes in pieces, on a connection that had another before."""
    with running.connect() as client:
        for _ in range(2):
            client.send(HEAD + b"X: " + b"x" * 30_000)
            client.send(b"x" * 35_000 + b"\r\n\r\n")
            assert client.answer()[0] == 200


def test_pipelined_heads_do_not_add_up(running: Running) -> None:
    """The limit is one head's: requests that come together are counted apart."""
    one = HEAD + b"X: " + b"x" * 40_000 + b"\r\n\r\n"
    with running.connect() as client:
        client.send(one * 4)
        for _ in range(4):
            assert client.answer()[0] == 200


@pytest.mark.parametrize(
    ("sent", "statuses"), [(b"", []), (b"GET / HTT", [408]), (HEAD, [408])], ids=str
)
def test_a_slow_head_is_not_waited_for(
    serve: Serve, loop_name: str, recorder: Recorder, sent: bytes, statuses: list[int]
) -> None:
    """D11: a connection whose head does not come is ended, with 408 if it had begun."""

    def trial(limit: float) -> None:
        running = serve(FrontEnd(recorder), loop=loop_name, limits={"head_timeout": limit})
        with running.connect() as client:
            client.send(sent)
            for status in statuses:
                assert client.answer()[0] == status
            assert client.ended() == b""

    patiently(trial, 0.2, 4)


def test_a_head_that_drips_is_not_waited_for(serve: Serve, recorder: Recorder) -> None:
    """D11: a byte now and then does not keep a head alive, on a used connection either."""

    def trial(limit: float) -> None:
        running = serve(FrontEnd(recorder), limits={"head_timeout": limit})
        with running.connect() as client:
            client.send(HEAD + b"\r\n")
            assert client.answer()[0] == 200
            began = time.monotonic()
            client.sock.settimeout(limit / 15)
            client.send(b"GET / HTTP/1.1\r\n")
            while not client.buffer:
                assert time.monotonic() < began + 5 * limit, "it waits for more"
                client.send(b"X")
                with suppress(TimeoutError):
                    client.more()
            client.sock.settimeout(LIMIT)
            assert client.answer()[0] == 408

    patiently(trial, 0.3, 1.5, 4)


@pytest.mark.parametrize(
    "rest",
    [b"zz\r\nabc\r\n", b"3\r\nabcd\r\n", b"-1\r\n", b"3 x\r\nabc\r\n", b"fffffffffffffffff\r\n"],
)
def test_broken_chunks_keep_what_came_before(
    running: Running, recorder: Recorder, rest: bytes
) -> None:
    """D10: the good prefix is given, then the end ``BROKEN``; the answer ends the connection."""
    with running.connect() as client:
        client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        recorder.wait(recorder.began)
        client.send(rest + HEAD + b"\r\n")
        status, headers, body = client.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert client.ended() == b""
    assert recorder.endings == [Ending.BROKEN]
    assert body.endswith(b" BROKEN")
    assert bytes(recorder.data[0]).startswith(b"hello")


def test_endless_chunk_extensions_are_broken(plain: Running, recorder: Recorder) -> None:
    """Framing that never comes to a byte of the body has an end."""
    with plain.connect() as client:
        client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5;")
        client.send(b"x" * 300_000)
        assert client.answer()[2] == b"5 BROKEN"


def test_endless_trailers_are_broken(plain: Running, recorder: Recorder) -> None:
    """Nor are trailer fields kept without limit."""
    with plain.connect() as client:
        client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n")
        client.send(b"X: y\r\n" * 50_000)
        assert client.answer()[2] == b"5 BROKEN"


def test_an_error_waits_for_its_turn(plain: Running, recorder: Recorder) -> None:
    """What cannot be understood is refused after the answers to what came before it."""
    with plain.connect() as client:
        client.send((HEAD + b"Content-Length: 1\r\n\r\nx") * 2 + b"what?\r\n\r\n")
        assert [client.answer()[0] for _ in range(3)] == [200, 200, 400]
        assert client.ended() == b""


def test_an_http_1_0_client_is_answered(plain: Running, recorder: Recorder) -> None:
    """The connection ends with the answer."""
    with plain.connect() as client:
        client.send(b"POST /a HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")
        status, headers, body = client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"2 COMPLETE")
        assert client.ended() == b""


@pytest.mark.parametrize("target", ["http://", "a b", "h:80", "\x01"])
def test_targets_of_no_form_are_refused(plain: Running, recorder: Recorder, target: str) -> None:
    """Whether the parser sees it or we do."""
    with plain.connect() as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        assert client.answer()[0] == 400
        assert client.ended() == b""
    assert recorder.heads == []


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("/a?b#c", "/a?b"),
        ("//a", "//a"),
        ("http://example.com/a?b", "/a?b"),
        ("http://example.com", "/"),
        ("*", "*"),
        ("/%E4?x=%20", "/%E4?x=%20"),
    ],
)
def test_targets_of_every_form_are_understood(
    plain: Running, recorder: Recorder, target: str, uri: str
) -> None:
    """RFC 9112, section 3.2: the origin's form, a proxy's, and the server's own."""
    with plain.connect() as client:
        client.send(f"OPTIONS {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        assert client.answer()[0] == 200
    assert [head.uri for head in recorder.heads] == [uri]
