"""``vectus upload``: one file to one server, with words for a person."""

from __future__ import annotations

import argparse
import mimetypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vectus.cli import codes
from vectus.cli.parser import Commands, reader
from vectus.errors import ConfigurationError
from vectus.settings import parse_seconds

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from vectus.cli.transfer import Transfer

ABOUT = """Upload a file to a tus server. Resumes by itself after network errors; prints the
upload's URL at the end."""

EPILOG = """Exit codes: 0 uploaded, 1 refused or the file changed meanwhile, 2 it cannot be as
asked, 3 the server could not be reached, 130 interrupted by Ctrl-C."""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describe the command to the parser."""
    parser = commands.add_parser("upload", help="Upload a file.", description=ABOUT, epilog=EPILOG)
    parser.add_argument("file", metavar="FILE", type=Path, help="the file")
    parser.add_argument(
        "url",
        metavar="URL",
        type=reader(_parse_url),
        help="where uploads are created, such as http://127.0.0.1:8080/files/",
    )
    parser.add_argument(
        "--retries",
        metavar="N",
        type=_count,
        default=8,
        help="tries without any progress before giving up (default: %(default)s)",
    )
    parser.add_argument(
        "--retry-delay",
        metavar="TIME",
        type=reader(parse_seconds),
        default="0.5s",
        help="wait before the first of them; each later wait is twice as long "
        "(default: %(default)s)",
    )
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Upload, and say how it went."""
    import httpx2

    from vectus.cli.transfer import Patience, Source, Transfer

    with (
        Source(options.file) as source,
        httpx2.Client() as client,
        _progress(options.file.name, source.size) as show,
    ):
        transfer = Transfer(
            client,
            source,
            patience=Patience(options.retries, options.retry_delay),
            on_progress=show.progress,
            on_trouble=show.trouble,
        )
        code, words = _attempt(transfer, options)
    if words:
        _say(words)
    if transfer.url:
        print(transfer.url, file=sys.stderr if code else sys.stdout)
    return code


def _attempt(transfer: Transfer, options: argparse.Namespace) -> tuple[int, str]:
    from vectus.cli.transfer import Failed

    try:
        transfer.run(options.url, _metadata(options.file))
    except Failed as error:
        code, words = error.code, str(error)
    except KeyboardInterrupt:
        code, words = codes.INTERRUPTED, "Interrupted."
    else:
        return codes.OK, ""
    return code, f"{words} The unfinished upload is:" if transfer.url else words


def _metadata(path: Path) -> dict[str, str]:
    kind, _ = mimetypes.guess_type(path.name)
    return {"filename": path.name} | ({"filetype": kind} if kind else {})


def _say(words: str) -> None:
    print(f"vectus upload: {words}", file=sys.stderr)


class Lines:
    """Progress for a file or a pipe: a line for each tenth."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._tenth = 0

    def progress(self, sent: int) -> None:
        """Say it when another tenth is sent."""
        tenth = 10 * sent // self._size if self._size else 10
        if tenth > self._tenth:
            _say(f"{self._name}: {10 * tenth} % of {self._size} bytes sent")
        self._tenth = tenth

    def trouble(self, why: str, delay: float) -> None:
        """Say what went wrong."""
        _say(f"{why.rstrip('.')}. Trying again in {delay:.1f} s.")


class Bar:
    """Progress for a terminal."""

    def __init__(self, name: str, size: int, bar: RichProgress) -> None:
        self._bar = bar
        self._task = bar.add_task(name, total=size)

    def progress(self, sent: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=sent)

    def trouble(self, why: str, delay: float) -> None:
        """Say what went wrong above the bar."""
        self._bar.console.print(
            f"{why.rstrip('.')}. Trying again in {delay:.1f} s.", markup=False, highlight=False
        )


@contextmanager
def _progress(name: str, size: int) -> Iterator[Lines | Bar]:
    if not sys.stderr.isatty():
        yield Lines(name, size)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield Bar(escape(name), size, bar)


def _parse_url(text: str) -> str:
    try:
        url = urlsplit(text)
        sound = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ConfigurationError(
            f"{text!r} is not an http or https URL.", "Write it like https://example.org/files/."
        )
    return text


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 5):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of tries (0 to 9999)")
    return int(text)
