"""``vectus check``: what it shows, how it asks, and how it ends."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import boto3
import pytest

import backends
from vectus import wiring
from vectus.cli import codes, main
from vectus.cli.check import recommended
from vectus.findings import Change, Finding, Grade, Question
from vectus.locks import check as lock_check
from vectus.locks.memory import MemoryLocker
from vectus.stores import check as directory_check

shared_redis, redis_url = backends.shared_redis, backends.redis_url

GOOD = Finding("thing", Grade.OK, "It works.")
ODD = Finding("habit", Grade.WARNING, "It may not.", "Do this.", {"safe": "true", "fast": None})
BAD = Finding("other", Grade.FAILURE, "It does not work.", "Do that.")
AWAY = replace(BAD, subject="server", unreached=True)


class Stage:
    """A store whose findings a test chooses."""

    def __init__(self) -> None:
        self.findings = [GOOD]
        self.change: Change | Finding = Change("rules of it", ["  old", "+ new"], self.make)
        self.made = 0
        self.closed = False
        self.asked: Question | None = None

    def probe(self, question: Question) -> Iterator[Finding]:
        """Find what was chosen."""
        self.asked = question
        try:
            yield from self.findings
        finally:
            self.closed = True

    def make(self) -> Finding:
        """Change something."""
        self.made += 1
        return Finding("fix", Grade.OK, "It was changed.")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Have a kind of store to look at."""
    stage = Stage()
    scheme = replace(
        wiring.SCHEMES["s3"], probes=(stage.probe,), mend=lambda _: stage.change, check=lambda _: _
    )
    monkeypatch.setitem(wiring.SCHEMES, "stage", scheme)
    return stage


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have somebody at a terminal who says something."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    return lambda text: monkeypatch.setattr("sys.stdin", Terminal(f"{text}\n"))


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([GOOD], codes.OK),
        ([GOOD, ODD], codes.OK),
        ([GOOD, BAD, ODD], codes.FAILED),
        ([AWAY], codes.UNREACHABLE),
    ],
)
def test_codes(stage: Stage, findings: list[Finding], code: int, capsys) -> None:
    """Warnings are no failure, and a server that nobody reached is another one."""
    stage.findings = findings

    assert main(["check", "stage://here"]) == code
    said = capsys.readouterr().out
    assert all(finding.says in said for finding in findings)


def test_what_is_shown(stage: Stage, capsys) -> None:
    """A line for each thing, with what to do below it, how it comes out, and the URL to use."""
    stage.findings = [GOOD, ODD]
    main(["check", "stage://here/in?fast=true&part_size=5MiB"])

    assert capsys.readouterr().out == (
        "ok       thing        It works.\n"
        "warning  habit        It may not.\n"
        "                      => Do this.\n"
        "\n"
        "All that is needed works, with 1 warning.\n"
        "Use: 'stage://here/in?part_size=5MiB&safe=true'\n"
    )


def test_the_url_to_use() -> None:
    """Options follow from what was found; what was written stays as it was."""
    asked = Question("s3://b/a%20b?endpoint=http://x:1&equal_parts=true")

    assert recommended(asked, [GOOD]) == asked.store
    gone = replace(GOOD, options={"equal_parts": None, "endpoint": None})
    assert recommended(asked, [gone]) == "s3://b/a%20b"
    more = replace(GOOD, options={"conditional_put": "true", "equal_parts": "true"})
    assert recommended(asked, [more]).endswith("x:1&conditional_put=true&equal_parts=true")


def test_json(stage: Stage, capsys) -> None:
    """One object with all of it."""
    stage.findings = [GOOD, ODD, BAD]

    assert main(["check", "stage://here", "--json", "--fix", "--yes"]) == codes.FAILED
    said = json.loads(capsys.readouterr().out)
    assert said.keys() == {"store", "code", "findings", "difference", "use"}
    assert said["code"] == codes.FAILED
    assert said["use"] == "stage://here?safe=true"
    assert said["difference"] == ["  old", "+ new"]
    assert [each["grade"] for each in said["findings"]] == ["ok", "warning", "failure", "ok"]
    assert said["findings"][1] == {
        "subject": "habit",
        "grade": "warning",
        "says": "It may not.",
        "hint": "Do this.",
    }


def test_nothing_of_a_finding_reaches_the_terminal_unclean(stage: Stage, capsys) -> None:
    """What servers say does nothing to a terminal, and repeats no password."""
    stage.findings = [replace(BAD, says="It said \x1b[2J and geheim.")]
    options = ["--locks", "redis://me:geheim@127.0.0.1:1/0"]

    assert main(["check", "stage://here", *options]) == codes.UNREACHABLE
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "geheim" not in said


def test_what_is_asked(stage: Stage) -> None:
    """The options of ``vectus serve`` that matter are passed on."""
    main(["check", "stage://here", "--expire-after", "never"])

    assert stage.asked == Question("stage://here", None, None)


# --- Setting right --------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "made"), [("y", 1), ("Yes", 1), ("n", 0), ("", 0)])
def test_it_asks(stage: Stage, answer, word: str, made: int, capsys) -> None:
    """The difference is shown, and nothing is done before somebody agreed."""
    answer(word)

    assert main(["check", "stage://here", "--fix"]) == codes.OK
    said = capsys.readouterr()
    assert "The rules of it would become:\n\n    old\n  + new\n" in said.out
    assert "[y/N]" in said.err
    assert stage.made == made


