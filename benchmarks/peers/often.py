"""Runs ``vectus`` with a sweeper that looks at a bucket every few seconds: what a later look costs
can be measured. ``often.py ARGUMENTS…``."""

from __future__ import annotations

import sys

from vectus.cli import main
from vectus.stores.s3 import store

if __name__ == "__main__":
    store.SCAN_EVERY = 3.0
    sys.exit(main())
