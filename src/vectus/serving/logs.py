"""What a server says on standard error: short lines, one per thing that happened."""

from __future__ import annotations

import logging
import sys

from vectus.serving.site import Site

QUIET = ("uvicorn.error", "uvicorn.asgi", "asyncio")
"""Loggers whose everyday remarks nobody needs."""


def configure(site: Site) -> None:
    """Send every log line to standard error; other people's only from warnings on, but for
    ``debug``."""
    level = site.log_level
    name = "[%(process)d] " if site.workers > 1 else ""
    form = logging.Formatter(
        f"%(asctime)s {name}%(levelname)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(form)
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level.upper())
    others = level.upper() if level in {"debug", "error"} else "WARNING"
    for each in QUIET:
        logging.getLogger(each).setLevel(others)
    logging.getLogger("uvicorn.access").setLevel("INFO" if site.access_log else "CRITICAL")
