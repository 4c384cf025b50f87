"""Uploads in child processes, for tests that kill them: a program that reads orders from standard
input, a JSON object in each line, and answers each with one.

Children are forked from a process that has everything loaded, since starting Python takes longer
than such an upload. Only this process ends and reaps its children, so that no signal can reach
a stranger; when its input ends, it takes them with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

import vectus
from vectus.client import FileResume, Noticed, Retrying
from vectus.errors import UploadError

PATIENCE = 40.0

Order = dict[str, Any]


def upload(order: Order) -> dict[str, Any]:
    """Do one upload, and tell what came of it."""
    notices: list[str] = []

    def hear(what: object) -> None:
        if isinstance(what, Noticed):
            notices.append(what.text)
        if isinstance(what, Retrying):
            print(what, file=sys.stderr, flush=True)

    options = {"resume": FileResume(order["resume"]), "on_event": hear, **order["options"]}
    try:
        if order["side"] == "asyncio":
            result = asyncio.run(vectus.aupload(order["file"], order["endpoint"], **options))
        else:
            result = vectus.upload(order["file"], order["endpoint"], **options)
    except UploadError as error:
        return {"error": f"{type(error).__name__}: {error}", "notices": notices}
    return {"url": result.url, "resumed": result.resumed, "notices": notices}


def child(order: Order) -> None:
    """Be a process that uploads, and write what it came to into a file."""
    status = 1
    try:
        text = json.dumps(upload(order))
        with open(order["told"], "w", encoding="utf-8") as file:
            file.write(text)
        status = 0
    finally:
        os._exit(status)


def begin(order: Order) -> int:
    """Start a child."""
    pid = os.fork()
    if pid == 0:
        os.close(0)
        child(order)
    return pid


def reap(pid: int) -> int:
    """Wait for a child's end, though not for ever."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return kill(pid)


def kill(pid: int) -> int:
    """Kill a child."""
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """Follow orders: begin one under a name, kill it, or wait for its end."""
    vectus.Client("http://127.0.0.1/").close()  # what is loaded late is loaded now
    children: dict[str, int] = {}
    print("{}", flush=True)
    try:
        for line in sys.stdin:
            order = json.loads(line)
            name = order["name"]
            match order["do"]:
                case "begin":
                    children[name] = begin(order)
                    answer = 0
                case "kill":
                    answer = kill(children.pop(name))
                case _:
                    answer = reap(children.pop(name))
            print(json.dumps({"answer": answer}), flush=True)
    finally:
        for pid in children.values():
            kill(pid)


if __name__ == "__main__":
    main()
