"""Which contenders there are: the floor, vectus in several set-ups, and the peers found here.

Only command lines; no peer's code is in this project, and none is installed by it.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.servers import Contender
from benchmarks.table import OURS

PEERS = Path(__file__).parent / "peers"

FLOOR = Contender(
    "floor",
    (sys.executable, "-m", "benchmarks.floor", "--port", "{port}", "--dir", "{dir}"),
    language="floor",
)

PREFIX = "uploads"
"""Of the keys in a bucket."""

PLAIN, BOTO3 = "plain ASGI", "boto3"

SERVE = ("serve", "{dir}", "--host", "127.0.0.1", "--port", "{port}", "--base-path", "/files/")


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files for a server that speaks TLS, and what its clients trust."""

    cert: str
    key: str
    ca: str


def vectus(name: str = "vectus", *, workers: int = 1, durability: str = "none") -> Contender:
    """Return vectus as ``vectus serve`` runs it."""
    return through(vectus_command(), name, workers=workers, durability=durability)


def through(
    command: tuple[str, ...], name: str, *, workers: int = 1, durability: str = "none"
) -> Contender:
    """Return vectus as another command runs its ``serve``."""
    options = ("--workers", str(workers), "--durability", durability)
    return Contender(name, (*command, *SERVE, *options), ready="Listening on ")


def vectus_command() -> tuple[str, ...]:
    """Return how the ``vectus`` of this Python is called."""
    return (str(Path(sys.executable).with_name("vectus")),)


def script(name: str) -> tuple[str, ...]:
    """Return how one of the scripts in ``peers/`` is called."""
    return (sys.executable, "-m", f"benchmarks.peers.{name}")


def encrypted(contender: Contender, certificate: Certificate) -> Contender:
    """Return a contender that speaks TLS; it must know our two options."""
    command = (*contender.command, "--tls-cert", certificate.cert, "--tls-key", certificate.key)
    return Contender(contender.name, command, contender.language, contender.ready, certificate.ca)


def given(text: str) -> Contender:
    """Read ``NAME=COMMAND``.

    Raises:
        ValueError: it is not of that form.
    """
    name, _, command = text.partition("=")
    there = [place for place in (("{dir}",), ("{endpoint}", "{bucket}")) if within(place, command)]
    if not name or "{port}" not in command or not there:
        raise ValueError(
            "A peer is NAME=COMMAND, with {port} and {dir} in the command, "
            "or {port}, {endpoint} and {bucket}."
        )
    return Contender(name, tuple(shlex.split(command)))


def within(words: Iterable[str], text: str) -> bool:
    """Say whether all words are in a text."""
    return all(word in text for word in words)


def found() -> Iterator[Contender]:
    """Find the peers that are installed where one looks first."""
    if path := shutil.which("tusd"):
        options = "-host 127.0.0.1 -port {port} -base-path /files/ -verbose=false"
        yield Contender("tusd", (path, *options.split(), "-upload-dir", "{dir}"))
        place = ("-s3-endpoint", "{endpoint}", "-s3-bucket", "{bucket}")
        yield Contender("tusd", (path, *options.split(), *place))
    if (node := shutil.which("node")) and (modules := node_modules(node)):
        yield Contender(
            "@tus/server", (node, str(PEERS / "tus_node.mjs"), modules, "{port}", "{dir}")
        )
    if importlib.util.find_spec("tuspyserver"):
        yield Contender("tuspyserver", (*script("tuspy_app"), "{port}", "{dir}"))


def node_modules(node: str) -> str | None:
    """Return a folder from where node finds ``@tus/server`` and its file store, or None."""
    places = [os.getcwd(), *filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep))]
    for place in places:
        folder = Path(place) if Path(place).name == "node_modules" else Path(place, "node_modules")
        if all((folder / "@tus" / part).is_dir() for part in ("server", "file-store")):
            return str(folder)
    return None


def plain_asgi() -> Contender:
    """Return vectus as an application on an unchanged uvicorn."""
    return Contender(PLAIN, (*script("plain_asgi"), "--port", "{port}", "--dir", "{dir}"))


def slow_pwrite() -> Contender:
    """Return vectus where every ``pwrite`` sleeps."""
    return through((*script("slow_pwrite"), "vectus.cli:main"), "vectus")


def slow_floor() -> Contender:
    """Return the floor where every ``pwrite`` sleeps."""
    command = (*script("slow_pwrite"), "benchmarks.floor:main", *FLOOR.command[3:])
    return Contender(FLOOR.name, command, FLOOR.language)


def slow_sink() -> Contender:
    """Return vectus with a store whose sinks sleep before each write."""
    return Contender("vectus", (*script("slow_sink"), "--port", "{port}", "--dir", "{dir}"))


def boto3() -> Contender:
    """Return a bare boto3, which sends parts and nothing else."""
    options = ("--port", "{port}", "--dir", "{dir}", "--endpoint", "{endpoint}")
    return Contender(BOTO3, (*script("s3_boto"), *options, "--bucket", "{bucket}"), "errand")


def vectus_on_s3(name: str = OURS, **options: object) -> Contender:
    """Return vectus with a bucket, and with options in its URL."""
    told = "".join(f"&{key}={value}" for key, value in options.items())
    url = f"s3://{{bucket}}/{PREFIX}?endpoint={{endpoint}}&spool_directory={{dir}}{told}"
    serve = ("serve", url, *SERVE[2:])
    return Contender(name, (*vectus_command(), *serve), ready="Listening on ")


def often_swept() -> Contender:
    """Return vectus with a bucket at which its sweeper looks every few seconds."""
    plain = vectus_on_s3()
    return replace(plain, command=(*script("often"), *plain.command[1:]))
