"""A program that serves a stub application, which does what the path says.

Run as ``python stub.py '{"workers": 2}'``: the options of ``Site``, and where it keeps its marks.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vectus.errors import VectusError
from vectus.serving import Site, Tls, serve, worker


class Stub:
    """An application; ``starts`` in the working directory has a mark for each of its starts."""

    async def __aenter__(self) -> None:
        starts = Path("starts")
        starts.mkdir(exist_ok=True)
        (starts / str(os.getpid())).touch()
        for name, act in STARTS.items():
            if name in os.environ:
                act(len(list(starts.iterdir())) - 1)
        while "WAIT" in os.environ and not Path("go").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def __aexit__(self, *_: object) -> None:
        Path("closed").touch()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        words = await PATHS[scope["path"]]()
        body = str(words).encode()
        fields = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body})


async def pid() -> int:
    return os.getpid()


async def limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def loop() -> str:
    return type(asyncio.get_running_loop()).__module__


async def hang() -> None:
    Path("hanging").touch()
    await asyncio.sleep(1000)


async def stubborn() -> None:
    Path("hanging").touch()
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            Path("cancelled").touch()


async def block() -> None:
    Path("hanging").touch()
    time.sleep(1000)  # noqa: ASYNC251


PATHS = {"/" + each.__name__: each for each in (pid, limit, loop, hang, stubborn, block)}


def refuse(nth: int) -> None:
    """Fail in words, in every worker but the first."""
    from vectus.errors import ConfigurationError

    if nth:
        raise ConfigurationError("The stub does not want to start.", "Ask it nicely.")


def crash(nth: int) -> None:
    """Fail without words, in every worker but the first."""
    if nth:
        os._exit(7)


STARTS = {"REFUSE": refuse, "CRASH": crash}


def main() -> int:
    options = json.loads(sys.argv[1])
    worker.ANSWERS = float(os.environ.get("ANSWERS", worker.ANSWERS))
    if "tls" in options:
        options["tls"] = Tls(*options["tls"])
    try:
        return serve(Site(app=Stub, http=HttpToolsProtocol, **{"port": 0, **options}))
    except VectusError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
