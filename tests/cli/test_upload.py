"""``vectus upload`` of one file as a process, against a server that troubles it."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

SIZE = 24 * 1024 * 1024
QUICK = ("--retry-delay", "0.01")


@pytest.fixture
def file(tmp_path):
    """A file that no buffer between client and server holds."""
    path = tmp_path / "Übung 1.pdf"
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    return path


def test_it_uploads_and_prints_nothing_but_the_url_on_standard_output(vectus, fake, file) -> None:
    """The upload's URL is all of standard output, so that a script can use it; the bytes are the
    file's, and its name and type go along."""
    done = vectus("upload", file, fake.url)

    assert (done.code, done.out) == (0, f"{fake.url}one\n")
    assert fake.stored == file.read_bytes()
    pairs = dict(pair.split(" ") for pair in fake.metadata.split(","))
    assert base64.b64decode(pairs["filename"]).decode() == file.name
    assert base64.b64decode(pairs["filetype"]) == b"application/pdf"
    assert f"{file.name}: 100 % of 24.0 MiB sent" in done.err
    assert f"{file.name}: 24.0 MiB confirmed" in done.err


@pytest.mark.parametrize(
    "tricks",
    [
        {"PATCH": [-100_000, -7_000_001]},
        {"PATCH": [423, 409, 503]},
        {"PATCH": [-65_536], "HEAD": [423, 503, 500]},
        {"POST": [503], "PATCH": [-1]},
    ],
    ids=["cut", "busy", "busy when asked", "busy at first"],
)
def test_it_goes_on_after_trouble(vectus, fake, file, tricks) -> None:
    """After a cut, 409, 423 or a 5xx it asks how far the server got, and goes on from there."""
    fake.tricks = tricks

    done = vectus("upload", file, fake.url, *QUICK)

    assert (done.code, done.out) == (0, f"{fake.url}one\n")
    assert fake.stored == file.read_bytes()
    assert "Trying again in" in done.err


def test_an_empty_file_needs_no_bytes(vectus, fake, tmp_path) -> None:
    """A file of length 0 is complete when it is created."""
    (tmp_path / "empty").touch()

    done = vectus("upload", "empty", fake.url)

    assert (done.code, done.out) == (0, f"{fake.url}one\n")
    assert fake.requests == ["POST"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415, 302])
def test_a_refusal_ends_it_with_the_servers_words(vectus, fake, file, status) -> None:
    """What another try cannot mend is told at once, in the server's words, with code 1."""
    fake.tricks = {"POST": [status]}

    done = vectus("upload", file, fake.url)

    assert (done.code, done.out) == (1, "")
    assert done.one_sentence
    assert fake.requests == ["POST"]
    assert {302: "points elsewhere", 413: "too large"}.get(status, "Because I say so") in done.err


def test_a_refused_body_tells_where_the_upload_is(vectus, fake, file) -> None:
    """When bytes are refused, the unfinished upload's URL is told on standard error."""
    fake.tricks = {"PATCH": [403]}

    done = vectus("upload", file, fake.url)

    assert (done.code, done.out) == (1, "")
    assert f"{fake.url}one" in done.err


def test_nobody_there_ends_it_after_the_tries(vectus, file) -> None:
    """A server that cannot be reached ends it with code 3, after as many tries as were asked."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/files/"

        done = vectus("upload", file, url, "--retries", "2", *QUICK)

    assert (done.code, done.out) == (3, "")
    assert done.err.count("Trying again") == 2
    assert "Tried 3 times without success" in done.err
    assert "Traceback" not in done.err


def test_progress_renews_the_tries(vectus, fake, file) -> None:
    """Tries count from the last byte that the server acknowledged: a bad network ends nothing as
    long as there is progress."""
    fake.tricks = {"PATCH": [-1_000_000] * 6}

    done = vectus("upload", file, fake.url, "--retries", "1", *QUICK)

    assert done.code == 0
    assert fake.stored == file.read_bytes()


@pytest.mark.parametrize("change", ["shrink", "grow", "rewrite"])
def test_a_file_that_changes_is_never_half_old_and_half_new(vectus, fake, file, change) -> None:
    """A file changed while it is uploaded ends it with code 1, and the upload stays unfinished."""

    def happen(_: object) -> None:
        if change == "shrink":
            os.truncate(file, 2_000_000)
        else:
            with file.open("ab" if change == "grow" else "r+b") as changed:
                changed.write(b"news")

    fake.tricks = {"PATCH": [happen]}

    done = vectus("upload", file, fake.url)

    assert (done.code, done.out) == (1, "")
    assert "was changed while it was uploaded" in done.err
    assert len(fake.stored) < SIZE


def test_a_server_that_makes_offsets_up_is_not_believed(vectus, fake, file) -> None:
    """An offset beyond the file's end is no success, and what makes no sense is said."""
    fake.tricks = {"PATCH": [lambda _: fake.stored.extend(b"more")]}

    done = vectus("upload", file, fake.url, "--retries", "2", *QUICK)

    assert done.code in (1, 3)
    assert done.out == ""
    assert str(SIZE + 4) in done.err


def test_a_server_that_is_no_tus_server_is_named_so(vectus, fake, file) -> None:
    """An answer without a Location creates nothing."""
    fake.tricks = {"POST": [200]}

    done = vectus("upload", file, fake.url)

    assert (done.code, done.out) == (1, "")
    assert "does not create uploads" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.bin", "http://127.0.0.1:1/"], "There is no file nothing.bin"),
        ([".", "http://127.0.0.1:1/"], "is a directory. Add -r"),
        (["file", "ftp://127.0.0.1/"], "is not an http or https URL"),
        (["file", "http://"], "is not an http or https URL"),
        (["file", "http://127.0.0.1:1/", "--retries", "-1"], "--retries"),
        (["file", "http://127.0.0.1:1/", "--retry-delay", "soon"], "is not a duration"),
        (["file"], "URL"),
    ],
)
def test_what_cannot_be_is_one_sentence(vectus, tmp_path, arguments, words) -> None:
    """Arguments that make no sense end it with code 2 and one sentence."""
    (tmp_path / "file").touch()

    done = vectus("upload", *arguments)

    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert done.one_sentence


def test_ctrl_c_tells_where_the_upload_is(fake, file) -> None:
    """Ctrl-C ends it with code 130, a sentence and the unfinished upload's URL."""
    there = threading.Event()

    def interrupt(_: object) -> None:
        assert there.wait(20)
        os.kill(client.pid, signal.SIGINT)
        fake.release.wait(20)

    fake.tricks = {"PATCH": [interrupt]}
    client = subprocess.Popen(
        [sys.executable, "-m", "vectus", "upload", str(file), fake.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    there.set()
    try:
        out, err = client.communicate(timeout=30)
    finally:
        client.kill()
        client.wait()

    assert (client.returncode, out) == (130, "")
    assert "Stopped. The same command goes on from there." in err
    assert f"The unfinished upload is {fake.url}one" in err
    assert "Traceback" not in err


def test_it_needs_nothing_that_only_posix_has(fake, file) -> None:
    """Where there is no fcntl and no terminal of POSIX, files are uploaded all the same."""
    program = (
        "import sys\n"
        "for name in 'fcntl resource pwd grp termios tty pty uvloop'.split():\n"
        "    sys.modules[name] = None\n"
        "from vectus.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "upload", file, fake.url, "-q"],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{fake.url}one\n", "")
