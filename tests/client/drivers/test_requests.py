"""What goes over the wire: credentials, header fields, methods, URLs, time-outs."""

from __future__ import annotations

import base64
import itertools
import threading

import httpx2
import pytest
from mock_tus import DATA, EVERYTHING, Tus
from pure_server import ENDPOINT, HOST

import vectus


def values(tus, name):
    return [request.headers.get(name) for request in tus.seen]


def giving(side, *tokens):
    """A function that gives one token after the other, as each side may have it."""
    left = iter(tokens)
    if side.name == "blocking":
        return lambda: next(left)

    async def give():
        return next(left)

    return give


@pytest.mark.parametrize(
    "given", ["Bearer 1", {"X-Token": "1"}, {"authorization": "Bearer 1"}], ids=str
)
def test_credentials_of_a_function(side, given):
    """A function's text is the value of Authorization, its mapping header fields; they win over
    the client's own of the same name, and it is asked once for many requests."""
    tus = Tus()
    headers = {"Authorization": "old", "x-token": "old"}
    with tus.client(side, auth=giving(side, given), headers=headers) as client:
        client.upload(DATA, chunk_size=200_000)
        client.upload(b"another")

    name = "X-Token" if "X-Token" in given else "Authorization"
    wanted = given if isinstance(given, str) else next(iter(given.values()))
    assert set(values(tus, name)) == {wanted}
    assert all(len(request.headers.get_list(name)) == 1 for request in tus.seen)


def expiring(tus, good):
    """Refuse all but the good credentials."""

    def twist(request):
        if request.headers.get("authorization") == good[0]:
            return None
        return httpx2.Response(401, text="Who are you?")

    tus.twist = twist


def test_credentials_are_refreshed_once(side):
    """A 401 asks the function anew and goes on, in the middle of an upload as well; another one in
    a row is final."""
    tus, good = Tus(), ["1"]
    expiring(tus, good)
    with tus.client(side, auth=giving(side, "0", "1", "2", "3", "4")) as client:
        result = client.upload(DATA)
        assert tus.content(result.url) == DATA
        good[0] = "never"
        with pytest.raises(vectus.UploadRefused) as refused:
            client.upload(b"x")

    assert refused.value.status == 401
    assert values(tus, "authorization")[-2:] == ["1", "2"]


def test_parts_share_one_refresh(side):
    """Several connections that are refused at once ask the function once: a refresh token may be
    good for one time only."""
    tus, good, asked = Tus(), ["token 1"], itertools.count()
    patched = threading.Barrier(4) if side.name == "blocking" else None
    expiring(tus, good)
    plain = tus.twist

    def twist(request):
        if request.method == "PATCH" and request.headers["authorization"] == "token 1":
            if patched:
                patched.wait(20)  # until then the others may be about to create
            good[0] = "token 2"
            return httpx2.Response(401)
        return plain(request)

    tus.twist = twist
    with tus.client(side, auth=lambda: f"token {next(asked)}") as client:
        client.upload(DATA, parallel=4)

    assert next(asked) == 3


def test_a_function_that_cannot_say(side):
    """What it raises ends the upload as it is, even if it looks like a failure of the network; and
    what makes no sense is a TypeError."""
    tus = Tus()

    def away():
        raise httpx2.ConnectError("the token server is away")

    with tus.client(side, auth=away) as client, pytest.raises(httpx2.ConnectError):
        client.upload(b"x")
    with tus.client(side, auth=lambda: 7) as client, pytest.raises(TypeError, match="auth must"):
        client.upload(b"x")
    with pytest.raises(TypeError, match="auth must"), tus.client(side, auth="Bearer x"):
        pass
    assert tus.seen == []


def test_the_blocking_client_does_not_await():
    """A coroutine function as auth of the blocking client is named as what it is."""

    async def give():
        return "x"

    with (
        httpx2.Client(transport=httpx2.MockTransport(Tus())) as http,
        pytest.raises(TypeError, match="AsyncClient"),
    ):
        vectus.Client(ENDPOINT, auth=give, http=http).upload(b"x")


class Digest:
    """Answers 401 with a challenge to what brings none."""

    def __call__(self, request):
        if "authorization" in request.headers:
            return None
        challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
        return httpx2.Response(401, headers={"WWW-Authenticate": challenge})


class Signed(httpx2.Auth):
    """Signs the body, so it reads it first."""

    requires_request_body = True

    def auth_flow(self, request):
        request.headers["X-Size"] = str(len(request.content))
        yield request


def test_httpx2_authentication(side):
    """A pair is a name and a password; one that reads the body again, or first, is served."""
    basic, digest, signed = Tus(), Tus(twist=Digest()), Tus()
    for tus, auth in (
        (basic, ("me", "secret")),
        (digest, httpx2.DigestAuth("me", "secret")),
        (signed, Signed()),
    ):
        with tus.client(side, auth=auth) as client:
            assert tus.content(client.upload(DATA).url) == DATA

    wanted = base64.b64encode(b"me:secret").decode()
    assert set(values(basic, "authorization")) == {f"Basic {wanted}"}
    assert signed.of("PATCH")[0].headers["x-size"] == str(len(DATA))


def test_the_injected_client_keeps_its_own(side):
    """Its authentication and header fields count where none are given, and it is not closed."""
    tus = Tus()
    http = tus.http(side)
    http.auth, http.headers["X-Mine"] = ("me", "secret"), "yes"
    with tus.client(side, http=http) as client:
        client.upload(DATA)

    assert all(value.startswith("Basic ") for value in values(tus, "authorization"))
    assert set(values(tus, "x-mine")) == {"yes"}
    assert not http.is_closed


