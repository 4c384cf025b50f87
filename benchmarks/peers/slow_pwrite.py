"""Runs a program on a slow disk: ``slow_pwrite.py MODULE:FUNCTION ARGUMENTS…``.

Every ``os.pwrite`` of at least one byte takes 200 ms longer, in the thread that calls it.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Any

DELAY = 0.2

swift = os.pwrite


def slow(file: int, data: Any, offset: int, /) -> int:
    """Write late."""
    if data:
        time.sleep(DELAY)
    return swift(file, data, offset)


def main() -> None:
    """Patch, and run the function as if it had been called with the rest of the command line."""
    os.pwrite = slow
    module, _, function = sys.argv[1].partition(":")
    sys.argv[:] = [module, *sys.argv[2:]]
    sys.exit(getattr(importlib.import_module(module), function)())


if __name__ == "__main__":
    main()
