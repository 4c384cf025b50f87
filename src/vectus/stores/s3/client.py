"""The one door to S3: every call goes through ``Gateway.call``, blocks, and fails in our words.

What is called, and what for, is the bucket's affair.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from vectus.errors import ConfigurationError, StoreError, StoreFull, StoreUnavailable
from vectus.stores.s3 import verbatim
from vectus.stores.s3.place import Place

try:
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]
    from botocore.exceptions import (  # type: ignore[import-untyped]
        BotoCoreError,
        ClientError,
        ConnectionError as BotoConnectionError,
        HTTPClientError,
        IncompleteReadError,
    )
    from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
    from urllib3.exceptions import HTTPError
except ImportError as error:
    raise ConfigurationError(
        "Uploads in S3 need boto3, which is not installed.", "Run: pip install 'vectus[s3]'"
    ) from error


class Answer(dict[str, Any]):
    """What S3 answered. It has whatever is looked for in it, or was no answer of S3's."""

    def __missing__(self, key: str) -> Any:
        raise StoreUnavailable(f"what answered for S3 did not say {key}")


class Missing(StoreError):
    """There is no such object, or no such multipart upload."""


class Taken(StoreError):
    """There is such an object already."""


class Rejected(StoreError):
    """S3 does not take what it was sent, now or later.

    Args:
        code: S3's word for why.
        message: its sentence.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"S3 refused: {code}: {message}")
        self.code = code


class Passing(StoreUnavailable):
    """S3 did not answer, or could not do it at that moment: another try may help at once."""


MISSING = {"NoSuchKey", "NoSuchUpload", "NotFound"}
"""After an abort some servers say NoSuchKey and some NoSuchUpload."""
TAKEN = {"PreconditionFailed", "412"}
FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "InsufficientCapacity", "507"}
PASSING = {
    *("RequestTimeout", "SlowDown", "SlowDownRead", "SlowDownWrite", "ServerBusy", "Busy"),
    *("Throttling", "ThrottlingException", "RequestThrottled", "RequestLimitExceeded"),
    *("BandwidthLimitExceeded", "TooManyRequests", "TooManyRequestsException"),
    *("OperationAborted", "ConditionalRequestConflict"),
    # The body was not what was sent: it was cut short or garbled on its way.
    *("IncompleteBody", "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"),
    *("408", "429", "500", "502", "503", "504"),
}
AWAY = {
    *("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccountProblem"),
    *("NoSuchBucket", "InvalidBucketState", "AuthorizationHeaderMalformed", "IllegalLocation"),
    *("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed"),
    *("RequestExpired", "InvalidStorageClass", "AccessControlListNotSupported", "InvalidTag"),
}
"""What an operator, or time, can mend. A bucket or a key that is gone is like a disk that is not
mounted: it must not cost anybody an upload."""
AWAY_STATUS = {301, 302, 307, 308, 401, 403}
"""The same, whatever the code: it is elsewhere, or nobody believes us who we are."""

NOT_OFFERED = {"NotImplemented", "MethodNotAllowed", "501", "405", "A header you provided implies"}
"""How servers say that they lack something."""

TRIED_AGAIN = (
    *(BotoConnectionError, HTTPClientError, HTTPError, IncompleteReadError, ResponseParserError),
    OSError,
)


@contextmanager
def map_errors() -> Iterator[None]:
    """Tell boto's errors as ours."""
    try:
        yield
    except ClientError as error:
        raise _meaning(error) from error
    except TRIED_AGAIN as error:
        raise Passing(f"{type(error).__name__}: {error}") from error
    except (BotoCoreError, RecursionError) as error:
        # boto asks where a bucket is that is elsewhere, and may be sent elsewhere with that as well
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error


def _meaning(error: Any) -> StoreError:
    code, message = (str(error.response["Error"].get(name, "")) for name in ("Code", "Message"))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = code or str(status)
    if code in MISSING or (code == "404" and error.operation_name in BARE):
        return Missing(f"{error.operation_name}: {code}")
    if code in TAKEN:
        return Taken(f"{error.operation_name}: {code}")
    if code in FULL:
        return StoreFull()
    if code in NOT_OFFERED:
        return Rejected(code, message)
    why = f"{error.operation_name}: {code}: {message}"
    if code in PASSING or str(status) in PASSING:
        return Passing(why)
    away = code in AWAY or code.isdigit() or code.startswith("KMS.") or status in AWAY_STATUS
    return StoreUnavailable(why) if away or status >= 500 else Rejected(code, message)


