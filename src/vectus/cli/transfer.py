"""Getting one file to a tus server, whatever the network does; without a word to the user.

Only what the server acknowledged counts: after every trouble it is asked how far it got. The file
must stay as it was, for a resumed upload would be half of each otherwise.
"""

from __future__ import annotations

import base64
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx2

from vectus.cli import codes
from vectus.errors import ConfigurationError, VectusError

BLOCK = 1 << 20

VERSION = {"Tus-Resumable": "1.0.0"}

TIMEOUT = httpx2.Timeout(30, connect=10)
LONG = httpx2.Timeout(60, connect=10, read=300)
"""Seconds; the long ones for bodies, whose answer waits for the server's disk to have it all."""

AGAIN = frozenset({408, 409, 423, 425, 429})
"""Statuses below 500 that another try may mend."""

LONGEST_DELAY = 30.0

T = TypeVar("T")


class Failed(VectusError):
    """The upload came to nothing; ``code`` is the exit code that says so."""

    code = codes.FAILED


class Denied(Failed):
    """The server does not want this upload, or is no tus server."""


class Unreachable(Failed):
    """Trying again was of no use."""

    code = codes.UNREACHABLE


class Changed(Failed):
    """The file is not what it was when the upload began."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} was changed while it was uploaded. Start again when it is whole.")


class _Again(Exception):
    """Something that may pass; ``delay`` is what the server asked to wait."""

    def __init__(self, why: str, delay: float = 0.0) -> None:
        super().__init__(why)
        self.delay = delay


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to try again without any progress, and how long to wait at first."""

    tries: int = 8
    delay: float = 0.5


