"""What a caller orders, checked, and turned into jobs for the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypedDict

from vectus.client.contracts import ResumeStore, Source
from vectus.client.custody import Cancel
from vectus.client.fingerprint import key_of
from vectus.client.happenings import Happening, Progress
from vectus.client.job import Chunks, Job, Patience, Verify, encode_metadata
from vectus.client.presets import chunks_of
from vectus.client.wire import BeforeRequest

MetadataValue = str | bytes | int | float | bool | None
Fingerprinter = Callable[[Source, str], str | None]


def patience(retries: int, delay: float) -> Patience:
    """How often to try again, and how long to wait at first.

    Raises:
        ValueError: one of them is below 0.
    """
    if retries < 0 or delay < 0:
        raise ValueError(f"retries and retry_delay must not be below 0: {retries}, {delay}.")
    return Patience(retries, delay)


@dataclass(frozen=True, slots=True)
class Habits:
    """What holds for every upload of a client.

    Raises:
        ValueError: one of it makes no sense.
    """

    endpoint: str | None
    patience: Patience
    override: bool
    preset: str | Chunks | None

    def __post_init__(self) -> None:
        chunks_of(self.preset, None, None)  # raises where there is none of this name


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One upload, as the caller wants it."""

    metadata: Mapping[str, MetadataValue] | None = None
    chunk_size: int | None = None
    checksum: str | None = None
    verify: Verify | None = None
    parallel: int = 1
    fingerprint: str | Fingerprinter | None = None
    upload_url: str | None = None
    on_progress: Callable[[Progress], object] | None = None
    on_event: Callable[[Happening], object] | None = None
    cancel: Cancel | None = None

    @property
    def cancels(self) -> tuple[Cancel, ...]:
        """Who can say stop."""
        return () if self.cancel is None else (self.cancel,)

    def check(self, habits: Habits) -> None:
        """Refuse an order that makes no sense, before anything is opened or sent.

        Raises:
            ValueError: it makes none; says why.
        """
        if habits.endpoint is None and self.upload_url is None:
            raise ValueError("Say where to: an endpoint, or upload_url for an upload that exists.")
        if self.parallel < 1:
            raise ValueError(f"parallel must be at least 1, not {self.parallel}.")
        if self.verify not in (None, "length", "download"):
            raise ValueError(f'verify must be "length" or "download", not {self.verify!r}.')
        encode_metadata(self.metadata or {})
        chunks_of(habits.preset, habits.endpoint, self.chunk_size)

    def job(self, habits: Habits, source: Source) -> Job:
        """The job for the machine."""
        url = self.upload_url or habits.endpoint
        if self.verify == "download" and not source.replayable:
            raise ValueError(f'{source.name} can be read only once: verify it by "length".')
        return Job(
            endpoint=habits.endpoint,
            upload_url=self.upload_url,
            name=source.name,
            length=source.length,
            replayable=source.replayable,
            metadata=encode_metadata(self.metadata or {}),
            chunks=chunks_of(habits.preset, url, self.chunk_size),
            checksum=self.checksum,
            verify=self.verify,
            patience=habits.patience,
            override=habits.override,
        )

    def fingerprint_of(self, habits: Habits, source: Source) -> str | None:
        """What the source is known by; it may read a little of it."""
        if self.upload_url is not None:
            return None
        return key_of(source, habits.endpoint or "", self.fingerprint)


class UploadOptions(TypedDict, total=False):
    """Keyword arguments of an upload, the same for both kinds of client."""

    metadata: Mapping[str, MetadataValue] | None
    length: int | None
    chunk_size: int | None
    checksum: str | None
    verify: Verify | None
    parallel: int
    fingerprint: str | Fingerprinter | None
    upload_url: str | None
    on_progress: Callable[[Progress], object] | None
    on_event: Callable[[Happening], object] | None
    cancel: Cancel | None


class CommonOptions(UploadOptions, total=False):
    """Keyword arguments of ``vectus.upload`` and ``vectus.aupload``."""

    headers: Mapping[str, str] | None
    resume: ResumeStore | None
    retries: int
    retry_delay: float
    method_override: bool
    before_request: BeforeRequest | None
    timeout: float | None
    preset: str | Chunks | None


CLIENT_OPTIONS = frozenset(CommonOptions.__annotations__) - frozenset(UploadOptions.__annotations__)
"""Those keyword arguments that are the client's."""
