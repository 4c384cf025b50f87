"""Joining while everybody works against it: two servers, partials that end together, deletions."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server import Answer, Server, until

Guarding = Callable[..., Server]


def finished(control: Path, path: str) -> int:
    """How often listeners heard that an upload is finished."""
    lines = (control / "events").read_text().splitlines()
    return lines.count(f"Finished {path.rpartition('/')[2]}")


def joined(answer: Answer) -> bool:
    """Whether a HEAD on a final upload tells that it is joined."""
    return answer.status == 200 and "upload-offset" in answer.headers


@pytest.mark.parametrize("drop", [False, True], ids=["kept", "dropped"])
def test_partials_end_together(drop: bool, guarding: Guarding, control: Path) -> None:  # noqa: FBT001
    """Partials that are completed at the same moment through two servers are joined once, in order
    and exactly, and the finish is told once (D8, T67, T69)."""
    servers = [guarding(drop_partials=drop) for _ in range(2)]
    for _ in range(4):
        data = [random.randbytes(random.randrange(300_000)) for _ in range(4)]
        paths = [servers[0].create(len(part), upload_concat="partial") for part in data]
        request = {"upload_concat": f"final;{' '.join(paths)}"}
        final = servers[1].ask("POST", "/files/", **request).headers["location"]

        def send(number: int, data: list[bytes] = data, paths: list[str] = paths) -> None:
            answer = servers[number % 2].patch(paths[number], 0, data[number])
            # An empty partial is complete from the start, so another may have been the last.
            assert answer.status in {204, 410, 423}, answer

        with ThreadPoolExecutor(4) as clients:
            list(clients.map(send, range(4)))
        until(lambda final=final: joined(servers[1].ask("HEAD", final)), "the joining")
        assert servers[0].get(final) == b"".join(data)
        assert finished(control, final) == 1


@pytest.mark.parametrize("drop", [False, True], ids=["kept", "dropped"])
def test_the_same_final_twice(drop: bool, guarding: Guarding, control: Path) -> None:  # noqa: FBT001
    """The same partials asked for twice at once, through two servers, give whole final uploads, or
    refusals, but never one with bytes missing (D8)."""
    servers = [guarding(drop_partials=drop) for _ in range(2)]
    for _ in range(4):
        data = [random.randbytes(random.randrange(1, 300_000)) for _ in range(3)]
        paths = [servers[0].create(len(part), upload_concat="partial") for part in data]
        for path, part in zip(paths, data, strict=True):
            assert servers[0].patch(path, 0, part).status == 204
        request = {"upload_concat": f"final;{' '.join(paths)}"}
        with ThreadPoolExecutor(2) as clients:
            asked = [clients.submit(each.ask, "POST", "/files/", **request) for each in servers]
        answers = [each.result() for each in asked]
        made = [each.headers["location"] for each in answers if each.status == 201]
        assert made, answers
        whole = 0
        for path in set(made):
            until(lambda path=path: settled(servers[0].ask("HEAD", path)), "the joining")
            if servers[0].ask("HEAD", path).status == 200:
                assert servers[0].get(path) == b"".join(data)
                whole += 1
        assert whole == len(set(made)) if not drop else whole == 1


def settled(answer: Answer) -> bool:
    """Whether a final upload is joined, or never will be."""
    return joined(answer) or answer.status == 410


def test_deleted_while_joining(guarding: Guarding, control: Path) -> None:
    """A partial deleted at the moment the last one ends either is joined before or makes the final
    upload 410; a final upload that says it is whole is (D8)."""
    server = guarding()
    for _ in range(8):
        data = [random.randbytes(200_000) for _ in range(2)]
        paths = [server.create(len(part), upload_concat="partial") for part in data]
        request = {"upload_concat": f"final;{' '.join(paths)}"}
        final = server.ask("POST", "/files/", **request).headers["location"]
        assert server.patch(paths[0], 0, data[0]).status == 204
        with ThreadPoolExecutor(2) as clients:
            last = clients.submit(server.patch, paths[1], 0, data[1])
            removal = clients.submit(server.ask, "DELETE", paths[0])
            assert last.result().status == 204
            assert removal.result().status in {204, 423}
        until(lambda final=final: settled(server.ask("HEAD", final)), "an end")
        if server.ask("HEAD", final).status == 200:
            assert server.get(final) == b"".join(data)