class Source:
    """A file as it is now.

    Raises:
        ConfigurationError: it is no file, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not path.is_file():
                raise ConfigurationError(f"{path} is not a file.", "Name one that is.")
            self._file = path.open("rb")
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ConfigurationError(f"{path} cannot be read: {why}.") from error
        self._state = self._look()
        self.size = self._state[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def blocks(self, start: int) -> Iterator[bytes]:
        """Yield the bytes from a position on; each was read before the file changed.

        Raises:
            Changed: the file is not the same any more.
        """
        while start < self.size:
            self._file.seek(start)
            block = self._file.read(min(BLOCK, self.size - start))
            if not block or self._look() != self._state:
                raise Changed(self.path)
            yield block
            start += len(block)

    def _look(self) -> tuple[int, int]:
        state = os.fstat(self._file.fileno())
        return state.st_size, state.st_mtime_ns


class Transfer:
    """One upload of one file.

    Args:
        client: what speaks HTTP.
        source: the file.
        patience: how to try again.
        on_progress: told how many bytes are sent, which may go back.
        on_trouble: told what went wrong and in how many seconds another try follows.
    """

    def __init__(
        self,
        client: httpx2.Client,
        source: Source,
        *,
        patience: Patience,
        on_progress: Callable[[int], None],
        on_trouble: Callable[[str, float], None],
    ) -> None:
        self._client = client
        self._source = source
        self._patience = patience
        self._on_progress = on_progress
        self._on_trouble = on_trouble
        self._tries = 0
        self._acknowledged = 0
        self.url: str | None = None

    def run(self, url: str, metadata: dict[str, str]) -> str:
        """Create an upload under ``url``, send the file, and return the upload's URL.

        Raises:
            Denied: the server refused.
            Unreachable: it could not be reached, or not for long enough.
            Changed: the file was changed meanwhile.
        """
        self.url = self._insist(partial(self._create, url, metadata))
        offset = 0
        while offset < self._source.size:
            try:
                offset = self._send(self.url, offset)
            except _Again as trouble:
                self._wait(trouble)
                offset = self._insist(partial(self._ask, self.url))
        return self.url

    # the three requests

    def _create(self, url: str, metadata: dict[str, str]) -> str:
        headers = {"Upload-Length": str(self._source.size), "Upload-Metadata": _encode(metadata)}
        answer = self._request("POST", url, headers)
        location = answer.headers.get("location")
        if answer.status_code != 201 or not location:
            raise Denied(f"{url} did not create an upload ({answer.status_code}).")
        created = urljoin(url, location)
        if urlsplit(created).scheme not in {"http", "https"}:
            raise Denied(f"{url} gave an upload a strange URL, {created!r}.")
        return created

    def _send(self, url: str, offset: int) -> int:
        headers = {
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(self._source.size - offset),
        }
        answer = self._request("PATCH", url, headers, self._reporting(offset))
        return self._note(_offset(answer, offset, self._source.size))

    def _ask(self, url: str) -> int:
        answer = self._request("HEAD", url, {})
        length = answer.headers.get("upload-length")
        if length is not None and length != str(self._source.size):
            raise Denied(f"The server holds an upload of {length} bytes, not of this file.")
        return self._note(_offset(answer, 0, self._source.size))

    def _request(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        content: Iterator[bytes] | None = None,
    ) -> httpx2.Response:
        timeout = TIMEOUT if content is None else LONG
        try:
            answer = self._client.request(
                method, url, headers=VERSION | headers, content=content, timeout=timeout
            )
        except httpx2.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise Denied(f"The certificate of {url} is not trusted: {error}.") from error
            raise _Again(str(error) or type(error).__name__) from error
        except httpx2.InvalidURL as error:
            raise ConfigurationError(f"{url!r} is not a URL: {error}.") from error
        return answer if answer.status_code in {200, 201, 204} else _complain(answer)

    def _reporting(self, offset: int) -> Iterator[bytes]:
        self._on_progress(offset)
        for block in self._source.blocks(offset):
            yield block
            offset += len(block)
            self._on_progress(offset)

    # patience

    def _note(self, offset: int) -> int:
        if offset > self._acknowledged:
            self._acknowledged = offset
            self._tries = 0
        self._on_progress(offset)
        return offset

    def _insist(self, act: Callable[[], T]) -> T:
        while True:
            try:
                return act()
            except _Again as trouble:
                self._wait(trouble)

    def _wait(self, trouble: _Again) -> None:
        if self._tries >= self._patience.tries:
            raise Unreachable(f"Gave up after {self._tries + 1} tries: {trouble}.")
        longest = min(self._patience.delay * 2**self._tries, LONGEST_DELAY)
        # jitter, so that clients of a server that was away do not come back in step
        delay = max(longest * random.uniform(0.5, 1.0), trouble.delay)  # noqa: S311
        self._tries += 1
        self._on_trouble(str(trouble), delay)
        time.sleep(delay)


def _encode(metadata: dict[str, str]) -> str:
    # a name that is no Unicode (POSIX allows it) is sent with question marks
    values = {
        name: base64.b64encode(text.encode(errors="replace")) for name, text in metadata.items()
    }
    return ",".join(f"{name} {value.decode()}" for name, value in values.items())


def _offset(answer: httpx2.Response, least: int, most: int) -> int:
    text = answer.headers.get("upload-offset", "")
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise Denied(f"The server answered with a senseless offset, {text!r}.")
    return int(text)


def _complain(answer: httpx2.Response) -> NoReturn:
    words = _first_line(answer) or answer.reason_phrase
    sentence = f"the server answered {answer.status_code}: {words}".rstrip(". ")
    if answer.status_code >= 500 or answer.status_code in AGAIN:
        raise _Again(sentence, _retry_after(answer))
    if answer.status_code < 400:
        elsewhere = urljoin(str(answer.request.url), answer.headers.get("location", ""))
        raise Denied(f"The server points elsewhere ({answer.status_code}): try {elsewhere}.")
    if answer.status_code in {404, 410}:
        raise Denied(f"There is nothing at {answer.request.url}: {sentence}.")
    raise Denied(f"Refused: {sentence}.")


def _first_line(answer: httpx2.Response) -> str:
    if not answer.headers.get("content-type", "").startswith("text/plain"):
        return ""
    line = answer.text.strip().partition("\n")[0]
    return "".join(each for each in line[:200] if each.isprintable())


def _retry_after(answer: httpx2.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return float(min(int(text), 60)) if text.isascii() and text.isdigit() and len(text) < 9 else 0.0