def test_our_own_client_is_closed():
    """Connections that we opened are closed with the client."""
    client = vectus.Client(ENDPOINT)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.offset(ENDPOINT)


def test_a_client_of_the_wrong_kind(side):
    """An asyncio client for the blocking one, or the other way round, is refused at once."""
    wrong = httpx2.AsyncClient if side.name == "blocking" else httpx2.Client
    with pytest.raises(TypeError, match="must be an httpx2"), side.client(ENDPOINT, http=wrong()):
        pass


def test_the_hook_sees_and_changes_every_request(side):
    """It may change what it likes, in whatever case it writes a name."""
    tus, told = Tus(), []

    def before(method, url, headers):
        told.append((method, url))
        headers["x-custom"] = method

    with tus.client(side, headers={"X-Custom": "0"}, before_request=before) as client:
        result = client.upload(DATA)
        client.offset(result.url)

    assert told == [(request.method, str(request.url)) for request in tus.seen]
    assert [request.headers.get_list("x-custom") for request in tus.seen] == [
        [method] for method, _ in told
    ]


def test_the_protocol_wins(side):
    """Header fields that the protocol needs are not to be had otherwise."""
    tus = Tus()
    wrong = {"tus-resumable": "0.1", "UPLOAD-OFFSET": "7", "content-length": "3", "x-mine": "kept"}
    with tus.client(side, headers=wrong) as client:
        assert tus.content(client.upload(DATA).url) == DATA
    assert set(values(tus, "x-mine")) == {"kept"}


def test_method_override(side):
    """PATCH and DELETE travel as POST for networks that let no others pass."""
    tus = Tus()
    with tus.client(side, method_override=True) as client:
        result = client.upload(DATA)
        assert tus.content(result.url) == DATA
        assert client.terminate(result.url)
        assert not client.terminate(result.url)
    assert {request.method for request in tus.seen} <= {"POST", "OPTIONS", "HEAD"}


@pytest.mark.parametrize(("timeout", "read"), [(None, {60, 300}), (7.5, {7.5})])
def test_timeouts(side, timeout, read):
    """An answer to a body may take longer, unless the caller says otherwise."""
    tus = Tus()
    with tus.client(side, timeout=timeout) as client:
        client.upload(DATA)
    assert {request.extensions["timeout"]["read"] for request in tus.seen} == read


def test_a_join_may_take_long(side):
    """As many servers copy all the parts before they answer, and would do so again."""
    tus = Tus()
    with tus.client(side) as client:
        client.upload(DATA, parallel=3)
    posts = [request for request in tus.seen if request.method == "POST"]
    assert posts[-1].headers["upload-concat"].startswith("final")
    assert posts[-1].extensions["timeout"]["read"] == 300


def test_redirects_are_not_followed(side):
    """A redirection is final, and the sentence says where to."""
    tus = Tus(twist=lambda _: httpx2.Response(308, headers={"Location": "https://there/"}))
    with tus.client(side) as client, pytest.raises(vectus.UploadRefused) as refused:
        client.upload(b"x")
    assert refused.value.status == 308
    assert "https://there/" in refused.value.hint
    assert {request.url.host for request in tus.seen} == {"h"}


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/files/u1", f"{ENDPOINT}u1"),
        ("u1", f"{ENDPOINT}u1"),
        (f"{HOST}/files/u1", f"{ENDPOINT}u1"),
        ("//other/files/u1", "https://other/files/u1"),
        ("https://other/files/u1", "https://other/files/u1"),
        ("http://h/files/u1", f"{ENDPOINT}u1"),
        ("http://other/files/u1", None),
        ("ftp://h/files/u1", None),
    ],
)
def test_where_the_upload_is(side, location, url):
    """Relative and absolute, on another host; never from https to plain http."""
    tus = Tus()

    def twist(request):
        if request.method != "POST":
            return None
        made = tus.answer(request)
        made.headers["Location"] = location
        return made

    tus.twist = twist
    with tus.client(side) as client:
        if url is None:
            with pytest.raises(vectus.NotTus):
                client.upload(DATA)
        else:
            assert client.upload(DATA).url == url
            assert tus.server.content(f"{ENDPOINT}u1") == DATA
    assert all(request.url.scheme == "https" for request in tus.seen)


def test_capabilities_are_asked_once(side):
    """OPTIONS goes out once per endpoint, however many uploads there are."""
    tus = Tus(EVERYTHING)
    with tus.client(side) as client:
        assert "creation" in client.capabilities().extensions
        client.upload(b"x")
        client.upload(b"y")
        client.capabilities(f"{HOST}/files")
    assert [str(request.url) for request in tus.of("OPTIONS")] == [ENDPOINT, f"{HOST}/files"]


@pytest.mark.parametrize("url", ["ftp://h/", "no url", "http://h:port/", "http://", "http://[::1"])
def test_what_is_no_url(side, url):
    """One sentence, and nothing is tried again."""
    with (
        side.client(url, retries=3, retry_delay=30) as client,
        pytest.raises((vectus.UploadError, ValueError)),
    ):
        client.upload(b"x")


def test_a_host_name_that_cannot_be(side):
    """It is told like any host that is not found, whatever the library below raises."""
    with (
        side.client(f"http://{'x' * 70}.example/", retries=0) as client,
        pytest.raises(vectus.UploadError),
    ):
        client.upload(b"x")
