"""``vectus completion``: the scripts, in the shells that are here."""

from __future__ import annotations

import shutil
import subprocess

import pytest

SHELLS = [shell for shell in ("bash", "zsh", "fish") if shutil.which(shell)]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_sound(vectus, shell, tmp_path) -> None:
    """The shell can read it."""
    (tmp_path / "script").write_text(vectus("completion", shell).out)

    done = subprocess.run(
        [shell, "-n", "script"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


CASES = [
    ("vectus u", {"upload"}),
    ("vectus --v", {"--version"}),
    ("vectus upload --par", {"--parallel"}),
    ("vectus upload a.txt --verify ", {"length", "download"}),
    ("vectus serve --dur", {"--durability"}),
    ("vectus serve --durability al", {"always"}),
    ("vectus upload a", {"a file.txt", "another"}),
    ("vectus upload --cacert ano", {"another"}),
    ("vectus completion f", {"fish"}),
    ("vectus upload --retries ", set()),
]


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_bash_completes(vectus, tmp_path, line, expected) -> None:
    """Commands, options, values and files are offered where they can stand."""
    script = vectus("completion", "bash").out
    (tmp_path / "another").touch()
    (tmp_path / "a file.txt").touch()
    asking = (
        f"{script}\n"
        "COMP_LINE=$1; read -ra COMP_WORDS <<<\"$1\"; [[ $1 == *' ' ]] && COMP_WORDS+=('')\n"
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _vectus\n"
        "printf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", asking, "bash", line],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert set(filter(None, done.stdout.splitlines())) == expected


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_fish_completes(vectus, tmp_path, line, expected) -> None:
    """The same in fish, where that is here."""
    if "fish" not in SHELLS:
        return
    script = vectus("completion", "fish").out
    (tmp_path / "another").touch()
    (tmp_path / "a file.txt").touch()
    (tmp_path / "script").write_text(script)
    done = subprocess.run(
        ["fish", "--no-config", "-c", 'source script; complete -C "$argv[1]"', line],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )

    found = {row.partition("\t")[0] for row in done.stdout.splitlines()}
    assert expected <= {word.replace("\\", "") for word in found}