def test_without_a_terminal_nothing_is_done(stage: Stage, monkeypatch, capsys) -> None:
    """Whoever cannot be asked has not agreed."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    assert main(["check", "stage://here", "--fix"]) == codes.USAGE
    assert "--yes" in capsys.readouterr().out
    assert stage.made == 0


def test_agreed_beforehand(stage: Stage, capsys) -> None:
    """--yes answers."""
    assert main(["check", "stage://here", "--fix", "--yes"]) == codes.OK

    assert stage.made == 1
    assert "It was changed." in capsys.readouterr().out


def test_nothing_to_set_right(stage: Stage, capsys) -> None:
    """What says why nothing is changed decides the code; a directory has nothing of the kind."""
    stage.change = BAD
    assert main(["check", "stage://here", "--fix"]) == codes.FAILED
    stage.findings = [AWAY]
    assert main(["check", "stage://here", "--fix"]) == codes.UNREACHABLE
    assert main(["check", "memory://", "--fix"]) == codes.USAGE

    assert "Leave out --fix" in capsys.readouterr().err


def test_ctrl_c(stage: Stage, monkeypatch) -> None:
    """What looks gets the chance to clean up."""

    def show(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vectus.cli.outlet.out", show)

    assert main(["check", "stage://here"]) == codes.INTERRUPTED
    assert stage.closed


# --- Real places ----------------------------------------------------------------------------------


def test_a_directory(vectus, tmp_path) -> None:
    """A directory that is not there is tried all the same, and not left behind."""
    done = vectus("check", "new/one")

    assert done.code == 0
    assert "All that is needed works" in done.out
    assert {line.split()[1] for line in done.out.splitlines() if line[:4] in ("ok  ", "note")} >= {
        *("directory", "room", "records", "removal", "joins", "locks")
    }
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use(vectus, tmp_path) -> None:
    """Nothing is added to one that is in use."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one").touch()

    assert vectus("check", "data", "--json").code == 0
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["one"]


@pytest.mark.parametrize("where", ["file", "file/under", "/proc/here"])
def test_no_directory(where, tmp_path) -> None:
    """What is none, or cannot be made, is one failure."""
    (tmp_path / "file").touch()
    found = list(directory_check.probe(tmp_path / where))

    assert [each.grade for each in found] == [Grade.FAILURE]


def test_little_room(tmp_path, monkeypatch) -> None:
    """A disk that is nearly full is told of before it is."""
    real = os.statvfs(tmp_path)

    class Full:
        f_bavail, f_favail = 10, 20

        def __getattr__(self, name: str) -> int:
            return getattr(real, name)

    monkeypatch.setattr("os.statvfs", lambda _: Full())
    found = {each.subject: each.grade for each in directory_check.probe(tmp_path)}

    assert (found["room"], found["files"]) == (Grade.WARNING, Grade.WARNING)


def test_memory(vectus) -> None:
    """There is nothing that could fail."""
    done = vectus("check", "memory://")

    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["gopher://x"],
        ["s3://"],
        ["s3://b?endpoint=nonsense"],
        ["memory://", "--locks", "redis://x"],
    ],
)
def test_what_cannot_be_asked(vectus, arguments) -> None:
    """What makes no sense is one sentence."""
    done = vectus("check", *arguments)

    assert (done.code, done.one_sentence) == (2, True)


# --- Locks ----------------------------------------------------------------------------------------


def test_real_locks(redis_url, tmp_path, capsys) -> None:
    """Locks in Redis are taken, refused, asked for and handed over."""
    assert main(["check", str(tmp_path), "--locks", redis_url]) == codes.OK

    said = capsys.readouterr().out
    assert said.count("One at a time has a lock") == 2


def test_locks_that_nobody_keeps(tmp_path, capsys) -> None:
    """A server that is not there is told from locks that do not work."""
    code = main(["check", str(tmp_path), "--locks", "redis://:geheim@127.0.0.1:1/0"])

    said = capsys.readouterr().out
    assert code == codes.UNREACHABLE
    assert "cannot be reached" in said
    assert "geheim" not in said


def test_locks_that_are_none() -> None:
    """Two that have the same lock are found out."""
    (found,) = lock_check.probe(MemoryLocker)  # each has a memory of its own

    assert (found.grade, found.says) == (Grade.FAILURE, "Two had the same lock at once.")


# --- S3 -------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A store's URL at a quick server."""
    from moto.server import ThreadedMotoServer

    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the credentials that it found
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        with closing(boto3.client("s3", endpoint_url=url, region_name="us-east-1")) as client:
            client.create_bucket(Bucket="one")
        yield f"s3://one/in?endpoint={url}&region=us-east-1"
    finally:
        server.stop()


def test_a_bucket(vectus, bucket: str) -> None:
    """From end to end, with the rule, by the command alone."""
    done = vectus("check", bucket, "--fix", "--yes", "--json")
    said = json.loads(done.out)

    assert (done.code, done.err) == (0, "")
    assert said["use"].startswith(bucket)
    assert [each["grade"] for each in said["findings"]].count("failure") == 0
    assert (said["findings"][-1]["subject"], said["findings"][-1]["grade"]) == ("fix", "ok")
    assert len(said["difference"]) == 1
    settled = wiring.mend(Question(bucket, 7 * 86400.0))
    assert isinstance(settled, Finding)
    assert settled.grade is Grade.OK
