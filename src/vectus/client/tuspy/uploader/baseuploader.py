"""What both uploaders have in common: the arguments, the headers, the file and the URL.

Which request follows which is the affair of ``course.py``. Nothing here waits for the network but
``get_offset``, and the constructor, which asks how far a known upload is, as tuspy's does.

Whatever is not tuspy's has a name with an underscore, also what only the modules of this package
share: users' subclasses have attributes of their own.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, ClassVar, Protocol

from vectus.client.commands import Answer
from vectus.client.contracts import Source
from vectus.client.job import encode_metadata
from vectus.client.sources import open_source
from vectus.client.tuspy.connection import AsyncConnection, Connection, Incoming, Outgoing, Trust
from vectus.client.tuspy.exceptions import TusCommunicationError, TusUploadFailed, useless
from vectus.client.tuspy.fingerprint import fingerprint, interface
from vectus.client.tuspy.storage.interface import Storage
from vectus.client.verdicts import created_url
from vectus.errors import NotTus, SourceChanged
from vectus.protocol.dialects.tus1_client import read_number
from vectus.protocol.messages import Headers


class Client(Protocol):
    """What an uploader needs of a ``TusClient``."""

    url: str
    headers: dict[str, str]
    client_cert: str | tuple[str, str] | None


class Sent(Protocol):
    """What came of a chunk."""

    status_code: int | None
    response_headers: dict[str, str]
    response_content: bytes | None
    stream_eof: bool
    stop: int


class BaseUploader:
    """One upload of one file.

    Args:
        file_path: the file; or
        file_stream: an open binary file, uploaded from its start on and not closed. One that
            cannot be rewound needs ``upload_length_deferred``.
        url: the upload's, if there is one already.
        client: where to make one otherwise, and which headers to send.
        chunk_size: the most bytes of one request.
        metadata: what the server is told of the file.
        metadata_encoding: of the text in it.
        retries: how many more times each chunk is tried.
        retry_delay: seconds before each of these.
        verify_tls_cert: whether to verify the server's certificate, or the path of the CAs.
        store_url: whether to store the upload's URL, and to go on with the one that is stored.
        url_storage: where.
        fingerprinter: what a file is known by there.
        upload_checksum: whether to send a checksum with each chunk.
        upload_length_deferred: whether to tell the length with the last chunk only.

    Raises:
        ValueError: an argument is missing, or makes no sense.
        TusCommunicationError: the upload is known, but the server does not say how far it is.
    """

    DEFAULT_HEADERS: ClassVar[dict[str, str]] = {"Tus-Resumable": "1.0.0"}
    DEFAULT_CHUNK_SIZE = sys.maxsize
    CHECKSUM_ALGORITHM_PAIR: ClassVar[tuple[str, Callable[..., Any]]] = ("sha1", hashlib.sha1)

    def __init__(
        self,
        file_path: str | os.PathLike[str] | None = None,
        file_stream: IO[Any] | None = None,
        url: str | None = None,
        client: Client | None = None,
        chunk_size: int = sys.maxsize,
        metadata: Mapping[str, Any] | None = None,
        metadata_encoding: str = "utf-8",
        retries: int = 0,
        retry_delay: float = 30,
        verify_tls_cert: bool | str | os.PathLike[str] = True,  # noqa: FBT001, FBT002
        store_url: bool = False,  # noqa: FBT001, FBT002
        url_storage: Storage | None = None,
        fingerprinter: interface.Fingerprint | None = None,
        upload_checksum: bool = False,  # noqa: FBT001, FBT002
        upload_length_deferred: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        if file_path is None and file_stream is None:
            raise ValueError("Give a file_path or a file_stream.")
        if url is None and client is None:
            raise ValueError("Give a client, or the url of an upload.")
        if store_url and url_storage is None:
            raise ValueError("Give a url_storage, where store_url can store.")
        if chunk_size < 1:
            raise ValueError(f"A chunk_size of {chunk_size} bytes sends nothing.")
        self.file_path = file_path
        self.file_stream = file_stream
        self.client = client
        self.chunk_size = chunk_size
        self.metadata = metadata or {}
        self.metadata_encoding = metadata_encoding
        self.retries = retries
        self.retry_delay = retry_delay
        self.verify_tls_cert = verify_tls_cert
        self.store_url = store_url
        self.url_storage = url_storage
        self.fingerprinter = fingerprinter or fingerprint.Fingerprint()
        self.upload_checksum = upload_checksum
        self.upload_length_deferred = upload_length_deferred
        self.request: Sent | None = None
        self.url: str | None = None
        self.offset = 0
        self.file_size = None if upload_length_deferred else self.get_file_size()
        self.stop_at = self.file_size
        self._retried = 0  # how often the chunk was tried again
        self._key: str | None = None  # under which the URL is stored
        self._once: Source | None = None  # a stream that can be read only once
        self._file: tuple[int, int] | None = None  # which one is at the path, once bytes of it went
        self._connection = Connection()
        self._aconnection = AsyncConnection()
        weakref.finalize(self, self._connection.close)
        weakref.finalize(self, self._aconnection.abandon)
        try:
            self._begin(url)
        except BaseException:
            self._connection.close()
            raise

    # --- What is sent -----------------------------------------------------------------------------

    def get_headers(self) -> dict[str, str]:
        """Return the headers of every request: the protocol's, and the client's, which win."""
        return {**self.DEFAULT_HEADERS, **getattr(self.client, "headers", {})}

    def get_url_creation_headers(self) -> dict[str, str]:
        """Return the headers of the request that makes an upload."""
        headers = self.get_headers()
        if self.upload_length_deferred:
            headers["upload-defer-length"] = "1"
        else:
            headers["upload-length"] = str(self.file_size)
        if metadata := self.encode_metadata():
            headers["upload-metadata"] = ",".join(metadata)
        return headers

    def encode_metadata(self) -> list[str]:
        """Return the metadata, each item as its key and its value in Base64.

        Raises:
            ValueError: a key is empty, or has what keys cannot have.
            TypeError: a value is neither text, bytes, a number nor None.
        """
        pairs = ((str(key), self._encoded(value)) for key, value in self.metadata.items())
        return [encode_metadata({key: value}) for key, value in pairs]

    def get_request_length(self) -> int:
        """Return the length of the next chunk, as far as it is known."""
        if self.stop_at is None:
            return self.chunk_size
        return max(min(self.chunk_size, self.stop_at - self.offset), 0)

    @property
    def checksum_algorithm(self) -> Callable[..., Any]:
        """What makes a hasher, of bytes that are its first."""
        return self.CHECKSUM_ALGORITHM_PAIR[1]

    @property
    def checksum_algorithm_name(self) -> str:
        """What the server calls the algorithm."""
        return self.CHECKSUM_ALGORITHM_PAIR[0]

    @property
    def client_cert(self) -> str | tuple[str, str] | None:
        """The client's certificate."""
        return None if self.client is None else self.client.client_cert

    @property
    def _trust(self) -> Trust:
        """Whom to trust, and who we are."""
        return Trust(self.verify_tls_cert, self.client_cert)

    def _encoded(self, value: Any) -> Any:
        return value.encode(self.metadata_encoding) if isinstance(value, str) else value

    # --- The file ---------------------------------------------------------------------------------

    def get_file_stream(self) -> IO[Any]:
        """Return the caller's stream, rewound, or the file, newly opened: close it, then.

        Raises:
            ValueError: there is no such file.
        """
        if self.file_stream is not None:
            if _rewinds(self.file_stream):
                self.file_stream.seek(0)
            return self.file_stream
        if not os.path.isfile(self.file_path or ""):
            raise ValueError(f"There is no file {self.file_path}.")
        return open(self.file_path or "", "rb")

    def get_file_size(self) -> int:
        """Return the size of the file.

        Raises:
            ValueError: there is no such file, or it is a stream that has none.
        """
        with self._stream() as stream:
            if not _rewinds(stream):
                raise ValueError("A stream without a size needs upload_length_deferred=True.")
            stream.seek(0, os.SEEK_END)
            return stream.tell()

    @contextmanager
    def _opened(self) -> Iterator[Source]:
        """Open the file for the length of a request.

        Raises:
            SourceError: it cannot be read.
        """
        if self._once is not None:
            yield self._once
            return
        with self._stream() as stream:
            self._refuse_another(stream)
            source = open_source(stream)
            if not source.replayable:
                self._once = source
            yield source

    def _refuse_another(self, stream: IO[Any]) -> None:
        """A path may lead to another file by now, of which no byte may follow those of the first.

        Raises:
            SourceChanged: so it is.
        """
        if stream is self.file_stream:
            return
        try:
            about = os.fstat(stream.fileno())
        except (AttributeError, OSError):  # a subclass has opened what is no file
            return
        file = about.st_dev, about.st_ino
        if self._file not in (None, file):
            raise SourceChanged(os.fsdecode(self.file_path or ""))
        self._file = file

    @contextmanager
    def _stream(self) -> Iterator[IO[Any]]:
        stream = self.get_file_stream()
        try:
            yield stream
        finally:
            if stream is not self.file_stream:
                stream.close()

    def _get_fingerprint(self) -> str:
        with self._stream() as stream:
            if not _rewinds(stream):
                raise ValueError("A stream that cannot be rewound cannot be known again.")
            return self.fingerprinter.get_fingerprint(stream)

    # --- The URL ----------------------------------------------------------------------------------

    def set_url(self, url: str | None) -> None:
        """Upload to there from now on; with ``store_url``, another run will do so too."""
        self.url = url
        if not self.store_url or self.url_storage is None:
            return
        if url is None:
            self._forget()
            return
        self._key = self._key or self._get_fingerprint()
        self.url_storage.set_item(self._key, url)

    def get_offset(self) -> int:
        """Ask the server how far the upload is. Blocks, in an ``AsyncUploader`` too.

        Raises:
            TusCommunicationError: it does not say.
        """
        return self._read_offset(self._connection.send(self._asking()))

    def _begin(self, url: str | None) -> None:
        """Be where the upload is that is known or stored."""
        if url:
            self.offset = self._locate(url)
            self.set_url(url)
            return
        if not self.store_url or self.url_storage is None:
            return
        key = self._get_fingerprint()
        stored = self.url_storage.get_item(key)
        if stored:
            self._key = key
            self._resume(stored)

    def _resume(self, stored: str) -> None:
        """Go on with what is stored, unless nobody can."""
        try:
            self.offset = self._locate(stored)
        except TusUploadFailed:  # the file does not reach that far: it is an upload of another
            self._drop()
        except TusCommunicationError as error:
            if not useless(error):
                raise
            self._drop()

    def _drop(self) -> None:
        self.url = None
        self._forget()

    def _locate(self, url: str) -> int:
        self.url = url
        return self._fitting(self.get_offset())

    def _fitting(self, offset: int) -> int:
        """Return the server's offset.

        Raises:
            TusUploadFailed: the file does not reach that far.
        """
        if self.file_size is not None and offset > self.file_size:
            raise TusUploadFailed(
                f"The server has {offset} bytes at {self.url}, "
                f"but the file has only {self.file_size}.",
                passing=False,
            )
        return offset

    def _forget(self) -> None:
        """Remove what is stored. tuspy itself never did this, so that a storage may be unable to;
        the upload is none the worse for it."""
        if self._key is None or self.url_storage is None:
            return
        key, self._key = self._key, None
        try:
            self.url_storage.remove_item(key)
        except Exception as error:
            text = f"The URL of a finished upload stays stored: {error!r}."
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    # --- Two requests and their answers -----------------------------------------------------------

    def _asking(self) -> Outgoing:
        """The request that asks how far the upload is."""
        assert self.url is not None, "there is no upload to ask about"
        return Outgoing("HEAD", self.url, self.get_headers(), self._trust)

    def _creating(self) -> Outgoing:
        """The request that makes an upload."""
        if self.client is None:
            raise ValueError("Give a client, which says where to make an upload.")
        headers = {**self.get_url_creation_headers(), "content-length": "0"}
        return Outgoing("POST", self.client.url, headers, self._trust)

    @staticmethod
    def _read_offset(answer: Incoming) -> int:
        """Read how far the upload is.

        Raises:
            TusCommunicationError: the answer does not say.
        """
        offset = read_number(Headers(answer.headers.items()), "upload-offset")
        if offset is None or not 200 <= answer.status < 300:
            raise TusCommunicationError(
                f"The server does not say how far the upload is (status {answer.status}).",
                answer.status,
                answer.content,
            )
        return offset

    @staticmethod
    def _read_url(answer: Incoming) -> str:
        """Read the URL of a new upload.

        Raises:
            TusCommunicationError: there is none.
        """
        said = Answer(answer.status, Headers(answer.headers.items()))
        try:
            url = created_url(answer.url, said) if said.good else None
        except NotTus as error:
            raise TusCommunicationError(error, answer.status, answer.content) from error
        if url is None:
            raise TusCommunicationError(
                f"The server does not make an upload (status {answer.status}).",
                answer.status,
                answer.content,
            )
        return url


def _rewinds(stream: IO[Any]) -> bool:
    """Whether a stream can be read again; some have less than ``io`` asks for."""
    seekable: Callable[[], bool] | None = getattr(stream, "seekable", None)
    return hasattr(stream, "seek") if seekable is None else bool(seekable())
