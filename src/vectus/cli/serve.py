"""``vectus serve``: a tus server from one line."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from vectus.cli.parser import Commands, reader
from vectus.errors import ConfigurationError
from vectus.settings import (
    DOWNLOADS,
    DURABILITIES,
    parse_base_path,
    parse_duration,
    parse_public_url,
    parse_seconds,
    parse_size,
)

if TYPE_CHECKING:
    from vectus.app import Uploads
    from vectus.serving import Site, Tls

ABOUT = """Serve resumable uploads (tus 1.0.0) until SIGTERM or Ctrl-C, which end the uploads
under way with what they have and lose nothing of it."""

EPILOG = """Sizes are written like 64MiB, 1.5GB or 1048576; times like 7d, 12h, 1h30m, 90s or 10
(seconds). Exit codes: 0 stopped by a signal, 1 failed, 2 it cannot be as asked."""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describe the command to the parser."""
    parser = commands.add_parser(
        "serve", help="Serve resumable uploads.", description=ABOUT, epilog=EPILOG
    )
    parser.add_argument(
        "store",
        metavar="STORE",
        nargs="?",
        default="./data",
        help="a directory, a file:///... URL, s3://bucket/prefix?option=value, or memory:// "
        "(default: ./data)",
    )
    _add_address(parser)
    _add_uploads(parser)
    _add_process(parser)
    parser.set_defaults(run=run, parser=parser)


def _add_address(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where")
    group.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    group.add_argument(
        "--port", type=_port, default=8080, help="port; 0 picks a free one (default: %(default)s)"
    )
    group.add_argument("--uds", metavar="FILE", help="listen on this socket file instead")
    group.add_argument(
        "--base-path",
        metavar="PATH",
        type=reader(parse_base_path),
        default="/files/",
        help="path of the creation URL (default: %(default)s)",
    )
    group.add_argument(
        "--public-url",
        metavar="URL",
        type=reader(parse_public_url),
        help="what the uploads' URLs begin with outside, behind a proxy (default: only the path "
        "is told)",
    )
    group.add_argument(
        "--cors",
        metavar="ORIGIN",
        action="append",
        help="let pages of this origin upload; may be repeated (default: any origin)",
    )
    group.add_argument(
        "--no-cors", action="store_true", help="leave other origins to the proxy in front"
    )
    group.add_argument("--tls-cert", metavar="FILE", help="serve HTTPS with this PEM certificate")
    group.add_argument(
        "--tls-key", metavar="FILE", help="its private key (default: in the same file)"
    )


def _add_uploads(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("uploads")
    group.add_argument(
        "--max-size",
        metavar="SIZE",
        type=reader(parse_size),
        help="largest upload (default: no limit)",
    )
    group.add_argument(
        "--expire-after",
        metavar="TIME",
        type=reader(parse_duration),
        default="7d",
        help="drop an unfinished upload this long after its last byte, or never (default: 7d)",
    )
    group.add_argument(
        "--expire-finished",
        metavar="TIME",
        type=reader(parse_duration),
        default="never",
        help="drop a finished upload this long after its last byte (default: never)",
    )
    group.add_argument(
        "--durability",
        choices=DURABILITIES,
        default="finish",
        help="when bytes must be on stable storage: never, before the last answer of an upload, "
        "or before every answer (default: %(default)s)",
    )
    group.add_argument(
        "--drop-partials",
        action="store_true",
        help="use partial uploads up when they are joined, instead of keeping them",
    )
    group.add_argument(
        "--download",
        choices=DOWNLOADS,
        default="stream",
        help="how finished uploads can be read: through this server, from the S3 server by a "
        "redirect, or not at all (default: %(default)s)",
    )
    group.add_argument(
        "--join-timeout",
        metavar="TIME",
        type=reader(parse_seconds),
        default="10s",
        help="answer a longer join before it is done (default: %(default)s)",
    )
    group.add_argument(
        "--locks",
        metavar="URL",
        help="keep locks where several machines find them: redis://..., rediss://... or "
        "postgresql://... (default: locks of this machine)",
    )
    group.add_argument(
        "--lock-timeout",
        metavar="TIME",
        type=reader(parse_seconds),
        default="20s",
        help="wait this long for an upload that is busy (default: %(default)s)",
    )


def _add_process(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("process")
    group.add_argument(
        "--workers",
        metavar="N",
        type=_count,
        default=1,
        help="how many processes serve (default: %(default)s)",
    )
    group.add_argument(
        "--shutdown-timeout",
        metavar="TIME",
        type=_patience,
        default="10s",
        help="be gone this long after the signal, whatever is going on (default: %(default)s)",
    )
    group.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="how much to say on standard error (default: %(default)s)",
    )
    group.add_argument("--access-log", action="store_true", help="log every request")
    group.add_argument(
        "--loop",
        choices=("auto", "uvloop", "asyncio"),
        default="auto",
        help="event loop; auto is uvloop where it is installed (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    """Serve."""
    if sys.platform == "win32":
        raise ConfigurationError("vectus serve needs Linux or macOS.", "Run it in WSL or Docker.")
    from vectus import wiring
    from vectus.serving import serve

    site = _site(options)
    wiring.check_store(options.store, options.workers)
    if options.locks is not None:
        wiring.check_locks(options.store, options.locks)
    return serve(site)


def _site(options: argparse.Namespace) -> Site:
    from vectus import wiring
    from vectus.serving import Site

    return Site(
        app=partial(_application, options),
        http=wiring.http_protocol(),
        host=options.host,
        port=options.port,
        path=options.base_path,
        uds=options.uds,
        tls=_tls(options),
        workers=options.workers,
        shutdown_timeout=options.shutdown_timeout,
        log_level=options.log_level,
        access_log=options.access_log,
        loop=options.loop,
    )


def _application(options: argparse.Namespace) -> Uploads:
    from vectus import wiring
    from vectus.app import Uploads

    origins = () if options.no_cors else tuple(options.cors or ("*",))
    return Uploads(
        options.store,
        base_path=options.base_path,
        public_url=options.public_url,
        max_size=options.max_size,
        expire_after=options.expire_after,
        expire_finished=options.expire_finished,
        durability=options.durability,
        drop_partials=options.drop_partials,
        download=options.download,
        cors=wiring.cors(origins) or False,
        locks=options.locks,
        lock_timeout=options.lock_timeout,
        join_timeout=options.join_timeout,
    )


def _tls(options: argparse.Namespace) -> Tls | None:
    from vectus.serving import Tls

    if options.tls_key and not options.tls_cert:
        raise ConfigurationError(
            "--tls-key needs the certificate it belongs to.", "Name it with --tls-cert."
        )
    return Tls(options.tls_cert, options.tls_key) if options.tls_cert else None


def _patience(text: str) -> float:
    seconds = reader(parse_seconds)(text)
    if not seconds:
        raise argparse.ArgumentTypeError("no time at all is too little, bytes must be kept safe")
    return seconds


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 4 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes (1 to 999)")
    return int(text)
