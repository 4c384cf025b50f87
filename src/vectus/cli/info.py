"""``vectus info``: what an endpoint can do, or how far an upload is."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vectus.cli import codes, connection, outlet
from vectus.cli.parser import Commands
from vectus.cli.wording import clean, percent, size, unicode
from vectus.errors import NotTus, UploadGone, UploadRefused

if TYPE_CHECKING:
    import vectus

ABOUT = """Ask a tus server how far an upload is, or what it can do: the first where the URL is an
upload's, the second where it is the one that uploads are created at."""

Facts = dict[str, Any]


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describe the command to the parser."""
    about = "Show an upload's state, or what a server can do."
    parser = commands.add_parser("info", help=about, description=ABOUT, epilog=codes.EPILOG)
    parser.add_argument("url", metavar="URL", help="an upload's URL, or an endpoint's")
    connection.add(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Ask, and show the answer."""
    place = connection.parse_place(options.url)
    link = connection.Connection(options, place)
    with link.veiled(), link.client() as client:
        facts = _facts(client, place.url)
    if options.json:
        import json

        outlet.out(json.dumps(facts))
    else:
        for line in _lines(facts):
            outlet.out(clean(line))
    return codes.OK


def _facts(client: vectus.Client, url: str) -> Facts:
    """Ask for an upload first; what is none may be an endpoint."""
    try:
        return _upload(client, url)
    except UploadGone:
        # Many servers answer 404 to HEAD at an endpoint; but a URL that may well have been an
        # upload's must not look alive because the server answers OPTIONS anywhere.
        if not urlsplit(url).path.endswith("/"):
            raise
        return _endpoint(client, url)
    except NotTus:
        return _endpoint(client, url)
    except UploadRefused as error:
        if error.status is None or error.status < 400 or error.status in (401, 403):
            raise
        return _endpoint(client, url)


def _upload(client: vectus.Client, url: str) -> Facts:
    state = client.inspect(url)
    return {
        "kind": "upload",
        "url": url,
        "offset": state.offset,
        "length": state.length,
        "metadata": decode(state.metadata or ""),
        "concat": state.concat,
        "expires": state.expires,
    }


def _endpoint(client: vectus.Client, url: str) -> Facts:
    offer = client.capabilities(url)
    if not offer.versions:
        raise NotTus(f"{url} is no tus server, as far as it says.", "See whether the URL is right.")
    return {
        "kind": "endpoint",
        "url": url,
        "versions": list(offer.versions),
        "extensions": list(offer.extensions),
        "checksums": list(offer.algorithms),
        "max_size": offer.max_size,
    }


def decode(metadata: str) -> dict[str, str | None]:
    """Read Upload-Metadata as people wrote it; None is a key without a value."""
    import base64
    import binascii

    found: dict[str, str | None] = {}
    for pair in filter(None, (each.strip() for each in metadata.split(","))):
        key, _, value = pair.partition(" ")
        try:
            text = base64.b64decode(value.strip(), validate=True).decode(errors="replace")
        except (binascii.Error, ValueError):
            text = unicode(value)
        found[key] = text if value else None
    return found


def _lines(facts: Facts) -> list[str]:
    rows = _upload_rows(facts) if facts["kind"] == "upload" else _endpoint_rows(facts)
    return [f"{name:<12}{value}" for name, value in rows if value]


def _upload_rows(facts: Facts) -> list[tuple[str, str]]:
    offset, length = facts["offset"], facts["length"]
    metadata = [
        key if value is None else f"{key}: {value}" for key, value in facts["metadata"].items()
    ]
    return [
        ("upload", facts["url"]),
        ("state", _state(offset, length)),
        ("offset", _bytes(offset)),
        ("length", _bytes(length) or "not known yet"),
        *(("metadata" if n == 0 else "", pair) for n, pair in enumerate(metadata)),
        ("concat", facts["concat"] or ""),
        ("expires", facts["expires"] or ""),
    ]


def _state(offset: int | None, length: int | None) -> str:
    if offset is None:
        return "to be joined from its parts"
    if length is None:
        return "unfinished"
    return "finished" if offset == length else f"unfinished, {percent(offset, length)} %"


def _endpoint_rows(facts: Facts) -> list[tuple[str, str]]:
    return [
        ("endpoint", facts["url"]),
        ("versions", ", ".join(facts["versions"])),
        ("extensions", ", ".join(facts["extensions"]) or "none"),
        ("checksums", ", ".join(facts["checksums"]) or "none"),
        ("max size", _bytes(facts["max_size"]) or "not said"),
    ]


def _bytes(count: int | None) -> str:
    if count is None:
        return ""
    return f"{count} bytes" if count < 1000 else f"{count} bytes ({size(count)})"
