"""``vectus upload`` as a process, against a real server: many files, streams, and later runs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from reading import events_of, metadata_of, path_of

from server import Server

CHUNK = 64 << 10
CHUNKS = 1024
LONG_NAME = "x" * 200 + ".bin"
"""Events with this name soon fill a pipe that nobody reads: then the client stands still, with a
part of the file at the server."""


@pytest.fixture
def file(tmp_path) -> Path:
    """A file of a thousand chunks."""
    path = tmp_path / LONG_NAME
    path.write_bytes(random.Random(3).randbytes(1 << 20) * (CHUNK * CHUNKS >> 20))
    return path


@contextmanager
def standing(*arguments: object) -> Iterator[subprocess.Popen]:
    """An upload that has begun, and stands still for as long as nobody reads what it says."""
    command = [sys.executable, "-m", "vectus", "upload", "--json", *map(str, arguments)]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    try:
        said = b""
        while b'"confirmed", ' not in said:
            data = client.stdout.read(512)
            assert data, client.stderr.read()
            said += data
        client.said = said
        yield client
    finally:
        client.kill()
        client.communicate(timeout=20)


def kill(client: subprocess.Popen) -> None:
    client.kill()
    assert client.wait(20) == -signal.SIGKILL


def interrupt(client: subprocess.Popen) -> None:
    client.send_signal(signal.SIGINT)
    out, err = client.communicate(timeout=20)
    last = events_of((client.said + out).decode())[-1]
    assert (client.returncode, last["outcome"], err) == (130, "interrupted", b"")
    assert "The same command goes on" in last["hint"]


@pytest.mark.parametrize("end", [kill, interrupt])
def test_a_second_run_goes_on_where_the_server_is(vectus, tus, file, end) -> None:
    """After kill -9, and after Ctrl-C, the same command sends only what the server has not."""
    arguments = (file, tus.url, "--chunk-size", "64KiB")
    with standing(*arguments) as client:
        end(client)
    (begun,) = (p for p in tus.store.iterdir() if p.suffix == ".info")
    offset = tus.offset(f"/files/{begun.stem}")

    done = vectus("upload", "--json", *arguments)

    assert done.code == 0
    events = events_of(done.out)
    assert CHUNK <= offset < CHUNK * CHUNKS
    assert (events[0]["event"], events[0]["offset"]) == ("started", offset)
    assert events[-1]["resumed"] == offset
    assert events[-1]["url"].endswith(begun.stem)
    assert sum(each["event"] == "confirmed" for each in events) <= CHUNKS - offset // CHUNK + 1
    assert tus.stored(path_of(events[-1]["url"])) == file.read_bytes()


def test_no_resume_begins_anew(vectus, tus, file, state) -> None:
    """With --no-resume nothing is remembered, and nothing that is remembered is used."""
    arguments = (file, tus.url, "--chunk-size", "64KiB")
    with standing(*arguments, "--no-resume") as client:
        kill(client)
    assert not state.exists()
    with standing(*arguments) as client:
        kill(client)
    assert state.exists()

    done = vectus("upload", *arguments, "--no-resume", "--json", "-q")

    assert events_of(done.out)[0]["resumed"] == 0


def test_equal_files_keep_their_names(vectus, tus, tmp_path) -> None:
    """Of two files with the same content and time, one is never gone on with as the other."""
    for name in ("a.bin", "b.bin"):
        path = tmp_path / (name[0] * 200 + name[1:])
        path.write_bytes(bytes(CHUNK * CHUNKS))
        os.utime(path, (1, 1))
    first, second = sorted(tmp_path.glob("*.bin"))
    with standing(first, tus.url, "--chunk-size", "64KiB") as client:
        kill(client)

    done = vectus("upload", second, tus.url, "-q")

    assert metadata_of(tus, done.out)["filename"] == second.name.encode()


def test_without_a_place_to_remember_it_goes_on_and_says_so(vectus, tus, tmp_path) -> None:
    """A state directory that cannot be made costs no upload."""
    (tmp_path / "state").write_text("not a directory")
    (tmp_path / "a.txt").write_text("content")

    done = vectus("upload", "a.txt", tus.url)

    assert done.code == 0
    assert "No later run can go on" in done.err
    assert tus.stored(path_of(done.out)) == b"content"


def test_a_resume_file_of_ones_own(vectus, tus, file, tmp_path, state) -> None:
    """--resume-file names the file instead."""
    with standing(file, tus.url, "--chunk-size", "64KiB", "--resume-file", tmp_path / "my.json"):
        assert (tmp_path / "my.json").exists()
    assert not state.exists()


def test_several_files_go_on_after_a_failure(vectus, tus, tmp_path) -> None:
    """What is wrong with one file stops no other; the highest code is the command's; each result
    says whose it is."""
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "folder").mkdir()

    done = vectus("upload", "a.txt", "missing", "folder", "-q", "b.txt", tus.url)

    assert done.code == 2
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [name for _, name in rows] == ["a.txt", "b.txt"]
    assert [tus.stored(path_of(url)) for url, _ in rows] == [b"first", b"second"]
    assert done.err.splitlines() == [
        "vectus upload: There is no file missing.",
        "vectus upload: folder is a directory. Add -r for the files in it.",
    ]


def test_a_directory_is_uploaded_with_relative_paths(vectus, tus, tmp_path) -> None:
    """With -r the files below a directory are uploaded in order, each with its path; links are not
    followed, and that is said."""
    tree = tmp_path / "tree"
    (tree / "sub" / "deep").mkdir(parents=True)
    (tree / "b.txt").write_text("b")
    (tree / "sub" / "deep" / "a.png").write_text("a")
    (tmp_path / "outside.txt").write_text("outside")
    (tree / "link.txt").symlink_to(tmp_path / "outside.txt")
    (tree / "loop").symlink_to(tree)
    os.mkfifo(tree / "pipe")

    done = vectus("upload", "-r", "tree", "outside.txt", tus.url)

    assert done.code == 0
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [name for _, name in rows] == ["tree/b.txt", "tree/sub/deep/a.png", "outside.txt"]
    told = [metadata_of(tus, url) for url, _ in rows]
    assert [each["relativePath"] for each in told] == [
        b"tree/b.txt",
        b"tree/sub/deep/a.png",
        b"outside.txt",
    ]
    assert told[1] == {
        "filename": b"a.png",
        "filetype": b"image/png",
        "relativePath": b"tree/sub/deep/a.png",
    }
    assert "not followed, and there are 2" in done.err
    assert "1 are no regular files" in done.err


@pytest.mark.platform("linux")
def test_odd_names_do_no_harm(vectus, tus, tmp_path) -> None:
    """Names with newlines, control characters and bytes that are no Unicode are uploaded, stay on
    one line, and are valid JSON."""
    names = [b"new\nline", b"bell\x07\x1b[2J", b"not\xffunicode", b"-r", b"data:text,x.txt"]
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(tree), name))).write_bytes(name)

    plain = vectus("upload", "-r", "tree", tus.url)
    events = events_of(vectus("upload", "-r", "tree", tus.url, "--json", "-q").out)

    assert plain.code == 0
    rows = [line.split("\t") for line in plain.out.splitlines()]
    assert sorted(tus.stored(path_of(url)) for url, _ in rows) == sorted(names)
    assert all(name.isprintable() for _, name in rows)
    assert "\x1b" not in plain.err
    assert [each["outcome"] for each in events] == ["uploaded"] * len(names)
    assert {each["file"] for each in events} >= {
        "tree/new\nline",
        "tree/not\N{REPLACEMENT CHARACTER}unicode",
    }


def test_dashes_let_a_name_begin_with_one(vectus, tus, tmp_path) -> None:
    """After -- nothing is an option, wherever it stands."""
    (tmp_path / "-x").write_text("dash")
    (tmp_path / "a").write_text("a")

    done = vectus("upload", "a", "-q", "--", "-x", tus.url)

    assert (done.code, len(done.out.splitlines())) == (0, 2)


@pytest.mark.parametrize("length", [(), ("--length", "300000")])
def test_standard_input(tus, length) -> None:
    """A dash is standard input, whose length may be told beforehand."""
    content = random.Random(5).randbytes(300_000)
    command = [sys.executable, "-m", "vectus", "upload", "-", tus.url, "-q", *length]
    done = subprocess.run(
        [*command, "--metadata", "filename=in.bin", "--metadata", "public"],
        input=content,
        capture_output=True,
        timeout=40,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert tus.stored(path_of(done.stdout.decode())) == content
    assert metadata_of(tus, done.stdout.decode()) == {"filename": b"in.bin", "public": b""}


def test_standard_input_that_ends_early_is_not_complete(vectus, tus) -> None:
    """Fewer bytes than --length are an error, whatever the server has."""
    done = vectus("upload", "-", tus.url, "--length", "10", input="short")

    assert done.code == 1
    assert done.out == ""
    assert "5" in done.err or "fewer" in done.err or "ends" in done.err


def test_parallel_checksum_and_verify(vectus, tus, file) -> None:
    """A file goes over several connections, each chunk checked, and is read back in the end."""
    done = vectus(
        *("upload", file, tus.url, "--parallel", "3", "--checksum", "auto"),
        *("--chunk-size", "8MiB", "--verify", "download", "-q"),
    )

    assert (done.code, done.err) == (0, "")
    assert tus.stored(path_of(done.out)) == file.read_bytes()


def test_json_tells_everything_in_lines(vectus, tus, tmp_path) -> None:
    """Each event is an object in its own line; the last of each file has its URL and outcome."""
    (tmp_path / "a.bin").write_bytes(bytes(300_000))

    done = vectus("upload", "a.bin", "missing", tus.url, "--json", "--chunk-size", "100000")

    assert (done.code, done.err) == (2, "")
    events = events_of(done.out)
    assert [e["event"] for e in events if e["event"] not in ("progress", "confirmed")] == [
        "started",
        "end",
        "end",
    ]
    assert events[-2] == {
        "event": "end",
        "file": "a.bin",
        "outcome": "uploaded",
        "code": 0,
        "url": events[0]["url"],
        "length": 300_000,
        "resumed": 0,
        "retries": 0,
        "error": None,
        "hint": None,
    }
    assert (events[-1]["outcome"], events[-1]["code"]) == ("impossible", 2)
    assert events[-1]["error"] == "There is no file missing."


def test_a_reader_that_goes_ends_no_upload(tus, tmp_path) -> None:
    """Standard output closed by its reader costs the rest of the words, not of the files."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    command = [sys.executable, "-m", "vectus", "upload", "a", "b", "c", tus.url, "--json"]
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        command, stdout=theirs, stderr=subprocess.PIPE, cwd=tmp_path, timeout=40, check=False
    )
    os.close(theirs)

    assert (done.returncode, done.stderr) == (0, b"")
    stored = [p.read_bytes() for p in tus.store.iterdir() if p.with_name(p.name + ".info").exists()]
    assert sorted(stored) == [b"a", b"b", b"c"]


