"""Every error vectus raises, under one root.

Leaves build their own messages, so that a call site only says what happened. Errors meant for an
operator carry a hint: the next thing to do. HTTP status codes do not belong here: the dialects know
them.
"""

from __future__ import annotations


class VectusError(Exception):
    """The root of everything vectus raises on purpose."""


class ConfigurationError(VectusError):
    """The operator asked for something that cannot be, and can mend it.

    Args:
        problem: one sentence that says what is wrong.
        hint: one sentence that says what to do about it.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(f"{problem} {hint}".strip())
        self.problem = problem
        self.hint = hint


class StoreError(VectusError):
    """A store could not do what it was asked to do."""


class UploadNotFound(StoreError):
    """The store has no upload under this id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"There is no upload {id!r}.")
        self.id = id


class UploadExists(StoreError):
    """The store already has an upload under this id; ids are never used twice."""

    def __init__(self, id: str) -> None:
        super().__init__(f"There is an upload {id!r} already.")
        self.id = id


class KeyRefused(StoreError):
    """The store cannot keep an upload under the key that was chosen for it."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"An upload cannot be kept under {key!r}: {why}.")
        self.key = key
        self.why = why


class KeyTaken(StoreError):
    """There is something under the key that was chosen for an upload, or will be."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!r} is another upload's or object's key.")
        self.key = key


class RecordBroken(StoreError):
    """An upload's record cannot be read as one."""

    def __init__(self, id: str, why: str) -> None:
        super().__init__(f"The record of upload {id!r} is broken: {why}.")
        self.id = id


class StoreFull(StoreError):
    """The store has no room left; what was written before stays written."""

    def __init__(self) -> None:
        super().__init__("The store has no room left.")


class StoreUnavailable(StoreError):
    """The store's back end cannot be reached now; trying again later may help."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The store cannot be reached: {why}.")


class Overtaken(StoreError):
    """A later holder of the upload's lock has written; this writer must not."""

    def __init__(self, id: str) -> None:
        super().__init__(f"Upload {id!r} has been taken over by a later writer.")
        self.id = id


class LockError(VectusError):
    """A lock could not be had, or could not be kept."""


class LockHeld(LockError):
    """Somebody else holds the upload's lock and did not let go in time."""

    def __init__(self, id: str) -> None:
        super().__init__(f"Upload {id!r} is locked by another request.")
        self.id = id


class LockUnavailable(LockError):
    """The locker's back end cannot be reached now; trying again later may help."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The locker cannot be reached: {why}.")


class UploadError(VectusError):
    """A client's upload came to nothing, or not to its end.

    Args:
        problem: one sentence that says what happened.
        hint: one sentence that says what to do about it.

    Attributes:
        url: the unfinished upload's URL, where the server has one that can be gone on with.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(f"{problem} {hint}".strip())
        self.problem = problem
        self.hint = hint
        self.url: str | None = None


class UploadRefused(UploadError):
    """The server does not want this upload, and would not if it were asked again.

    Args:
        problem: one sentence that says what was asked and what came of it.
        hint: one sentence that says what to do about it.
        status: the answer's status code, or None where no answer was the reason.
        text: the first line of the answer's body, if it was plain text.
    """

    def __init__(
        self, problem: str, hint: str = "", *, status: int | None = None, text: str = ""
    ) -> None:
        super().__init__(problem, hint)
        self.status = status
        self.text = text


class UploadTooLarge(UploadRefused):
    """The server takes no upload as large as this; ``limit`` is the most it takes, if it says."""

    def __init__(self, length: int | None, limit: int | None) -> None:
        size = "The upload is" if length is None else f"An upload of {length} bytes is"
        most = f"it takes at most {limit} bytes" if limit is not None else "it does not say why"
        super().__init__(f"{size} too large for the server: {most}.", status=413)
        self.limit = limit


class NotOffered(UploadRefused):
    """The server lacks something that was asked for."""


class NotTus(UploadRefused):
    """What answered is no tus server, or none whose version is understood."""


class UploadGone(UploadError):
    """The server has the upload no more, and the source cannot be read again from its start."""


class UploadMismatch(UploadError):
    """What the server holds cannot be a part of this source: nothing was sent on top of it."""


class ServerUnreachable(UploadError):
    """The server could not be reached, or kept failing, in spite of trying again.

    Args:
        tries: how many times the same thing was tried without any progress.
        why: the last failure, in words.
    """

    def __init__(self, tries: int, why: str) -> None:
        again = "once" if tries == 1 else f"{tries} times"
        super().__init__(f"Tried {again} without success: {why.rstrip('.')}.")
        self.tries = tries


class SourceError(UploadError):
    """What should be uploaded cannot be read."""


class SourceChanged(SourceError):
    """What should be uploaded was changed meanwhile: an end of it would be of another version."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} was changed while it was uploaded.", "Start again when nobody writes to it."
        )


class UploadCancelled(UploadError):
    """The caller stopped the upload; it can be gone on with."""

    def __init__(self) -> None:
        super().__init__("The upload was stopped.", "It goes on from there when it is run again.")


class VerificationFailed(UploadError):
    """What the server holds in the end is not what was sent."""
