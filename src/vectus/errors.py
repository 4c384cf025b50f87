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
