"""Uses a resume store in a process of its own: ``resume_driver.py STORE WHERE MODE ...``.

fill NAME COUNT     remember so many entries, print "done"
churn               remember the same entry for ever, now short, now long; print when it begins
claim FINGERPRINT   claim it, print "claimed" or "refused", and keep it until standard input ends
race FINGERPRINT ROUNDS FILE   claim it again and again; whoever has it makes FILE, which must
                    not be there, and takes it away; print how often it was had
fork FINGERPRINT    claim it, fork a child that leaves the claim's context and lives on until
                    standard input ends, print the child's pid, and wait as well
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from vectus.client.contracts import Entry
from vectus.client.resume import FileResume, RedisResume, SQLiteResume

STORES: dict[str, Callable[[str], Any]] = {
    "file": FileResume,
    "sqlite": SQLiteResume,
    "redis": lambda where: RedisResume(*where.split("#")),
}


def fill(store: Any, name: str, count: str) -> None:
    for number in range(int(count)):
        store.set(f"{name}-{number}", Entry(f"https://host/{name}/{number}"))
    print("done")


def churn(store: Any) -> None:
    print("churning")
    while True:
        for length in (1, 100_000):
            store.set("churned", Entry("https://host/churned", length, extra={"x": "x" * length}))


def claim(store: Any, fingerprint: str) -> None:
    with store.claim(fingerprint) as claim:
        print("refused" if claim is None else "claimed")
        sys.stdin.read()


def race(store: Any, fingerprint: str, rounds: str, path: str) -> None:
    had = 0
    for _ in range(int(rounds)):
        with store.claim(fingerprint) as claim:
            if claim is not None:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL))
                os.unlink(path)
                had += 1
    print("had", had)


def fork(store: Any, fingerprint: str) -> None:
    with store.claim(fingerprint):
        child = os.fork()
        if child:
            tell(f"child {child}")
            sys.stdin.read()
    if child == 0:  # the child has left the context, and the claim is its parent's all the same
        tell("left")
        os.read(0, 1)
        os._exit(0)


def tell(text: str) -> None:
    """Print a line at once: two processes share the pipe."""
    os.write(1, f"{text}\n".encode())


sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
kind, where, mode, *arguments = sys.argv[1:]
{m.__name__: m for m in (fill, churn, claim, race, fork)}[mode](STORES[kind](where), *arguments)
