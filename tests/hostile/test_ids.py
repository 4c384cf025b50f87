"""URLs that try to name something else than an upload: 404, and nothing is touched (D13)."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

from server import Server

NAMES = (
    "..",
    ".",
    "../outside",
    "%2e%2e",
    "%2e%2e%2foutside",
    "%2e%2e/outside",
    "..%2foutside",
    "..%5coutside",
    "....//outside",
    ".locks",
    ".locks/x",
    ".joins/x",
    "%2elocks/x",
    "{id}.info",
    "{id}%2einfo",
    "{id}.gone",
    "{id}.lock",
    "{id}%00",
    "{id}%00.info",
    "{id}%0a",
    "{id}%20",
    "{id}/",
    "{id}/x",
    "{id}/../{id}",
    "./{id}",
    "{id};a",
    "{id}%3fa",
    "%7b{id}",
    "~",
    "a" * 129,
    "a" * 5000,
    "%c3%a9",
    "%ff",
    "%",
    "%zz",
    "con",
    "*",
    "nothing-of-this-name",
    "/outside",
    "//etc/passwd",
    "%2fetc%2fpasswd",
)


def everything(folder: Path) -> dict[str, bytes]:
    """The files under a folder and their content, but for the lockers' own."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where) / name
            if ".locks" not in path.parts and path.is_file():
                found[str(path)] = path.read_bytes()
    return found


def test_names_that_are_no_ids(server: Server) -> None:
    """Whatever is written in an id's place, if it is no id the answer is 404 (or 400, where
    it is no URL), and no file of anybody's is read or changed."""
    path = server.create(5)
    assert server.patch(path, 0, b"hello").status == 204
    outside = server.store.parent / "outside"
    outside.write_bytes(b"a secret")
    (server.store / ".locks").mkdir(exist_ok=True)
    (server.store / ".locks" / "x").write_bytes(b"a lock")
    before = everything(server.store.parent)
    fields = {"upload_offset": 0, "content_type": "application/offset+octet-stream"}
    for name, method in product(NAMES, ("HEAD", "GET", "PATCH", "DELETE")):
        named = "/files/" + name.replace("{id}", path.rpartition("/")[2])
        answer = server.ask(method, named, b"x" if method == "PATCH" else b"", **fields)
        assert answer.status in {404, 400, 405}, (name, answer)
        assert answer.status == 404 or not name.isalnum(), (name, answer)
        assert b"secret" not in answer.body
        assert str(server.store).encode() not in answer.body
    assert everything(server.store.parent) == before
    assert (server.store / ".locks" / "x").read_bytes() == b"a lock"
    assert not (server.store / ".locks" / ("a" * 129)).exists()
    assert "Traceback" not in server.output


def test_names_that_are_no_partials(server: Server) -> None:
    """Nor can a final upload be made of anything but partials of ours (C24)."""
    path = server.create(5, upload_concat="partial")
    assert server.patch(path, 0, b"hello").status == 204
    told = {}
    for name in NAMES:
        named = "/files/" + name.replace("{id}", path.rpartition("/")[2])
        told[name] = server.ask("POST", "/files/", upload_concat=f"final;{named}").status
    assert told == dict.fromkeys(NAMES, 400)


def test_an_unknown_id_leaves_no_trace(server: Server) -> None:
    """Asking for an id that nobody has leaves no file behind, not even a lock."""
    before = len(list((server.store / ".locks").iterdir()))
    for number in range(20):
        assert server.ask("HEAD", f"/files/unknown{number}").status == 404
    left = [each.name for each in (server.store / ".locks").iterdir() if "unknown" in each.name]
    assert not left
    assert len(list((server.store / ".locks").iterdir())) <= before + 2
