"""Writes docs/protocol.md: every clause of the protocol beside the tests that prove it.

A test proves a clause by naming its id ("T20", or a run of them: "T30-T35") in its own name or in
its docstring. The tests are read, not run. With ``--check`` nothing is written: it exits with 1 and
says why if the file is not what would be written, or if a clause has no test.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "protocol.md"
CLAUSES = ROOT / "docs" / "clauses.toml"
TESTS = ROOT / "tests"

RUN = re.compile(r"(?<![A-Z0-9])([TC])(\d\d)(?:\s*(?:-|–|to)\s*\1?(\d\d))?(?![0-9])")

HEAD = """\
# The protocol, clause by clause

<!-- Made by `make docs` from docs/clauses.toml and the tests: change those, not this file. -->

What tus 1.0.0 asks for, in our words, and the tests that prove each sentence.
"""
SECTIONS = {
    "T": "## Requirements of tus 1.0.0",
    "C": "## Where the text leaves a choice",
}

Proofs = dict[str, dict[str, list[str]]]
"""For each clause: the test files, and in each the names of the tests."""


def main() -> None:
    """Write the table, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, complain")
    only_check = parser.parse_args().check
    clauses = tomllib.loads(CLAUSES.read_text())
    found = proofs()
    text = render(clauses, found)
    if only_check:
        sys.exit("\n".join(complaints(clauses, found, text)) or 0)
    TABLE.write_text(text)
    print("\n".join(missing(clauses, found)) or "Every clause has a test.")


def proofs() -> Proofs:
    """Return which tests name which clause."""
    found: Proofs = defaultdict(lambda: defaultdict(list))
    for path in sorted(TESTS.rglob("test_*.py")):
        for test in tests(ast.parse(path.read_text())):
            for clause in named(test):
                found[clause][path.relative_to(TESTS).as_posix()].append(test.name)
    return found


def tests(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the test functions of a file, those in classes too."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name.startswith("test_"):
                yield node


def named(test: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the clauses that a test names."""
    text = f"{test.name.upper().replace('_', ' ')} {ast.get_docstring(test) or ''}"
    ids = {
        f"{letter}{number:02}"
        for letter, first, last in RUN.findall(text)
        for number in range(int(first), int(last or first) + 1)
    }
    return sorted(ids)


def render(clauses: dict[str, dict[str, str]], found: Proofs) -> str:
    """Return the text of docs/protocol.md."""
    lines = [HEAD]
    for letter, title in SECTIONS.items():
        lines += [title, "", "| | Clause | Tests |", "|---|---|---|"]
        lines += [
            f"| {clause} | {meaning} | {cell(found.get(clause, {}))} |"
            for clause, meaning in clauses[letter].items()
        ]
        lines.append("")
    return "\n".join(lines)


def cell(files: dict[str, list[str]]) -> str:
    """Return the tests of one clause, file by file."""
    return "<br>".join(
        f"{path}: {', '.join(f'`{name}`' for name in dict.fromkeys(names))}"
        for path, names in files.items()
    )


def complaints(clauses: dict[str, dict[str, str]], found: Proofs, text: str) -> Iterator[str]:
    """Yield what is wrong, a line each."""
    yield from missing(clauses, found)
    if not TABLE.exists() or TABLE.read_text() != text:
        yield "docs/protocol.md is not current: make docs"


def missing(clauses: dict[str, dict[str, str]], found: Proofs) -> Iterator[str]:
    """Yield the clauses that no test names, a line each."""
    for section in clauses.values():
        for clause, meaning in section.items():
            if clause not in found:
                yield f"No test names {clause}: {meaning}"


if __name__ == "__main__":
    main()
