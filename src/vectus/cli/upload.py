"""``vectus upload``: files, directories and standard input to one server."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vectus.cli import codes, connection, outcomes, remembering
from vectus.cli.files import STDIN, Item, find, trouble_of
from vectus.cli.outcomes import Outcome
from vectus.cli.outlet import Unwritable
from vectus.cli.parser import Commands, Parser, number, reader
from vectus.errors import ConfigurationError, VectusError
from vectus.settings import parse_size

if TYPE_CHECKING:
    import vectus
    from vectus.cli.display import Display
    from vectus.client.contracts import ResumeStore, Source
    from vectus.client.happenings import Happening

ABOUT = """Upload files to a tus server. Resumes by itself after network errors; and after anything
else, even kill -9, the same command goes on where the server is. Prints the URL of each upload."""

GOING_ON = (codes.UNREACHABLE, codes.INTERRUPTED)
"""What the same command mends, later."""

PRESETS = ("cloudflare", "supabase", "vimeo")


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describe the command to the parser."""
    parser = commands.add_parser(
        "upload",
        help="Upload files.",
        description=ABOUT,
        epilog=codes.EPILOG,
        usage="%(prog)s [options] FILE... URL",
    )
    assert isinstance(parser, Parser)
    parser.scattered = "words"
    parser.add_argument(
        "words",
        metavar="FILE... URL",
        nargs="+",
        help="files; directories, with -r; - for standard input. Then where uploads are created, "
        "such as http://127.0.0.1:8080/files/",
    )
    _add_files(parser)
    _add_transfer(parser)
    connection.add(parser)
    _add_output(parser)
    parser.set_defaults(run=run, parser=parser)


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files")
    group.add_argument(
        "-r",
        "--recursive",
        action="store_true",
        help="upload the files in directories; symbolic links in them are not followed",
    )
    group.add_argument(
        "--metadata",
        metavar="K=V",
        type=reader(parse_pair),
        action="append",
        default=[],
        help="tell the server this too, beside filename, filetype and, with -r, relativePath; "
        "may be repeated",
    )
    group.add_argument(
        "--length",
        metavar="SIZE",
        type=reader(parse_size),
        help="how long standard input is, for servers that must know beforehand",
    )


