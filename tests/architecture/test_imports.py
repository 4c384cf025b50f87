"""Who may import whom, as a table; any other edge fails, and so does any cycle.

Every import counts, those within functions and under TYPE_CHECKING as well: a name that is needed
only for its type is still a name that the module knows.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import vectus

SOURCE = Path(vectus.__file__).parent

MAY_IMPORT = {
    "errors": "",
    "protocol": "errors",
    "events": "protocol errors",
    "contracts": "events protocol errors",
    "engine": "contracts events protocol errors",
    "findings": "",
    "stores": "contracts events errors findings"
    " protocol.upload protocol.exchange protocol.messages",
    "locks": "contracts events errors findings protocol.upload",
    "asgi": "contracts events errors protocol.messages protocol.exchange",
    "direct": "contracts events errors protocol.messages protocol.exchange",
    "testing": "contracts events protocol errors client.contracts",
    "settings": "errors",
    "wiring": "engine stores locks direct settings contracts events findings protocol errors",
    "client": "contracts events protocol errors",
    "app": "engine asgi wiring settings contracts events errors protocol.policy",
    "serving": "app wiring settings errors",
    "cli": "app serving wiring settings client findings errors vectus",
    "vectus": "app client events errors",
    "__main__": "cli",
}
"""Each part of vectus, and what of vectus it may import besides itself; ``a.b`` is that module
only, and the part "vectus" is the package's own file."""

MAY_NOT_IMPORT = [
    ("protocol.rules", "protocol.dialects"),
    ("protocol.dialects", "protocol.rules"),
]
"""Edges within a part that are forbidden: both speak ``exchange``, so that a second dialect is a
file and not a fork."""

NEVER_IN_PROTOCOL = {
    *("asyncio", "socket", "os", "time", "logging", "random", "secrets", "threading"),
    *("pathlib", "io", "subprocess", "uuid"),
}
"""The protocol decides and never does: no clock, no chance, nothing from outside."""


def modules() -> dict[str, Path]:
    """Return every module of vectus by its name within the package."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "vectus"] = path
    return found


MODULES = modules()


def imported(name: str) -> Iterator[str]:
    """Yield the full dotted name of everything that a module imports."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import; write it out"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def edges(name: str) -> set[str]:
    """Return the modules of vectus that a module imports."""
    inside = (full.removeprefix("vectus.") for full in imported(name) if within(full, "vectus"))
    return {
        target if target in MODULES else target.rpartition(".")[0] or "vectus" for target in inside
    }


def part(module: str) -> str:
    """Return the part of vectus that a module belongs to."""
    return module.partition(".")[0]


def within(module: str, place: str) -> bool:
    """Say whether a module is a place named in a table, or below it."""
    return module == place or module.startswith(f"{place}.")


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_what_the_table_lets_it(name: str) -> None:
    """No module knows more of vectus than its part's row says."""
    allowed = [part(name), *MAY_IMPORT[part(name)].split()]
    forbidden = [right for left, right in MAY_NOT_IMPORT if within(name, left)]
    targets = edges(name)
    stray = {t for t in targets if not any(within(t, place) for place in allowed)}

    assert stray | {t for t in targets if any(within(t, f) for f in forbidden)} == set()


def test_there_is_no_cycle() -> None:
    """The modules can be put in an order in which each imports only what stands before it."""
    graph = {name: edges(name) - {name} for name in MODULES}

    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_the_table_has_no_row_too_many() -> None:
    """Every row is about something that is there, and everything that is there has a row."""
    assert {part(name) for name in MODULES} == MAY_IMPORT.keys()


@pytest.mark.parametrize("name", [name for name in MODULES if part(name) == "protocol"])
def test_the_protocol_is_pure(name: str) -> None:
    """The protocol imports nothing that could wait, look at a clock or toss a coin."""
    roots = {full.partition(".")[0] for full in imported(name)}
    waits = [n for n in ast.walk(ast.parse(MODULES[name].read_text())) if isinstance(n, ast.Await)]

    assert roots & NEVER_IN_PROTOCOL == set()
    assert waits == []


def test_wiring_names_adapters_inside_functions_only() -> None:
    """Importing vectus loads no store and no locker that nobody asked for."""
    tree = ast.parse(MODULES["wiring"].read_text())
    top = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    adapters = ("vectus.stores", "vectus.locks", "vectus.engine", "vectus.direct")

    assert [module for module in top if module and module.startswith(adapters)] == []
