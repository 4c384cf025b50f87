"""A client that uploads files and says what it took: vectus, blocking or asyncio, tuspy, or a bare
socket, which is the floor: nothing but reading the file and sending it.

Run as ``python -m benchmarks.peers.client WHO URL FILE…``; prints one line of JSON: seconds and CPU
seconds of the uploads, imports not counted, and the process's peak memory in bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from benchmarks import measure

BLOCK = 1 << 20


def blocking(url: str, files: Sequence[str], options: argparse.Namespace) -> Callable[[], None]:
    """Prepare vectus' blocking client."""
    import vectus

    client = vectus.Client(url)

    def run() -> None:
        for file in files:
            client.upload(file, chunk_size=options.chunk_size, parallel=options.parallel)

    return run


def aio(url: str, files: Sequence[str], options: argparse.Namespace) -> Callable[[], None]:
    """Prepare vectus' asyncio client."""
    import vectus

    async def upload() -> None:
        async with vectus.AsyncClient(url) as client:
            for file in files:
                await client.upload(file, chunk_size=options.chunk_size, parallel=options.parallel)

    vectus.AsyncClient(url)  # what it imports is not counted
    return lambda: asyncio.run(upload())


def tuspy(url: str, files: Sequence[str], options: argparse.Namespace) -> Callable[[], None]:
    """Prepare tuspy."""
    from tusclient.client import TusClient

    chunks = {"chunk_size": options.chunk_size} if options.chunk_size else {}
    client = TusClient(url)

    def run() -> None:
        for file in files:
            client.uploader(file, **chunks).upload()

    return run


def bare(url: str, files: Sequence[str], options: argparse.Namespace) -> Callable[[], None]:
    """Prepare a client that does no more than it must."""
    from benchmarks.wire import Connection, Target

    connection = Connection(Target(urlsplit(url).port or 80, "tus"))
    language = connection.language

    def run() -> None:
        for name in files:
            with open(name, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                connection.send(language.create(size))
                connection.send(language.append(connection.answer().upload, 0, size))
                while block := file.read(BLOCK):
                    connection.send(block)
                connection.answer()

    return run


CLIENTS = {"blocking": blocking, "aio": aio, "tuspy": tuspy, "bare": bare}


def main() -> None:
    """Upload as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("who", choices=CLIENTS)
    parser.add_argument("url")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--chunk-size", type=int)
    parser.add_argument("--parallel", type=int, default=1)
    options = parser.parse_args()
    run = CLIENTS[options.who](options.url, options.files, options)
    used, began = time.process_time(), time.perf_counter()
    run()
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    peak = measure.field(os.getpid(), "status", "VmHWM")  # getrusage has the parent's in it
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak}))


if __name__ == "__main__":
    main()
