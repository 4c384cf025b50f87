"""What became of one file or URL: a word for programs, an exit code, and a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass

from vectus import errors
from vectus.cli import codes

KINDS: dict[type[errors.VectusError], tuple[str, int]] = {
    errors.ConfigurationError: ("impossible", codes.USAGE),
    errors.ServerUnreachable: ("unreachable", codes.UNREACHABLE),
    errors.UploadGone: ("gone", codes.FAILED),
    errors.UploadMismatch: ("mismatch", codes.FAILED),
    errors.SourceChanged: ("changed", codes.FAILED),
    errors.SourceError: ("unreadable", codes.FAILED),
    errors.VerificationFailed: ("unverified", codes.FAILED),
    errors.UploadRefused: ("refused", codes.FAILED),
    errors.VectusError: ("failed", codes.FAILED),
}
"""The word and the exit code of each error; a class before those that it is one of."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it.

    Args:
        kind: one of the words of ``KINDS``, or ``uploaded``, ``interrupted``, ``removed``.
        code: the exit code it asks for.
        url: the upload's, where there is one.
        problem: what went wrong, in a sentence.
        hint: what to do about it.
        length: bytes of what was uploaded.
        resumed: bytes of it that the server had already.
        retries: how often something was tried again.
    """

    kind: str
    code: int = codes.OK
    url: str | None = None
    problem: str = ""
    hint: str = ""
    length: int | None = None
    resumed: int = 0
    retries: int = 0

    @property
    def sentence(self) -> str:
        """What went wrong and what to do about it."""
        return f"{self.problem} {self.hint}".strip()


def of_error(error: errors.VectusError) -> Outcome:
    """What an error comes to."""
    kind, code = next(KINDS[each] for each in KINDS if isinstance(error, each))
    return Outcome(
        kind,
        code,
        url=getattr(error, "url", None),
        problem=getattr(error, "problem", str(error)),
        hint=getattr(error, "hint", ""),
    )
