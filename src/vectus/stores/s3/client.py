"""The one door to S3: every call goes through ``Gateway.call``, blocks, and fails in our words.

What is called, and what for, is the bucket's affair.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vectus.errors import ConfigurationError, StoreError, StoreFull, StoreUnavailable
from vectus.stores.s3.place import Place

try:
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]
    from botocore.exceptions import (  # type: ignore[import-untyped]
        BotoCoreError,
        ClientError,
        HTTPClientError,
    )
    from urllib3.exceptions import HTTPError
except ImportError as error:
    raise ConfigurationError(
        "Uploads in S3 need boto3, which is not installed.", "Run: pip install 'vectus[s3]'"
    ) from error

Answer = dict[str, Any]


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


MISSING = {"NoSuchKey", "NoSuchUpload", "NotFound", "404"}
"""After an abort some servers say NoSuchKey and some NoSuchUpload; to a HEAD they say just 404."""
TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "InsufficientCapacity", "507"}
AWAY = {
    *("RequestTimeout", "SlowDown", "Throttling", "TooManyRequests", "RequestTimeTooSkewed"),
    *("NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
    *("ExpiredToken", "InvalidToken", "401", "403", "429", "OperationAborted"),
}
"""What an operator, or time, can mend. A bucket or a key that is gone is like a disk that is not
mounted: it must not cost anybody an upload."""

NOT_OFFERED = {"NotImplemented", "MethodNotAllowed", "501", "405", "A header you provided implies"}
"""How servers say that they lack something."""


@contextmanager
def map_errors() -> Iterator[None]:
    """Tell boto's errors as ours."""
    try:
        yield
    except ClientError as error:
        raise _meaning(error) from error
    except (BotoCoreError, HTTPClientError, HTTPError, OSError) as error:
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error


def _meaning(error: Any) -> StoreError:
    code, message = (str(error.response["Error"].get(name, "")) for name in ("Code", "Message"))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    for codes, made in ((MISSING, Missing), (TAKEN, Taken)):
        if code in codes:
            return made(f"{error.operation_name}: {code}")
    if code in FULL:
        return StoreFull()
    away = code in AWAY or (status >= 500 and code not in NOT_OFFERED)
    return StoreUnavailable(f"{code}: {message}") if away else Rejected(code, message)


class Gateway:
    """Calls S3, and counts its calls.

    Args:
        place: the server, and the bucket that every call is about.

    Attributes:
        calls: how often each operation was called.
    """

    def __init__(self, place: Place) -> None:
        self.calls: Counter[str] = Counter()
        self._bucket = place.bucket
        self._counting = threading.Lock()
        with map_errors():
            self._client = _client(place)

    def call(self, operation: str, **parameters: Any) -> Answer:
        """Make one call.

        Raises:
            Missing, Taken, Rejected, StoreFull, StoreUnavailable: it failed.
        """
        with self._counting:
            self.calls[operation] += 1
        with map_errors():
            answer: Answer = getattr(self._client, operation)(Bucket=self._bucket, **parameters)
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _client(place: Place) -> Any:
    config = Config(
        # Checksums come as trailers of a chunked body, which servers refuse or store as data.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            # Hashing every body is two thirds of a client's CPU; TLS does that already.
            "payload_signing_enabled": False,
            "addressing_style": "path" if place.endpoint else "auto",
        },
        retries={"total_max_attempts": 3, "mode": "standard"},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=place.parts_in_flight + 32,
        tcp_keepalive=True,
    )
    if boto3.DEFAULT_SESSION is None:
        boto3.setup_default_session()
    session = boto3.DEFAULT_SESSION
    # Other people's servers want one to be named, and do not mind which.
    region = place.region or session.region_name or ("us-east-1" if place.endpoint else None)
    return session.client("s3", endpoint_url=place.endpoint, region_name=region, config=config)