def _add_transfer(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("transfer")
    group.add_argument(
        "--parallel",
        metavar="N",
        type=number(1, 64, "a number of connections"),
        default=1,
        help="connections for each file, where the server joins parts (default: %(default)s)",
    )
    group.add_argument(
        "--chunk-size",
        metavar="SIZE",
        type=reader(parse_chunk_size),
        help="bytes of one request (default: all that is left; 64MiB with checksums, 8MiB of "
        "standard input)",
    )
    group.add_argument(
        "--checksum",
        metavar="ALG",
        help="have the server check each chunk: sha256, sha1, ..., or auto",
    )
    group.add_argument(
        "--verify",
        choices=("length", "download"),
        help="ask in the end how much the server has, or read it back and compare",
    )
    group.add_argument(
        "--preset",
        choices=PRESETS,
        help="keep to a hosted service's rules for chunks (default: guessed by the host)",
    )
    resume = group.add_mutually_exclusive_group()
    resume.add_argument(
        "--no-resume", action="store_true", help="begin anew, and remember nothing for later runs"
    )
    resume.add_argument(
        "--resume-file",
        metavar="FILE",
        type=Path,
        help="remember unfinished uploads here (default: in the user's state directory)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json", action="store_true", help="one JSON object per event on standard output"
    )
    group.add_argument(
        "-q", "--quiet", action="store_true", help="no progress: only results and errors"
    )


def parse_pair(text: str) -> tuple[str, str | None]:
    """Read ``key=value``, or a key alone.

    Raises:
        ConfigurationError: the key cannot be sent.
    """
    key, equals, value = text.partition("=")
    if not (key.isascii() and key.isprintable() and key) or set(key) & set(" ,"):
        raise ConfigurationError(
            f"{key!r} is no metadata key.", "It must be ASCII text without spaces and commas."
        )
    return key, value if equals else None


def parse_chunk_size(text: str) -> int:
    """Read a size that is not 0.

    Raises:
        ConfigurationError: it is none.
    """
    size = parse_size(text)
    if size == 0:
        raise ConfigurationError("A chunk of no bytes leads nowhere.", "Write it like 64MiB.")
    return size


def run(options: argparse.Namespace) -> int:
    """Upload everything, and return the worst code."""
    words, place = _split(options)
    link = connection.Connection(options, place)
    found = find(words, dict(options.metadata), recursive=options.recursive)
    several = options.recursive or len(words) > 1
    with _display(options, link, found.items, several=several) as display:
        if found.links:
            display.notice(f"Symbolic links are not followed, and there are {found.links}.")
        if not found.items:
            display.notice("There are no files to upload.")
        if found.others:
            display.notice(f"{found.others} are no regular files, and are left out.")
        store = _store(options, display.notice)
        uploads = Uploads(options, display, lasting=store is not None)
        return uploads.run(found.items, link, store)


def _split(options: argparse.Namespace) -> tuple[list[str], connection.Place]:
    *words, url = options.words
    if not words:
        missing = "FILE" if "://" in url else "URL"
        options.parser.error(f"the following arguments are required: {missing}")
    place = connection.parse_place(url)
    if words.count(STDIN) > 1:
        raise ConfigurationError("There is only one standard input.", "Name - once.")
    if STDIN in words and sys.stdin is None:
        raise ConfigurationError("There is no standard input.", "Pipe something in.")
    if options.length is not None and STDIN not in words:
        raise ConfigurationError("--length is about standard input.", "Name - as the file.")
    return words, place


@contextmanager
def _display(
    options: argparse.Namespace, link: connection.Connection, items: list[Item], *, several: bool
) -> Iterator[Display]:
    from vectus.cli import display

    shown: Display
    if options.json:
        shown = display.Json(link.veil, progress=not options.quiet)
    elif options.quiet:
        shown = display.Quiet(link.veil, several=several)
    elif sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from vectus.cli.bars import Bars

        shown = Bars(link.veil, items, several=several)
    else:
        shown = display.Lines(link.veil, several=several)
    with shown:
        yield shown


def _store(options: argparse.Namespace, notice: Callable[[str], None]) -> ResumeStore | None:
    """Where unfinished uploads are remembered, or None: then the next run begins anew."""
    if options.no_resume:
        return None
    import vectus

    path = options.resume_file or remembering.default_path()
    try:
        if path is None:
            raise OSError("there is no home directory")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(f"{path.parent} cannot be written to")
        store = vectus.FileResume(path)
        store.get("")  # whether it can be read
    except (OSError, VectusError) as error:
        notice(f"No later run can go on: unfinished uploads cannot be remembered ({error}).")
        return None
    return store


class Uploads:
    """One after the other, whatever becomes of each.

    Args:
        options: of the command.
        display: shows it.
        lasting: whether a later run can go on.
    """

    def __init__(self, options: argparse.Namespace, display: Display, *, lasting: bool) -> None:
        self._options = options
        self._display = display
        self._lasting = lasting
        self._url: str | None = None
        self._resumed = 0
        self._retries = 0

    def run(self, items: list[Item], link: connection.Connection, store: ResumeStore | None) -> int:
        """Upload, until all are done or the user says stop; return the worst code."""
        worst, retries = codes.OK, self._options.retries
        with ExitStack() as stack:

            @cache
            def client(retries: int) -> vectus.Client:
                more = {"resume": store, "retries": retries, "preset": self._options.preset}
                return stack.enter_context(link.client(**more))

            if any(item.trouble is None for item in items):
                client(retries)  # what is wrong with its options is said once, not for each file
            for item in items:
                outcome = self._one(item, partial(client, retries))
                worst = max(worst, outcome.code)
                if outcome.code == codes.INTERRUPTED:
                    break
                if outcome.kind != "impossible":
                    # A server that was away for so long is asked only once for the next file.
                    retries = 0 if outcome.kind == "unreachable" else self._options.retries
        return worst

    def _one(self, item: Item, client: Callable[[], vectus.Client]) -> Outcome:
        self._url, self._resumed, self._retries = None, 0, 0
        self._display.begin(item)
        try:
            outcome = self._attempt(item, client)
        except KeyboardInterrupt:
            outcome = Outcome("interrupted", codes.INTERRUPTED, url=self._url, problem="Stopped.")
        if outcome.code:
            outcome = replace(outcome, resumed=self._resumed, retries=self._retries)
        if outcome.code in GOING_ON and self._lasting and item.size is not None:
            outcome = replace(outcome, hint="The same command goes on from there.")
        self._display.end(item, outcome)
        return outcome

    def _attempt(self, item: Item, client: Callable[[], vectus.Client]) -> Outcome:
        try:
            if trouble := trouble_of(item):
                raise trouble
            result = self._upload(item, client())
        except Unwritable:
            raise  # nobody would learn of what is uploaded from here on
        except VectusError as error:
            return outcomes.of_error(error)
        except ValueError as error:  # options that contradict each other
            return outcomes.of_error(ConfigurationError(str(error)))
        return Outcome(
            "uploaded",
            url=result.url,
            length=result.length,
            resumed=result.resumed,
            retries=result.retries,
        )

    def _upload(self, item: Item, client: vectus.Client) -> Any:
        options = self._options
        return client.upload(
            sys.stdin.buffer if item.path is None else item.path,
            metadata=item.metadata,
            length=options.length if item.path is None else None,
            chunk_size=options.chunk_size,
            checksum=options.checksum,
            verify=options.verify,
            parallel=options.parallel,
            fingerprint=partial(_fingerprint, item),
            on_event=self._hear,
        )

    def _hear(self, what: Happening) -> None:
        from vectus.client.happenings import Retrying, Started

        if isinstance(what, Started):
            self._url = what.url
            self._resumed = what.offset if what.resumed else 0
        elif isinstance(what, Retrying):
            self._retries += 1
        self._display.event(what)


def _fingerprint(item: Item, source: Source, endpoint: str) -> str | None:
    """What a file is known by: what is in it, and what the server is told of it. Of two equal
    files, one must not be uploaded under the other's name."""
    import hashlib

    known = source.fingerprint(endpoint)
    if known is None:
        return None
    told = hashlib.sha256(repr(sorted(item.metadata.items())).encode(errors="replace"))
    return f"{known}-{told.hexdigest()[:16]}"
