"""``vectus info`` and ``vectus rm`` as processes, against a real server."""

from __future__ import annotations

import base64
import json

from reading import events_of


def test_info_of_an_endpoint(vectus, tus) -> None:
    """What the server can do, for people and for programs."""
    plain = vectus("info", tus.url)
    facts = json.loads(vectus("info", tus.url, "--json").out)

    assert (plain.code, plain.err) == (0, "")
    assert "creation-with-upload" in plain.out
    assert facts["kind"] == "endpoint"
    assert facts["versions"] == ["1.0.0"]
    assert "termination" in facts["extensions"]
    assert "sha256" in facts["checksums"]
    assert facts["max_size"] is None


def test_info_of_an_upload(vectus, tus) -> None:
    """How far it is, and what the server was told of it."""
    encoded = base64.b64encode("Übung\n1".encode()).decode()
    path = tus.create(1000, upload_metadata=f"filename {encoded},public")
    tus.patch(path, 0, bytes(250))
    url = tus.url.replace("/files/", path)

    plain = vectus("info", url)
    facts = json.loads(vectus("info", "--json", url).out)

    assert plain.code == 0
    assert "unfinished, 25 %" in plain.out
    assert "filename: Übung\\n1" in plain.out
    assert (facts["kind"], facts["offset"], facts["length"]) == ("upload", 250, 1000)
    assert facts["metadata"] == {"filename": "Übung\n1", "public": None}


def test_info_of_what_is_not_there(vectus, tus) -> None:
    """An upload that is gone is an error, though the server answers OPTIONS at its URL."""
    done = vectus("info", f"{tus.url}nothing")

    assert (done.code, done.out) == (1, "")
    assert "no upload" in done.err
    assert done.one_sentence


def test_info_of_no_tus_server(vectus, fake) -> None:
    """A web server that is no tus server is not called one."""
    fake.tricks = {"HEAD": [404]}

    done = vectus("info", fake.url)

    assert (done.code, done.out) == (1, "")
    assert "no tus server" in done.err
    assert done.one_sentence


def test_rm_removes_each_and_goes_on(vectus, tus) -> None:
    """Every upload that is there is removed, whatever is wrong with the others."""
    one, two = tus.create(10), tus.create(20)
    urls = [tus.url.replace("/files/", path) for path in (one, "/files/nothing", two)]

    done = vectus("rm", *urls)

    assert (done.code, done.out) == (1, "")
    assert done.err == f"vectus rm: There is no upload at {urls[1]}.\n"
    assert [tus.ask("HEAD", path).status for path in (one, two)] == [404, 404]


def test_rm_in_json(vectus, tus) -> None:
    """Each URL has its line."""
    url = tus.url.replace("/files/", tus.create(10))

    done = vectus("rm", url, "--json", f"{tus.url}nothing")

    assert done.code == 1
    first, second = events_of(done.out)
    assert first == {"url": url, "outcome": "removed", "code": 0, "error": None}
    assert (second["outcome"], second["code"]) == ("gone", 1)
