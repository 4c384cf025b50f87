"""What a failed call to S3 means to whoever runs the server: in a sentence, with what to do.

Only words; nothing is called.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from vectus.errors import StoreError
from vectus.stores.s3.place import Place


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong.

    Args:
        subject: with what.
        says: what it is; may name ``{bucket}``, ``{server}``, ``{region}`` and ``{why}``.
        hint: what to do; may name the same.
    """

    subject: str
    says: str
    hint: str


CREDENTIALS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
RIGHTS = (
    "Allow s3:ListBucket, s3:ListBucketMultipartUploads, s3:GetObject, s3:PutObject, "
    "s3:DeleteObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts."
)
REGION = "Name the bucket's region in the URL: region={region}."
CLOCK = "Set this machine's clock."
NETWORK = "See whether the endpoint is right, whether the server runs, and what is between."

_NO_KEY = Diagnosis("credentials", "There are no credentials.", CREDENTIALS)
_OLD_TOKEN = Diagnosis(
    "credentials", "The credentials have expired.", "Get new ones, such as by `aws sso login`."
)
_REGION = Diagnosis("bucket", "The bucket {bucket} is in another region: {why}.", REGION)
_SILENCE = Diagnosis("server", "{server} does not answer: {why}.", NETWORK)
_STRANGER = Diagnosis(
    "server", "{server} does not answer as an S3 server does: {why}.", "See what is there."
)
_RIGHTS = Diagnosis("rights", "The credentials do not allow it: {why}.", RIGHTS)

MEANINGS = {
    "NoCredentialsError": _NO_KEY,
    "PartialCredentialsError": _NO_KEY,
    "CredentialRetrievalError": _NO_KEY,
    "ProfileNotFound": Diagnosis("credentials", "{why}.", "See AWS_PROFILE and ~/.aws/config."),
    "InvalidAccessKeyId": Diagnosis(
        "credentials", "The server does not know the access key.", CREDENTIALS
    ),
    "SignatureDoesNotMatch": Diagnosis(
        "credentials",
        "The secret key does not belong to the access key.",
        "Look at both again. A proxy that changes the Host header has the same effect.",
    ),
    "ExpiredToken": _OLD_TOKEN,
    "ExpiredTokenException": _OLD_TOKEN,
    "UnauthorizedSSOTokenError": _OLD_TOKEN,
    "SSOTokenLoadError": _OLD_TOKEN,
    "TokenRefreshRequired": _OLD_TOKEN,
    "InvalidToken": Diagnosis(
        "credentials", "The session token is not valid.", "Unset AWS_SESSION_TOKEN, or renew it."
    ),
    "RequestTimeTooSkewed": Diagnosis("credentials", "The clocks differ by too much.", CLOCK),
    "AccessDenied": _RIGHTS,
    "AllAccessDisabled": _RIGHTS,
    "403": _RIGHTS,
    "NoSuchBucket": Diagnosis(
        "bucket",
        "There is no bucket {bucket} on {server}.",
        "Make it, or look at its name, and at endpoint and region in the URL.",
    ),
    "InvalidBucketName": Diagnosis("bucket", "{bucket} is no name for a bucket.", "Look at it."),
    "ParamValidationError": Diagnosis("bucket", "{why}.", "Look at the URL."),
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "301": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "NoRegionError": Diagnosis("bucket", "The bucket's region is not known.", REGION),
    "InvalidRegionError": Diagnosis("bucket", "{why}.", REGION),
    "SSLError": Diagnosis(
        "server",
        "{server} is not trusted: {why}.",
        "Name the file with its authority's certificate in AWS_CA_BUNDLE; or the server speaks no "
        "TLS, and its endpoint begins with http://.",
    ),
    "EndpointConnectionError": _SILENCE,
    "ConnectTimeoutError": _SILENCE,
    "ReadTimeoutError": _SILENCE,
    "ConnectionClosedError": _SILENCE,
    "ProxyConnectionError": _SILENCE,
    "ConnectionError": _SILENCE,
    "ResponseParserError": _STRANGER,
    "404": _STRANGER,
    "405": _STRANGER,
}
"""By S3's code, or by the name of boto's error."""

OTHER = Diagnosis("server", "{why}.", "")

NOT_OFFERED = {"NotImplemented", "MethodNotAllowed", "501", "405", "XNotImplemented"}


def answer_to(error: StoreError) -> dict[str, Any]:
    """Return what the server answered, or nothing where it did not."""
    answer: dict[str, Any] = getattr(error.__cause__, "response", None) or {}
    return answer


def code_of(error: StoreError) -> str:
    """Return S3's code for what went wrong, or the name of boto's error."""
    told = answer_to(error).get("Error")
    return str(told.get("Code", "")) if told else type(error.__cause__ or error).__name__


def diagnose(error: StoreError, place: Place) -> Diagnosis:
    """Say what is wrong."""
    meaning = MEANINGS.get(code_of(error), OTHER)
    names = {
        "bucket": place.bucket,
        "server": place.endpoint or "AWS",
        "region": _region(answer_to(error)),
        "why": why(error),
    }
    says, hint = meaning.says.format(**names), meaning.hint.format(**names)
    return Diagnosis(meaning.subject, says, hint)


def why(error: StoreError) -> str:
    """Return what the server says of it, or what kept it from saying anything, without a full
    stop."""
    told = answer_to(error).get("Error", {})
    words = (str(told.get(name) or "") for name in ("Code", "Message"))
    text = ": ".join(word for word in words if word not in {"", "None"})
    text = text or _root(error.__cause__) or str(error.__cause__ or error)
    return " ".join(text.split()).rstrip(".")


def _root(error: object) -> str:
    """Return what the system says of a connection that failed. boto and urllib3 wrap that up, with
    URLs nobody wants to read."""
    while isinstance(error, BaseException):
        if isinstance(error, ssl.SSLCertVerificationError):
            return str(error.verify_message)
        if isinstance(error, ssl.SSLError) and error.reason:
            return error.reason.replace("_", " ").lower()
        if isinstance(error, OSError) and error.strerror:
            return error.strerror.lower()
        wrapped = getattr(error, "kwargs", {}).get("error")
        error = wrapped or error.__cause__ or error.__context__
    return ""


def _region(answer: dict[str, Any]) -> str:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    told = answer.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
    return str(told or "...")