@pytest.mark.platform("linux")
@pytest.mark.parametrize("option", ["-q", "--json"])
def test_results_that_cannot_be_written_are_an_error(tus, tmp_path, option) -> None:
    """With standard output on a full disk nobody believes that all is well."""
    (tmp_path / "a").write_text("a")
    command = [sys.executable, "-m", "vectus", "upload", "a", tus.url, option]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, timeout=40, check=False
        )

    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"Standard output cannot be written: no space left" in done.stderr


@pytest.mark.platform("linux", "darwin")
def test_a_pipe_by_name(vectus, tus, tmp_path) -> None:
    """A named pipe is read once, like standard input."""
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen(["sh", "-c", "printf content > pipe"], cwd=tmp_path)
    try:
        done = vectus("upload", "pipe", tus.url, "-q")
    finally:
        writer.kill()
        writer.wait(20)

    assert (done.code, done.err) == (0, "")
    assert tus.stored(path_of(done.out)) == b"content"


def test_a_server_that_is_away_is_asked_once_for_further_files(
    vectus, tus: Server, tmp_path
) -> None:
    """The retries are spent on the first file; each further one is still tried."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    tus.kill()

    done = vectus("upload", "a", "b", "c", tus.url, "--retries", "2", "--retry-delay", "0.01")

    assert (done.code, done.out) == (3, "")
    assert done.err.count("Trying again") == 2
    assert done.err.count("without success") == 3
    assert "The same command goes on from there." in done.err


def test_an_empty_directory_is_no_error(vectus, tus, tmp_path) -> None:
    """There is nothing to do, and that is done."""
    (tmp_path / "empty").mkdir()

    done = vectus("upload", "-r", "empty", tus.url)

    assert (done.code, done.out) == (0, "")
    assert "There are no files to upload." in done.err
