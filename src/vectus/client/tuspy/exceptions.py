"""tuspy's exceptions. Nothing else may be raised for what a server or the network did."""

from __future__ import annotations

from vectus.client.commands import Answer
from vectus.client.verdicts import Verdict, judge
from vectus.errors import VectusError


class TusCommunicationError(VectusError):
    """Talking to the server went wrong.

    Args:
        message: what happened; where it is empty, the status code is named.
        status_code: the answer's, or None where none came.
        response_content: the answer's body.
        passing: whether trying again may help; None lets the status code tell.
    """

    def __init__(
        self,
        message: object,
        status_code: int | None = None,
        response_content: bytes | None = None,
        *,
        passing: bool | None = None,
    ) -> None:
        super().__init__(message or f"The tus server answered with status {status_code}.")
        self.status_code = status_code
        self.response_content = response_content
        if passing is None:
            passing = status_code is None or judge(Answer(status_code)) is Verdict.AGAIN
        self.passing = passing


class TusUploadFailed(TusCommunicationError):
    """A chunk did not get through."""


def useless(error: TusCommunicationError) -> bool:
    """Whether a stored URL is worth nothing after this answer to HEAD. It is tuspy's rule, 4xx,
    less what passes by itself and missing credentials: they say nothing of the upload."""
    status = error.status_code or 0
    return 400 <= status < 500 and judge(Answer(status)) not in {Verdict.AGAIN, Verdict.REFRESH}
