"""What the command line says, and how it says no."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import vectus as package


def test_it_is_installed_as_a_command() -> None:
    """``vectus`` is a program beside the interpreter, and knows its version."""
    program = shutil.which("vectus", path=str(Path(sys.executable).parent))
    assert program
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"vectus {package.__version__}\n"


def test_version_names_what_it_runs_on(vectus) -> None:
    """``vectus version`` is what to paste into a report."""
    done = vectus("version")
    assert done.code == 0
    assert f"vectus {package.__version__}" in done.out
    assert "uvicorn 0." in done.out


@pytest.mark.parametrize(
    "command",
    [[], *([n] for n in ("serve", "check", "upload", "info", "rm", "completion", "version"))],
)
def test_help_comes_at_once(command) -> None:
    """Help loads nothing that serves or uploads, and every option in it says what it does."""
    script = (
        "import sys; from vectus.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    heavy = {"asyncio", "uvicorn", "uvloop", "ssl", "httpx2", "rich", "logging", "tempfile"}
    heavy |= {"sqlite3", "redis", "hashlib", "json", "mimetypes", "socket", "email"}
    assert heavy.isdisjoint(done.stderr.split())
    assert "usage: vectus" in done.stdout


def test_the_help_of_serve_names_every_default(vectus) -> None:
    """What is done without an option stands beside it."""
    text = " ".join(vectus("serve", "--help").out.split())
    for words in (
        *("(default: ./data)", "(default: 127.0.0.1)", "(default: 8080)", "(default: /files/)"),
        *("(default: 7d)", "(default: never)", "(default: finish)", "(default: 10s)"),
        *("(default: 20s)", "(default: 1)", "(default: no limit)", "(default: info)"),
    ):
        assert words in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["srve"], "invalid choice: 'srve'"),
        (["serve", "--prot", "1"], "no option --prot (did you mean --port?)"),
        (["serve", "--port=x"], "--port: 'x' is not a port"),
        (["serve", "--port", "65536"], "not a port"),
        (["serve", "a", "b"], "no use for 'b'"),
        (["serve", "--max-size", "12 parsecs"], "--max-size: '12 parsecs' is not a size"),
        (["serve", "--max-size", "0"], "lets nothing in"),
        (["serve", "--expire-after", "soon"], "--expire-after: 'soon' is not a duration"),
        (["serve", "--expire-after", "0"], "expires after no time"),
        (["serve", "--lock-timeout", "never"], "--lock-timeout"),
        (["serve", "--shutdown-timeout", "never"], "--shutdown-timeout"),
        (["serve", "--shutdown-timeout", "0"], "too little"),
        (["serve", "--expire-after", "101000w"], "hundred years"),
        (["serve", "--host", ""], "host"),
        (["serve", "--durability", "often"], "--durability"),
        (["serve", "--base-path", "files"], "--base-path: 'files'"),
        (["serve", "--public-url", "example.org"], "--public-url"),
        (["serve", "--cors", "example.org"], "is not an origin"),
        (["serve", "--workers", "0"], "--workers"),
        (["serve", "--workers", "2", "memory://"], "memory:// lives in one process"),
        (["serve", "--tls-key", "key.pem"], "--tls-key needs the certificate"),
        (["serve", "--tls-cert", "nothing.pem"], "nothing.pem"),
        (["serve", "--uds", "file"], "file of another kind"),
        (["serve", "s3:///no-bucket"], "names no bucket"),
        (["serve", "gopher://hole"], "gopher://"),
        (["serve", "file"], "cannot be kept in file"),
        (["serve", "/proc/uploads"], "cannot be kept in /proc/uploads"),
        (["serve", "--log-level", "loud"], "--log-level"),
        (["serve", "--locks", "gopher://hole"], "no locks for gopher://"),
        (["serve", "--locks", "localhost"], "Locks are named by a URL"),
        (["serve", "--locks", "redis://host:port"], "no URL of a Redis server"),
        (["serve", "--locks", "postgresql://[x"], "no URL of a PostgreSQL server"),
        (["serve", "--locks", "redis://host", "memory://"], "needs no locks elsewhere"),
    ],
)
def test_what_cannot_be_is_one_sentence(vectus, tmp_path, arguments, words) -> None:
    """Anything that cannot be as asked ends with code 2 and one line on standard error that says
    what to do about it; nothing is left behind."""
    (tmp_path / "file").touch()

    done = vectus(*arguments)

    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert done.one_sentence
    assert done.err.rstrip().endswith((".", "?"))


def test_a_taken_port_is_one_sentence(vectus) -> None:
    """A port that somebody listens on is named, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = vectus("serve", "memory://", "--port", port)
    assert (done.code, done.out) == (2, "")
    assert f"Port {port} on 127.0.0.1 is taken" in done.err
    assert "--port" in done.err
    assert done.one_sentence
