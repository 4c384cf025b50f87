"""How the client commands reach a server: headers, credentials that stay secret, certificates."""

from __future__ import annotations

import base64
import re
from contextlib import closing

import pytest
import trustme
from faking import Fake, Handler
from reading import path_of

from server import Port

SECRET = "s3cr3t-t0ken"
REFUSE = {"POST": [401] * 9, "HEAD": [401] * 9, "DELETE": [401] * 9}


@pytest.fixture
def heard(fake: Fake, monkeypatch) -> list[dict[str, str]]:
    """The headers of each request; a refusal repeats the credentials, as bad servers do."""
    found: list[dict[str, str]] = []

    def answer(self, status: int, **fields: object) -> None:
        found.append({name.lower(): value for name, value in self.headers.items()})
        spoken = self.headers.get("authorization", "") + self.headers.get("x-key", "")
        text = b"" if status < 400 or self.command == "HEAD" else f"No {spoken}!".encode()
        self.send_response(status)
        for name, value in {"tus_resumable": "1.0.0", **fields}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("content-type", "text/plain")
        if status != 204:
            self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    monkeypatch.setattr(Handler, "answer", answer)
    return found


def userinfo(fake: Fake) -> str:
    return fake.url.replace("http://", f"http://me%40home:{SECRET}@")


WAYS = {
    "token": (("--token-env", "TOKEN"), f"Bearer {SECRET}"),
    "header": (("--header", f"Authorization: Basic {SECRET}"), f"Basic {SECRET}"),
    "key": (("--header", f"X-Key: {SECRET}"), None),
    "url": ((), "Basic " + base64.b64encode(f"me@home:{SECRET}".encode()).decode()),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("json", [(), ("--json",)])
@pytest.mark.parametrize("command", ["upload", "info", "rm"])
def test_credentials_are_sent_and_never_shown(
    vectus, fake, heard, tmp_path, monkeypatch, way, json, command
) -> None:
    """Whatever way they are given, and even when the server repeats them, they are not printed."""
    monkeypatch.setenv("TOKEN", SECRET)
    (tmp_path / "a.txt").write_text("content")
    fake.tricks = {method: list(statuses) for method, statuses in REFUSE.items()}
    options, value = WAYS[way]
    url = userinfo(fake) if way == "url" else fake.url
    files = ("a.txt",) if command == "upload" else ()

    done = vectus(command, *files, url, *options, *json, "--retries", "0")

    assert done.code == 1
    assert SECRET not in done.out + done.err
    assert value is None or value.removeprefix("Basic ") not in done.out + done.err
    assert heard[-1].get("authorization") == value
    assert way != "key" or heard[-1]["x-key"] == SECRET


def test_the_url_that_is_printed_has_no_password(vectus, fake, tmp_path) -> None:
    """A URL with a user in it gives the upload's URL without."""
    (tmp_path / "a.txt").write_text("content")

    done = vectus("upload", "a.txt", userinfo(fake))

    assert (done.code, done.out) == (0, f"{fake.url}one\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["http://u:s3cr3t-t0ken@/"], "is not an http or https URL"),
        (["ftp://u:s3cr3t-t0ken@host/"], "is not an http or https URL"),
        (["http://u:s3cr3t/t0ken@host:x/"], "is not an http or https URL"),
        (["http://h/", "--header", "s3cr3t-t0ken"], "--header: This is not a header field"),
        (["http://h/", "--header", "X Y: s3cr3t-t0ken"], "--header: This is not a header field"),
        (["http://h/", "--header", "X: s3cr3t-t0ken\nY: 1"], "This is not a header field"),
        (["http://h/", "--token-env", "s3cr3t-t0ken"], "--token-env has no token"),
        (["http://u:s3cr3t-t0ken@h/", "--token-env", "TOKEN"], "credentials more than once"),
        (["http://h/", "--insecure", "--cacert", "x"], "not allowed with"),
        (["http://h/", "--cacert", "missing.pem"], "missing.pem cannot be read"),
        (["http://h/", "--cacert", "a.txt"], "PEM"),
        (["http://h/", "--cert", "a.txt"], "PEM"),
        (["http://h/", "--key", "a.txt"], "--key needs the certificate"),
    ],
)
@pytest.mark.parametrize("command", ["upload", "info", "rm"])
def test_what_cannot_be_is_one_sentence_without_secrets(
    vectus, tmp_path, monkeypatch, arguments, words, command
) -> None:
    """A mistake beside a secret is told without it, with code 2."""
    monkeypatch.setenv("TOKEN", SECRET)
    (tmp_path / "a.txt").write_text("content")
    files = ("a.txt",) if command == "upload" else ()

    done = vectus(command, *files, *arguments)

    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert "s3cr3t" not in done.err
    assert "t0ken" not in done.err
    assert done.one_sentence


@pytest.fixture
def tls(serve, tmp_path):
    """A server whose certificate nobody knows, and the authority that signed it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "server.pem")
    )
    (tmp_path / "a.txt").write_text("content")
    return serve("./store", "--tls-cert", "server.pem")


def test_a_certificate_that_is_not_trusted(vectus, tls) -> None:
    """It is refused at once, and the hint says what would be trusted."""
    done = vectus("upload", "a.txt", tls.url)

    assert (done.code, done.out) == (1, "")
    assert "is not trusted" in done.err
    assert "--cacert" in done.err
    assert done.one_sentence


@pytest.mark.parametrize("trust", [("--insecure",), ("--cacert", "ca.pem")])
def test_a_certificate_that_the_user_trusts(vectus, tls, tmp_path, trust) -> None:
    """With its authority, or with --insecure, the upload goes there."""
    done = vectus("upload", "a.txt", tls.url, *trust, "-q")

    assert (done.code, done.err) == (0, "")
    name = path_of(done.out).rpartition("/")[2]
    assert (tmp_path / "store" / name).read_bytes() == b"content"


def test_nobody_knows_the_host(vectus, tmp_path) -> None:
    """A host that does not exist is a server that cannot be reached."""
    (tmp_path / "a.txt").write_text("content")

    done = vectus("upload", "a.txt", "http://no-such-host.invalid/", "--retries", "0")

    assert (done.code, done.out) == (3, "")
    assert "no-such-host.invalid" in done.err
    assert done.one_sentence


def test_method_override(vectus, fake, heard, tmp_path) -> None:
    """For networks that let no DELETE pass, it travels as a POST that says so."""
    fake.tricks = {"POST": [204]}
    vectus("rm", f"{fake.url}one", "--method-override", "--retries", "0")

    assert heard[-1]["x-http-method-override"] == "DELETE"
    assert fake.requests == ["POST"]


def test_what_is_no_tus_server(vectus, tmp_path) -> None:
    """A server that speaks something else entirely is named so, without a traceback."""
    (tmp_path / "a.txt").write_text("content")
    with closing(Port()) as nobody:
        done = vectus("info", f"http://127.0.0.1:{nobody.number}/", "--retries", "0")

    assert done.code == 3
    assert re.search("without success", done.err)
