"""Where the command line keeps the URLs of unfinished uploads, so that the next run goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

NAME = "uploads.json"


def default_path(
    environ: Mapping[str, str] = os.environ,
    platform: str = sys.platform,
    home: Callable[[], Path] = Path.home,
) -> Path | None:
    """Return the file in the user's state directory, or None where there is no such place."""
    try:
        return _folder(environ, platform, home) / "vectus" / NAME
    except RuntimeError:  # nobody knows where home is
        return None


def _folder(environ: Mapping[str, str], platform: str, home: Callable[[], Path]) -> Path:
    if platform == "win32":
        return _absolute(environ, "LOCALAPPDATA") or home() / "AppData" / "Local"
    state = _absolute(environ, "XDG_STATE_HOME")
    if state is not None:
        return state
    if platform == "darwin":
        return home() / "Library" / "Application Support"
    return home() / ".local" / "state"


def _absolute(environ: Mapping[str, str], name: str) -> Path | None:
    """A path from the environment; XDG says that one that is relative is none."""
    path = Path(environ.get(name, ""))
    return path if path.is_absolute() else None
