"""Transcripts on the real server whose uploads are in a bucket of a real S3 server.

Each request costs several of S3's there, so of every transcript one case is played; with
``VECTUS_THOROUGH`` set, all are. Parts of a few bytes, as no real server takes them, are for the
other players.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import product
from types import ModuleType
from typing import Any

import pytest
import test_transcripts_checksum
import test_transcripts_concat
import test_transcripts_core
import test_transcripts_creation
import test_transcripts_download
from players import ServerPlayer, ServerProcess
from script import SERVER, Transcript

THOROUGH = "VECTUS_THOROUGH" in os.environ

FILES = (
    test_transcripts_core,
    test_transcripts_creation,
    test_transcripts_checksum,
    test_transcripts_concat,
    test_transcripts_download,
)

OWN = {"tus_max_size": str(10_000 * (5 << 30))}
"""What is told of this store and not of others: S3 has no longer objects, by parts and their
sizes."""


def choices(mark: pytest.Mark) -> list[dict[str, Any]]:
    """Return what a parametrization gives to a test, one by one."""
    names, values = mark.args
    if isinstance(names, str):
        return [{names: value} for value in values]
    return [dict(zip(names, each, strict=True)) for each in values]


def scripts(file: ModuleType) -> Iterator[Any]:
    """Yield the transcripts of a file that can be played here."""
    for name, test in vars(file).items():
        if describe := getattr(test, "describe", None):
            marks = [mark for mark in test.pytestmark if mark.args[0] != "player"]
            cases = list(product(*map(choices, marks)))
            for number, case in enumerate(cases if THOROUGH else cases[:1]):
                arguments = {key: value for each in case for key, value in each.items()}
                script: Transcript = describe(**arguments)
                if SERVER in script.levels:
                    yield pytest.param(script, id=f"{name}-{number}")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("script", [each for file in FILES for each in scripts(file)])
async def test_on_a_real_bucket(
    script: Transcript, serve_s3: Callable[[dict[str, Any]], ServerProcess]
) -> None:
    """Clients are answered as they are where uploads are in files, and the same is kept."""
    await ServerPlayer(serve_s3, OWN, asks_again=True).play(script)
