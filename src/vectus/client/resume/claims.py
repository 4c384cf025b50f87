"""Claims of entries by locked files: one for each fingerprint, in a folder beside the store.

A lock ends with its process, however that dies, so there are no stale claims. What is claimed, and
where the entries are, is not this file's affair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from vectus.client.contracts import Claim
from vectus.client.resume.locking import take


class Held:
    """A claim that cannot be lost before it is released."""

    def renew(self) -> bool:
        """Return True: it is held for as long as the process lives."""
        return True


@contextmanager
def claim_file(folder: str, fingerprint: str) -> Iterator[Claim | None]:
    """Hold a fingerprint's file in a folder, made on demand; None if somebody else holds it.

    Raises:
        OSError: the file cannot be made or locked.
    """
    name = hashlib.sha256(fingerprint.encode("utf-8", "surrogatepass")).hexdigest()
    grip = take(f"{folder}/{name}")
    if grip is None:
        yield None
        return
    try:
        yield Held()
    finally:
        grip.retire()