BARE = {"HeadObject", "HeadBucket", "UploadPartCopy"}
"""Whose errors may have no words but the status. Of other calls, an error without S3's words is not
S3's: a proxy that says 404 because nobody is behind it must not cost anybody an upload."""

LONG = {"complete_multipart_upload", "upload_part_copy"}
"""What S3 may take minutes for, and answers, if at all, when all is done."""

READING = ("get_", "head_", "list_")
"""How the names of operations begin that change nothing."""

OTHERS = 48
"""How many connections there are at most besides those for parts: what more are opened for a
moment are not kept."""

PAUSES = (0.1, 0.4, 1.2)
"""Seconds, at most, before a call that failed is tried again."""


class Gateway:
    """Calls S3, and counts its calls.

    A call that fails at once is tried again some times; one that hangs, once, for a connection may
    be dead without anybody having said so. While S3 is away nothing is tried again: whoever is
    behind a call is to hear of it soon, and threads are few. A refusal counts only where no earlier
    try may be obeyed after it.

    Args:
        place: the server, and the bucket that every call is about.
        pauses: seconds, at most, before each further try.

    Attributes:
        calls: how often each operation was called.
    """

    def __init__(self, place: Place, pauses: Sequence[float] = PAUSES) -> None:
        self.calls: Counter[str] = Counter()
        self._bucket = place.bucket
        self._pauses = pauses
        self._timeout = place.timeout
        self._away = False
        self._counting = threading.Lock()
        with map_errors():
            self._client = self._signer = _client(place, place.timeout)
            self._patient = _client(place, place.long_timeout)
            if place.public_endpoint:  # whose name is signed too
                elsewhere = replace(place, endpoint=place.public_endpoint)
                self._signer = _client(elsewhere, place.timeout)

    def call(self, operation: str, **parameters: Any) -> Answer:
        """Make one call.

        Raises:
            Missing, Taken, Rejected, StoreFull, StoreUnavailable: it failed.
        """
        with self._counting:
            self.calls[operation] += 1
        last = time.monotonic() + 1.5 * self._timeout
        unanswered = False
        for pause in (*(() if self._away else self._pauses), None):
            try:
                return self._try(operation, parameters)
            except Passing:
                if pause is None or time.monotonic() > last:
                    self._away = True
                    raise
                unanswered = not operation.startswith(READING)
            except (Rejected, StoreFull) as error:
                if not unanswered:
                    raise
                raise StoreUnavailable(f"an earlier try may yet be obeyed: {error}") from error
            time.sleep(pause * random.random())  # noqa: S311 - so that not all come at once
            _rewind(parameters.get("Body"))
        raise AssertionError("the last pause is none")

    def _try(self, operation: str, parameters: dict[str, Any]) -> Answer:
        client = self._patient if operation in LONG else self._client
        try:
            with map_errors():
                answer = getattr(client, operation)(Bucket=self._bucket, **parameters)
        except Passing:
            raise
        except StoreError:
            self._away = False
            raise
        self._away = False
        return Answer(answer)

    def sign(self, operation: str, seconds: int, **parameters: Any) -> str:
        """Return a URL by which anybody can make one call, for so long. Nothing is sent.

        Raises:
            StoreUnavailable: there are no credentials now.
        """
        with map_errors():
            url: str = self._signer.generate_presigned_url(
                operation, {"Bucket": self._bucket, **parameters}, ExpiresIn=seconds
            )
        return url

    def close(self) -> None:
        """Close the connections."""
        for client in (self._client, self._patient, self._signer):
            client.close()


def _rewind(body: Any) -> None:
    """Let what was sent be sent again."""
    if hasattr(body, "seek"):
        body.seek(0)


def _client(place: Place, patience: float) -> Any:
    config = Config(
        signature_version="s3v4",  # for URLs the default is one that newer regions do not know
        # Checksums come as trailers of a chunked body, which servers refuse or store as data.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            # Hashing every body is two thirds of a client's CPU; TLS does that already.
            "payload_signing_enabled": False,
            "addressing_style": "path" if place.endpoint else "auto",
        },
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=min(5.0, place.timeout),
        read_timeout=patience,
        max_pool_connections=place.parts_in_flight + OTHERS,
        tcp_keepalive=True,
    )
    if boto3.DEFAULT_SESSION is None:
        boto3.setup_default_session()
    session = boto3.DEFAULT_SESSION
    # Other people's servers want one to be named, and do not mind which.
    region = place.region or session.region_name or ("us-east-1" if place.endpoint else None)
    client = session.client("s3", endpoint_url=place.endpoint, region_name=region, config=config)
    verbatim.attach(client)
    return client
