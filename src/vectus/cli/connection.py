"""The options that say how to talk to a server, and the client they make.

Credentials come in here and leave for the client only: what is shown goes through the ``Veil``.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from vectus.cli.parser import number, reader
from vectus.cli.wording import Veil, without_password
from vectus.errors import ConfigurationError, UploadError
from vectus.settings import parse_seconds

if TYPE_CHECKING:
    import ssl

    import vectus

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """A URL without the credentials that stood in it, and these."""

    url: str
    user: tuple[str, str] | None = None


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the options to a command's parser."""
    group = parser.add_argument_group("the server")
    group.add_argument(
        "--header",
        metavar="'K: V'",
        type=reader(parse_header),
        action="append",
        default=[],
        help="send this header field too; may be repeated",
    )
    group.add_argument(
        "--token-env",
        metavar="NAME",
        help="send what this environment variable has as a bearer token",
    )
    trust = group.add_mutually_exclusive_group()
    trust.add_argument(
        "--cacert", metavar="FILE", help="trust the certificates of this PEM file, and no others"
    )
    trust.add_argument(
        "--insecure", action="store_true", help="trust any certificate: anybody may listen"
    )
    group.add_argument("--cert", metavar="FILE", help="show this PEM certificate as the client's")
    group.add_argument("--key", metavar="FILE", help="its private key (default: in the same file)")
    group.add_argument(
        "--retries",
        metavar="N",
        type=number(0, 9999, "a number of tries"),
        default=8,
        help="tries without any progress before giving up (default: %(default)s)",
    )
    group.add_argument(
        "--retry-delay",
        metavar="TIME",
        type=reader(parse_seconds),
        default="0.5s",
        help="wait before the first of them; each later wait is twice as long "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--method-override",
        action="store_true",
        help="send PATCH and DELETE as POST, for networks that let nothing else pass",
    )


def parse_header(text: str) -> tuple[str, str]:
    """Read ``K: V``.

    Raises:
        ConfigurationError: it is no header field; the words do not repeat it.
    """
    name, colon, value = text.partition(":")
    if not colon or not _NAME.fullmatch(name) or not re.fullmatch(r"[\t -~\xa0-\xff]*", value):
        raise ConfigurationError("This is not a header field.", "Write it like 'Name: value'.")
    return name, value.strip()


def parse_place(text: str) -> Place:
    """Read a URL; a user and a password in it become credentials.

    Raises:
        ConfigurationError: it is no http or https URL; the words do not repeat a password.
    """
    try:
        url = urlsplit(text)
        sound = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        sound = False
    if not sound or not text.isprintable() or " " in text:
        raise ConfigurationError(
            f"{without_password(text)!r} is not an http or https URL.",
            "Write it like https://example.org/files/.",
        )
    plain = url._replace(netloc=url.netloc.rpartition("@")[2], fragment="").geturl()
    if url.username is None:
        return Place(plain)
    return Place(plain, (unquote(url.username), unquote(url.password or "")))


class Connection:
    """What the options say about one server.

    Args:
        options: of the command.
        place: the server's URL.

    Raises:
        ConfigurationError: they make no sense, or name what is not there.
    """

    def __init__(self, options: argparse.Namespace, place: Place) -> None:
        self._options = options
        self._place = place
        self._headers: dict[str, str] = dict(options.header)
        self._token = _token(options.token_env)
        named = any(name.lower() == "authorization" for name in self._headers)
        if named + (self._token is not None) + (place.user is not None) > 1:
            raise ConfigurationError(
                "There are credentials more than once.",
                "Leave --token-env, the Authorization header or the URL's password.",
            )
        self.veil = Veil(self._secrets(), place.url)

    @contextmanager
    def client(self, **more: Any) -> Iterator[vectus.Client]:
        """Open a client; ``more`` goes to it as well.

        Raises:
            ConfigurationError: a certificate cannot be read.
        """
        import vectus

        options = self._options
        with ExitStack() as stack:
            trust = _trust(options)
            if trust is not None:
                import httpx2

                more["http"] = stack.enter_context(httpx2.Client(verify=trust))
            client = vectus.Client(
                self._place.url,
                headers=self._headers,
                auth=self._auth(),
                retry_delay=options.retry_delay,
                method_override=options.method_override,
                **{"retries": options.retries, **more},
            )
            yield stack.enter_context(client)

    @contextmanager
    def veiled(self) -> Iterator[None]:
        """Take the secrets out of errors that are shown elsewhere."""
        try:
            yield
        except UploadError as error:
            error.problem, error.hint = self.veil(error.problem), self.veil(error.hint)
            error.args = (f"{error.problem} {error.hint}".strip(),)
            raise

    def _auth(self) -> Any:
        if self._token is None:
            return self._place.user
        value = f"Bearer {self._token}"
        return lambda: value

    def _secrets(self) -> Iterator[str]:
        yield from self._headers.values()
        if self._token is not None:
            yield self._token
        if self._place.user is not None:
            import base64

            yield self._place.user[1]
            yield base64.b64encode(":".join(self._place.user).encode()).decode()


def _token(name: str | None) -> str | None:
    """The token; the words do not repeat the name, for it may be the token itself."""
    if name is None:
        return None
    token = os.environ.get(name, "").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigurationError(
            "The environment variable of --token-env has no token.",
            "Give the variable's name, and set it.",
        )
    return token


def _trust(options: argparse.Namespace) -> ssl.SSLContext | None:
    """What the options say about certificates, or None where they say nothing."""
    if options.key and not options.cert:
        raise ConfigurationError("--key needs the certificate too.", "Name it with --cert.")
    if not (options.insecure or options.cacert or options.cert):
        return None
    import ssl

    with _reading("--cacert", options.cacert):
        trust = ssl.create_default_context(cafile=options.cacert)
    if options.insecure:
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE
    if options.cert:
        with _reading("--cert", options.cert):
            # An empty password: a terminal is not asked for one by OpenSSL itself.
            trust.load_cert_chain(options.cert, options.key, password="")
    return trust


@contextmanager
def _reading(option: str, path: str | None) -> Iterator[None]:
    import ssl

    try:
        yield
    except ssl.SSLError:
        raise ConfigurationError(
            f"{option} {path} is not what it must be.", "It takes a file in PEM format."
        ) from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigurationError(f"{option} {path} cannot be read: {why}.") from None
