"""What is to be served, and where: the one value that everything in this package works from."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from vectus.errors import ConfigurationError

LEVELS = ("debug", "info", "warning", "error")
"""How much can be logged."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application(Protocol):
    """An ASGI application whose background work lives as long as its context."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

    async def __aenter__(self) -> object:
        """Start the background work."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """End it."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Where the certificate chain and its private key are; ``key`` None means: in the same file."""

    cert: str
    key: str | None = None

    def check(self) -> None:
        """Load them once.

        Raises:
            ConfigurationError: they cannot be used.
        """
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"{self.key or self.cert} and {self.cert} are no key and certificate that match.",
                "Give --tls-cert and --tls-key two PEM files that belong together.",
            ) from error
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ConfigurationError(
                f"The TLS files cannot be read: {why} ({self._culprit()}).",
                "Name readable PEM files with --tls-cert and --tls-key.",
            ) from error

    def _culprit(self) -> str:
        for path in (self.cert, self.key or self.cert):
            try:
                with open(path, "rb"):
                    pass
            except OSError:
                return path
        return self.cert


def _no_password() -> str:
    raise ConfigurationError(
        "The TLS key is locked by a password.", "Store it without one, readable by this user only."
    )


@dataclass(frozen=True, slots=True)
class Site:
    """An application, where it listens, and by how many processes.

    Args:
        app: makes the application; called once in each process that serves.
        http: the uvicorn protocol class of its connections.
        host: the address or name to listen on.
        port: the port, 0 for any.
        path: where the application is, for the line that says so.
        uds: a socket file to listen on instead.
        tls: the certificate, or None for plain HTTP.
        workers: how many processes serve.
        shutdown_timeout: seconds from the signal to the end, whatever is still going on.
        log_level: one of ``LEVELS``.
        access_log: whether each request is logged.
        loop: ``auto`` (uvloop where installed), ``uvloop`` or ``asyncio``.
    """

    app: Callable[[], Application]
    http: type[asyncio.BaseProtocol]
    host: str = "127.0.0.1"
    port: int = 8080
    path: str = "/"
    uds: str | None = None
    tls: Tls | None = None
    workers: int = 1
    shutdown_timeout: float = 10.0
    log_level: str = "info"
    access_log: bool = False
    loop: str = "auto"

    def url(self, port: int) -> str:
        """Return the URL to tell people, once it is known which port it is."""
        if self.uds is not None:
            return f"unix:{self.uds} (path {self.path})"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{port}{self.path}"
