"""A case's figures as a JSON file, so that runs can be compared later.

What ran and on what kind of machine is told; the machine's name, paths and command lines are not.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.table import Row

PACKAGES = ("vectus", "uvicorn", "httptools", "uvloop")


def write(folder: Path, case: str, run: Mapping[str, Any], rows: Sequence[Row]) -> Path:
    """Write ``<date>-<case>.json``; a later run of the day replaces an earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    today = dt.datetime.now(dt.UTC).date().isoformat()
    path = folder / f"{today}-{case}.json"
    content = {
        "case": case,
        "date": today,
        **run,
        "setting": setting(),
        "rows": [as_data(row) for row in rows],
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def as_data(row: Row) -> dict[str, Any]:
    """Return a row as JSON has it."""
    return {
        "what": row.what,
        "unit": row.unit,
        "medians": {name: row.value(name) for name in row.samples},
        "samples": {name: list(samples) for name, samples in row.samples.items()},
        "must be": str(row.bound or ""),
        "reached": row.reached(),
        "verdict": row.verdict().name.lower(),
    }


def setting() -> dict[str, Any]:
    """Say what ran on what."""
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "kernel": ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
        **{name: known(name) for name in PACKAGES},
    }


def known(name: str) -> str:
    """Return a package's version, or a dash."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "–"
